"""What the commands on the access log share: the gateway's database, keys and current log, beside a running gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.sequencer import Sequencer
from audit.store import open_engine
from audit.subject_keys import SubjectKeys
from gateway.admin.errors import AdminError
from gateway.clock import Clock, SystemClock
from gateway.exchange.origins import origin_of
from gateway.logs import lock_file_of
from gateway.node_keys import read_random_key
from gateway.settings import GatewaySettings
from gateway.store.migrate import HEAD, version_of


@dataclass(frozen=True, slots=True)
class OwnLog:
    """A gateway's database, and the log of the current year to append to."""

    engine: AsyncEngine
    sequencer: Sequencer
    origin: str
    keys: SubjectKeys
    clock: Clock


@asynccontextmanager
async def open_database(settings: GatewaySettings) -> AsyncIterator[AsyncEngine]:
    """The gateway's database. Raises AdminError if it isn't of this version: a look changes nothing."""
    engine = open_engine(settings.database_url)
    try:
        if await version_of(engine) != HEAD:
            raise AdminError("the database is not of this version, or empty: start the gateway once")
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_own_log(settings: GatewaySettings) -> AsyncIterator[OwnLog]:
    """The current log, to append to; a running gateway appends beside it. Raises AdminError, AuditError."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_database(settings))
        key_engine = open_engine(settings.subject_key_database_url)
        stack.push_async_callback(key_engine.dispose)
        keys = SubjectKeys(
            key_engine, read_random_key(settings.record_key_file), read_random_key(settings.subject_index_key_file)
        )
        await keys.create_schema()
        year = clock.now().year
        origin = origin_of(settings.server_id, year)
        sequencer = Sequencer(engine, origin=origin, clock_ms=clock.now_ms, lock_file=lock_file_of(settings, year))
        await sequencer.start()
        stack.push_async_callback(sequencer.close)
        yield OwnLog(engine, sequencer, origin, keys, clock)
