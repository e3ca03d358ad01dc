"""The sequencer's promises I1 to I8, on both databases."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.entry import Receipt
from audit.errors import DuplicateRecord, LogInconsistent, LogOverloaded, LogRolledBack, LogUnavailable
from audit.message_log import MessageRecord
from audit.sequencer import Beside, Sequencer
from audit.store import checkpoint, create_schema, log_entry, log_head, message_attachment, message_record, open_engine
from audit.verify import verify_log
from tests.audit.factory import (
    ORIGIN,
    Clock,
    access,
    exchange,
    failing,
    message,
    no_messages,
    open_log,
    subject,
)

ROOT = Path(__file__).parents[2]


async def _count(engine: AsyncEngine, table: Any) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_receipts_name_contiguous_places(database_url: str) -> None:
    async with open_log(database_url) as log:
        person = subject()
        first = await log.append(access(person), exchange(), messages=[message()])
        second = await log.append(access(person))
        assert [receipt.index for receipt in first + second] == [0, 1, 2]
        assert {receipt.origin for receipt in first + second} == {ORIGIN}
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


async def test_i2_many_callers_share_commits_and_the_log_is_sound(database_url: str) -> None:
    async with open_log(database_url) as log:
        people = [subject() for _ in range(7)]

        async def caller(number: int) -> list[int]:
            indices: list[int] = []
            for turn in range(10):
                entries = [access(random.choice(people)) for _ in range(number % 3)]
                indices.extend(r.index for r in await log.append(*entries, messages=[message(b"%d" % turn)]))
            return indices

        indices = [index for found in await asyncio.gather(*map(caller, range(40))) for index in found]
        # I2: contiguous from 0, each index given once.
        assert sorted(indices) == list(range(len(indices)))
        assert len(log.reports) < 100
        report = (await verify_log(log.engine, origin=ORIGIN)).require_sound()
        assert (report.size, report.messages) == (len(indices), 400)


async def test_i1_no_caller_hears_before_the_commit(database_url: str) -> None:
    async with open_log(database_url) as log:
        waiting: list[asyncio.Future[Any]] = []
        at_commit: list[bool] = []

        def seal(_receipts: tuple[Receipt, ...]) -> Sequence[MessageRecord]:
            at_commit.append(any(task.done() for task in waiting))
            return [message()]

        waiting.extend(asyncio.ensure_future(log.sequencer.append([exchange()], seal)) for _ in range(20))
        results = await asyncio.gather(*waiting)
        assert at_commit[:20] == [False] * 20
        async with log.engine.connect() as other:
            assert (await other.execute(select(log_head.c.size))).scalar_one() == len(results)


async def test_i4_time_never_runs_backwards(database_url: str) -> None:
    async with open_log(database_url) as log:
        await log.append(exchange())
        log.clock.now_ms -= 60_000
        await log.append(exchange())
        assert [report.clock_behind_ms for report in log.reports] == [0, 60_000]
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


async def test_a_step_whose_seal_raises_fails_alone(database_url: str) -> None:
    async with open_log(database_url) as log:
        person = subject()
        tasks = [
            asyncio.ensure_future(log.sequencer.append([access(person)], no_messages)),
            asyncio.ensure_future(log.sequencer.append([access(person)], failing(RuntimeError("no key")))),
            asyncio.ensure_future(log.sequencer.append([access(person)], lambda _: [message()])),
        ]
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(second, RuntimeError)
        assert [receipts[0].index for receipts in (first, third) if isinstance(receipts, tuple)] == [0, 1]
        assert log.reports[0].failed == 1
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


async def test_what_is_beside_a_step_is_durable_with_it_or_not_at_all(database_url: str) -> None:
    async with open_log(database_url) as log:
        async with log.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE duty (id TEXT PRIMARY KEY, due_ms BIGINT NOT NULL)"))

        def duty(name: str) -> list[Beside]:
            return [Beside("duty", {"id": name, "due_ms": 1 << 40})]

        tasks = [
            asyncio.ensure_future(log.sequencer.append([exchange()], no_messages, beside=duty("first"))),
            asyncio.ensure_future(log.sequencer.append([exchange()], failing(KeyError()), beside=duty("failed"))),
            asyncio.ensure_future(log.sequencer.append([exchange()], no_messages, beside=duty("third"))),
        ]
        await asyncio.gather(*tasks, return_exceptions=True)
        async with log.engine.connect() as connection:
            rows = (await connection.execute(text("SELECT id, due_ms FROM duty ORDER BY id"))).all()
        assert [tuple(row) for row in rows] == [("first", 1 << 40), ("third", 1 << 40)]
        # What the database doesn't take fails the step.
        with pytest.raises(LogUnavailable):
            await log.sequencer.append([exchange()], no_messages, beside=duty("first"))
        assert await log.append(exchange())
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


async def test_receipts_in_sealed_messages_are_the_final_ones(database_url: str) -> None:
    async with open_log(database_url) as log:

        def seal(receipts: tuple[Receipt, ...]) -> Sequence[MessageRecord]:
            return [message(receipts[0].encode().encode())]

        tasks = [asyncio.ensure_future(log.sequencer.append([exchange()], failing(KeyError())))]
        tasks += [asyncio.ensure_future(log.sequencer.append([exchange()], seal)) for _ in range(5)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        given = {result[0].encode().encode() for result in results if isinstance(result, tuple)}
        async with log.engine.connect() as connection:
            assert set((await connection.execute(select(message_record.c.message))).scalars()) == given


async def test_a_replayed_message_fails_alone_in_one_batch_and_over_batches(database_url: str) -> None:
    async with open_log(database_url) as log:
        calls = [log.append(exchange(), messages=[message(unique=b"replay")]) for _ in range(3)]
        results = await asyncio.gather(*calls, log.append(exchange()), return_exceptions=True)
        assert [type(result) for result in results] == [tuple, DuplicateRecord, DuplicateRecord, tuple]
        later = await asyncio.gather(
            log.append(exchange(), messages=[message(unique=b"replay")]),
            log.append(exchange(), messages=[message(unique=b"other")]),
            return_exceptions=True,
        )
        assert [type(result) for result in later] == [DuplicateRecord, tuple]
        assert await _count(log.engine, log_entry) == 3
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


@pytest.mark.parametrize("origin", [ORIGIN, "gateway.example/audit/2027"], ids=["the same log", "next year's log"])
async def test_a_message_passes_once_at_all_processes_of_a_database(database_url: str, origin: str) -> None:
    """Also at New Year, when one process has changed over to the new log and the other hasn't."""
    async with open_log(database_url) as one, open_log(database_url, origin=origin) as other:
        keys = [b"replay-%d" % number for number in range(20)]
        calls = [log.append(exchange(), messages=[message(unique=key)]) for key in keys for log in (one, other)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        for first, second in zip(results[::2], results[1::2], strict=True):
            assert {type(first), type(second)} == {tuple, DuplicateRecord}
        for log in (one, other):
            again = await asyncio.gather(
                *(log.append(exchange(), messages=[message(unique=key)]) for key in keys), return_exceptions=True
            )
            assert {type(result) for result in again} == {DuplicateRecord}
        for each in {ORIGIN, origin}:
            (await verify_log(one.engine, origin=each)).require_sound()


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


async def test_a_writer_takes_up_a_long_log_from_its_tiles(database_url: str) -> None:
    async with open_log(database_url) as log:
        for _ in range(3):
            await log.append(*[exchange() for _ in range(300)])
        size = 900
    async with open_log(database_url) as again:
        assert (await again.append(exchange()))[0].index == size
        (await verify_log(again.engine, origin=ORIGIN)).require_sound()


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


async def test_attachments_and_columns_are_stored(database_url: str) -> None:
    async with open_log(database_url) as log:
        await log.append(exchange())
        sent = message(b"body", attachments=(b"one", b"two"), unique=b"key")
        await log.append(exchange(), exchange(), messages=[sent])
        async with log.engine.connect() as connection:
            row = (await connection.execute(select(message_record))).one()
            bodies = (await connection.execute(select(message_attachment.c.body).order_by("position"))).scalars().all()
        assert (row.message_id, row.message, row.entry_from, row.entry_count) == (sent.message_id, b"body", 1, 2)
        assert bodies == [b"one", b"two"]


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


async def test_entries_and_tiles_refuse_change(database_url: str) -> None:
    async with open_log(database_url) as log:
        await log.append(*[exchange() for _ in range(256)])
        for statement in ("UPDATE log_entry SET n = 1", "DELETE FROM log_entry", "DELETE FROM log_tile"):
            with pytest.raises(DBAPIError):
                async with log.engine.begin() as connection:
                    await connection.execute(text(statement))


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


async def test_postgres_plans_for_the_values_at_hand(postgres_url: str) -> None:
    """A generic plan cached while the tables were empty would scan them sequentially for ever."""
    engine = open_engine(postgres_url)
    await create_schema(engine)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SHOW plan_cache_mode"))).scalar_one() == "force_custom_plan"
        assert (await connection.execute(text("SHOW synchronous_commit"))).scalar_one() == "on"
    await engine.dispose()


async def test_sqlite_commits_are_synchronous(sqlite_url: str) -> None:
    async with open_log(sqlite_url) as log:
        connection = log.sequencer._connection
        assert connection is not None

        def pragmas(raw: Any) -> tuple[Any, Any]:
            return raw.exec_driver_sql("PRAGMA synchronous").scalar(), raw.exec_driver_sql(
                "PRAGMA journal_mode"
            ).scalar()

        assert await connection.run(pragmas) == (2, "wal")


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


# What happens outside of one process.

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


async def test_the_plan_cache_trap(postgres_url: str) -> None:
    """A statement prepared on a small table keeps its sequential scan under a generic plan; with ours it doesn't."""
    engine = open_engine(postgres_url)
    await create_schema(engine)
    heads = "PREPARE heads(bytea[]) AS SELECT tag, n, head FROM subject_head WHERE tag = ANY($1)"
    fill = (
        "INSERT INTO subject_head(tag, log, n, head) SELECT sha256(g::text::bytea), 1, 1, sha256(g::text::bytea)"
        " FROM generate_series(1, 50000) g"
    )
    plans = {}
    async with engine.connect() as connection:
        for mode in ("force_generic_plan", ""):
            # Statistics of a log's first seconds; autovacuum would make better ones only later.
            await connection.exec_driver_sql("TRUNCATE subject_head")
            await connection.exec_driver_sql("ALTER TABLE subject_head SET (autovacuum_enabled = false)")
            await connection.exec_driver_sql("INSERT INTO subject_head(tag, log, n, head) VALUES ('a', 1, 1, 'a')")
            await connection.exec_driver_sql("ANALYZE subject_head")
            if mode:
                await connection.exec_driver_sql(f"SET plan_cache_mode = {mode}")
            else:
                # The connection's own setting, as `open_engine` made it.
                await connection.exec_driver_sql("RESET plan_cache_mode")
            await connection.exec_driver_sql(heads)
            for _ in range(6):
                await connection.exec_driver_sql("EXECUTE heads(ARRAY[sha256('1')])")
            await connection.exec_driver_sql(fill)
            rows = await connection.exec_driver_sql("EXPLAIN EXECUTE heads(ARRAY[sha256('1'), sha256('2')])")
            plans[mode] = "\n".join(str(row[0]) for row in rows)
            await connection.exec_driver_sql("DEALLOCATE heads")
    await engine.dispose()
    assert "Seq Scan" in plans["force_generic_plan"], "the trap is gone: is the setting still needed?"
    assert "Seq Scan" not in plans[""], plans[""]
