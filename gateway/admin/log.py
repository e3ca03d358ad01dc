"""`datenweg log verify`: recomputes every log in a gateway's database and prints what it found.

With the gateway's own keys at hand, records are opened and compared with their commitments, and checkpoints with the
log's key; without them the rest is still checked, and the table says that none was opened.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.errors import LogRolledBack, MalformedInput
from audit.lock_file import require_not_behind
from audit.message_cipher import MessageCipher
from audit.message_keys import MessageKeys
from audit.note import ED25519, NoteKey
from audit.store import log_head, open_engine
from audit.subject_keys import SubjectKeys
from audit.verify import LogReport, verify_log
from gateway.admin.accepted import kept_configuration
from gateway.admin.errors import AdminError
from gateway.admin.output import print_table
from gateway.checkpoint_stamping import count_verified_stamps
from gateway.clock import SystemClock
from gateway.exchange.origins import origin_of
from gateway.logs import lock_file_of
from gateway.node_keys import load_log_key, load_old_log_key, read_random_key
from gateway.settings import GatewaySettings
from gateway.store.migrate import HEAD, version_of
from trust.errors import KeyUnavailable

_SHOWN = 20


async def print_verification(settings: GatewaySettings) -> bool:
    """Verifies and prints. Whether every log is sound; a database without a log is an error of use."""
    reports = await verify_logs(settings)
    rows = []
    for report in reports:
        result = "sound" if not report.findings_total else f"{report.findings_total} contradictions"
        numbers = (report.size, report.messages, report.records_opened, report.checkpoints, report.stamps)
        rows.append((report.origin, *numbers, result))
    columns = ("log", "entries", "messages", "records opened", "checkpoints", "time-stamps", "result")
    print_table("Logs", columns, rows)
    for report in reports:
        for finding in report.findings[:_SHOWN]:
            place = "" if finding.index is None else f", entry {finding.index}"
            typer.echo(f"{report.origin}: {finding.code}{place}")
    return not any(report.findings_total for report in reports)


async def verify_logs(settings: GatewaySettings) -> tuple[LogReport, ...]:
    """A report for each log in the gateway's database. Raises AdminError if there is none."""
    async with AsyncExitStack() as stack:
        engine = open_engine(settings.database_url)
        stack.push_async_callback(engine.dispose)
        # Verifying changes nothing, so a database of another version isn't migrated but refused.
        if await version_of(engine) != HEAD:
            raise AdminError("the database is not of this version, or empty: start the gateway once")
        keys: SubjectKeys | None = None
        cipher: MessageCipher | None = None
        signers: set[bytes] = set()
        try:
            # Read, never made: a fresh key would open nothing.
            record_key = read_random_key(settings.record_key_file)
            index_key = read_random_key(settings.subject_index_key_file)
            present = (load_log_key(settings), load_old_log_key(settings))
            signers = {key.public_key().public_bytes_raw() for key in present if key is not None}
        except KeyUnavailable:
            typer.echo("The gateway's keys can't be read: no record is opened, no checkpoint is checked.", err=True)
        else:
            key_engine = open_engine(settings.subject_key_database_url)
            stack.push_async_callback(key_engine.dispose)
            keys = SubjectKeys(key_engine, record_key, index_key)
            await keys.create_schema()
            message_keys = MessageKeys(key_engine, record_key)
            await message_keys.create_schema()
            cipher = await message_keys.cipher(sealing=False, now_ms=0)
        async with engine.connect() as connection:
            query = select(log_head.c.origin).order_by(log_head.c.origin.desc())
            origins = (await connection.execute(query)).scalars().all()
        if not origins:
            raise AdminError("this database holds no log yet")
        reports: list[LogReport] = []
        # The newest year first: the log's present key vouches for it, and it for the keys of the years before.
        for origin in origins:
            verifiers = tuple(NoteKey(origin, ED25519, public) for public in sorted(signers))
            report = await verify_log(
                engine, origin=origin, keys=keys, messages=cipher, verifiers=verifiers, progress=_progress(origin)
            )
            if signers and not report.findings_total:
                signers |= {key.public for key in report.keys if key.kind == ED25519}
            reports.insert(0, report)
        await _verify_stamps(settings, engine, reports)
        for report in reports:
            await _compare_lock_file(settings, engine, report)
        return tuple(reports)


def _progress(origin: str) -> Callable[[int, int], None] | None:
    """Tells whoever sits at a terminal how far it is: a log of a million entries takes its time."""
    if not sys.stderr.isatty():
        return None
    return lambda done, of: typer.echo(f"\r{origin}: {done} of {of} entries", nl=done == of, err=True)


async def _compare_lock_file(settings: GatewaySettings, engine: AsyncEngine, report: LogReport) -> None:
    """A log may hold in itself and still be an old one: the last signed checkpoint, kept elsewhere, knows."""
    year = report.origin.rpartition("/")[2]
    if not year.isdecimal() or origin_of(settings.server_id, int(year)) != report.origin:
        return
    try:
        await require_not_behind(engine, report.origin, lock_file_of(settings, int(year)))
    except LogRolledBack:
        report.found("behind_lock_file")
    except (MalformedInput, OSError):
        report.found("lock_file_unreadable")


async def _verify_stamps(settings: GatewaySettings, engine: AsyncEngine, reports: Sequence[LogReport]) -> None:
    """Adds how many of each log's time-stamps hold, by the global configuration that the gateway has accepted last."""
    configuration = kept_configuration(settings)
    authorities = () if configuration is None else configuration.parameters.approved_tsas
    if not authorities:
        return
    async with engine.connect() as connection:
        for report in reports:
            query = select(log_head.c.log).where(log_head.c.origin == report.origin)
            number = (await connection.execute(query)).scalar_one()
            report.stamps, wrong = await count_verified_stamps(connection, number, authorities, at=SystemClock().now())
            for _ in range(wrong):
                report.found("time_stamp_does_not_hold")
