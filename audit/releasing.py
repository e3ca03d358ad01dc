"""Releases what the law withheld: the person's own chain gets a leaf for each access that was kept from them.

The withheld leaf stays where it is. The `release` leaf, under the person's tag of the month in which it is made,
commits to the same record and to where the withheld leaf stands (`audit.release`). Releasing twice releases the rest.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.entry import Entry, Receipt
from audit.erasing import entries_of
from audit.errors import MalformedInput, OutOfRange, RecordUnopenable
from audit.leaf import parse_leaf
from audit.person_records import records_of
from audit.record import open_record
from audit.release import KIND, Released, parse_release
from audit.sequencer import Sequencer
from audit.store import RECORD_OF_ENTRY, log_entry, log_head, record
from audit.subject_keys import SubjectKeys, withheld
from audit.tag import SubjectKey, month_of

_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class _Withheld:
    released: Released
    exchange: bytes
    expires_ms: int


async def release_person(
    engine: AsyncEngine, sequencer: Sequencer, keys: SubjectKeys, subject_ref: str
) -> tuple[Receipt, ...]:
    """Release every access to a person's data that was withheld and isn't released yet; durable on return.

    Raises OutOfRange if there is none.
    """
    hidden = await keys.existing(withheld(subject_ref))
    if hidden is None:
        raise OutOfRange("nothing about this person was withheld")
    done = await _released(engine, keys, subject_ref)
    found = await _withheld(engine, hidden)
    waiting = [entry for entry in found if (entry.released.origin, entry.released.index) not in done]
    if not waiting:
        raise OutOfRange("nothing about this person is withheld any more")
    person = await keys.key_for(subject_ref)
    receipts: list[Receipt] = []
    for at in range(0, len(waiting), _AT_ONCE):
        entries = [
            Entry(KIND, person, entry.exchange, entry.released.encode(), entry.expires_ms)
            for entry in waiting[at : at + _AT_ONCE]
        ]
        receipts += await sequencer.append(entries, lambda _: ())
    return tuple(receipts)


async def _released(engine: AsyncEngine, keys: SubjectKeys, subject_ref: str) -> set[tuple[str, int]]:
    done = set()
    for entry in await records_of(engine, keys, subject_ref):
        if entry.kind == KIND:
            with suppress(MalformedInput):
                released = parse_release(entry.content)
                done.add((released.origin, released.index))
    return done


async def _withheld(engine: AsyncEngine, key: SubjectKey) -> list[_Withheld]:
    found = []
    async with engine.connect() as connection:
        for head in (await connection.execute(select(log_head).order_by(log_head.c.origin))).all():
            for index in await entries_of(connection, head.log, head.origin, key):
                joined = log_entry.join(record, RECORD_OF_ENTRY)
                query = select(log_entry.c.leaf, record.c.body, record.c.expires_ms).select_from(joined)
                where = (log_entry.c.log == head.log, log_entry.c.idx == index)
                row = (await connection.execute(query.where(*where))).first()
                if row is None:
                    # Its retention has ended, or it was erased: there is nothing left to release.
                    continue
                leaf = parse_leaf(row.leaf)
                month = key.month(head.origin, month_of(leaf.time_ms))
                try:
                    nonce, content = open_record(month, row.body, leaf.commitment)
                except RecordUnopenable:
                    continue
                released = Released(content, head.origin, index, bytes(row.leaf), nonce)
                found.append(_Withheld(released, leaf.exchange, row.expires_ms))
    return found
