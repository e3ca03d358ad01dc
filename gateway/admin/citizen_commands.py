"""`datenweg citizen`: who may act for whom, and the citizens' complaints, at the gateway that has the citizen pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from gateway.admin.errors import AdminError
from gateway.admin.output import print_table
from gateway.admin.terminal import GatewayConfig
from gateway.messages.headers import ROLES
from gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from gateway.citizen.complaints import Complaints
    from gateway.citizen.representation import RegisteredRelation, Relations

_Result = TypeVar("_Result")
_MAX_SUBJECT: Final = 255
_MAX_TEXT: Final = 5_000

relation_commands = typer.Typer(help="Who may act for whom: a parent for a child.", no_args_is_help=True)
complaint_commands = typer.Typer(help="Citizens' complaints.", no_args_is_help=True)
citizen_commands = typer.Typer(help="Citizens: relations and complaints.", no_args_is_help=True)
citizen_commands.add_typer(relation_commands, name="relation")
citizen_commands.add_typer(complaint_commands, name="complaint")

# Asked for where they are left out: what stands on the command line every user of the machine reads.
Representative = Annotated[
    str, typer.Option(metavar="SUB", prompt=True, help="Who acts: their `sub` at the issuer; else a prompt.")
]
RepresentedSubject = Annotated[
    str, typer.Option("--represented", metavar="SUB", prompt=True, help="For whom: their `sub`; else a prompt.")
]
Role = Annotated[str, typer.Option(help="As what: parent or guardian.")]
Name = Annotated[str, typer.Option(help="What the representative reads: the represented person's name.")]
Until = Annotated[str, typer.Option(metavar="DATE", help="The first day on which it holds no more, as 2031-04-01.")]


@relation_commands.command("add")
def add_relation(
    config: GatewayConfig,
    representative: Representative,
    represented: RepresentedSubject,
    until: Until,
    *,
    role: Role = "parent",
    name: Name = "",
) -> None:
    """Let a person act for another, until a day. Doing it again changes role, name and day."""
    settings = GatewaySettings.from_file(config)
    if settings.token_issuer is None:
        raise AdminError("this gateway knows no citizens: it has no token_issuer")
    if role not in ROLES:
        raise AdminError(f"--role is {' or '.join(ROLES)}")
    if not all(0 < len(subject) <= _MAX_SUBJECT for subject in (representative, represented)):
        raise AdminError(f"--representative and --represented have 1 to {_MAX_SUBJECT} characters")
    if representative == represented:
        raise AdminError("nobody represents themselves")
    issuer, until_ms = settings.token_issuer, _until_ms(until)

    async def add(relations: Relations) -> RegisteredRelation:
        return await relations.register(
            issuer=issuer, representative=representative, represented=represented, role=role, name=name,
            until_ms=until_ms,
        )  # fmt: skip

    _with_relations(settings, add)
    list_relations(config)


@relation_commands.command("remove")
def remove_relation(
    config: GatewayConfig, reference: Annotated[str, typer.Argument(help="As `relation list` shows it.")]
) -> None:
    """End a relation."""
    if not _with_relations(GatewaySettings.from_file(config), lambda relations: relations.remove(reference)):
        raise AdminError("there is no such relation")
    list_relations(config)


@relation_commands.command("list")
def list_relations(config: GatewayConfig) -> None:
    """The registered relations. Persons aren't shown."""
    found = _with_relations(GatewaySettings.from_file(config), lambda relations: relations.listed())
    rows = [(one.reference, one.role, _day(one.since_ms), _day(one.until_ms)) for one in found]
    print_table("Relations", ("reference", "role", "since", "until"), rows)


@complaint_commands.command("list")
def list_complaints(config: GatewayConfig) -> None:
    """All complaints, those without an answer first."""
    found = _with_complaints(GatewaySettings.from_file(config), lambda complaints: complaints.all())
    print_table(
        "Complaints",
        ("id", "state", "received", "about", "text", "answer"),
        [
            (one.id, one.state, _day(one.at_ms), " ".join(one.about.values()), one.text, one.answer)
            for one in found
        ],
    )  # fmt: skip


@complaint_commands.command("answer")
def answer_complaint(
    config: GatewayConfig,
    identifier: Annotated[str, typer.Argument(help="As `complaint list` shows it.")],
    text: Annotated[str, typer.Option(help="What the citizen reads.")],
) -> None:
    """Answer a complaint; the citizen gets a notice."""
    from gateway.citizen.errors import UnknownThing

    if not 0 < len(text) <= _MAX_TEXT:
        raise AdminError(f"--text has 1 to {_MAX_TEXT} characters")
    try:
        _with_complaints(GatewaySettings.from_file(config), lambda complaints: complaints.answer(identifier, text))
    except UnknownThing:
        raise AdminError("there is no such complaint") from None


def _with_relations(settings: GatewaySettings, work: Callable[[Relations], Awaitable[_Result]]) -> _Result:
    from gateway.citizen.assembly import citizen_member
    from gateway.citizen.representation import Relations
    from gateway.clock import SystemClock

    key, member = _pseudonym_key(settings), citizen_member(settings)
    return _on_database(
        settings, lambda engine: work(Relations(engine, SystemClock(), key=key, member=member))
    )  # fmt: skip


def _with_complaints(settings: GatewaySettings, work: Callable[[Complaints], Awaitable[_Result]]) -> _Result:
    from gateway.citizen.complaints import Complaints
    from gateway.citizen.notices import Notices
    from gateway.clock import SystemClock

    key, clock = _pseudonym_key(settings), SystemClock()
    return _on_database(settings, lambda engine: work(Complaints(engine, clock, Notices(engine, clock), key=key)))


def _on_database(settings: GatewaySettings, work: Callable[[AsyncEngine], Awaitable[_Result]]) -> _Result:
    from audit.store import open_engine
    from gateway.store.migrate import migrate

    async def main() -> _Result:
        engine = open_engine(settings.database_url)
        try:
            await migrate(engine)
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(main())


def _pseudonym_key(settings: GatewaySettings) -> bytes:
    from gateway.node_keys import read_random_key

    if settings.pseudonym_key_file is None:
        raise AdminError("this gateway knows no citizens: it has no pseudonym_key_file")
    return read_random_key(settings.pseudonym_key_file)


def _until_ms(text: str) -> int:
    try:
        day = datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise AdminError("--until is a day, as 2031-04-01") from None
    if day <= datetime.now(UTC):
        raise AdminError("--until has passed")
    return int(day.timestamp() * 1000)


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
