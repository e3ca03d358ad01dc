"""Consents in the database: each method one transaction, durable when it returns.

A state changes only from the state and sequence that the change was decided on; what another browser or process did
in between wins, and the change raises ConsentConflict or counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, Select, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.citizen import tables
from gateway.citizen.consent import Consent, ConsentEvent, ConsentState, Declaration, EventState
from gateway.citizen.errors import ConsentConflict, UnknownThing

_OPEN = (ConsentState.PENDING.value, ConsentState.VALID.value)
_UNTOLD = (ConsentState.PENDING.value, ConsentState.WITHDRAWING.value)


class ConsentStore:
    """Reads and writes consents. Safe for concurrent use, from several processes too."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, consent: Consent, *, person: str, due_ms: int) -> None:
        """Keeps a new consent; it is due to be pushed by the background at `due_ms`.

        Raises ConsentConflict when one is in force for the purpose.
        """
        values = asdict(consent)
        values.pop("events")
        values["status"] = values.pop("state")
        try:
            async with self._engine.begin() as connection:
                await connection.execute(
                    insert(tables.consent).values(**values, person=person, attempts=0, next_push_ms=due_ms)
                )
                for position, event in enumerate(consent.events):
                    await _add_event(connection, consent.reference, position, event)
        except IntegrityError:
            raise ConsentConflict(consent.purpose) from None

    async def of_person(self, person: str) -> tuple[Consent, ...]:
        """Everything that a person ever decided, newest first."""
        query = select(tables.consent).where(tables.consent.c.person == person)
        return await self._load(query.order_by(tables.consent.c.given_ms.desc(), tables.consent.c.reference))

    async def get(self, reference: str, *, person: str) -> Consent:
        """One consent of this person. Raises UnknownThing, for another's too."""
        row = tables.consent.c
        found = await self._load(select(tables.consent).where(row.reference == reference, row.person == person))
        if not found:
            raise UnknownThing(reference)
        return found[0]

    async def due(self, *, now_ms: int, limit: int) -> tuple[Consent, ...]:
        """Consents whose newest state the provider hasn't acknowledged and is to be told now."""
        row = tables.consent.c
        query = select(tables.consent).where(row.status.in_(_UNTOLD), row.next_push_ms <= now_ms)
        return await self._load(query.order_by(row.next_push_ms).limit(limit))

    async def withdraw(self, consent: Consent, *, jws: str, event: ConsentEvent, due_ms: int) -> None:
        """Takes a consent back: from now on nothing is asked for on it.

        Raises ConsentConflict if it changed meanwhile.
        """
        row = tables.consent.c
        change = (
            update(tables.consent)
            .where(row.reference == consent.reference, row.sequence == consent.sequence, row.status.in_(_OPEN))
            .values(
                status=ConsentState.WITHDRAWING.value,
                sequence=consent.sequence + 1,
                jws=jws,
                attempts=0,
                next_push_ms=due_ms,
            )
        )
        async with self._engine.begin() as connection:
            if (await connection.execute(change)).rowcount != 1:
                raise ConsentConflict(consent.reference)
            await _add_event(connection, consent.reference, len(consent.events), event)

    async def acknowledge(self, consent: Consent) -> None:
        """The provider has `consent.sequence`. Counts for nothing if the consent has moved on since."""
        row = tables.consent.c
        settled = {ConsentState.PENDING: ConsentState.VALID, ConsentState.WITHDRAWING: ConsentState.WITHDRAWN}
        async with self._engine.begin() as connection:
            await connection.execute(
                update(tables.consent)
                .where(
                    row.reference == consent.reference,
                    row.sequence == consent.sequence,
                    row.status == consent.state.value,
                )
                .values(status=settled[consent.state].value, acknowledged=consent.sequence)
            )

    async def postpone(self, consent: Consent, *, until_ms: int) -> None:
        """The provider wasn't reached: `consent` is due again at `until_ms`."""
        row = tables.consent.c
        async with self._engine.begin() as connection:
            await connection.execute(
                update(tables.consent)
                .where(row.reference == consent.reference, row.sequence == consent.sequence)
                .values(attempts=row.attempts + 1, next_push_ms=until_ms)
            )

    async def attempts(self, consent: Consent) -> int:
        """How often the newest state was pushed in vain."""
        query = select(tables.consent.c.attempts).where(tables.consent.c.reference == consent.reference)
        async with self._engine.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def expire(self, *, now_ms: int) -> None:
        """Ends what has run out.

        A withdrawal that never got through has taken effect: the provider's copy has lapsed.
        """
        row = tables.consent.c
        query = select(row.reference, row.status, row.expires_ms).where(
            row.expires_ms <= now_ms, or_(row.status.in_(_OPEN), row.status == ConsentState.WITHDRAWING.value)
        )
        async with self._engine.begin() as connection:
            for ended in (await connection.execute(query)).all():
                withdrawn = ended.status == ConsentState.WITHDRAWING.value
                state = ConsentState.WITHDRAWN if withdrawn else ConsentState.EXPIRED
                change = (
                    update(tables.consent)
                    .where(and_(row.reference == ended.reference, row.status == ended.status))
                    .values(status=state.value)
                )
                if (await connection.execute(change)).rowcount == 1:
                    count = select(func.count()).where(tables.consent_event.c.reference == ended.reference)
                    position = (await connection.execute(count)).scalar_one()
                    event = ConsentEvent(EventState.EXPIRED, ended.expires_ms)
                    await _add_event(connection, ended.reference, position, event)

    async def _load(self, query: Select[Any]) -> tuple[Consent, ...]:
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
            event = tables.consent_event.c
            references = [row.reference for row in rows]
            found = select(tables.consent_event).where(event.reference.in_(references))
            events = (await connection.execute(found.order_by(event.reference, event.position))).all()
        return tuple(_consent(row, [e for e in events if e.reference == row.reference]) for row in rows)


async def _add_event(connection: AsyncConnection, reference: str, position: int, event: ConsentEvent) -> None:
    await connection.execute(
        insert(tables.consent_event).values(
            reference=reference, position=position, state=event.state.value, at_ms=event.at_ms
        )
    )


def _consent(row: Row[Any], events: Sequence[Row[Any]]) -> Consent:
    declaration = dict(row.declaration)
    declaration["data_categories"] = tuple(declaration["data_categories"])
    return Consent(
        reference=row.reference,
        subject=row.subject,
        purpose=row.purpose,
        client=row.client,
        service=row.service,
        declaration=Declaration(**declaration),
        state=ConsentState(row.status),
        given_ms=row.given_ms,
        expires_ms=row.expires_ms,
        sequence=row.sequence,
        acknowledged=row.acknowledged,
        events=tuple(ConsentEvent(EventState(event.state), event.at_ms) for event in events),
        jws=row.jws,
    )
