"""The end of retention: records and message bodies go, leaves, digests and links stay.

The tree never changes, so nothing that was proven before stops being provable; what is gone is only what the leaves and
links commit to. Deletes in small portions, so that appends get their turn in between.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Row, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.store import (
    message_archive,
    message_attachment,
    message_progress,
    message_record,
    message_stamp,
    record,
    time_stamp,
)

_PORTION: Final = 500
# Digest and link stay, and say that there was a message.
_EMPTY: Final = {"message": None, "signature": None, "hash_chain_result": None, "hash_chain": None}


async def delete_expired_records(engine: AsyncEngine, *, at_ms: int) -> int:
    """Delete the records whose time is up. Returns how many; they are gone on return."""
    deleted = 0
    while True:
        async with engine.begin() as connection:
            query = select(record.c.log, record.c.idx).where(record.c.expires_ms <= at_ms).limit(_PORTION)
            keys = [tuple(row) for row in await connection.execute(query)]
            if keys:
                await connection.execute(delete(record).where(tuple_(record.c.log, record.c.idx).in_(keys)))
        deleted += len(keys)
        if len(keys) < _PORTION:
            return deleted


async def delete_message_bodies(engine: AsyncEngine, *, before_ms: int, archived: bool = False) -> int:
    """Delete bodies, signatures and attachments whose time is up. Returns how many messages; they are gone on return.

    A message's time runs from its time-stamp, or, where `archived`, from its archive; one that has none yet stays. What
    can't be stamped (it was never signed) or archived (it isn't kept whole) goes by its own time, once stamping has
    passed it.
    """
    deleted = 0
    async with engine.connect() as connection:
        progress = (await connection.execute(select(message_progress))).all()
    for log in progress:
        first = log.emptied
        # Each portion begins where the last one ended, so that none walks over what is empty already.
        while keys := await _expired(engine, log, first, before_ms, archived=archived):
            async with engine.begin() as connection:
                gone = tuple_(message_attachment.c.log, message_attachment.c.id).in_(keys)
                await connection.execute(delete(message_attachment).where(gone))
                emptied = update(message_record).where(tuple_(message_record.c.log, message_record.c.id).in_(keys))
                await connection.execute(emptied.values(_EMPTY))
            deleted += len(keys)
            first = keys[-1][1] + 1
        await _advance(engine, log.log)
    return deleted


async def _expired(
    engine: AsyncEngine, progress: Row[Any], first: int, before_ms: int, *, archived: bool
) -> list[tuple[int, int]]:
    row, stamp = message_record.c, message_stamp.c
    joined = message_record.outerjoin(message_stamp, and_(stamp.log == row.log, stamp.id == row.id))
    joined = joined.outerjoin(time_stamp, time_stamp.c.id == stamp.stamp)
    joined = joined.outerjoin(message_archive, message_archive.c.id == stamp.archive)
    by_own_time = and_(stamp.stamp.is_(None), func.length(row.signature) == 0, row.time_ms < before_ms)
    by_stamp = time_stamp.c.stored_ms < before_ms
    if archived:
        by_stamp = or_(message_archive.c.created_ms < before_ms, and_(row.kept != "whole", by_stamp))
    where = (
        row.log == progress.log,
        row.id >= first,
        row.id < progress.stamped,
        row.message.is_not(None),
        or_(by_own_time, by_stamp),
    )
    query = select(row.log, row.id).select_from(joined).where(*where).order_by(row.id).limit(_PORTION)
    async with engine.connect() as connection:
        return [(log, number) for log, number in await connection.execute(query)]


async def _advance(engine: AsyncEngine, log: int) -> None:
    """Note up to where every message of the log is empty."""
    row = message_record.c
    async with engine.begin() as connection:
        where = message_progress.c.log == log
        progress = (await connection.execute(select(message_progress).where(where))).one()
        full = (row.log == log, row.id >= progress.emptied, row.id < progress.stamped, row.message.is_not(None))
        first = (await connection.execute(select(row.id).where(*full).order_by(row.id).limit(1))).scalar()
        reached = progress.stamped if first is None else first
        if reached > progress.emptied:
            await connection.execute(update(message_progress).where(where).values(emptied=reached))
