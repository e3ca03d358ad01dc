"""What of the message log is in archives: the rows that come next, and where each group's chain stands.

An archive counts from the moment its row is stored, with the digest that the group's next one begins with. Its file is
whole on the disk, under another name, before that; who finds it so after a crash gives it its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.archive_chain import ArchiveEnd
from audit.message_reader import HEADERS, MessageHeader, header_of
from audit.store import log_head, message_archive, message_progress, message_record, message_stamp

_ROW: Final = message_record.c
_PORTION: Final = 500


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that was made. Times in milliseconds."""

    id: int
    name: str
    created_ms: int
    transferred_ms: int | None


async def logs_in_order(engine: AsyncEngine) -> list[int]:
    """The ids of all logs."""
    async with engine.connect() as connection:
        return list((await connection.execute(select(log_head.c.log).order_by(log_head.c.log))).scalars())


async def unarchived(engine: AsyncEngine, log: int, after: int, limit: int) -> list[MessageHeader]:
    """The next messages of a log behind the id `after` that can be archived: stamped, kept whole, not archived yet."""
    async with engine.connect() as connection:
        where = and_(
            message_stamp.c.log == log,
            message_stamp.c.id > after,
            message_stamp.c.archive.is_(None),
            _ROW.kept == "whole",
            _ROW.message.is_not(None),
        )
        return [header_of(row) for row in await connection.execute(HEADERS.where(where).order_by(_ROW.id).limit(limit))]


async def archived_before(engine: AsyncEngine, log: int) -> int:
    """The id behind which there may be something to archive: all before it is archived, or can't be."""
    async with engine.connect() as connection:
        query = select(message_progress.c.archived).where(message_progress.c.log == log)
        return int((await connection.execute(query)).scalar() or 0) - 1


async def advance_archived(engine: AsyncEngine, log: int) -> None:
    """Note up to where a log is archived: before the first that is stamped and isn't, and never beyond the stamped."""
    async with engine.begin() as connection:
        row = (
            await connection.execute(
                select(message_progress.c.stamped, message_progress.c.archived).where(message_progress.c.log == log)
            )
        ).first()
        if row is None:
            return
        joined = message_stamp.join(
            message_record, and_(message_stamp.c.log == _ROW.log, message_stamp.c.id == _ROW.id)
        )
        waiting = and_(
            message_stamp.c.log == log,
            message_stamp.c.id >= row.archived,
            message_stamp.c.archive.is_(None),
            _ROW.kept == "whole",
            _ROW.message.is_not(None),
        )
        query = select(func.min(message_stamp.c.id)).select_from(joined).where(waiting)
        first = (await connection.execute(query)).scalar()
        reached = row.stamped if first is None else min(first, row.stamped)
        if reached > row.archived:
            where = message_progress.c.log == log
            await connection.execute(update(message_progress).where(where).values(archived=reached))


async def last_end(engine: AsyncEngine, grouping: str) -> ArchiveEnd:
    """Where the group's chain stands."""
    row = message_archive.c
    query = select(row.digest, row.name).where(row.grouping == grouping).order_by(row.id.desc()).limit(1)
    async with engine.connect() as connection:
        found = (await connection.execute(query)).first()
    return ArchiveEnd() if found is None else ArchiveEnd(found.digest, found.name)


async def store_archive(
    engine: AsyncEngine, end: ArchiveEnd, grouping: str, keys: Sequence[tuple[int, int]], *, created_ms: int
) -> None:
    """The archive counts, with these messages in it; one transaction, durable on return."""
    values = {
        "name": end.name, "grouping": grouping, "digest": end.digest, "records": len(keys), "created_ms": created_ms,
    }  # fmt: skip
    async with engine.begin() as connection:
        made = insert(message_archive).values(values).returning(message_archive.c.id)
        number = (await connection.execute(made)).scalar_one()
        for at in range(0, len(keys), _PORTION):
            where = tuple_(message_stamp.c.log, message_stamp.c.id).in_(keys[at : at + _PORTION])
            await connection.execute(update(message_stamp).where(where).values(archive=number))


async def archives(engine: AsyncEngine, *, waiting: bool = False) -> list[Archive]:
    """The archives in the order of their making; `waiting`: those not transferred yet."""
    row = message_archive.c
    query = select(row.id, row.name, row.created_ms, row.transferred_ms).order_by(row.id)
    if waiting:
        query = query.where(row.transferred_ms.is_(None))
    async with engine.connect() as connection:
        return [Archive(*found) for found in await connection.execute(query)]


async def note_transfer(engine: AsyncEngine, archive: Archive, *, at_ms: int) -> None:
    """The archive was transferred."""
    async with engine.begin() as connection:
        where = message_archive.c.id == archive.id
        await connection.execute(update(message_archive).where(where).values(transferred_ms=at_ms))
