"""`datenweg log search|export|archive …|rotate-key`: the message log in an operator's hands.

They work on the gateway's database and keys, beside a running gateway. Who reads messages, or learns who asked whom,
says who they are and why; that is written down before anything is shown.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import AuditError
from gateway.admin.errors import AdminError
from gateway.logging import configure_logging
from gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from audit.message_reader import MessageHeader

ConfigOption = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="TOML file with the settings (docs/operations.md).")
]
OperatorOption = Annotated[str, typer.Option("--operator", metavar="NAME", help="Who looks; it is recorded.")]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")]

archive_app = typer.Typer(help="Archives of the message log.", no_args_is_help=True)


def register_message_log_commands(log_app: typer.Typer) -> None:
    """Adds these commands to `datenweg log`."""
    log_app.add_typer(archive_app, name="archive")
    log_app.command("search")(search)
    log_app.command("export")(export)
    log_app.command("rotate-key")(rotate_key)


def search(
    config: ConfigOption,
    operator: OperatorOption,
    reason: ReasonOption,
    *,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="From this time on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before this time (ISO 8601).")] = None,
    client: Annotated[str | None, typer.Option(help="Member or subsystem that asked.")] = None,
    service: Annotated[str | None, typer.Option(help="Service, or subsystem or member that provides it.")] = None,
    message_id: Annotated[str | None, typer.Option(help="Message id or request id.")] = None,
) -> None:
    """Find messages by time, client, service or id: a line each, without content."""
    settings = _settings(config)
    from audit.message_reader import Criteria
    from gateway.message_log import operator as operator_work

    criteria = Criteria(_time_ms(since), _time_ms(until), client, service, message_id)
    if criteria.empty:
        raise AdminError("give at least one criterion")
    found = asyncio.run(operator_work.search(settings, criteria, operator, reason))
    for header in found:
        typer.echo(_line(header))
    if not found:
        typer.echo("No message fits.", err=True)
    if len(found) == operator_work.LIMIT:
        typer.echo(f"There may be more than {operator_work.LIMIT}: narrow the search.", err=True)
    raise typer.Exit(0 if found else 1)


def export(
    config: ConfigOption,
    message_id: Annotated[str, typer.Argument(metavar="ID", help="Message id (X-Road-Id).")],
    operator: OperatorOption,
    reason: ReasonOption,
    *,
    directory: Annotated[Path, typer.Option("--directory", metavar="DIR", help="Where the containers go.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Have messages without a time-stamp stamped now.")] = False,
) -> None:
    """Write a message's ASiC-E containers, which anyone can verify."""
    settings = _settings(config)
    from gateway.message_log import operator as operator_work

    for path in asyncio.run(operator_work.export(settings, message_id, operator, reason, directory, force=force)):
        typer.echo(path)


@archive_app.command("make")
def make_archive(config: ConfigOption) -> None:
    """Archive now what is stamped and not archived yet, and hand archives on."""
    settings = _settings(config)
    from gateway.message_log import operator as operator_work

    made = asyncio.run(operator_work.archive(settings))
    for name in made:
        typer.echo(name)
    if not made:
        typer.echo("Nothing is waiting to be archived.", err=True)


@archive_app.command("verify")
def verify_archives(
    archives: Annotated[list[Path], typer.Argument(metavar="ARCHIVE", help="Archives in their order.")],
    previous: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Last digest of the archive before the first one given.")
    ] = None,
    first: Annotated[bool, typer.Option("--first", help="The first one given is the first there is.")] = False,
) -> None:
    """Recompute the chain through archives. Exit 0 if each container is the one that was archived."""
    from audit.archive_chain import verify_archive

    expected = "" if first else previous
    for path in archives:
        try:
            verified = verify_archive(path.read_bytes(), previous=expected)
        except OSError as error:
            raise AdminError(f"{path}: {error.strerror}") from None
        except AuditError as error:
            typer.echo(f"{path.name}: does not hold: {error}")
            raise typer.Exit(1) from None
        expected = verified.digest
        typer.echo(f"{path.name}: {len(verified.containers)} containers, last digest {verified.digest}")


def rotate_key(config: ConfigOption) -> None:
    """Seal new messages under a new key; what was sealed before stays readable."""
    settings = _settings(config)
    from gateway.message_log import operator as operator_work

    typer.echo(asyncio.run(operator_work.rotate(settings)))
    typer.echo("This key seals new messages; a running gateway takes it up when it stamps next.", err=True)


def _line(header: MessageHeader) -> str:
    time = datetime.fromtimestamp(header.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    stamped = "stamped" if header.stamp is not None else "not stamped"
    fields = (time, header.role, header.direction, header.outcome, header.client, header.service, header.message_id,
              header.request_id, header.kept, stamped)  # fmt: skip
    # A message id is the sender's text: nothing in it may move the operator's cursor.
    return "\t".join("".join(c if c.isprintable() else "?" for c in field) for field in fields)


def _time_ms(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise AdminError("a time is written as 2026-11-22T13:00:00Z") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _settings(config: Path) -> GatewaySettings:
    settings = GatewaySettings.from_file(config)
    configure_logging(settings.log_level)
    return settings
