"""`datenweg log witness|monitor|proof|erase|release|change-key`: the access log for its operator and its auditor."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.admin.errors import AdminError
from gateway.logging import configure_logging
from gateway.settings import GatewaySettings

ConfigOption = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="TOML file with the settings (docs/operations.md).")
]
LogOption = Annotated[
    str | None, typer.Option("--log", metavar="ORIGIN", help="The log, or its year; default: this year's.")
]
PersonOption = Annotated[
    Path | None, typer.Option("--person-file", metavar="FILE", help="File with the person's reference; else it asks.")
]


def register_access_log_commands(log_app: typer.Typer) -> None:
    """Adds these commands to `datenweg log`."""
    log_app.command("witness")(witness)
    log_app.command("monitor")(monitor)
    log_app.command("proof")(proof)
    log_app.command("erase")(erase)
    log_app.command("release")(release)
    log_app.command("change-key")(change_key)


def witness(config: ConfigOption) -> None:
    """This gateway's lines for the others' policies; how the witnesses of its own policy stand."""
    settings = _settings(config)
    from gateway.admin import watching

    for line in watching.own_lines(settings):
        typer.echo(line)
    for standing in asyncio.run(watching.witness_standings(settings)):
        typer.echo(f"# {standing.name}: {standing.state}")


def monitor(
    policy: Annotated[
        Path, typer.Option("--policy", metavar="FILE", help="C2SP tlog-policy with the logs' addresses.")
    ],
    state: Annotated[Path, typer.Option("--state", metavar="FILE", help="What was seen so far; made if missing.")],
    *,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Lines GATEWAY TOKEN: what each gateway knows its auditor by."
        ),
    ] = None,
    settle: Annotated[
        float,
        typer.Option("--settle", min=0, metavar="SECONDS", help="How young an exchange may stand in one log alone."),
    ] = 600,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Follow several gateways' logs entry by entry. Exit 1 if one lies, or alone has an exchange, or is silent."""
    from gateway.admin import watching
    from gateway.admin.auditor_tokens import read_auditor_tokens

    class Shown(watching.Progress):
        def followed(self, origin: str, size: int, new: int) -> None:
            if not as_json:
                typer.echo(f"{origin}: {size} entries, {new} new, all as signed")

    report = asyncio.run(
        watching.follow_logs(policy, state, read_auditor_tokens(token_file), settle_seconds=settle, progress=Shown())
    )
    if as_json:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        for silent in report.unreachable:
            typer.echo(f"{silent['log']}: not followed: {silent['reason']}")
        for lie in report.lies:
            typer.echo(f"{lie['log']}: LIES: {lie['reason']}")
        for found in report.one_sided:
            typer.echo(f"{found['log']}: entry {found['index']} of {found['time']} stands in this log alone")
    raise typer.Exit(0 if report.holds else 1)


def proof(
    config: ConfigOption,
    index: Annotated[int, typer.Argument(min=0, metavar="INDEX", help="The entry, as a receipt names it.")],
    *,
    log: LogOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where it goes; default: standard output.")
    ] = None,
) -> None:
    """An entry's proof as a .tlog-proof file, which anyone with the policy verifies offline."""
    settings = _settings(config)
    from gateway.admin import watching

    data = asyncio.run(watching.build_proof(settings, index, log))
    if out is None:
        typer.echo(data.decode(), nl=False)
        return
    try:
        out.write_bytes(data)
    except OSError as error:
        raise AdminError(f"{out}: {error.strerror}") from None
    typer.echo(out)


def erase(
    config: ConfigOption,
    basis: Annotated[str, typer.Option("--basis", metavar="TEXT", help="The legal basis; it goes into the log.")],
    *,
    index: Annotated[
        str | None, typer.Option("--index", metavar="N[-M]", help="The entries whose records go; else a person goes.")
    ] = None,
    log: LogOption = None,
    person_file: PersonOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Destroy records, or everything that ties the logs to a person. The log says what went and why."""
    settings = _settings(config)
    from gateway.admin import erasure

    if index is not None and person_file is not None:
        raise AdminError("either --index or a person")
    if index is not None:
        indices = erasure.parse_range(index)
        _confirm(f"Destroy the records of entries {index} for good?", yes=yes)
        typer.echo(asyncio.run(erasure.erase_range(settings, log, indices, basis)))
        return
    if log is not None:
        raise AdminError("--log goes with --index: a person is erased in every log")
    person = erasure.read_person(person_file)
    _confirm("Destroy this person's records and keys for good? What they could prove is gone with them.", yes=yes)
    typer.echo(asyncio.run(erasure.erase_subject(settings, person, basis)))


def release(
    config: ConfigOption,
    *,
    person_file: PersonOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Show a person the accesses that the law has withheld from them until now."""
    settings = _settings(config)
    from gateway.admin import erasure

    person = erasure.read_person(person_file)
    _confirm("Show this person what was withheld? It can't be taken back.", yes=yes)
    typer.echo(f"{asyncio.run(erasure.release_subject(settings, person))} accesses released")


def change_key(config: ConfigOption, *, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False) -> None:
    """Make a new key for the log's checkpoints; the present one goes on signing beside it. In force after a restart."""
    settings = _settings(config)
    from gateway.admin import watching
    from gateway.node_keys import change_log_key

    _confirm("Make a new log key?", yes=yes)
    change_log_key(settings)
    typer.echo("Restart the gateway, and give the others this line beside the present one:")
    typer.echo(watching.own_lines(settings)[0])


def _confirm(question: str, *, yes: bool) -> None:
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)


def _settings(config: Path) -> GatewaySettings:
    settings = GatewaySettings.from_file(config)
    configure_logging(settings.log_level)
    return settings
