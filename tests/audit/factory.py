"""What the tests of the log are made of: an open log, entries, messages."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.entry import Entry, Receipt
from audit.message_log import MessageRecord
from audit.sequencer import BatchReport, Sequencer
from audit.store import create_schema, open_engine
from audit.tag import SubjectKey

ORIGIN = "gateway.example/audit/2026"
NOVEMBER_MS = 1_795_308_434_123


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now_ms: int = NOVEMBER_MS

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class OpenLog:
    """A running log on one database."""

    engine: AsyncEngine
    sequencer: Sequencer
    clock: Clock
    reports: list[BatchReport] = field(default_factory=list)

    async def append(self, *entries: Entry, messages: Sequence[MessageRecord] = ()) -> tuple[Receipt, ...]:
        return await self.sequencer.append(entries, lambda _receipts: messages)


@asynccontextmanager
async def open_log(url: str, *, origin: str = ORIGIN, **options: Any) -> AsyncIterator[OpenLog]:
    """A log on this database, its tables created."""
    engine = open_engine(url)
    await create_schema(engine)
    clock = Clock()
    reports: list[BatchReport] = []
    sequencer = Sequencer(engine, origin=origin, clock_ms=clock, on_batch=reports.append, **options)
    try:
        await sequencer.start()
        yield OpenLog(engine, sequencer, clock, reports)
    finally:
        await sequencer.close()
        await engine.dispose()


def access(subject: SubjectKey, **fields: Any) -> Entry:
    """An access to this person's data."""
    record = json.dumps({"action": "read"} | fields, sort_keys=True).encode()
    return Entry("access", subject, os.urandom(32), record, NOVEMBER_MS + 1)


def exchange() -> Entry:
    """An exchange about no person."""
    return Entry("exchange", None, os.urandom(32), b'{"action":"list"}', NOVEMBER_MS + 1)


def message(body: bytes = b"GET /r1/x\r\n", *, unique: bytes | None = None, **fields: Any) -> MessageRecord:
    """A message of a provider's side."""
    values: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "message_id": f"DE-TEST-{uuid.uuid4()}",
        "role": "provider",
        "direction": "request",
        "client": "DE-TEST/GOV/MUSTERSTADT/APP",
        "service": "DE-TEST/COM/STADTWERKE/ADAPTER/bills",
        "outcome": "ok",
        "time_ms": NOVEMBER_MS,
        "message": body,
        "signature": b"<Signature/>",
        "unique": unique,
    }
    return MessageRecord(**(values | fields))


def subject() -> SubjectKey:
    """A person."""
    return SubjectKey(os.urandom(32))


def no_messages(_receipts: tuple[Receipt, ...]) -> Sequence[MessageRecord]:
    """A seal that makes none."""
    return ()


def failing(error: Exception) -> Callable[[tuple[Receipt, ...]], Sequence[MessageRecord]]:
    """A seal that raises."""

    def seal(_receipts: tuple[Receipt, ...]) -> Sequence[MessageRecord]:
        raise error

    return seal
