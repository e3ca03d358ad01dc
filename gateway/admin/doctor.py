"""`datenweg doctor`: what is wrong with a gateway, and what to do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.admin.output import print_table
from gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from gateway.doctor.finding import Finding


def doctor(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="TOML file with the gateway's settings.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Examine a gateway from the outside in. Exit 0 without a problem (warnings are none), else 1."""
    settings = GatewaySettings.from_file(config)
    from gateway.doctor.finding import State, as_document, worst
    from gateway.logging import configure_logging

    configure_logging("error")
    findings = asyncio.run(_examine(settings, config))
    state = worst(findings)
    if as_json:
        document = {"status": state.value, "server": settings.server_id.encoded, "findings": as_document(findings)}
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        rows = [(f.state.value, f.check, f.subject, f.what, f.todo) for f in findings]
        print_table(f"{settings.server_id}: {state.value}", ("state", "check", "of", "finding", "what to do"), rows)
    raise typer.Exit(1 if state is State.PROBLEM else 0)


async def _examine(settings: GatewaySettings, config: Path) -> tuple[Finding, ...]:
    from gateway.clock import SystemClock
    from gateway.doctor.examination import CHECKS, examine
    from gateway.doctor.opening import check_process, opened

    async with opened(settings, SystemClock()) as patient:
        patient.settings_file = config
        return await examine(patient, {"process": check_process, **CHECKS})
