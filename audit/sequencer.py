"""The sequencer: gives each entry its place in the log, and an answer only once it is durable.

Natural batching: whatever waits when the last commit ends goes into the next one; no timer. How a batch reaches the
database, and why SQLite has no thread for it, is in `connection`.

Durable when `append` returns: the leaves, their records, the tiles, the messages. When it raises, the step left no
trace, with one exception: if the database died during COMMIT and stays away, the outcome is unknown until it is back.
Either way the message is not to be forwarded.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.batch import Batch, Beside, Seal, Step
from audit.connection import WriterConnection, aside, open_writer_connection
from audit.entry import Entry, Receipt, parse_receipt
from audit.errors import AuditError, LogInconsistent, LogOverloaded, LogRolledBack, LogUnavailable
from audit.lock_file import require_not_behind
from audit.message_log import ContentSealer, MessageRecord
from audit.writer import LogWriter, OutcomeUnknown

__all__ = ["BatchReport", "Beside", "Entry", "MessageRecord", "Receipt", "Seal", "Sequencer", "parse_receipt"]

# Keeps a batch's transaction short enough that a step behind a burst doesn't wait for all of it.
_BATCH_STEPS: Final = 1024
_SALT_BYTES: Final = 44
_MAX_ENTRIES: Final = 1024


@dataclass(frozen=True, slots=True)
class BatchReport:
    """One batch, for metrics. `clock_behind_ms` is by how much the clock was behind the log's last entry."""

    entries: int
    steps: int
    failed: int
    seconds: float
    queue: int
    clock_behind_ms: int


