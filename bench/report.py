"""What a run has to say: a table for people, a JSON document for everything else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.backend import ANSWER_BODY, REQUEST_BODY
from bench.measure import PROXY, ROAD, Measurement, Round

_BUSY: Final = 0.1
_NAMES: Final = {ROAD: "(a) two gateways", PROXY: "(b) two proxies"}


def as_document(measurement: Measurement) -> dict[str, Any]:
    """The run as JSON values. Times are milliseconds, CPU times milliseconds per exchange."""
    ratios, settings = measurement.ratios, measurement.settings
    return {
        "version": 1,
        "ratio": round(measurement.ratio, 4),
        "ratio_min": round(min(ratios), 4),
        "ratio_max": round(max(ratios), 4),
        "cpu_ratio": round(measurement.cpu_ratio, 4),
        "profiled": settings.profile is not None,
        "settings": {
            "rounds": settings.rounds,
            "seconds": settings.seconds,
            "warm_up_seconds": settings.warm_up_seconds,
            "concurrency": settings.concurrency,
            "request_bytes": len(REQUEST_BODY),
            "answer_bytes": len(ANSWER_BODY),
        },
        "machine": dict(measurement.machine),
        "paths": {name: _path(rounds) for name, rounds in measurement.rounds.items()},
        "gateways": {name: asdict(metrics) for name, metrics in measurement.gateways.items()},
        "cases": {
            name: {which: _path([measured]) for which, measured in case.items()}
            | {
                "ratio": round(case[ROAD].result.per_second / case[PROXY].result.per_second, 4),
                "cpu_ratio": round(case[PROXY].cpu_ms_in_all / case[ROAD].cpu_ms_in_all, 4),
            }
            for name, case in measurement.cases.items()
        },
        "streams": {name: asdict(figures) for name, figures in measurement.streams.items()},
        "entries_expected": measurement.entries_expected,
        "logs": {name: asdict(facts) for name, facts in measurement.logs.items()},
    }


def _path(rounds: list[Round]) -> dict[str, Any]:
    return {
        "exchanges": sum(r.result.counted for r in rounds),
        "per_second": round(median(r.result.per_second for r in rounds), 1),
        "p50_ms": round(median(r.result.p50_ms for r in rounds), 3),
        "p99_ms": round(median(r.result.p99_ms for r in rounds), 3),
        "cpu_ms": {name: round(_cpu(rounds, name), 4) for name in rounds[0].cpu_ms},
        "cpu_ms_in_all": round(median(r.cpu_ms_in_all for r in rounds), 4),
        "idle": round(median(r.idle for r in rounds), 3),
        "others": round(median(r.others for r in rounds), 3),
        "rounds": [
            {
                **asdict(r.result),
                "per_second": round(r.result.per_second, 1),
                "cpu_ms": {name: asdict(used) for name, used in r.cpu_ms.items()},
                "idle": round(r.idle, 3),
                "others": round(r.others, 3),
            }
            for r in rounds
        ],
    }


def _cpu(rounds: list[Round], name: str) -> float:
    return median(r.cpu_ms[name].total for r in rounds)


def write_document(document: dict[str, Any], file: Path) -> None:
    """Writes the document, with its folder if that is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def print_tables(document: dict[str, Any], console: Console) -> None:
    """The figures, the CPU time of each process, the ratio, and what the logs were found to hold."""
    figures = ("per second", "p50 ms", "p99 ms", "CPU ms each", "cores idle", "others", "counted")
    table = _table("Exchanges (medians of the rounds)", ("path",), figures)
    for name, path in document["paths"].items():
        table.add_row(
            _NAMES[name],
            f"{path['per_second']:.0f}",
            f"{path['p50_ms']:.2f}",
            f"{path['p99_ms']:.2f}",
            f"{path['cpu_ms_in_all']:.3f}",
            f"{path['idle']:.0%}",
            f"{path['others']:.0%}",
            f"{path['exchanges']}",
        )
    console.print(table)
    _print_cpu(document, console)
    _print_steps(document, console)
    _print_cases(document, console)
    settings, machine = document["settings"], document["machine"]
    console.print(
        f"{settings['concurrency']} connections, {settings['rounds']} rounds of {settings['seconds']:g} s; "
        f"{settings['request_bytes']} bytes out, {settings['answer_bytes']} back; {machine['cores']} cores, "
        f"Python {machine['python']}; a durable write takes {machine['durable_write_ms']:g} ms "
        f"on {machine['file_system']}"
    )
    if machine["file_system"] in ("tmpfs", "ramfs"):
        console.print(
            "[red]the databases lie in memory: nothing is durable there; choose a --directory on a disk[/red]"
        )
    for name, facts in document["logs"].items():
        console.print(
            f"{name}'s log recomputed and sound: {facts['entries']} entries verified (one for each exchange and "
            f"consent), {facts['messages']} messages, {facts['records_opened']} records opened, "
            f"{facts['checkpoints']} checkpoints"
        )
    if document["profiled"]:
        console.print("[yellow]measured under the sampler: the figures are lower than without[/yellow]")
    if max(path["others"] for path in document["paths"].values()) > _BUSY:
        console.print("[yellow]other processes were busy on this machine: measure again when it is quiet[/yellow]")
    console.print(
        f"[bold]ratio {document['ratio']:.3f}[/bold] a/b, median of {settings['rounds']} rounds "
        f"({document['ratio_min']:.3f} to {document['ratio_max']:.3f}); by CPU time {document['cpu_ratio']:.3f}"
    )


