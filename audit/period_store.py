"""Makes a month's index from the stored log, has the log commit to it, and keeps its rows for proofs.

Built from the entries, not from the heads that the sequencer keeps: an index is a second reckoning. The month's entries
lie together, because times in a log never run backwards.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.entry import Entry
from audit.errors import LogInconsistent, OutOfRange
from audit.leaf import MAX_INTEGER, parse_leaf
from audit.merkle import leaf_hash
from audit.period_index import KIND, IndexRecord, IndexRow, PeriodIndex, RowProof, parse_index_record
from audit.record import open_record
from audit.sequencer import Sequencer
from audit.store import RECORD_OF_ENTRY, log_entry, log_head, period_index, period_row, record, withheld_day
from audit.tree_reader import inclusion_path

_CHUNK: Final = 4096
_WITHHELD: Final = "withheld"
_ROWS_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """A month's newest index: its record, and where and when (ms, UTC) the log committed to it."""

    log: int
    record: IndexRecord
    leaf_index: int
    made_ms: int


@dataclass(frozen=True, slots=True)
class IndexProof:
    """All that it takes to check a tag against a month's index, hashes and bytes in base64 as JSON wants them."""

    index: int
    leaf: str
    nonce: str
    record: str
    proof: list[str]
    rows: list[dict[str, str | int | list[str]]]


async def build_period_index(engine: AsyncEngine, sequencer: Sequencer, origin: str, period: str) -> StoredIndex:
    """Index all entries of a month ("2026-11", UTC) that the log holds by now; committed to and durable on return."""
    async with engine.connect() as connection:
        head = (await connection.execute(select(log_head).where(log_head.c.origin == origin))).first()
        if head is None:
            raise OutOfRange("no such log")
        start, end = _bounds_ms(period)
        first = await _first_at(connection, head.log, head.size, start)
        last = await _first_at(connection, head.log, head.size, end)
        rows, withheld = await _rows(connection, head.log, first, last)
    # A million tags take seconds: not on the loop.
    index = await asyncio.to_thread(PeriodIndex, rows)
    made = IndexRecord(period, head.size, len(index.rows), await asyncio.to_thread(lambda: index.root))
    entry = Entry(KIND, None, os.urandom(32), made.encode(), MAX_INTEGER)
    (receipt,) = await sequencer.append((entry,), lambda _: ())
    async with engine.connect() as connection:
        leaf, _, _ = await _committed(connection, head.log, receipt.index)
    stored = StoredIndex(head.log, made, receipt.index, parse_leaf(leaf).time_ms)
    await _keep(engine, stored, index, withheld)
    return stored


async def withheld_days(connection: AsyncConnection, log: int, period: str) -> list[dict[str, str | int]]:
    """How many accesses of each ended day of the month the law withholds from the persons concerned, of all persons."""
    where = (withheld_day.c.log == log, withheld_day.c.day.like(f"{period}-%"))
    query = select(withheld_day.c.day, withheld_day.c.accesses).where(*where).order_by(withheld_day.c.day)
    return [{"day": day, "accesses": count} for day, count in await connection.execute(query)]


async def began_ms(engine: AsyncEngine, origin: str) -> int | None:
    """The time of the log's first entry (ms, UTC); None while it has none."""
    async with engine.connect() as connection:
        joined = log_entry.join(log_head, log_head.c.log == log_entry.c.log)
        query = select(log_entry.c.leaf).select_from(joined).where(log_head.c.origin == origin, log_entry.c.idx == 0)
        leaf = (await connection.execute(query)).scalar()
    return None if leaf is None else parse_leaf(leaf).time_ms


async def newest_index(engine: AsyncEngine, origin: str, period: str) -> StoredIndex | None:
    """The month's newest index; None if there is none yet. Raises LogInconsistent if the log doesn't commit to it."""
    async with engine.connect() as connection:
        log = (await connection.execute(select(log_head.c.log).where(log_head.c.origin == origin))).scalar()
        where = (period_index.c.log == log, period_index.c.period == period)
        row = (await connection.execute(select(period_index).where(*where))).first()
        if log is None or row is None:
            return None
        leaf, _, found = await _committed(connection, log, row.leaf)
    if (found.period, found.upto, found.rows) != (period, row.upto, row.rows):
        raise LogInconsistent("the stored index is not the one that the log commits to")
    return StoredIndex(log, found, row.leaf, parse_leaf(leaf).time_ms)


async def prove(connection: AsyncConnection, stored: StoredIndex, tag: bytes, size: int) -> IndexProof | None:
    """The proof of a tag's row, or of its absence, under a checkpoint of this size; None if that is older."""
    if stored.leaf_index >= size:
        return None
    leaf, nonce, _ = await _committed(connection, stored.log, stored.leaf_index)
    path = await inclusion_path(connection, stored.log, stored.leaf_index, size)
    index = await _load(connection, stored)
    rows = await asyncio.to_thread(index.proof, tag)
    return IndexProof(
        stored.leaf_index,
        leaf.decode(),
        _b64(nonce),
        _b64(stored.record.encode()),
        [_b64(hashed) for hashed in path],
        [_row(proof) for proof in rows],
    )


