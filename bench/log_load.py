"""Appends to a log as a gateway does, with every step: sealing, records, persons' chains, tiles, commit.

Two kinds of steps: `entry`, an access with its record; `message`, the same with a signed message of the usual size,
sealed under its member's key. Each is measured with as many callers as wait at all times (closed loop: what the log
can do), and paced (open loop: how long a caller waits at a given load, counted from when they were due).
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from time import perf_counter, process_time, time_ns
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.entry import Entry
from audit.errors import LogOverloaded
from audit.message_cipher import MessageCipher
from audit.message_log import MessageRecord
from audit.sequencer import Sequencer
from audit.store import create_schema, open_engine
from audit.tag import SubjectKey
from audit.verify import verify_log

ENTRY, MESSAGE = "entry", "message"
_ORIGIN: Final = "bench.example/audit/2026"
_CALLERS: Final = 256
_PERSONS: Final = 1000
_RECORD: Final = b'{"action":"read","client":"DE-TEST/GOV/MUSTERSTADT/APP","purpose":"' + b"x" * 200 + b'"}'
# Of a small REST exchange: request line and headers, the signature with its certificate and OCSP answer, the body.
_MESSAGE: Final = b"POST\r\n/r1/DE-TEST/COM/STADTWERKE/ADAPTER/bills\r\n" + b"x-road-header:value\r\n" * 16
_SIGNATURE: Final = os.urandom(5 << 10)
_BODY: Final = b'{"number": "2026-11"}' * 12
_TICK_SECONDS: Final = 0.002
_POSTGRES_SIZE: Final = """SELECT sum(pg_total_relation_size(oid)) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """How the log did under one load. `rate` is what was aimed at, 0 for a closed loop; times in milliseconds."""

    database: str
    kind: str
    rate: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_micros: float
    refused: int
    bytes_per_step: float

    def as_values(self) -> dict[str, Any]:
        """For the report."""
        return {key: round(value, 2) if isinstance(value, float) else value for key, value in asdict(self).items()}


@dataclass(slots=True)
class _Log:
    engine: AsyncEngine
    sequencer: Sequencer
    persons: list[SubjectKey]
    number: int = 0

    async def append(self, kind: str) -> None:
        self.number += 1
        person = self.persons[self.number % _PERSONS]
        entry = Entry("access", person, os.urandom(32), _RECORD, time_ns() // 1_000_000)
        messages = (_message(),) if kind == MESSAGE else ()
        await self.sequencer.append((entry,), lambda _: messages)


def _message() -> MessageRecord:
    number = uuid.uuid4().hex
    return MessageRecord(
        number, f"DE-TEST-{number}", "provider", "request", "DE-TEST/GOV/MUSTERSTADT/APP",
        "DE-TEST/COM/STADTWERKE/ADAPTER/bills", "ok", time_ns() // 1_000_000, _MESSAGE, _SIGNATURE, (_BODY,),
        unique=number.encode(),
    )  # fmt: skip


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[_Log]:
    engine = open_engine(url)
    try:
        await create_schema(engine)
        cipher = MessageCipher({"bench": os.urandom(32)}, "bench", os.urandom)
        sequencer = Sequencer(engine, origin=_ORIGIN, clock_ms=lambda: time_ns() // 1_000_000, sealer=cipher)
        await sequencer.start()
        try:
            yield _Log(engine, sequencer, [SubjectKey(os.urandom(32)) for _ in range(_PERSONS)])
        finally:
            await sequencer.close()
        (await verify_log(engine, origin=_ORIGIN, messages=cipher)).require_sound()
    finally:
        await engine.dispose()


async def measure_load(url: str, kind: str, *, rate: int, seconds: float) -> Loaded:
    """One load on a log of its own in this empty database; the log is recomputed afterwards. Raises AuditError."""
    async with _opened(url) as log:
        await _closed(log, kind, min(1.0, seconds / 4))
        size, done = await _size(log.engine), log.number
        cpu, begun = process_time(), perf_counter()
        times, refused = await (_paced(log, kind, rate, seconds) if rate else _closed(log, kind, seconds))
        took, cpu = perf_counter() - begun, process_time() - cpu
        grown = (await _size(log.engine) - size) / max(1, log.number - done - refused)
        times.sort()
        return Loaded(
            log.engine.dialect.name,
            kind,
            rate,
            len(times) / took,
            times[len(times) // 2] * 1000,
            times[len(times) * 99 // 100] * 1000,
            cpu / len(times) * 1e6,
            refused,
            grown,
        )


async def _closed(log: _Log, kind: str, seconds: float) -> tuple[list[float], int]:
    times: list[float] = []
    end = perf_counter() + seconds

    async def caller() -> None:
        # Once at least: on a busy machine the time may be over before the first of them begins.
        begun = perf_counter()
        while not times or begun < end:
            await log.append(kind)
            times.append(perf_counter() - begun)
            begun = perf_counter()

    async with asyncio.TaskGroup() as callers:
        for _ in range(_CALLERS):
            callers.create_task(caller())
    return times, 0


async def _paced(log: _Log, kind: str, rate: int, seconds: float) -> tuple[list[float], int]:
    times: list[float] = []
    refused = 0

    async def call(due: float) -> None:
        nonlocal refused
        try:
            await log.append(kind)
        except LogOverloaded:
            refused += 1
        else:
            times.append(perf_counter() - due)

    begun, sent, all_of_them = perf_counter(), 0, max(1, int(rate * seconds))
    async with asyncio.TaskGroup() as calls:
        while sent < all_of_them:
            due = min(all_of_them, (perf_counter() - begun) * rate)
            while sent < due:
                # From when it was due: a log that holds the loop up isn't spared the wait that it causes.
                calls.create_task(call(begun + sent / rate))
                sent += 1
            await asyncio.sleep(_TICK_SECONDS)
    return times, refused


async def _size(engine: AsyncEngine) -> int:
    """What the log's tables and indices take, in bytes."""
    async with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            return int((await connection.execute(text(_POSTGRES_SIZE))).scalar_one())
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        return int(pages * (await connection.exec_driver_sql("PRAGMA page_size")).scalar_one())