class Sequencer:
    """Appends to one log. Use from one event loop; any number of callers at once."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        origin: str,
        clock_ms: Callable[[], int],
        limit: int = 4096,
        on_batch: Callable[[BatchReport], None] | None = None,
        lock_file: Path | None = None,
        sealer: ContentSealer | None = None,
    ) -> None:
        """`lock_file` is the publisher's: with it, a database behind the last signed checkpoint refuses to start.

        `sealer` seals the messages' contents before they are stored; without one they are stored as they are.
        """
        self._engine = engine
        self._origin = origin
        self._clock_ms = clock_ms
        self._limit = limit
        self._on_batch = on_batch
        self._lock_file = lock_file
        self._sealer = sealer
        self._writer = LogWriter(origin)
        self._connection: WriterConnection | None = None
        self._waiting: deque[tuple[Step, asyncio.Future[tuple[Receipt, ...]]]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        # When the last batch failed, if no later one was written.
        self._failed_at: float | None = None

    async def start(self) -> None:
        """Open the log (creating it if new) and take steps. Raises LogRolledBack, LogInconsistent."""
        if self._lock_file is not None:
            await require_not_behind(self._engine, self._origin, self._lock_file)
        await self._open()
        self._task = asyncio.create_task(self._run(), name="sequencer")

    async def close(self) -> None:
        """Finish what was accepted, then stop. Safe to call twice."""
        self._closing = True
        self._wake.set()
        task, self._task = self._task, None
        try:
            if task is not None:
                await task
        finally:
            await self._disconnect()

    @property
    def accepting(self) -> bool:
        """Whether steps are taken: it is started, not closed, alive, and not more steps wait than it takes."""
        return self._alive and len(self._waiting) < self._limit

    @property
    def failing_seconds(self) -> float | None:
        """How long ago the last batch could not be written; None if it was."""
        return None if self._failed_at is None else perf_counter() - self._failed_at

    @property
    def _alive(self) -> bool:
        return not self._closing and self._task is not None and not self._task.done()

    async def append(
        self, entries: Sequence[Entry], seal: Seal, *, beside: Sequence[Beside] = (), waits: bool = False
    ) -> tuple[Receipt, ...]:
        """Append the entries, the messages that `seal` makes of their receipts, and what is beside, in one transaction.

        Returns after its commit. `seal` is CPU work only, runs on the event loop's thread, and may be called again with
        other receipts if the batch has to be computed anew. What it raises is raised here, and fails this step only.
        One that `waits`, for a device that signs, runs in another thread: it must share nothing that changes.
        Raises LogOverloaded, LogUnavailable, DuplicateRecord.
        """
        if not self._alive:
            raise LogUnavailable("the log is closed")
        if len(self._waiting) >= self._limit:
            raise LogOverloaded("too many steps wait for the log")
        if len(entries) > _MAX_ENTRIES:
            raise LogOverloaded("too many entries in one step")
        called = aside(seal, self._engine) if waits else seal
        step = Step(tuple(entries), tuple(os.urandom(_SALT_BYTES) for _ in entries), called, self._sealer, waits=waits)
        step.beside = tuple(beside)
        future: asyncio.Future[tuple[Receipt, ...]] = asyncio.get_running_loop().create_future()
        self._waiting.append((step, future))
        self._wake.set()
        return await future

    async def _run(self) -> None:
        try:
            await self._batches()
        finally:
            # Normally nobody waits any more. Had a callback of the caller's raised, nobody must wait for ever.
            for _, future in self._waiting:
                if not future.done():
                    future.set_exception(LogUnavailable("the log is closed"))

    async def _batches(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                # Whoever is ready to append at this moment joins the batch.
                await asyncio.sleep(0)
                count = min(len(self._waiting), _BATCH_STEPS)
                taken = [self._waiting.popleft() for _ in range(count)]
                # Who has given up before their batch began, is not logged.
                accepted = [(step, future) for step, future in taken if not future.done()]
                if accepted:
                    await self._process(accepted)
            if self._closing:
                return

    async def _process(self, accepted: list[tuple[Step, asyncio.Future[tuple[Receipt, ...]]]]) -> None:
        """One batch: write it, then tell each caller. I1: no future resolves before the commit."""
        started = perf_counter()
        receipts: dict[int, tuple[Receipt, ...]] = {}
        failure: AuditError = LogUnavailable("the log can't be written")
        behind = entries = 0
        try:
            now_ms = self._clock_ms()
            survivors, batch = await self._write([step for step, _ in accepted], now_ms)
            receipts = {id(step): given for step, given in zip(survivors, batch.receipts, strict=True)}
            entries, behind = len(batch.entries), max(0, batch.state.last_ms - now_ms)
            self._failed_at = None
        except (LogInconsistent, LogRolledBack) as error:
            failure, self._failed_at = error, started
        except Exception as error:  # noqa: BLE001 - I6: whatever went wrong fails the whole batch, and only the batch
            failure.__cause__, self._failed_at = error, started
            await self._disconnect()
        for step, future in accepted:
            if future.done():
                continue
            if id(step) in receipts:
                future.set_result(receipts[id(step)])
            else:
                future.set_exception(step.failure or failure)
        if self._on_batch is not None:
            failed = len(accepted) - len(receipts)
            seconds = perf_counter() - started
            self._on_batch(BatchReport(entries, len(accepted), failed, seconds, len(self._waiting), behind))

    async def _write(self, steps: list[Step], now_ms: int) -> tuple[list[Step], Batch]:
        connection = self._connection or await self._open()
        try:
            run = connection.run_aside if any(step.waits for step in steps) else connection.run
            prepared = await run(self._writer.prepare, steps, now_ms)
            await connection.run_commit(self._writer.commit, prepared)
        except OutcomeUnknown as unknown:
            # I8: stop, reload, compare; only then go on.
            await self._disconnect()
            connection = await self._open()
            if not await connection.run(self._writer.settle, unknown.batch):
                raise LogUnavailable("the commit failed") from unknown
            return unknown.survivors, unknown.batch
        return prepared.survivors, prepared.batch

    async def _open(self) -> WriterConnection:
        connection = await open_writer_connection(self._engine)
        try:
            await connection.run(self._writer.open)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                await connection.close()
