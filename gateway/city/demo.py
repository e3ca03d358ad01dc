"""`datenweg demo`: the whole city on this machine, and a citizen's journey through it, printed as it goes."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from gateway.admin.errors import AdminError
from gateway.admin.output import open_console
from gateway.city.journey import BANK_LOGIN, BANK_TAN, UTILITY_CUSTOMER, Journey
from gateway.city.plan import ORGANISATIONS, Plan
from gateway.city.report import Report
from gateway.city.setup import prepare
from gateway.city.start import NodeNotReady, embedded, processes
from gateway.clock import SystemClock
from gateway.serve import run, wait_for_signal


def run_demo(*, data_directory: Path, base_port: int, once: bool, report: Path | None, processes: bool) -> bool:
    """Starts the city, walks the journey, writes the report; then stays up until a signal, unless `once`.

    Whether every step held. Raises AdminError when the city can't start.
    """
    held: list[bool] = []

    plan = Plan(data_directory.resolve(), base_port)

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        # As Ctrl-C does: nodes that are processes of their own would outlive us.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        held.append(await _demo(plan, once, report, processes))

    try:
        run(main())
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None
    except NodeNotReady as error:
        raise AdminError(str(error)) from None
    return bool(held and held[0])


async def _demo(plan: Plan, once: bool, file: Path | None, in_processes: bool) -> bool:
    console, clock, started = open_console(highlight=False), SystemClock(), perf_counter()
    with console.status("setting up Musterstadt: authority, keys, registrations"):
        settings = await prepare(plan, clock)
    city: AbstractAsyncContextManager[None] = processes(plan, settings) if in_processes else embedded(settings)
    console.print(f"Starting Musterstadt below {plan.data_directory}")
    async with city:
        console.print(f"{len(settings)} nodes are up after {perf_counter() - started:.1f} s\n")
        journey = Journey(plan, clock, lambda line: console.print(f"  • {line}"), started=started)
        result = await journey.walk()
        _print(console, result)
        if file is not None:
            result.write(file)
        if not once:
            _print_addresses(console, plan)
            await wait_for_signal()
            console.print("Stopping: finishing what was accepted")
    return result.ok


def _print(console: Console, report: Report) -> None:
    table = Table(title="\nExchanges", title_justify="left")
    for column in ("service", "operation", "status", "signatures", "ms", "receipt"):
        table.add_column(column, overflow="fold")
    for exchange in [*report.exchanges, *([report.refused] if report.refused else [])]:
        receipt = exchange.provider_receipt or exchange.consumer_receipt or ""
        table.add_row(
            exchange.service.partition("/")[2],
            exchange.operation,
            exchange.error or str(exchange.http_status),
            str(exchange.signatures_verified),
            f"{exchange.duration_ms:.0f}",
            " ".join(receipt.split(" ")[:2]),
        )
    console.print(table)
    seconds = report.seconds_to_first_exchange
    if seconds is not None:
        console.print(f"First exchange {seconds:.1f} s after the start")
    console.print("[green]every step held[/green]" if report.ok else f"[red]failed: {report.failure}[/red]")


def _print_addresses(console: Console, plan: Plan) -> None:
    console.print(f"\nThe citizen's pages: {plan.citizen_url} (log in as erika.beispiel, password musterstadt)")
    console.print(
        "To link accounts there: "
        f"utility, customer {UTILITY_CUSTOMER['customerNumber']} with meter {UTILITY_CUSTOMER['meterNumber']}; "
        f"bank, login {BANK_LOGIN['psuId']} with password {BANK_LOGIN['password']} and TAN {BANK_TAN}",
        soft_wrap=True,
    )
    for organisation in ORGANISATIONS:
        console.print(
            f"{organisation.name}: road {plan.url(plan.client_port(organisation))}/r1, "
            f"metrics and log {plan.url(plan.operations_port(organisation))}"
        )
    console.print("Ctrl-C stops the city")
