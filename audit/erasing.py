"""Erases records, and persons: first the log says what goes and why, then it goes.

A record goes with its ciphertext and nonce. A person goes with their keys as well, so that in a backup of the log, too,
their tags and records are noise. Done again after a crash it finishes what was begun.
"""

from __future__ import annotations

import os
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.entry import Entry, Receipt
from audit.erasure import KIND, MAX_BASIS, Erasure, IndexRange, index_ranges
from audit.errors import OutOfRange
from audit.leaf import MAX_INTEGER, parse_leaf
from audit.sequencer import Sequencer
from audit.store import empty_write_ahead_log, log_entry, log_head, record
from audit.subject_keys import SubjectKeys, withheld
from audit.tag import SubjectKey, months_between

_ABOUT_ACCESSES: Final = frozenset({"access", "exchange", "withheld", "release"})
_CHUNK: Final = 1000
_MAX_AT_ONCE: Final = 1_000_000


async def erase_records(
    engine: AsyncEngine, sequencer: Sequencer, origin: str, indices: IndexRange, *, basis: str
) -> tuple[Erasure, Receipt]:
    """Erase the records of a log's entries from the first to the last index; gone on return.

    What the log says about itself stays: indices, keys and erasures are nobody's data, and others' proofs rest on them.
    Raises OutOfRange, ValueError without a legal basis, LogUnavailable (erased, but a file still holds it).
    """
    first, last = indices
    async with engine.connect() as connection:
        head = (await connection.execute(select(log_head).where(log_head.c.origin == origin))).first()
        if head is None or not 0 <= first <= last < head.size or last - first >= _MAX_AT_ONCE:
            raise OutOfRange("no such entries, or more than a million at once")
        where = (log_entry.c.log == head.log, log_entry.c.idx >= first, log_entry.c.idx <= last)
        rows = await connection.execute(select(log_entry.c.idx, log_entry.c.leaf).where(*where))
        erased = [index for index, leaf in rows if parse_leaf(leaf).kind in _ABOUT_ACCESSES]
    if not erased:
        raise OutOfRange("these entries have no records about accesses")
    erasure = Erasure(_basis(basis), ((origin, index_ranges(erased)),))
    receipt = await _say(sequencer, erasure)
    await _delete(engine, head.log, erased)
    await empty_write_ahead_log(engine)
    return erasure, receipt


async def erase_person(
    engine: AsyncEngine, sequencer: Sequencer, keys: SubjectKeys, subject_ref: str, *, basis: str, at_ms: int
) -> tuple[Erasure, Receipt]:
    """Erase everything that ties the logs to a person: their records in every log, then their keys; gone on return.

    Raises OutOfRange for a person that no log knows, ValueError without a legal basis, LogUnavailable (erased, but a
    file still holds it).
    """
    known = [key for ref in (subject_ref, withheld(subject_ref)) if (key := await keys.existing(ref)) is not None]
    if not known:
        raise OutOfRange("no log knows this person")
    found: list[tuple[int, str, list[int]]] = []
    async with engine.connect() as connection:
        for head in (await connection.execute(select(log_head).order_by(log_head.c.origin))).all():
            indices = [index for key in known for index in await entries_of(connection, head.log, head.origin, key)]
            if indices:
                found.append((head.log, head.origin, indices))
    erasure = Erasure(_basis(basis), tuple((origin, index_ranges(found_)) for _, origin, found_ in found), person=True)
    receipt = await _say(sequencer, erasure)
    for log, _, indices in found:
        await _delete(engine, log, indices)
    try:
        await keys.erase(subject_ref, at_ms=at_ms)
    finally:
        await empty_write_ahead_log(engine)
    return erasure, receipt


async def entries_of(connection: AsyncConnection, log: int, origin: str, key: SubjectKey) -> list[int]:
    """The indices of a log's entries under a person's key, ascending."""
    first = select(log_entry.c.leaf).where(log_entry.c.log == log, log_entry.c.idx == 0)
    leaf = (await connection.execute(first)).scalar()
    if leaf is None:
        return []
    last_ms = (await connection.execute(select(log_head.c.last_ms).where(log_head.c.log == log))).scalar_one()
    tags = [key.month(origin, month).tag for month in months_between(parse_leaf(leaf).time_ms, last_ms)]
    query = select(log_entry.c.idx).where(log_entry.c.log == log, log_entry.c.tag.in_(tags)).order_by(log_entry.c.idx)
    return list((await connection.execute(query)).scalars())


async def _say(sequencer: Sequencer, erasure: Erasure) -> Receipt:
    entry = Entry(KIND, None, os.urandom(32), erasure.encode(), MAX_INTEGER)
    (receipt,) = await sequencer.append((entry,), lambda _: ())
    return receipt


async def _delete(engine: AsyncEngine, log: int, indices: list[int]) -> None:
    for at in range(0, len(indices), _CHUNK):
        where = (record.c.log == log, record.c.idx.in_(indices[at : at + _CHUNK]))
        async with engine.begin() as connection:
            await connection.execute(delete(record).where(*where))


def _basis(text: str) -> str:
    basis = text.strip()
    if not 0 < len(basis) <= MAX_BASIS or not basis.isprintable():
        raise ValueError(f"an erasure names its legal basis, in {MAX_BASIS} printable characters at most")
    return basis
