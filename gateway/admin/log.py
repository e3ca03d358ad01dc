"""`datenweg log verify`: recomputes every log in a gateway's database and prints what it found.

With the gateway's own keys at hand, records are opened and compared with their commitments, and checkpoints with the
log's key; without them the rest is still checked, and the table says that none was opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.message_cipher import MessageCipher
from audit.message_keys import MessageKeys
from audit.note import NoteSigner
from audit.store import log_head, open_engine
from audit.subject_keys import SubjectKeys
from audit.verify import LogReport, verify_log
from gateway.admin.accepted import kept_configuration
from gateway.admin.errors import AdminError
from gateway.checkpoint_stamping import count_verified_stamps
from gateway.clock import SystemClock
from gateway.node_keys import read_random_key
from gateway.settings import GatewaySettings
from gateway.store.migrate import HEAD, version_of
from trust.errors import KeyUnavailable

_SHOWN = 20


async def print_verification(settings: GatewaySettings) -> bool:
    """Verifies and prints. Whether every log is sound; a database without a log is an error of use."""
    reports = await verify_logs(settings)
    table = Table(title="Logs", title_justify="left")
    for column in ("log", "entries", "messages", "records opened", "checkpoints", "time-stamps", "result"):
        table.add_column(column, overflow="fold")
    for report in reports:
        result = "sound" if not report.findings_total else f"{report.findings_total} contradictions"
        numbers = (report.size, report.messages, report.records_opened, report.checkpoints, report.stamps)
        table.add_row(Text(report.origin), *map(str, numbers), result)
    console = Console()
    console.print(table)
    for report in reports:
        for finding in report.findings[:_SHOWN]:
            place = "" if finding.index is None else f", entry {finding.index}"
            console.print(Text(f"{report.origin}: {finding.code}{place}"))
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
        log_key: Ed25519PrivateKey | None = None
        try:
            # Read, never made: a fresh key would open nothing.
            record_key = read_random_key(settings.record_key_file)
            index_key = read_random_key(settings.subject_index_key_file)
            log_key = Ed25519PrivateKey.from_private_bytes(read_random_key(settings.log_key_file))
        except KeyUnavailable:
            Console(stderr=True).print(
                "The gateway's keys can't be read: no record is opened, no checkpoint is checked."
            )
        else:
            key_engine = open_engine(settings.subject_key_database_url)
            stack.push_async_callback(key_engine.dispose)
            keys = SubjectKeys(key_engine, record_key, index_key)
            await keys.create_schema()
            message_keys = MessageKeys(key_engine, record_key)
            await message_keys.create_schema()
            cipher = await message_keys.cipher(sealing=False, now_ms=0)
        async with engine.connect() as connection:
            origins = (await connection.execute(select(log_head.c.origin).order_by(log_head.c.origin))).scalars().all()
        if not origins:
            raise AdminError("this database holds no log yet")
        reports = tuple(
            [
                await verify_log(
                    engine,
                    origin=origin,
                    keys=keys,
                    messages=cipher,
                    verifiers=() if log_key is None else (NoteSigner(origin, log_key).verifier,),
                )
                for origin in origins
            ]
        )
        await _verify_stamps(settings, engine, reports)
        return reports


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
