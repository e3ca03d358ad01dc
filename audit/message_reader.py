"""Reads logged messages back: found by id, by time, by who asked whom; opened with the message keys.

Finding reads no content, so a search opens nothing. A message whose body is gone at the end of its retention is found
and can't be opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, and_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.message_cipher import MessageCipher
from audit.message_log import Kept, StoredContent
from audit.store import log_head, message_attachment, message_record, message_stamp

# Steps that wait for the log's commit, and clocks that were set back, make rows differ from the order of their times.
_DISORDER_MS: Final = 600_000
_ROW: Final = message_record.c
_HEADER_COLUMNS: Final = (
    _ROW.log, _ROW.id, _ROW.request_id, _ROW.message_id, _ROW.role, _ROW.direction, _ROW.client, _ROW.service,
    _ROW.outcome, _ROW.time_ms, _ROW.kept, _ROW.digest, _ROW.key_id,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """A logged message without its content. `stamp` is the id of its time-stamp, None while it has none."""

    log: int
    id: int
    request_id: str
    message_id: str
    role: Literal["consumer", "provider"]
    direction: Literal["request", "response"]
    client: str
    service: str
    outcome: str
    time_ms: int
    kept: Kept
    digest: bytes
    key_id: str | None
    stamp: int | None
    position: int | None

    @property
    def owner(self) -> str:
        """Whose message it is at this gateway: the client, or the subsystem that provides the service."""
        return self.client if self.role == "consumer" else "/".join(self.service.split("/")[:4])

    @property
    def member(self) -> str:
        """The owner's member; its key seals the content."""
        return "/".join(self.owner.split("/", 3)[:3])


