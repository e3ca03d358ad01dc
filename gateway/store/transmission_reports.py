"""Transmissions that a consent service is still to be told of. Each method one transaction, durable when it returns.

A report is due at a time and taken by one process: whoever claims it has it until the claim lapses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.store import tables
from trust.identifiers import SubsystemId, parse_subsystem_id


@dataclass(frozen=True, slots=True)
class TransmissionReport:
    """`provider` handed over on a consent at `at_ms`; `authority` is to know. Times are milliseconds, UTC."""

    id: str
    reference: str
    authority: SubsystemId
    provider: SubsystemId
    at_ms: int
    attempts: int
    due_ms: int


class TransmissionReports:
    """Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def due(self, *, now_ms: int, limit: int) -> tuple[TransmissionReport, ...]:
        """The reports that are due, the longest waiting first."""
        row = tables.transmission_report.c
        query = select(tables.transmission_report).where(row.due_ms <= now_ms).order_by(row.due_ms).limit(limit)
        async with self._engine.connect() as connection:
            return tuple(_report(found) for found in (await connection.execute(query)).all())

    async def claim(self, report: TransmissionReport, *, until_ms: int) -> bool:
        """Whether the report is the caller's to send until then: nobody else has claimed it since it was read."""
        row = tables.transmission_report.c
        change = (
            update(tables.transmission_report)
            .where(row.id == report.id, row.due_ms == report.due_ms)
            .values(due_ms=until_ms, attempts=report.attempts + 1)
        )
        async with self._engine.begin() as connection:
            return (await connection.execute(change)).rowcount == 1

    async def postpone(self, report: TransmissionReport, *, until_ms: int) -> None:
        """It could not be told; it is due again then."""
        row = tables.transmission_report.c
        async with self._engine.begin() as connection:
            await connection.execute(
                update(tables.transmission_report).where(row.id == report.id).values(due_ms=until_ms)
            )

    async def settle(self, report: TransmissionReport) -> None:
        """It was told, or never will be."""
        async with self._engine.begin() as connection:
            table = tables.transmission_report
            await connection.execute(delete(table).where(table.c.id == report.id))


def _report(row: Row[Any]) -> TransmissionReport:
    return TransmissionReport(
        row.id,
        row.reference,
        parse_subsystem_id(row.authority),
        parse_subsystem_id(row.provider),
        row.at_ms,
        row.attempts,
        row.due_ms,
    )
