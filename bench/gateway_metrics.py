"""What the gateways' own metrics say of the measured rounds: how many steps shared a commit, and what steps lasted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_STEP: Final = "datenweg_step_seconds"
_COMMIT: Final = "datenweg_log_commit_seconds"
_BATCH: Final = "datenweg_log_batch_steps"


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums and counts of a gateway's histograms at one moment, by histogram and step."""

    values: Mapping[tuple[str, str], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """A gateway between two moments. `step_ms` is the mean wall time of each step, waiting included."""

    commits: int
    steps_per_commit: float
    commit_ms: float
    step_ms: Mapping[str, float]


def parse_metrics(text: str) -> Sums:
    """The histograms in a gateway's answer to /metrics."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name not in (_STEP, _COMMIT, _BATCH):
            continue
        for sample in family.samples:
            kind = sample.name.removeprefix(family.name)
            if kind in ("_sum", "_count"):
                found.setdefault((family.name, sample.labels.get("step", "")), {})[kind] = sample.value
    return Sums({key: (values["_sum"], values["_count"]) for key, values in found.items()})


def between(before: Sums, after: Sums) -> GatewayMetrics:
    """What happened from one moment to the other."""
    means: dict[tuple[str, str], tuple[float, float]] = {}
    for key, (total, count) in after.values.items():
        earlier_total, earlier_count = before.values.get(key, (0.0, 0.0))
        happened = count - earlier_count
        means[key] = ((total - earlier_total) / happened if happened else 0.0, happened)
    commit_seconds, commits = means.get((_COMMIT, ""), (0.0, 0.0))
    return GatewayMetrics(
        commits=int(commits),
        steps_per_commit=means.get((_BATCH, ""), (0.0, 0.0))[0],
        commit_ms=commit_seconds * 1000,
        step_ms={step: mean * 1000 for (name, step), (mean, happened) in means.items() if name == _STEP and happened},
    )
