"""Reads back what a gateway logged about one exchange, straight from its tables and its persons' keys."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.leaf import parse_leaf
from audit.message_cipher import MessageCipher
from audit.message_keys import MessageKeys
from audit.message_reader import MessageReader
from audit.record import open_record
from audit.store import log_entry, message_record, open_engine, record
from audit.subject_keys import SubjectKeys
from audit.tag import SubjectKey, month_of
from audit.verify import LogReport, verify_log
from gateway.app import Gateway
from gateway.exchange.origins import origin_of
from gateway.node_keys import load_keys
from gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Logged:
    """One message of an exchange, and the access-log records of its step (`kind`: access or exchange)."""

    direction: str
    outcome: str
    message_id: str
    message: bytes
    signature: bytes
    accesses: list[dict[str, Any]] = field(default_factory=list)

    @property
    def summary(self) -> tuple[str, str, list[tuple[str, str | None]]]:
        """Direction, outcome, and (result, reason) of each access."""
        results = [(access["result"], access.get("reason")) for access in self.accesses]
        return self.direction, self.outcome, results


@dataclass(frozen=True)
class LogView:
    """A gateway's log without the gateway: its database, the persons' keys, its name."""

    engine: AsyncEngine
    keys: SubjectKeys
    origin: str
    messages: MessageCipher


def view_of(source: Gateway | LogView) -> LogView:
    """The log of a gateway in this process."""
    if isinstance(source, LogView):
        return source
    assert source.node.stamper is not None
    cipher = source.node.stamper.reader.cipher
    return LogView(source.engine, source.node.subject_keys, source.publisher.origin, cipher)


@asynccontextmanager
async def opened_log(settings: GatewaySettings) -> AsyncIterator[LogView]:
    """The log of a gateway that runs elsewhere, or not at all."""
    keys = load_keys(settings)
    engine, key_engine = open_engine(settings.database_url), open_engine(settings.subject_key_database_url)
    try:
        origin = origin_of(settings.server_id, datetime.now(UTC).year)
        cipher = await MessageKeys(key_engine, keys.record).cipher(sealing=False, now_ms=0)
        yield LogView(engine, SubjectKeys(key_engine, keys.record, keys.subject_index), origin, cipher)
    finally:
        await engine.dispose()
        await key_engine.dispose()


async def logged(source: Gateway | LogView, request_id: str) -> list[Logged]:
    """The exchange's messages in the order of their rows."""
    found = []
    view = view_of(source)
    reader = MessageReader(view.engine, view.messages)
    opened = {message.header.id: message for message in await reader.open(await reader.of_request(request_id))}
    async with view.engine.connect() as connection:
        query = select(message_record).where(message_record.c.request_id == request_id).order_by(message_record.c.id)
        for row in (await connection.execute(query)).all():
            content = opened[row.id]
            joined = log_entry.join(record, (record.c.log == log_entry.c.log) & (record.c.idx == log_entry.c.idx))
            leaves = (
                select(log_entry.c.leaf, record.c.body)
                .select_from(joined)
                .where(log_entry.c.log == row.log, log_entry.c.idx >= row.entry_from)
                .where(log_entry.c.idx < row.entry_from + row.entry_count)
                .order_by(log_entry.c.idx)
            )
            pairs = (await connection.execute(leaves)).all()
            accesses = [await _opened(view, bytes(leaf), bytes(body)) for leaf, body in pairs]
            found.append(
                Logged(row.direction, row.outcome, row.message_id, content.message, content.signature, accesses)
            )
    return found


def _read(opened: bytes, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(opened)
    return found | {"kind": kind}


async def _opened(view: LogView, leaf_bytes: bytes, body: bytes) -> dict[str, Any]:
    leaf = parse_leaf(leaf_bytes)
    if leaf.chain is None:
        return _read(open_record(None, body, leaf.commitment)[1], leaf.kind)
    # Closed at once: an abandoned generator would hold its connection until it is collected.
    async with aclosing(cast("AsyncGenerator[SubjectKey, None]", view.keys.everyone())) as everyone:
        async for key in everyone:
            month = key.month(view.origin, month_of(leaf.time_ms))
            if month.tag == leaf.chain.tag:
                return _read(open_record(month, body, leaf.commitment)[1], leaf.kind)
    raise AssertionError("an access under nobody's key")


async def require_sound(source: Gateway | LogView) -> LogReport:
    """The report of the recomputed log; fails on any finding, and on a record that can't be opened."""
    view = view_of(source)
    report = await verify_log(view.engine, origin=view.origin, keys=view.keys, messages=view.messages)
    assert report.findings == []
    assert report.records_opened == report.size
    return report


async def message_count(gateway: Gateway) -> int:
    """How many messages the gateway has logged."""
    async with gateway.engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(message_record))).scalar_one())
