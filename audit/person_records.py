"""Everything that the logs of one database say about one person and that can still be opened, without proofs.

For interfaces that know of no proofs. What the law withholds lies under another key and doesn't come along; what was
released later does.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.errors import RecordUnopenable
from audit.leaf import parse_leaf
from audit.record import open_record
from audit.store import RECORD_OF_ENTRY, log_entry, log_head, record
from audit.subject_keys import SubjectKeys
from audit.tag import SubjectKey, months_between


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """An opened record with the time (ms, UTC) and kind of its leaf."""

    origin: str
    index: int
    time_ms: int
    kind: str
    content: bytes


async def records_of(engine: AsyncEngine, keys: SubjectKeys, subject_ref: str) -> list[PersonRecord]:
    """The person's records in every log, oldest first; none for a person that no log knows."""
    key = await keys.existing(subject_ref)
    if key is None:
        return []
    found: list[PersonRecord] = []
    async with engine.connect() as connection:
        for head in (await connection.execute(select(log_head).order_by(log_head.c.origin))).all():
            found += await _of_log(connection, head.log, head.origin, head.last_ms, key)
    return found


async def first_entry_ms(engine: AsyncEngine) -> int | None:
    """The time (ms, UTC) of the oldest entry whose record is still kept; None if there is none."""
    joined = log_entry.join(record, RECORD_OF_ENTRY)
    times = []
    async with engine.connect() as connection:
        for (log,) in (await connection.execute(select(log_head.c.log))).all():
            query = select(log_entry.c.leaf).select_from(joined).where(log_entry.c.log == log)
            leaf = (await connection.execute(query.order_by(log_entry.c.idx).limit(1))).scalar()
            if leaf is not None:
                times.append(parse_leaf(leaf).time_ms)
    return min(times, default=None)


async def _of_log(
    connection: AsyncConnection, log: int, origin: str, last_ms: int, key: SubjectKey
) -> list[PersonRecord]:
    first = select(log_entry.c.leaf).where(log_entry.c.log == log, log_entry.c.idx == 0)
    leaf = (await connection.execute(first)).scalar()
    if leaf is None:
        return []
    first_ms = parse_leaf(leaf).time_ms
    keys = (key.month(origin, month) for month in months_between(first_ms, last_ms))
    months = {made.tag: made for made in keys}
    joined = log_entry.join(record, RECORD_OF_ENTRY)
    query = select(log_entry.c.idx, log_entry.c.leaf, log_entry.c.tag, record.c.body).select_from(joined)
    where = (log_entry.c.log == log, log_entry.c.tag.in_(months))
    found = []
    for index, data, tag, body in await connection.execute(query.where(*where).order_by(log_entry.c.idx)):
        opened = parse_leaf(data)
        try:
            _, content = open_record(months[bytes(tag)], body, opened.commitment)
        except RecordUnopenable:
            # `verify` tells the operator; a proof tells the person.
            continue
        found.append(PersonRecord(origin, index, opened.time_ms, opened.kind, content))
    return found
