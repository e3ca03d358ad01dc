"""When a gateway counts the month: after each day, once, and never about a day without a log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.note import NoteSigner
from audit.period_store import newest_index
from audit.publisher import Publisher
from gateway.witnessing import index_month, index_year_end
from tests.audit.factory import ORIGIN, OpenLog, access, open_log, subject
from tests.clocks import ManualClock


def logs_of(log: OpenLog, folder: Path, clock: ManualClock) -> Any:
    log.clock = clock.now_ms  # type: ignore[assignment]
    log.sequencer._clock_ms = clock.now_ms
    signer = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
    publisher = Publisher(log.engine, signer, lock_file=folder / "lock", origin=ORIGIN, clock_ms=clock.now_ms)
    return SimpleNamespace(publisher=publisher, sequencer=log.sequencer)


async def test_each_day_that_ended_is_counted_once(database_url: str, tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 11, 21, 15, tzinfo=UTC))
    async with open_log(database_url) as log:
        logs = logs_of(log, tmp_path, clock)
        assert not await index_month(log.engine, logs, clock)
        await log.append(access(subject()))
        # The day isn't over.
        assert not await index_month(log.engine, logs, clock)
        clock.time += timedelta(days=1)
        assert await index_month(log.engine, logs, clock)
        assert not await index_month(log.engine, logs, clock)
        first = await newest_index(log.engine, ORIGIN, "2026-11")
        assert first is not None
        assert (first.record.rows, first.record.upto) == (1, 1)
        await log.append(access(subject()))
        # The first of December: November's last count.
        clock.time = datetime(2026, 12, 1, 0, 0, 5, tzinfo=UTC)
        assert await index_month(log.engine, logs, clock)
        last = await newest_index(log.engine, ORIGIN, "2026-11")
        assert last is not None
        assert last.record.rows == 2
        assert await newest_index(log.engine, ORIGIN, "2026-12") is None


async def test_december_is_counted_before_its_log_is_closed(database_url: str, tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))
    async with open_log(database_url) as log:
        logs = logs_of(log, tmp_path, clock)
        await log.append(access(subject()))
        await index_year_end(log.engine, log.sequencer, ORIGIN)
        found = await newest_index(log.engine, ORIGIN, "2026-12")
        assert found is not None
        assert found.record.rows == 1
        clock.time = datetime(2027, 1, 1, 0, 1, tzinfo=UTC)
        assert not await index_month(log.engine, logs, clock)