def _row(proof: RowProof) -> dict[str, str | int | list[str]]:
    return {
        "position": proof.position,
        "tag": _b64(proof.row.tag),
        "n": proof.row.count,
        "head": _b64(proof.row.head),
        "path": [_b64(hashed) for hashed in proof.path],
    }


async def _committed(connection: AsyncConnection, log: int, index: int) -> tuple[bytes, bytes, IndexRecord]:
    """The leaf, the nonce and the record of an index, verified against each other."""
    where = (log_entry.c.log == log, log_entry.c.idx == index)
    joined = log_entry.join(record, RECORD_OF_ENTRY)
    row = (await connection.execute(select(log_entry.c.leaf, record.c.body).select_from(joined).where(*where))).first()
    if row is None:
        raise LogInconsistent("the index's leaf or record is missing")
    leaf = parse_leaf(row.leaf)
    nonce, opened = open_record(None, row.body, leaf.commitment)
    if leaf.kind != KIND:
        raise LogInconsistent("the index's leaf is of another kind")
    return bytes(row.leaf), nonce, parse_index_record(opened)


async def _load(connection: AsyncConnection, stored: StoredIndex) -> PeriodIndex:
    where = (period_row.c.log == stored.log, period_row.c.period == stored.record.period)
    query = select(period_row.c.tag, period_row.c.n, period_row.c.head).where(*where)
    rows = [IndexRow(bytes(tag), n, bytes(head)) for tag, n, head in await connection.execute(query)]
    return await asyncio.to_thread(PeriodIndex, rows)


async def _keep(engine: AsyncEngine, stored: StoredIndex, index: PeriodIndex, withheld: Mapping[str, int]) -> None:
    key = {"log": stored.log, "period": stored.record.period}
    values = [
        {**key, "position": position, "tag": row.tag, "n": row.count, "head": row.head}
        for position, row in enumerate(index.rows)
    ]
    async with engine.begin() as connection:
        for table in (period_row, period_index):
            await connection.execute(
                delete(table).where(table.c.log == stored.log, table.c.period == stored.record.period)
            )
        for at in range(0, len(values), _ROWS_AT_ONCE):
            await connection.execute(insert(period_row), values[at : at + _ROWS_AT_ONCE])
        # The day on which the index is made isn't over: its number follows with the next one.
        today = datetime.fromtimestamp(stored.made_ms / 1000, UTC).strftime("%Y-%m-%d")
        days = withheld_day.c.day.like(f"{stored.record.period}-%")
        await connection.execute(delete(withheld_day).where(withheld_day.c.log == stored.log, days))
        counted = [{"log": stored.log, "day": day, "accesses": n} for day, n in withheld.items() if day < today]
        if counted:
            await connection.execute(insert(withheld_day), counted)
        new = {**key, "upto": stored.record.upto, "rows": stored.record.rows, "leaf": stored.leaf_index}
        await connection.execute(insert(period_index).values(new))


async def _rows(
    connection: AsyncConnection, log: int, first: int, last: int
) -> tuple[list[IndexRow], Mapping[str, int]]:
    """The rows of these entries, and how many of them are withheld by day."""
    newest: dict[bytes, IndexRow] = {}
    withheld: Counter[str] = Counter()
    for at in range(first, last, _CHUNK):
        where = (log_entry.c.log == log, log_entry.c.idx >= at, log_entry.c.idx < min(at + _CHUNK, last))
        query = select(log_entry.c.leaf).where(*where).order_by(log_entry.c.idx)
        for (leaf,) in await connection.execute(query):
            found = parse_leaf(leaf)
            if found.chain is not None:
                newest[found.chain.tag] = IndexRow(found.chain.tag, found.chain.number, leaf_hash(leaf))
            if found.kind == _WITHHELD:
                withheld[datetime.fromtimestamp(found.time_ms / 1000, UTC).strftime("%Y-%m-%d")] += 1
        # Thousands of leaves are some milliseconds: others have their turn between two portions.
        await asyncio.sleep(0)
    return list(newest.values()), withheld


async def _first_at(connection: AsyncConnection, log: int, size: int, time_ms: int) -> int:
    """The first entry of this time or later, by bisection; the log's size if there is none."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        query = select(log_entry.c.leaf).where(log_entry.c.log == log, log_entry.c.idx == middle)
        if parse_leaf((await connection.execute(query)).scalar_one()).time_ms < time_ms:
            low = middle + 1
        else:
            high = middle
    return low


def _bounds_ms(period: str) -> tuple[int, int]:
    start = datetime.strptime(period, "%Y-%m").replace(tzinfo=UTC)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


def _b64(data: bytes) -> str:
    return b64encode(data).decode()
