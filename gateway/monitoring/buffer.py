"""Takes observations on the hot path and writes them in the background, a batch at a time.

The path of a message pays for an append to a bounded queue and nothing else: what doesn't fit pushes out the oldest and
is counted. Records are for monitoring, not for evidence: the message log and the access log are complete without them.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.clock import Clock
from gateway.metrics import Metrics
from gateway.monitoring.record import Observation, Role, to_json
from gateway.monitoring.tables import operational_record

# X-Road's own defaults (UG-OPMONSYSPAR): the buffer's size, and how long records are kept.
BUFFER_SIZE: Final = 20_000
KEPT_SECONDS: Final = 7 * 24 * 3600
# One transaction's worth: small enough that no exchange notices it waiting for the database.
_BATCH: Final = 100
_CLEANED: Final = 5_000
_CLEANUP_SECONDS: Final = 3600


class Monitoring:
    """A node's operational records on their way to the database. Used from one event loop."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        metrics: Metrics,
        *,
        internal_address: str,
        size: int = BUFFER_SIZE,
    ) -> None:
        """`internal_address`: how this gateway is reached from within its organisation."""
        self.engine = engine
        self.started_ms = clock.now_ms()
        self._clock = clock
        self._metrics = metrics
        self._internal_address = internal_address
        self._waiting: deque[Observation] = deque(maxlen=size)
        self._writing = asyncio.Lock()
        self._cleaned_s = 0

    def add(self, observed: Observation) -> None:
        """Remembers one exchange. Never waits and never fails."""
        if len(self._waiting) == self._waiting.maxlen:
            self._metrics.operational_record_dropped()
        self._waiting.append(observed)

    @property
    def waiting(self) -> int:
        """How many observations aren't written yet."""
        return len(self._waiting)

    async def flush(self) -> None:
        """Writes what waits. What a failing database didn't take waits again; raises the database's error."""
        async with self._writing:
            for _ in range(-(-len(self._waiting) // _BATCH)):
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                if not batch:
                    return
                try:
                    await self._write(batch)
                except BaseException:
                    self._take_back(batch)
                    raise

    def _take_back(self, batch: list[Observation]) -> None:
        room = (self._waiting.maxlen or 0) - len(self._waiting)
        for _ in range(len(batch) - room):
            self._metrics.operational_record_dropped()
        # The oldest are the ones that there is no room for.
        self._waiting.extendleft(reversed(batch[max(0, len(batch) - room) :]))

    async def _write(self, batch: list[Observation]) -> None:
        stored_s = self._clock.now_ms() // 1000
        rows = [self._row(observed, stored_s) for observed in batch]
        async with self.engine.begin() as connection:
            await connection.execute(operational_record.insert(), rows)

    def _row(self, observed: Observation, stored_s: int) -> dict[str, Any]:
        provider = observed.provider
        service = None
        if provider is not None and observed.service_code is not None:
            service = service_key(provider.segments, observed.service_code, observed.service_version)
        return {
            "stored_s": stored_s,
            "client": None if observed.client is None else observed.client.encoded,
            "provider": None if provider is None else provider.encoded,
            "service": service,
            "service_type": observed.service_type,
            "producer": observed.role is Role.PRODUCER,
            "succeeded": observed.succeeded,
            "response_out_ms": observed.response_out_ms,
            "duration_ms": max(0, observed.response_out_ms - observed.request_in_ms),
            "request_size": None if observed.request_size is None else observed.request_size.message,
            "response_size": None if observed.response_size is None else observed.response_size.message,
            "record": to_json(observed, stored_s=stored_s, internal_address=self._internal_address),
        }

    async def round(self) -> None:
        """What the background job does every few seconds: write, and now and then let old records go."""
        await self.flush()
        now_s = self._clock.now_ms() // 1000
        if now_s - self._cleaned_s >= _CLEANUP_SECONDS:
            await self.clean(now_s - KEPT_SECONDS)
            self._cleaned_s = now_s

    async def clean(self, before_s: int) -> int:
        """Deletes records stored before then; how many they were. A few at a time, so that nothing waits for it."""
        record, deleted = operational_record.c, 0
        while True:
            old = select(record.id).where(record.stored_s < before_s).order_by(record.id).limit(_CLEANED)
            async with self.engine.begin() as connection:
                done = await connection.execute(delete(operational_record).where(record.id.in_(old)))
            deleted += done.rowcount
            if done.rowcount < _CLEANED:
                return deleted

    async def count(self) -> int:
        """How many records are stored."""
        async with self.engine.connect() as connection:
            return int((await connection.execute(select(func.count()).select_from(operational_record))).scalar_one())


# Each of a gateway's exchanges is with one of a few services.
@lru_cache(maxsize=1024)
def service_key(provider: tuple[str, ...], code: str, version: str | None) -> str:
    """A service's name in the table: a JSON list of its provider's segments, its code and its version or null."""
    return json.dumps([*provider, code, version], ensure_ascii=False)
