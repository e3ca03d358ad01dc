"""What the commands of the message log do, beside a running gateway, on its database and with its keys.

Who looks for messages is written down, with the reason, before anything is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import aiohttp

from audit.message_keys import MessageKeys
from audit.message_reader import Criteria, MessageHeader, MessageReader
from audit.operators import record_access
from audit.store import open_engine
from gateway.admin.errors import AdminError
from gateway.clock import SystemClock
from gateway.logging import get_logger
from gateway.message_log.archiving import Archiver
from gateway.message_log.assembly import archiving_policy
from gateway.message_log.export import Exporter, ExportProblem, ExportRefused, NamedContainer
from gateway.message_log.stamping import Stamper, StampingPolicy
from gateway.metrics import Metrics
from gateway.node_keys import read_random_key
from gateway.settings import GatewaySettings
from gateway.store.migrate import HEAD, version_of
from trust.configuration_store import ConfigurationStore
from trust.costs import CostStrategy
from trust.durable import write_atomically
from trust.globalconf import parse_anchor
from trust.timestamp_client import TimestampClient

LIMIT: Final = 1000


async def search(settings: GatewaySettings, criteria: Criteria, operator: str, reason: str) -> list[MessageHeader]:
    """The messages that meet the criteria, `LIMIT` at most. Raises AdminError without a name or a reason."""
    async with _opened(settings) as exporter:
        await _note(exporter, operator, reason, "search", asdict(criteria))
        return await exporter.reader.search(criteria, LIMIT)


async def export(
    settings: GatewaySettings, message_id: str, operator: str, reason: str, directory: Path, *, force: bool
) -> list[Path]:
    """The files of the message's containers. Raises AdminError, TrustError."""
    async with _opened(settings, stamping=force) as exporter:
        await _note(exporter, operator, reason, "export", {"message_id": message_id})
        try:
            containers = await exporter.containers(message_id, None, force=force)
        except ExportRefused as refused:
            waits = refused.problem is ExportProblem.NOT_STAMPED and not force
            raise AdminError(f"{refused} Wait for the next round, or use --force" if waits else str(refused)) from None
    return _written(containers, directory)


async def archive(settings: GatewaySettings) -> tuple[str, ...]:
    """The names of the archives made."""
    clock = SystemClock()
    async with _opened(settings) as exporter:
        metrics = Metrics(clock).message_log
        archiver = Archiver(exporter, archiving_policy(settings), clock=clock, metrics=metrics, log=get_logger())
        return await archiver.round()


async def rotate(settings: GatewaySettings) -> str:
    """The new key's id."""
    engine = open_engine(settings.subject_key_database_url)
    try:
        keys = MessageKeys(engine, read_random_key(settings.record_key_file))
        await keys.create_schema()
        return await keys.rotate(now_ms=SystemClock().now_ms())
    finally:
        await engine.dispose()


async def _note(exporter: Exporter, operator: str, reason: str, action: str, criteria: dict[str, object]) -> None:
    try:
        await record_access(
            exporter.reader.engine,
            operator=operator,
            reason=reason,
            action=action,
            criteria=criteria,
            time_ms=SystemClock().now_ms(),
        )
    except ValueError as error:
        raise AdminError(str(error)) from None


@asynccontextmanager
async def _opened(settings: GatewaySettings, *, stamping: bool = False) -> AsyncIterator[Exporter]:
    """The message log of a gateway that may be running: its database as it is, its keys as they are."""
    async with AsyncExitStack() as stack:
        engine, key_engine = open_engine(settings.database_url), open_engine(settings.subject_key_database_url)
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(key_engine.dispose)
        if await version_of(engine) != HEAD:
            raise AdminError("the database is not of this version, or empty: start the gateway once")
        keys = MessageKeys(key_engine, read_random_key(settings.record_key_file))
        await keys.create_schema()
        reader = MessageReader(engine, await keys.cipher(sealing=False, now_ms=SystemClock().now_ms()))
        yield Exporter(reader, await _stamper(stack, settings, reader) if stamping else None)


async def _stamper(stack: AsyncExitStack, settings: GatewaySettings, reader: MessageReader) -> Stamper:
    """A stamper under the configuration that the gateway has accepted last, if that is still in force."""

    clock = SystemClock()
    anchor = parse_anchor(settings.anchor_file.read_bytes())
    stored = ConfigurationStore(settings.data_directory / "configuration", anchor).load()
    if stored is None:
        raise AdminError("there is no global configuration: start the gateway once")
    stored.configuration.require_current(clock.now())
    authorities = stored.configuration.parameters.approved_tsas
    return Stamper(
        reader,
        TimestampClient(await stack.enter_async_context(aiohttp.ClientSession()), clock.now),
        lambda: authorities,
        policy=StampingPolicy(strategy=CostStrategy(settings.timestamp_cost_strategy)),
        clock=clock,
        metrics=Metrics(clock).message_log,
        log=get_logger(),
    )


def _written(containers: Sequence[NamedContainer], directory: Path) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    for container in containers:
        write_atomically(directory / container.name, container.content, mode=0o600)
    return [directory / container.name for container in containers]
