"""The sequencer in trouble: commits that fail, databases that are put back, callers that give up, several writers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, text, update

from audit.entry import Receipt
from audit.errors import LogInconsistent, LogOverloaded, LogRolledBack, LogUnavailable
from audit.message_log import MessageRecord
from audit.sequencer import Sequencer
from audit.store import checkpoint, log_entry, log_head, open_engine
from audit.verify import verify_log
from tests.audit.factory import (
    ORIGIN,
    Clock,
    access,
    exchange,
    failing,
    message,
    open_log,
    subject,
)
from tests.audit.test_sequencer import _count

ROOT = Path(__file__).parents[2]


async def test_i5_several_writers_share_one_log(database_url: str) -> None:
    async with open_log(database_url) as one:
        other_engine = open_engine(database_url)
        other = Sequencer(other_engine, origin=ORIGIN, clock_ms=Clock())
        await other.start()
        person = subject()
        calls = [s.append([access(person)], lambda _: [message()]) for _ in range(150) for s in (one.sequencer, other)]
        indices = [receipts[0].index for receipts in await asyncio.gather(*calls)]
        await other.close()
        await other_engine.dispose()
        assert sorted(indices) == list(range(300))
        (await verify_log(one.engine, origin=ORIGIN)).require_sound()


async def test_i6_a_failed_batch_leaves_no_trace_and_the_next_goes_on(database_url: str) -> None:
    async with open_log(database_url) as log:
        await log.append(exchange(), messages=[message()])
        # A row that the database refuses: the batch as a whole fails.
        broken = message(time_ms=2**70)
        results = await asyncio.gather(
            log.append(exchange(), messages=[broken]), log.append(exchange()), return_exceptions=True
        )
        assert [type(result) for result in results] == [LogUnavailable, LogUnavailable]
        assert await _count(log.engine, log_entry) == 1
        assert (await log.append(exchange()))[0].index == 1
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


@pytest.mark.parametrize("committed", [True, False])
async def test_i8_a_commit_of_unknown_outcome_is_settled(
    database_url: str, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_log(database_url) as log:
        await log.append(exchange())
        connection = log.sequencer._connection
        assert connection is not None
        raw: Any = vars(connection)["_connection"]
        engine = raw.engine if log.engine.dialect.name == "sqlite" else log.engine.sync_engine
        failed: list[bool] = []

        def break_commit(dialect_connection: Any) -> None:
            if not failed:
                failed.append(True)
                if committed:
                    engine.dialect.do_commit(dialect_connection.connection)
                else:
                    engine.dialect.do_rollback(dialect_connection.connection)
                raise ConnectionResetError

        event.listen(engine, "commit", break_commit)
        result = (await asyncio.gather(log.append(exchange(), messages=[message()]), return_exceptions=True))[0]
        assert failed
        assert isinstance(result, tuple if committed else LogUnavailable)
        assert (await log.append(exchange()))[0].index == (2 if committed else 1)
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


async def test_a_full_pool_turns_callers_away(database_url: str) -> None:
    async with open_log(database_url, limit=5) as log:
        results = await asyncio.gather(*[log.append(exchange()) for _ in range(8)], return_exceptions=True)
        assert [type(result) for result in results] == [tuple] * 5 + [LogOverloaded] * 3


async def test_close_finishes_what_was_accepted(database_url: str) -> None:
    async with open_log(database_url) as log:
        accepted = [asyncio.ensure_future(log.append(exchange())) for _ in range(30)]
        await asyncio.sleep(0)
        await log.sequencer.close()
        assert sorted(receipts[0].index for receipts in await asyncio.gather(*accepted)) == list(range(30))
        with pytest.raises(LogUnavailable):
            await log.append(exchange())


async def test_a_caller_that_gave_up_waiting_is_not_logged(database_url: str) -> None:
    async with open_log(database_url) as log:
        gone = asyncio.ensure_future(log.append(exchange()))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await log.append(exchange()))[0].index == 0


async def test_i3_a_log_whose_root_is_wrong_does_not_open(database_url: str) -> None:
    async with open_log(database_url) as log:
        await log.append(exchange())
        async with log.engine.begin() as connection:
            await connection.execute(update(log_head).values(root=bytes(32)))
    with pytest.raises(LogInconsistent):
        async with open_log(database_url):
            pass


async def test_a_database_put_back_under_a_running_sequencer_stops_it(database_url: str) -> None:
    async with open_log(database_url) as log:
        await log.append(exchange())
        async with log.engine.begin() as connection:
            await connection.execute(update(log_head).values(size=0, root=bytes(32)))
        with pytest.raises(LogRolledBack):
            await log.append(exchange())


async def test_another_writer_of_the_same_loop_holds_the_database_without_deadlock(sqlite_url: str) -> None:
    async with open_log(sqlite_url) as log:
        async with log.engine.begin() as connection:
            # Holds SQLite's write lock across an await; the sequencer must give the loop back meanwhile.
            row = {"log": 9, "size": 0, "note": "", "published_ms": 0}
            await connection.execute(insert(checkpoint).values(row))
            appending = asyncio.ensure_future(log.append(exchange()))
            for _ in range(5):
                await asyncio.sleep(0.001)
            assert not appending.done()
        assert (await appending)[0].index == 0


async def test_a_lost_connection_fails_a_batch_and_the_next_goes_on(postgres_url: str) -> None:
    async with open_log(postgres_url) as log:
        await log.append(exchange())
        async with log.engine.connect() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            await connection.execute(text(f"{others} AND pid <> pg_backend_pid()"))
        with pytest.raises(LogUnavailable):
            await log.append(exchange())
        assert (await log.append(exchange()))[0].index == 1
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


async def test_a_callback_that_raises_leaves_nobody_waiting(sqlite_url: str) -> None:
    def broken(_report: object) -> None:
        raise RuntimeError("metrics")

    async with open_log(sqlite_url) as log:
        assert log.sequencer.accepting
        log.sequencer._on_batch = broken
        first = await asyncio.gather(*[log.append(exchange()) for _ in range(3)])
        assert [receipts[0].index for receipts in first] == [0, 1, 2]
        with pytest.raises(LogUnavailable):
            await log.append(exchange())
        assert not log.sequencer.accepting
        with pytest.raises(RuntimeError, match="metrics"):
            await log.sequencer.close()


APPENDER = """
import asyncio, sys
from tests.audit.factory import access, exchange, message, open_log, subject

