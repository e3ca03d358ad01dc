"""Verifies the message log: ids without gaps, digests over what is stored, links from the first row to the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.errors import RecordUnopenable
from audit.message_cipher import MessageCipher
from audit.message_log import NO_LINK, MessageRecord, StoredContent, digest_of, next_link
from audit.store import message_attachment, message_record

_CHUNK: Final = 256


async def verify_messages(
    connection: AsyncConnection,
    head: Row[Any],
    found: Callable[[str, int | None], None],
    cipher: MessageCipher | None = None,
) -> int:
    """Recompute the message log under this head; `found` is told of each contradiction. Returns the rows read.

    Sealed messages are opened with `cipher`; without it only their links are compared.
    """
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
            if row.message is not None and not _holds(row, attachments.get(row.id, ()), cipher):
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


def _holds(row: Row[Any], attachments: tuple[bytes, ...], cipher: MessageCipher | None) -> bool:
    if row.key_id is not None and cipher is None:
        return bool(len(attachments) == row.attachments)
    stored = StoredContent(row.message, row.signature, attachments, row.hash_chain_result, row.hash_chain, row.key_id)
    if cipher is not None:
        record = _record(row, stored)
        try:
            stored = cipher.open(stored, member=record.member, digest=row.digest)
        except RecordUnopenable:
            return False
    return digest_of(_record(row, stored)) == bytes(row.digest)


def _record(row: Row[Any], content: StoredContent) -> MessageRecord:
    return MessageRecord(
        row.request_id,
        row.message_id,
        row.role,
        row.direction,
        row.client,
        row.service,
        row.outcome,
        row.time_ms,
        content.message,
        content.signature,
        content.attachments,
        row.unique_key,
        row.kept,
        content.hash_chain_result,
        content.hash_chain,
    )