def _table(title: str, words: Sequence[str], figures: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in words:
        table.add_column(column)
    for column in figures:
        table.add_column(column, justify="right")
    return table


def _print_cpu(document: dict[str, Any], console: Console) -> None:
    table = _table("CPU milliseconds per exchange (user + system)", ("path", "process"), ("ms",))
    for name, path in document["paths"].items():
        for process, used in path["cpu_ms"].items():
            table.add_row(name, process, f"{used:.3f}")
    console.print(table)


def _print_cases(document: dict[str, Any], console: Console) -> None:
    if document["cases"]:
        table = _table(
            "Further cases, one round of each path",
            ("case", "path"),
            ("per second", "p50 ms", "p99 ms", "CPU ms each", "ratio", "by CPU"),
        )
        for name, case in document["cases"].items():
            for which in (ROAD, PROXY):
                path, of_road = case[which], which == ROAD
                table.add_row(
                    name,
                    _NAMES[which],
                    f"{path['per_second']:.0f}",
                    f"{path['p50_ms']:.1f}",
                    f"{path['p99_ms']:.1f}",
                    f"{path['cpu_ms_in_all']:.2f}",
                    f"{case['ratio']:.3f}" if of_road else "",
                    f"{case['cpu_ratio']:.3f}" if of_road else "",
                )
        console.print(table)
    for which, figures in document["streams"].items():
        memory = ", ".join(
            f"{name} {peak / (1 << 20):.0f} MiB at most (+{(peak - figures['before'][name]) / (1 << 20):.0f})"
            for name, peak in figures["peaks"].items()
        )
        console.print(
            f"{figures['size'] >> 20} MiB there and {figures['size'] >> 20} MiB back through {_NAMES[which]}: "
            f"{figures['seconds']:.2f} s, {figures['cpu_seconds']:.2f} s of CPU; {memory}"
        )


def _print_steps(document: dict[str, Any], console: Console) -> None:
    table = _table("Mean wall time of each step, ms (waiting included)", ("gateway", "step"), ("ms",))
    for name, gateway in document["gateways"].items():
        for step, mean in gateway["step_ms"].items():
            table.add_row(name, step, f"{mean:.2f}")
    console.print(table)
    for name, gateway in document["gateways"].items():
        console.print(
            f"{name}: {gateway['commits']} commits, {gateway['steps_per_commit']:.1f} steps each, "
            f"{gateway['commit_ms']:.2f} ms each"
        )
