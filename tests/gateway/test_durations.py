"""Our histograms of durations say what prometheus-client's own say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from gateway.durations import Durations

BOUNDS = (0.001, 0.01, 0.5, 1.0)
SECONDS = st.sampled_from(BOUNDS) | st.floats(0, 3)


@given(st.lists(st.tuples(st.sampled_from(["sign", "send"]), SECONDS), max_size=20))
def test_samples_are_those_of_a_histogram(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = Durations("step_seconds", "Steps", "step", buckets=BOUNDS, registry=ours)
    histogram = Histogram("step_seconds", "Steps", ("step",), buckets=BOUNDS, registry=theirs)
    for step, seconds in observed:
        durations.observe(step, seconds)
        histogram.labels(step).observe(seconds)
    assert _samples(ours) == _samples(theirs)


def _samples(registry: CollectorRegistry) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    (family,) = registry.collect()
    assert (family.name, family.documentation, family.type) == ("step_seconds", "Steps", "histogram")
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
