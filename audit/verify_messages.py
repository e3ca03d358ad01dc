"""Verifies the message log: ids without gaps, digests over what is stored, links from the first row to the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.message_log import NO_LINK, MessageRecord, digest_of, next_link
from audit.store import message_attachment, message_record

_CHUNK: Final = 256


async def verify_messages(connection: AsyncConnection, head: Row[Any], found: Callable[[str, int | None], None]) -> int:
    """Recompute the message log under this head; `found` is told of each contradiction. Returns the rows read."""
    link, expected = NO_LINK, 0
    for start in range(0, head.messages, _CHUNK):
        where = (message_record.c.log == head.log, message_record.c.id >= start, message_record.c.id < start + _CHUNK)
        rows = (await connection.execute(select(message_record).where(*where).order_by(message_record.c.id))).all()
        attachments = await _attachments(connection, head.log, start)
        for row in rows:
            if row.id != expected:
                found("message_missing", expected)
            expected = row.id + 1
            # Once the body is gone at the end of its retention, digest and link still tell that it was there.
            if row.message is not None and _digest(row, attachments.get(row.id, ())) != row.digest:
                found("message_changed", row.id)
            link = next_link(link, row.digest)
            if link != row.link:
                found("message_link_broken", row.id)
                link = bytes(row.link)
            if row.entry_count and row.entry_from + row.entry_count > head.size:
                found("message_without_its_leaves", row.id)
    if expected != head.messages:
        found("message_missing", expected)
    if link != head.message_link:
        found("message_head_differs", None)
    count = select(func.count()).select_from(message_record).where(message_record.c.log == head.log)
    if (await connection.execute(count)).scalar_one() > head.messages:
        found("messages_beyond_head", None)
    return expected


async def _attachments(connection: AsyncConnection, log: int, start: int) -> dict[int, tuple[bytes, ...]]:
    table = message_attachment.c
    query = select(table.id, table.body).where(table.log == log, table.id >= start, table.id < start + _CHUNK)
    grouped: dict[int, tuple[bytes, ...]] = {}
    for number, body in await connection.execute(query.order_by(table.id, table.position)):
        grouped[number] = (*grouped.get(number, ()), body)
    return grouped


def _digest(row: Row[Any], attachments: tuple[bytes, ...]) -> bytes:
    return digest_of(
        MessageRecord(
            row.request_id,
            row.message_id,
            row.role,
            row.direction,
            row.client,
            row.service,
            row.outcome,
            row.time_ms,
            row.message,
            row.signature,
            attachments,
            row.unique_key,
        )
    )