@dataclass(frozen=True, slots=True)
class OpenedMessage:
    """A logged message with its content."""

    header: MessageHeader
    message: bytes
    signature: bytes
    attachments: tuple[bytes, ...]
    hash_chain_result: bytes | None = None
    hash_chain: bytes | None = None


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is searched for; all that is given must hold. Times in milliseconds, `until_ms` excluded."""

    from_ms: int | None = None
    until_ms: int | None = None
    client: str | None = None
    service: str | None = None
    message_id: str | None = None

    @property
    def empty(self) -> bool:
        return all(getattr(self, name) is None for name in ("from_ms", "until_ms", "client", "service", "message_id"))


class MessageReader:
    """Reads the messages of every log in one database. Any number of callers at once."""

    def __init__(self, engine: AsyncEngine, cipher: MessageCipher) -> None:
        self.engine = engine
        self.cipher = cipher

    async def search(self, criteria: Criteria, limit: int) -> list[MessageHeader]:
        """The messages that meet the criteria, the oldest first, `limit` at most."""
        async with self.engine.connect() as connection:
            where = [await _within(connection, criteria)]
            if criteria.client is not None:
                where.append(_below(_ROW.client, criteria.client))
            if criteria.service is not None:
                where.append(_below(_ROW.service, criteria.service))
            if criteria.message_id is not None:
                named = criteria.message_id
                where.append(or_(_ROW.message_id == named, _ROW.request_id == named))
            return await _headers(connection, and_(*where), limit)

    async def of_message_id(self, message_id: str) -> list[MessageHeader]:
        """The messages with this id (`X-Road-Id`, the SOAP header's `id`)."""
        async with self.engine.connect() as connection:
            return await _headers(connection, _ROW.message_id == message_id)

    async def of_request(self, request_id: str) -> list[MessageHeader]:
        """The messages of one exchange."""
        async with self.engine.connect() as connection:
            return await _headers(connection, _ROW.request_id == request_id)

    async def of_keys(self, keys: Sequence[tuple[int, int]]) -> list[MessageHeader]:
        """The messages with these (log, id)."""
        async with self.engine.connect() as connection:
            return await _headers(connection, tuple_(_ROW.log, _ROW.id).in_(keys))

    async def open(self, headers: Sequence[MessageHeader]) -> list[OpenedMessage]:
        """These messages with their content; those whose content is gone are left out. Raises RecordUnopenable."""
        keys = [(header.log, header.id) for header in headers]
        table = message_attachment.c
        columns = (_ROW.log, _ROW.id, _ROW.message, _ROW.signature, _ROW.hash_chain_result, _ROW.hash_chain)
        contents = select(*columns).where(tuple_(_ROW.log, _ROW.id).in_(keys))
        bodies = select(table.log, table.id, table.body).where(tuple_(table.log, table.id).in_(keys))
        async with self.engine.connect() as connection:
            content = {(row.log, row.id): row for row in await connection.execute(contents)}
            attachments: dict[tuple[int, int], tuple[bytes, ...]] = {}
            for log, number, body in await connection.execute(bodies.order_by(table.log, table.id, table.position)):
                attachments[log, number] = (*attachments.get((log, number), ()), bytes(body))
        return [
            self._open(header, content[key], attachments.get(key, ()))
            for header, key in zip(headers, keys, strict=True)
            if key in content and content[key].message is not None
        ]

    async def signatures(self, headers: Sequence[MessageHeader]) -> list[bytes]:
        """The signature documents of these messages, in their order. Raises RecordUnopenable."""
        found: dict[tuple[int, int], bytes | None] = {}
        async with self.engine.connect() as connection:
            for log, of_log in groupby(headers, key=lambda header: header.log):
                ids = [header.id for header in of_log]
                within = _ROW.id.in_(ids)
                if max(ids) - min(ids) < 2 * len(ids):
                    # Neighbours, as a batch to stamp is: one range is a fraction of the work of many ids.
                    within = _ROW.id.between(min(ids), max(ids))
                query = select(_ROW.id, _ROW.signature).where(_ROW.log == log, within)
                found.update({(log, number): content for number, content in (await connection.execute(query)).all()})
        return [
            self.cipher.open_signature(
                found.get((header.log, header.id)) or b"",
                key_id=header.key_id,
                member=header.member,
                digest=header.digest,
            )
            for header in headers
        ]

    def _open(self, header: MessageHeader, content: Any, attachments: tuple[bytes, ...]) -> OpenedMessage:
        stored = StoredContent(
            bytes(content.message),
            bytes(content.signature),
            attachments,
            content.hash_chain_result,
            content.hash_chain,
            header.key_id,
        )
        opened = self.cipher.open(stored, member=header.member, digest=header.digest)
        return OpenedMessage(
            header, opened.message, opened.signature, opened.attachments, opened.hash_chain_result, opened.hash_chain
        )


def header_of(row: Any) -> MessageHeader:
    """The header in a row of `HEADERS`."""
    return MessageHeader(*row)


_JOINED: Final = message_record.outerjoin(
    message_stamp, and_(message_stamp.c.log == _ROW.log, message_stamp.c.id == _ROW.id)
)
HEADERS: Final[Select[Any]] = select(*_HEADER_COLUMNS, message_stamp.c.stamp, message_stamp.c.position).select_from(
    _JOINED
)


async def _headers(
    connection: AsyncConnection, where: ColumnElement[bool], limit: int | None = None
) -> list[MessageHeader]:
    query = HEADERS.where(where).order_by(_ROW.log, _ROW.id)
    return [header_of(row) for row in await connection.execute(query if limit is None else query.limit(limit))]


def _below(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    """The identifier itself, or whatever stands below it (a member's subsystems, a subsystem's services)."""
    return or_(column == wanted, column.startswith(wanted + "/", autoescape=True))


async def _within(connection: AsyncConnection, criteria: Criteria) -> ColumnElement[bool]:
    """The rows between two times, without an index of times: ids grow with them, so each end is found by halving."""
    exact = []
    if criteria.from_ms is not None:
        exact.append(_ROW.time_ms >= criteria.from_ms)
    if criteria.until_ms is not None:
        exact.append(_ROW.time_ms < criteria.until_ms)
    if not exact:
        return _ROW.id >= 0
    ranges = []
    for log, messages in (await connection.execute(select(log_head.c.log, log_head.c.messages))).all():
        first, end = 0, messages
        if criteria.from_ms is not None:
            first = await _first_at(connection, log, messages, criteria.from_ms - _DISORDER_MS)
        if criteria.until_ms is not None:
            end = await _first_at(connection, log, messages, criteria.until_ms + _DISORDER_MS)
        ranges.append(and_(_ROW.log == log, _ROW.id >= first, _ROW.id < end))
    return and_(or_(_ROW.id < 0, *ranges), *exact)


async def _first_at(connection: AsyncConnection, log: int, messages: int, time_ms: int) -> int:
    low, high = 0, messages
    while low < high:
        middle = (low + high) // 2
        query = select(_ROW.time_ms).where(_ROW.log == log, _ROW.id == middle)
        found = (await connection.execute(query)).scalar()
        if found is None or found < time_ms:
            low = middle + 1
        else:
            high = middle
    return low
