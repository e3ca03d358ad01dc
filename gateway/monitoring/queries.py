"""Reads operational records: a time window of them, and the statistics of the last ten minutes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Float, Row, Select, and_, case, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.monitoring.tables import operational_record
from trust.identifiers import ClientId, MemberId, SubsystemId

# X-Road's own defaults (UG-OPMONSYSPAR).
MAX_RECORDS: Final = 10_000
STATISTICS_SECONDS: Final = 600

_record = operational_record.c


@dataclass(frozen=True, slots=True)
class Window:
    """Whose records of which time. Seconds since 1970, both ends included.

    `visible_to`: None sees everything, a client what it called and what its services answered.
    """

    from_s: int
    to_s: int
    provider: ClientId | None = None
    visible_to: ClientId | None = None


@dataclass(frozen=True, slots=True)
class Records:
    """Records as JSON objects in text, oldest first; `next_from_s` if there are more."""

    records: tuple[str, ...]
    next_from_s: int | None


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantity over the successful requests of the period."""

    minimum: int
    average: float
    maximum: int
    deviation: float


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """How a service has done. Times in milliseconds since 1970, durations in ms, sizes in bytes."""

    provider: ClientId
    code: str
    version: str | None
    service_type: str | None
    last_success_ms: int | None
    last_failure_ms: int | None
    successes: int
    failures: int
    duration: Spread | None
    request_size: Spread | None
    response_size: Spread | None


async def records_of(engine: AsyncEngine, window: Window, *, limit: int = MAX_RECORDS) -> Records:
    """The records of a window, about `limit` at most: a second is never torn apart, so that the next query can begin
    with the one after it."""
    query = _of(window).order_by(_record.stored_s, _record.id)
    async with engine.connect() as connection:
        found = (await connection.execute(query.limit(limit))).all()
        if len(found) < limit:
            return Records(tuple(row.record for row in found), None)
        last = found[-1]
        same = query.where(_record.stored_s == last.stored_s, _record.id > last.id)
        rest = (await connection.execute(same)).all()
        # Whoever has everything isn't sent for an empty answer.
        later = _of(window).where(_record.stored_s > last.stored_s).limit(1)
        more = (await connection.execute(later)).first() is not None
    return Records(tuple(row.record for row in (*found, *rest)), last.stored_s + 1 if more else None)


def _of(window: Window) -> Select[Any]:
    query = select(_record.id, _record.stored_s, _record.record).where(
        _record.stored_s.between(window.from_s, window.to_s)
    )
    if window.provider is not None:
        query = query.where(_record.provider == window.provider.encoded)
    if window.visible_to is not None:
        own = window.visible_to.encoded
        query = query.where(or_(_record.client == own, _record.provider == own))
    return query


async def health_of(engine: AsyncEngine, *, now_ms: int, provider: ClientId | None) -> tuple[ServiceHealth, ...]:
    """The services that this gateway provides and has records of, with the last period's statistics."""
    known = and_(_record.producer, _record.service.is_not(None))
    if provider is not None:
        known = and_(known, _record.provider == provider.encoded)
    last = select(
        _record.service,
        func.max(_record.service_type).label("service_type"),
        func.max(case((_record.succeeded, _record.response_out_ms))).label("last_success_ms"),
        func.max(case((~_record.succeeded, _record.response_out_ms))).label("last_failure_ms"),
    )
    recent = and_(known, _record.response_out_ms > now_ms - STATISTICS_SECONDS * 1000)
    async with engine.connect() as connection:
        times = (await connection.execute(last.where(known).group_by(_record.service))).all()
        periods = {row.service: row for row in await _statistics(connection, recent)}
    return tuple(_health(row, periods.get(row.service)) for row in sorted(times, key=lambda row: str(row.service)))


async def _statistics(connection: AsyncConnection, recent: ColumnElement[bool]) -> list[Row[Any]]:
    columns: list[ColumnElement[Any]] = [
        func.sum(case((_record.succeeded, 1), else_=0)).label("successes"),
        func.sum(case((_record.succeeded, 0), else_=1)).label("failures"),
    ]
    for name in ("duration_ms", "request_size", "response_size"):
        # Of those that succeeded: a refusal's few milliseconds say nothing of the service.
        value = case((_record.succeeded, _record[name]))
        wide = cast(value, Float)
        columns += [
            func.count(value).label(f"{name}_count"),
            func.min(value).label(f"{name}_min"),
            func.max(value).label(f"{name}_max"),
            func.sum(wide).label(f"{name}_sum"),
            func.sum(wide * wide).label(f"{name}_squares"),
        ]
    query = select(_record.service, *columns).where(recent).group_by(_record.service)
    return list((await connection.execute(query)).all())


def _health(last: Any, period: Row[Any] | None) -> ServiceHealth:
    *provider, code, version = json.loads(last.service)
    return ServiceHealth(
        provider=MemberId(*provider) if len(provider) == 3 else SubsystemId(*provider),
        code=code,
        version=version,
        service_type=last.service_type,
        last_success_ms=last.last_success_ms,
        last_failure_ms=last.last_failure_ms,
        successes=0 if period is None else int(period.successes),
        failures=0 if period is None else int(period.failures),
        duration=_spread(period, "duration_ms"),
        request_size=_spread(period, "request_size"),
        response_size=_spread(period, "response_size"),
    )


def _spread(period: Row[Any] | None, name: str) -> Spread | None:
    if period is None:
        return None
    values = period._mapping  # noqa: SLF001 - SQLAlchemy's public name for a row as a mapping
    count = values[f"{name}_count"]
    if not count:
        return None
    average = values[f"{name}_sum"] / count
    variance = max(0.0, values[f"{name}_squares"] / count - average * average)
    return Spread(int(values[f"{name}_min"]), average, int(values[f"{name}_max"]), math.sqrt(variance))
