"""Consents in the database: each method one transaction, durable when it returns.

A state changes only from the state and sequence that the change was decided on; what another browser or process did
in between wins, and the change raises ConsentConflict or counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.citizen import tables
from gateway.citizen.consent import Consent, ConsentEvent, ConsentState, Declaration, EndReason, EventState, Transmitted
from gateway.citizen.errors import ConsentConflict, UnknownThing
from gateway.citizen.transmissions import Transmissions

_IN_FORCE = (ConsentState.PENDING.value, ConsentState.VALID.value)
_ENDING = (ConsentState.REQUESTED.value, *_IN_FORCE, ConsentState.WITHDRAWING.value)
# What the provider is to know: a consent, one that was extended, and the end of one.
_TOLD = (*_IN_FORCE, ConsentState.WITHDRAWING.value)


# SQLite and PostgreSQL take tens of thousands of values in one statement; a thousand is well below.
_CHUNK = 1000


class ConsentStore:
    """Reads and writes consents. Safe for concurrent use, from several processes too."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._transmissions = Transmissions(engine)

    async def add(self, consent: Consent, *, person: str, due_ms: int) -> None:
        """Keeps a new consent; it is due to be pushed by the background at `due_ms`.

        Raises ConsentConflict when one is in force for the purpose.
        """
        values = asdict(consent)
        # Kept in tables of their own.
        for name in ("events", "transmitted"):
            values.pop(name)
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

    async def find(self, reference: str) -> Consent | None:
        """One consent, whoever's. For the consent service, which checks who may know of it."""
        found = await self._load(select(tables.consent).where(tables.consent.c.reference == reference))
        return found[0] if found else None

    async def requested_by(
        self, client: str, person: str, purposes: Sequence[str], states: Sequence[ConsentState]
    ) -> tuple[Consent, ...]:
        """The person's consents for a recipient's purposes, in one of the states."""
        row = tables.consent.c
        mine = (row.client == client, row.person == person, row.purpose.in_(purposes))
        return await self._load(
            select(tables.consent).where(*mine, row.status.in_([s.value for s in states]), row.client_subject != "")
        )

    async def named_by(
        self, client: str, client_subject: str, purposes: Sequence[str], state: ConsentState
    ) -> tuple[Consent, ...]:
        """The consents for a recipient's purposes of whom it names so, in the state."""
        row = tables.consent.c
        named = (row.client == client, row.client_subject == client_subject, row.purpose.in_(purposes))
        return await self._load(select(tables.consent).where(*named, row.status == state.value))

    async def among(self, references: Sequence[str], *, client: str) -> tuple[Consent, ...]:
        """Those of the references that are consents asked for by the client."""
        row, found = tables.consent.c, list[Consent]()
        for start in range(0, len(references), _CHUNK):
            part = row.reference.in_(references[start : start + _CHUNK])
            found += await self._load(select(tables.consent).where(part, row.client == client))
        return tuple(found)

    async def of_group(self, reference: str) -> tuple[Consent, ...]:
        """What one link asks to decide."""
        query = select(tables.consent).where(tables.consent.c.group_reference == reference)
        return await self._load(query.order_by(tables.consent.c.purpose))

    async def regroup(self, references: Sequence[str], group: str, *, expires_ms: int) -> None:
        """Asks for consents that were asked for before under a new link; the old one shows them no longer."""
        row = tables.consent.c
        async with self._engine.begin() as connection:
            await connection.execute(
                update(tables.consent)
                .where(row.reference.in_(references), row.status == ConsentState.REQUESTED.value)
                .values(group_reference=group, expires_ms=expires_ms)
            )

    async def open_ones(self, where: ColumnElement[bool], *, limit: int = 1000) -> tuple[Consent, ...]:
        """Consents that are asked for or in force, and fit."""
        states = tables.consent.c.status.in_((ConsentState.REQUESTED.value, *_IN_FORCE))
        return await self._load(select(tables.consent).where(where, states).limit(limit))

    async def person_of(self, reference: str) -> str:
        """Whose consent it is, as a pseudonym at the city. Raises UnknownThing."""
        query = select(tables.consent.c.person).where(tables.consent.c.reference == reference)
        async with self._engine.connect() as connection:
            person = (await connection.execute(query)).scalar_one_or_none()
        if person is None:
            raise UnknownThing(reference)
        return str(person)

    async def expiring(self, *, now_ms: int, until_ms: int, limit: int) -> tuple[tuple[str, Consent], ...]:
        """Valid consents that end by `until_ms`, each with whose it is and not told of yet."""
        row, notice = tables.consent.c, tables.notice.c
        told = select(notice.id).where(
            notice.person == row.person, notice.kind == "consent_expiring", notice.occasion == row.reference
        )
        ending = (row.status == ConsentState.VALID.value, row.expires_ms > now_ms, row.expires_ms <= until_ms)
        query = select(tables.consent).where(*ending, ~told.exists()).order_by(row.expires_ms).limit(limit)
        async with self._engine.connect() as connection:
            persons = [found.person for found in (await connection.execute(query)).all()]
        return tuple(zip(persons, await self._load(query), strict=True))

    async def due(self, *, now_ms: int, limit: int) -> tuple[Consent, ...]:
        """Consents whose newest state the provider hasn't acknowledged and is to be told now."""
        row = tables.consent.c
        untold = (row.status.in_(_TOLD), row.acknowledged < row.sequence)
        query = select(tables.consent).where(*untold, row.next_push_ms <= now_ms)
        return await self._load(query.order_by(row.next_push_ms).limit(limit))

    async def withdraw(
        self, consent: Consent, *, jws: str, event: ConsentEvent, reason: EndReason, due_ms: int
    ) -> None:
        """Takes a consent back: from now on nothing is asked for on it.

        Raises ConsentConflict if it changed meanwhile.
        """
        values = {"status": ConsentState.WITHDRAWING.value, "reason": reason.value, "jws": jws}
        await self._change(consent, _IN_FORCE, event, values | {"attempts": 0, "next_push_ms": due_ms})

    async def give(self, consent: Consent, given: Consent, *, event: ConsentEvent, due_ms: int) -> None:
        """A consent that was asked for is given; `given` is what it becomes.

        Raises ConsentConflict if it changed meanwhile, or another one is in force for the purpose.
        """
        values = {
            "status": given.state.value,
            "subject": given.subject,
            "declaration": asdict(given.declaration),
            "given_ms": given.given_ms,
            "expires_ms": given.expires_ms,
            "representative": given.representative,
            "identity_level": given.identity_level,
            "jws": given.jws,
            "attempts": 0,
            "next_push_ms": due_ms,
        }
        try:
            await self._change(consent, (ConsentState.REQUESTED.value,), event, values)
        except IntegrityError:
            raise ConsentConflict(consent.purpose) from None

    async def decline(
        self, consent: Consent, *, event: ConsentEvent, reason: EndReason, representative: str = ""
    ) -> None:
        """A consent that was asked for is refused, or its declaration withdrawn: no provider ever knew of it."""
        state = ConsentState.WITHDRAWN if reason is EndReason.DECLARATION else ConsentState.DECLINED
        values = {"status": state.value, "reason": reason.value, "representative": representative}
        await self._change(consent, (ConsentState.REQUESTED.value,), event, values | {"acknowledged": 1})

    async def extend(self, consent: Consent, *, jws: str, event: ConsentEvent, expires_ms: int, due_ms: int) -> None:
        """A valid consent lasts longer. The provider's older copy holds until it has the new one."""
        values = {"jws": jws, "expires_ms": expires_ms, "attempts": 0, "next_push_ms": due_ms}
        await self._change(consent, (ConsentState.VALID.value,), event, values)

    async def _change(
        self, consent: Consent, states: Sequence[str], event: ConsentEvent, values: Mapping[str, Any]
    ) -> None:
        """From one of `states` and the very sequence that the change was decided on. Raises ConsentConflict."""
        row = tables.consent.c
        change = (
            update(tables.consent)
            .where(row.reference == consent.reference, row.sequence == consent.sequence, row.status.in_(states))
            .values(sequence=consent.sequence + 1, **values)
        )
        async with self._engine.begin() as connection:
            if (await connection.execute(change)).rowcount != 1:
                raise ConsentConflict(consent.reference)
            await _add_event(connection, consent.reference, len(consent.events), event)

    async def acknowledge(self, consent: Consent) -> None:
        """The provider has `consent.sequence`. Counts for nothing if the consent has moved on since."""
        row = tables.consent.c
        settled = {
            ConsentState.PENDING: ConsentState.VALID,
            ConsentState.VALID: ConsentState.VALID,
            ConsentState.WITHDRAWING: ConsentState.WITHDRAWN,
        }
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
            row.expires_ms <= now_ms, row.status.in_(_ENDING)
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
        transmitted = await self._transmissions.of(references) if references else {}
        return tuple(
            _consent(
                row, [e for e in events if e.reference == row.reference], transmitted.get(row.reference, Transmitted())
            )
            for row in rows
        )


async def _add_event(connection: AsyncConnection, reference: str, position: int, event: ConsentEvent) -> None:
    await connection.execute(
        insert(tables.consent_event).values(
            reference=reference,
            position=position,
            state=event.state.value,
            at_ms=event.at_ms,
            representative=event.representative,
        )
    )


def _consent(row: Row[Any], events: Sequence[Row[Any]], transmitted: Transmitted) -> Consent:
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
        events=tuple(ConsentEvent(EventState(event.state), event.at_ms, event.representative) for event in events),
        jws=row.jws,
        client_subject=row.client_subject,
        identity_level=row.identity_level,
        service_declaration=row.service_declaration,
        group_reference=row.group_reference,
        representative=row.representative,
        reason=EndReason(row.reason),
        transmitted=transmitted,
    )
