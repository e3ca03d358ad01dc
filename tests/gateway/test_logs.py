"""The logs of several years: what a restart serves, and how a running gateway goes from one to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.errors import LogRolledBack, LogUnavailable
from audit.http import add_routes
from audit.store import create_schema, log_head, open_engine
from audit.subject_keys import SubjectKeys
from audit.subject_keys import create_schema as create_subject_key_schema
from audit.verify import verify_log
from gateway.accesses import OwnAccesses
from gateway.logging import configure_logging
from gateway.logs import OwnLogs, lock_file_of
from gateway.settings import GatewaySettings
from tests.audit.factory import access, exchange, message, no_messages
from tests.clocks import ManualClock

KEY = Ed25519PrivateKey.generate()
OLD, NEW = "DE-TEST/GOV/MUSTERSTADT/ss1/audit/2026", "DE-TEST/GOV/MUSTERSTADT/ss1/audit/2027"


@dataclass
class Place:
    """One gateway's database, persons' keys and time."""

    settings: GatewaySettings
    engine: AsyncEngine
    keys: SubjectKeys
    clock: ManualClock

    @asynccontextmanager
    async def logs(self) -> AsyncIterator[OwnLogs]:
        logs = OwnLogs(self.engine, self.settings, KEY, self.clock)
        try:
            await logs.start()
            yield logs
        finally:
            await logs.close()

    async def record(self, logs: OwnLogs, person: str) -> str:
        """One access to the person's data; the log's origin that it is in."""
        entry = access(await self.keys.key_for(person))
        receipts = await logs.sequencer.append([entry], no_messages)
        return receipts[0].origin

    async def accesses(self, logs: OwnLogs, person: str, month: str) -> tuple[str, int]:
        """The origin of the log that the month is read from, and how many proven accesses it has there."""
        for publisher in logs.publishers.values():
            await publisher.publish()
        bundle = await OwnAccesses(self.engine, self.keys, logs).bundle(person, month)
        assert all(found["proof"] is not None for found in bundle["accesses"])
        return bundle["origin"], len(bundle["accesses"])


@pytest.fixture
async def place(tmp_path: Path, database_url: str) -> AsyncIterator[Place]:
    settings = GatewaySettings(
        instance="DE-TEST",
        owner="DE-TEST/GOV/MUSTERSTADT",
        server_code="ss1",
        data_directory=tmp_path,
        anchor_file=tmp_path / "anchor.xml",
        database_url=database_url,
    )
    engine, subject_engine = open_engine(settings.database_url), open_engine(settings.subject_key_database_url)
    await create_schema(engine)
    await create_subject_key_schema(subject_engine)
    yield Place(
        settings,
        engine,
        SubjectKeys(subject_engine, bytes(32), bytes(32)),
        ManualClock(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)),
    )
    await engine.dispose()
    await subject_engine.dispose()


async def test_after_a_restart_in_the_new_year_the_old_log_is_served_and_read(place: Place) -> None:
    async with place.logs() as logs:
        assert await place.record(logs, "erika") == OLD
    place.clock.time += timedelta(days=2)
    app = web.Application()
    async with place.logs() as logs:
        assert await place.record(logs, "erika") == NEW
        assert await place.accesses(logs, "erika", "2026-12") == (OLD, 1)
        assert await place.accesses(logs, "erika", "2027-01") == (NEW, 1)
        assert await place.accesses(logs, "erika", "2025-01") == (NEW, 0)
        add_routes(app, place.engine, logs.publishers)
        async with TestClient(TestServer(app)) as client:
            for year, origin in (("2026", OLD), ("2027", NEW)):
                served = await (await client.get(f"/audit/{year}/checkpoint")).text()
                assert served.startswith(f"{origin}\n1\n")
    for name in ("checkpoint-2026.lock", "checkpoint-2027.lock"):
        assert (place.settings.data_directory / name).exists()


@pytest.mark.usefixtures("own_logging")
async def test_in_the_new_year_a_database_from_before_the_old_log_is_refused(place: Place) -> None:
    """A backup that is more than a log old knows nothing of it; the lock file does."""
    async with place.logs() as logs:
        await place.record(logs, "erika")
    before = place.engine
    place.clock.time += timedelta(days=2)
    async with empty_database(place) as restored:
        place.engine = restored
        with pytest.raises(LogRolledBack, match="behind the last signed checkpoint"):
            async with place.logs():
                pass
        # Nothing was begun in it.
        async with restored.connect() as connection:
            assert (await connection.execute(select(log_head.c.origin))).scalars().all() == []
    place.engine = before
    async with place.logs() as logs:
        assert await place.record(logs, "erika") == NEW


async def test_a_lock_file_that_is_missing_is_said_at_start(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("error")
    async with place.logs() as logs:
        await place.record(logs, "erika")
    assert "lock file" not in capsys.readouterr().err
    lock_file_of(place.settings, 2026).unlink()
    async with place.logs():
        pass
    said = capsys.readouterr().err
    assert ("the checkpoint lock file is missing" in said, "checkpoint-2026.lock" in said) == (True, True)


@asynccontextmanager
async def empty_database(place: Place) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(f"sqlite+aiosqlite:///{place.settings.data_directory}/restored.db")
    await create_schema(engine)
    try:
        yield engine
    finally:
        await engine.dispose()


async def test_a_running_gateway_changes_over_at_new_year(place: Place) -> None:
    async with place.logs() as logs:
        assert await logs.change_over() is None
        await place.record(logs, "erika")
        place.clock.time += timedelta(seconds=1)
        # Accepted before the change-over is done: the old year's last moment, so that December has it.
        assert await place.record(logs, "erika") == OLD
        under_way = asyncio.ensure_future(place.record(logs, "erika"))
        await asyncio.sleep(0)
        old = await logs.change_over()
        assert old is not None
        await old.close()
        assert await under_way == OLD
        with pytest.raises(LogUnavailable):
            await old.append([exchange()], lambda _: [message()])
        assert await place.record(logs, "erika") == NEW
        assert await logs.change_over() is None
        assert await place.accesses(logs, "erika", "2026-12") == (OLD, 3)
        assert await place.accesses(logs, "erika", "2027-01") == (NEW, 1)
    for origin in (OLD, NEW):
        (await verify_log(place.engine, origin=origin)).require_sound()


async def test_a_change_over_that_fails_leaves_the_old_log_and_is_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place.logs() as logs:
        place.clock.time += timedelta(seconds=1)
        with monkeypatch.context() as patch:
            patch.setattr("audit.publisher.Publisher.start", _refuse)
            with pytest.raises(LogRolledBack):
                await logs.change_over()
        assert await place.record(logs, "erika") == OLD
        old = await logs.change_over()
        assert old is not None
        await old.close()
        assert await place.record(logs, "erika") == NEW


async def _refuse(_publisher: object) -> None:
    raise LogRolledBack("no")
