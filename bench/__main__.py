"""`python -m bench`: measures, prints, writes the report. Exit code 0 if there is a figure and both logs hold."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from audit.errors import AuditError
from bench.cases import CASES
from bench.log import measure_loads, print_loads
from bench.measure import Measurement, Settings, measure
from bench.processes import NotMeasurable
from bench.profile import as_values, print_profiles, read_profiles
from bench.report import as_document, print_tables, write_document
from bench.trust_bench import as_values as trust_values
from bench.trust_bench import measure_trust, print_figures
from gateway.city.start import NodeNotReady
from gateway.logging import configure_logging
from gateway.serve import run

_REPORT: Final = Path("bench-results/bench.json")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help="Measure signed exchanges through two gateways against two plain reverse proxies.")
def main(
    *,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a round.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each path.")] = 5,
    warm_up: Annotated[float, typer.Option(min=0.1, help="Seconds of warm-up of each path.")] = 2,
    concurrency: Annotated[int, typer.Option(min=1, max=500, help="Connections, each with a citizen.")] = 32,
    case: Annotated[
        list[str] | None,
        typer.Option(help=f"Also measure: {', '.join(CASES)}, or none. All, if not given.", show_default=False),
    ] = None,
    case_seconds: Annotated[float, typer.Option(min=0.1, help="Length of a case's round.")] = 3,
    stream_mib: Annotated[int, typer.Option(min=1, max=1000, help="Size of the bodies that stream, in MiB.")] = 100,
    report: Annotated[Path, typer.Option(metavar="FILE", help="Where the JSON goes.")] = _REPORT,
    profile: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Sample both gateways; stacks go here, a summary is printed.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Disk for the databases; the system's temporary folder if not given.",
        ),
    ] = None,
) -> None:
    """Runs the measure."""
    console = Console(highlight=False)
    configure_logging("error")
    if profile is not None:
        profile = profile.resolve()
        profile.mkdir(parents=True, exist_ok=True)
    cases = tuple(CASES if case is None else [name for name in case if name != "none"])
    if unknown := set(cases) - set(CASES):
        raise typer.BadParameter(", ".join(sorted(unknown)), param_hint="--case")
    settings = Settings(rounds, seconds, warm_up, concurrency, profile, cases, case_seconds, stream_mib << 20)
    try:
        with tempfile.TemporaryDirectory(prefix="datenweg-bench-", dir=directory) as folder:
            document = as_document(_measure(settings, Path(folder), console))
            figures = measure_trust(Path(folder) / "trust", rounds=settings.rounds)
            loads = measure_loads(Path(folder), min(2, settings.seconds))
    except (NotMeasurable, NodeNotReady, AuditError) as error:
        console.print(f"no figure: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    if profile is not None:
        profiles = read_profiles(profile)
        document["profiles"] = {name: as_values(of_process) for name, of_process in profiles.items()}
        print_profiles(profiles, console)
    document["trust"] = trust_values(figures)
    document["log"] = [one.as_values() for one in loads]
    print_loads(loads, console)
    print_figures(figures, console)
    print_tables(document, console)
    write_document(document, report)
    console.print(f"written: {report}")


def _measure(settings: Settings, folder: Path, console: Console) -> Measurement:
    measurements: list[Measurement] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def progress(what: str, done: float, total: float) -> None:
            bar.update(task, description=what, completed=done, total=total)

        async def main() -> None:
            measurements.append(await measure(settings, folder, progress))

        run(main())
    return measurements[0]


if __name__ == "__main__":
    app(prog_name="bench")
