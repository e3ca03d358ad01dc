"""The sequencer's promises I1 to I8, on both databases."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.entry import Receipt
from audit.errors import LogUnavailable
from audit.message_log import MessageRecord
from audit.sequencer import Beside
from audit.store import create_schema, log_head, message_attachment, message_record, open_engine
from audit.verify import verify_log
from tests.audit.factory import (
    ORIGIN,
    access,
    exchange,
    failing,
    message,
    no_messages,
    open_log,
    subject,
)


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


async def test_a_writer_takes_up_a_long_log_from_its_tiles(database_url: str) -> None:
    async with open_log(database_url) as log:
        for _ in range(3):
            await log.append(*[exchange() for _ in range(300)])
        size = 900
    async with open_log(database_url) as again:
        assert (await again.append(exchange()))[0].index == size
        (await verify_log(again.engine, origin=ORIGIN)).require_sound()


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


async def test_entries_and_tiles_refuse_change(database_url: str) -> None:
    async with open_log(database_url) as log:
        await log.append(*[exchange() for _ in range(256)])
        for statement in ("UPDATE log_entry SET n = 1", "DELETE FROM log_entry", "DELETE FROM log_tile"):
            with pytest.raises(DBAPIError):
                async with log.engine.begin() as connection:
                    await connection.execute(text(statement))


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


# What happens outside of one process.


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
