"""What providers reported as handed over on consents (`reportDataTransmission`), as the citizen reads it.

The provider's word, one report for each answer; the access logs have the proofs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.dialects import insert_into
from gateway.citizen import tables
from gateway.citizen.consent import Transmitted

# How many of a consent's transmissions are listed; beyond that they are counted.
LISTED: Final = 20


class Transmissions:
    """Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, reference: str, *, at_ms: int, now_ms: int) -> bool:
        """A provider reports; durable when it returns. False for what it had reported before: nothing changes then."""
        async with self._engine.begin() as connection:
            recorded = await connection.execute(
                insert_into(tables.transmission, self._engine.dialect)
                .values(reference=reference, at_ms=at_ms, reported_ms=now_ms)
                .on_conflict_do_nothing()
            )
        return recorded.rowcount == 1

    async def of(self, references: Sequence[str]) -> Mapping[str, Transmitted]:
        """What was handed over on these consents; those without a report are left out."""
        row = tables.transmission.c
        counted = select(row.reference, func.count()).where(row.reference.in_(references)).group_by(row.reference)
        latest = select(row.at_ms).order_by(row.at_ms.desc()).limit(LISTED)
        found = {}
        async with self._engine.connect() as connection:
            for reference, count in (await connection.execute(counted)).all():
                moments = (await connection.execute(latest.where(row.reference == reference))).scalars()
                found[reference] = Transmitted(count, tuple(moments))
        return found