async def main():
    async with open_log(sys.argv[1]) as log:
        people = [subject() for _ in range(3)]
        async def caller(number):
            for _ in range(20):
                receipts = await log.append(access(people[number % 3]), exchange(), messages=[message()])
                print(*(receipt.index for receipt in receipts), flush=True)
        await asyncio.gather(*map(caller, range(8)))

asyncio.run(main())
"""


async def test_i5_processes_share_one_log_on_postgres(postgres_url: str) -> None:
    """Several gateway processes on one PostgreSQL: one row lock, one order, no index given twice."""
    async with open_log(postgres_url):
        pass
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", APPENDER, postgres_url, stdout=subprocess.PIPE, cwd=ROOT
        )
        for _ in range(3)
    ]
    printed = [(await process.communicate())[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    indices = [int(word) for text in printed for word in text.split()]
    assert sorted(indices) == list(range(3 * 8 * 20 * 2))
    engine = open_engine(postgres_url)
    (await verify_log(engine, origin=ORIGIN)).require_sound()
    await engine.dispose()


async def test_i7_who_waits_for_the_log_goes_on_only_with_its_receipt(database_url: str) -> None:
    """What would forward a message awaits `append`: while the commit is under way, or failed, it has nothing."""
    async with open_log(database_url) as log:
        await log.append(exchange())
        forwarded: list[int] = []
        at_seal: list[int] = []

        def seal(_receipts: tuple[Receipt, ...]) -> Sequence[MessageRecord]:
            at_seal.append(len(forwarded))
            return [message()]

        async def forward(*, fails: bool) -> None:
            wanted = failing(RuntimeError("no signature")) if fails else seal
            (receipt,) = await log.sequencer.append([exchange()], wanted)
            forwarded.append(receipt.index)

        results = await asyncio.gather(
            forward(fails=False), forward(fails=True), forward(fails=False), return_exceptions=True
        )
        assert [type(result) for result in results] == [type(None), RuntimeError, type(None)]
        assert set(at_seal) == {0}
        assert forwarded == [1, 2]
        await log.sequencer.close()
        with pytest.raises(LogUnavailable):
            await forward(fails=False)
        assert forwarded == [1, 2]
