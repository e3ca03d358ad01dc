"""The end of retention: records and message bodies go, leaves, digests and links stay.

The tree never changes, so nothing that was proven before stops being provable; what is gone is only what the leaves and
links commit to. Deletes in small portions, so that appends get their turn in between.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.store import message_attachment, message_record, record

_PORTION: Final = 500


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


async def delete_message_bodies(engine: AsyncEngine, *, before_ms: int) -> int:
    """Delete bodies, signatures and attachments of messages older than this. Returns how many messages."""
    row, attachment = message_record.c, message_attachment.c
    deleted = 0
    while True:
        async with engine.begin() as connection:
            query = select(row.log, row.id).where(row.time_ms < before_ms, row.message.is_not(None)).limit(_PORTION)
            keys = [tuple(found) for found in await connection.execute(query)]
            if keys:
                gone = tuple_(attachment.log, attachment.id).in_(keys)
                await connection.execute(delete(message_attachment).where(gone))
                emptied = update(message_record).where(tuple_(row.log, row.id).in_(keys))
                await connection.execute(emptied.values(message=None, signature=None))
        deleted += len(keys)
        if len(keys) < _PORTION:
            return deleted
