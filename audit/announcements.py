"""What the log says about itself: leaves of kind `key` (who signs its checkpoints) and `policy` (what verifies them).

Said once, and again whenever it changes: whoever follows the log sees a key change, or another verifier's page, in the
very tree that they verify.
"""

from __future__ import annotations

import json
import os
from typing import Final, Literal

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.entry import Entry, Receipt
from audit.errors import MalformedInput, OutOfRange, RecordUnopenable
from audit.leaf import MAX_INTEGER, parse_leaf
from audit.note import NoteKey, parse_vkey
from audit.record import open_record
from audit.sequencer import Sequencer
from audit.store import RECORD_OF_ENTRY, announcement, log_entry, log_head, record

KEY: Final = "key"


async def announce(
    engine: AsyncEngine, sequencer: Sequencer, origin: str, kind: Literal["key", "policy"], said: bytes
) -> Receipt | None:
    """Put the record into the log unless its last one of this kind is the same. The leaf, or None; durable on return.

    Two processes that announce at once may both: said twice does no harm.
    """
    async with engine.connect() as connection:
        log = (await connection.execute(select(log_head.c.log).where(log_head.c.origin == origin))).scalar()
        if log is None:
            raise OutOfRange("no such log")
        where = (announcement.c.log == log, announcement.c.kind == kind)
        last = (await connection.execute(select(announcement.c.record).where(*where))).scalar()
    if last is not None and bytes(last) == said:
        return None
    entry = Entry(kind, None, os.urandom(32), said, MAX_INTEGER)
    (receipt,) = await sequencer.append((entry,), lambda _: ())
    async with engine.begin() as connection:
        await connection.execute(delete(announcement).where(*where))
        values = {"log": log, "kind": kind, "leaf": receipt.index, "record": said}
        await connection.execute(insert(announcement).values(values))
    return receipt


async def announced_keys(connection: AsyncConnection, log: int, *, below: int) -> tuple[NoteKey, ...]:
    """The keys that leaves below an index name as the log's signers: worth as much as the tree that holds them."""
    joined = log_entry.join(record, RECORD_OF_ENTRY)
    # A leaf about nobody has no tag; what the log says about itself never lapses.
    where = (
        log_entry.c.log == log,
        log_entry.c.idx < below,
        log_entry.c.tag.is_(None),
        record.c.expires_ms == MAX_INTEGER,
    )
    found: list[NoteKey] = []
    query = select(log_entry.c.leaf, record.c.body).select_from(joined).where(*where)
    for data, body in await connection.execute(query):
        try:
            leaf = parse_leaf(data)
            if leaf.kind == KEY:
                found.extend(parse_announced_keys(open_record(None, body, leaf.commitment)[1]))
        except (MalformedInput, RecordUnopenable):
            continue  # found by whoever recomputes the log
    return tuple(found)


def parse_announced_keys(data: bytes) -> tuple[NoteKey, ...]:
    """The keys in the record of a `key` leaf. Raises MalformedInput."""
    try:
        named = json.loads(data)["vkeys"]
        return tuple(parse_vkey(str(text)) for text in named)
    except (ValueError, KeyError, TypeError):
        raise MalformedInput("not the record of a key leaf") from None
