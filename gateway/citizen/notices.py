"""Notices: what a citizen is told of, in the order in which it happened. Kinds and facts; the sentences are `texts`'.

Written where it happens; read on the pages and over the API; told by e-mail and web push where the citizen chose so
(`notice_channels`, `notice_delivery`). One occasion gives one notice, however often it occurs: it is counted, so that
nobody is flooded. Facts are names and codes, other parties' texts among them: bounded here, escaped where shown.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.dialects import insert_into
from gateway.citizen import tables
from gateway.citizen.errors import UnknownThing
from gateway.clock import Clock

_KEPT: Final = 500
_MAX_FACT: Final = 300


class NoticeKind(StrEnum):
    """What may have happened."""

    NEW_DEVICE = "new_device"
    DEVICE_REVOKED = "device_revoked"
    SESSION_REFUSED = "session_refused"
    LINK_ADDED = "link_added"
    LINK_ENDED = "link_ended"
    NEW_INSTITUTION = "new_institution"
    ACCESS_REFUSED = "access_refused"
    CONSENT_REQUESTED = "consent_requested"
    CONSENT_EXPIRING = "consent_expiring"
    CONSENT_ENDED = "consent_ended"
    COMPLAINT_ANSWERED = "complaint_answered"
    REPRESENTED = "represented"


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice. `facts` are short texts: names and codes. `count`: how often it occurred."""

    id: str
    kind: NoticeKind
    facts: Mapping[str, str]
    at_ms: int
    read_ms: int | None
    count: int = 1


class Notices:
    """Writes and reads notices. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def add(self, person: str, kind: NoticeKind, facts: Mapping[str, str] | None = None) -> None:
        """Tells a person of something that occurs once; durable when it returns."""
        await self.notify(person, kind, occasion=str(uuid.uuid4()), facts=facts)

    async def notify(
        self, person: str, kind: NoticeKind, *, occasion: str, facts: Mapping[str, str] | None = None
    ) -> bool:
        """Tells a person of an occasion; durable when it returns. Whether it is news: else it is counted, no more.

        `person` is a pseudonym at the city. The channels that the person chose for the kind are due with it, in the
        same transaction. The oldest beyond the newest 500 go.
        """
        row, now_ms, identifier = tables.notice, self._clock.now_ms(), str(uuid.uuid4())
        bounded = {name: text[:_MAX_FACT] for name, text in (facts or {}).items()}
        values = {"id": identifier, "person": person, "kind": kind.value, "occasion": occasion[:_MAX_FACT]}
        async with self._engine.begin() as connection:
            inserted = await connection.execute(
                insert_into(row, self._engine.dialect)
                .values(**values, facts=bounded, count=1, at_ms=now_ms)
                .on_conflict_do_nothing()
            )
            if inserted.rowcount != 1:
                again = (row.c.person == person, row.c.kind == kind.value, row.c.occasion == values["occasion"])
                await connection.execute(update(row).where(*again).values(count=row.c.count + 1))
                return False
            await _make_due(connection, identifier, person, kind)
            await _forget_oldest(connection, person)
        return True

    async def of(self, person: str) -> tuple[Notice, ...]:
        """Everything that the person was told, newest first."""
        row = tables.notice
        query = select(row).where(row.c.person == person).order_by(row.c.at_ms.desc(), row.c.id)
        async with self._engine.connect() as connection:
            return tuple(notice_of(found) for found in (await connection.execute(query)).mappings())

    async def mark_read(self, person: str, identifier: str) -> Notice:
        """The person has read it. Raises UnknownThing, for another's too."""
        row = tables.notice
        async with self._engine.begin() as connection:
            await connection.execute(
                update(row)
                .where(row.c.id == identifier, row.c.person == person, row.c.read_ms.is_(None))
                .values(read_ms=self._clock.now_ms())
            )
            query = select(row).where(row.c.id == identifier, row.c.person == person)
            found = (await connection.execute(query)).mappings().one_or_none()
        if found is None:
            raise UnknownThing(identifier)
        return notice_of(found)

    async def mark_all_read(self, person: str) -> None:
        """The person has read everything that is there now."""
        row = tables.notice
        async with self._engine.begin() as connection:
            await connection.execute(
                update(row).where(row.c.person == person, row.c.read_ms.is_(None)).values(read_ms=self._clock.now_ms())
            )


async def _make_due(connection: AsyncConnection, notice: str, person: str, kind: NoticeKind) -> None:
    channel = tables.notice_channel
    query = select(channel.c.channel, channel.c.kinds).where(channel.c.person == person, channel.c.confirmed)
    for found in (await connection.execute(query)).all():
        if kind.value in found.kinds:
            await connection.execute(
                insert(tables.notice_delivery).values(notice=notice, channel=found.channel, person=person)
            )


async def _forget_oldest(connection: AsyncConnection, person: str) -> None:
    row = tables.notice
    newest = select(row.c.id).where(row.c.person == person).order_by(row.c.at_ms.desc(), row.c.id).limit(_KEPT)
    kept = (await connection.execute(newest)).scalars().all()
    if len(kept) == _KEPT:
        old = select(row.c.id).where(row.c.person == person, row.c.id.not_in(kept))
        # SQLite enforces foreign keys only when told to: don't lean on the cascade.
        await connection.execute(delete(tables.notice_delivery).where(tables.notice_delivery.c.notice.in_(old)))
        await connection.execute(delete(row).where(row.c.person == person, row.c.id.not_in(kept)))


def notice_of(row: RowMapping) -> Notice:
    """A row of the table as a value."""
    return Notice(row["id"], NoticeKind(row["kind"]), dict(row["facts"]), row["at_ms"], row["read_ms"], row["count"])
