"""Consents that institutions ask for: a request becomes a one-time link, the link a decision of the person meant.

After the Estonian consent service's `getConsentGroupReference`. The link opens for the one person only, once they are
logged in; it is spent with their decision, and a newer one takes its place. Whoever else tries it learns nothing, not
even that it exists.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.consent import REQUIRED_LEVEL, Consent, ConsentEvent, ConsentState, Declaration, EventState
from gateway.citizen.consent_errors import ConsentServiceError, ServiceError
from gateway.citizen.consent_store import ConsentStore
from gateway.citizen.consents import Consents
from gateway.citizen.context import CitizenContext
from gateway.citizen.declaration_store import Declarations
from gateway.citizen.declarations import Declared
from gateway.citizen.errors import ConsentConflict, LevelTooLow, UnknownThing
from gateway.citizen.notices import NoticeKind, Notices
from gateway.citizen.sessions import Session
from gateway.exchange.representation import Represented
from trust.identifiers import SubsystemId

_DAY_MS: Final = 86_400_000
_LINK_DAYS: Final = 7
_IN_FORCE: Final = (ConsentState.PENDING, ConsentState.VALID)


class Guardianship(Protocol):
    """Who may decide for whom, as the city registered it."""

    async def registered(self, person: str) -> Sequence[Represented]:
        """Everybody whom `person` (a pseudonym at the city) may or might once act for; `until_ms` says until when."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One consent of a request, with what was declared about it."""

    consent: Consent
    declared: Declared
    expires_ms: int


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """A request as its person sees it. `represented` is the child's name where a representative decides."""

    reference: str
    client: str
    callback: str
    asked: tuple[Asked, ...]
    represented: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class _Group:
    reference: str
    client: str
    opener: str
    person: str
    callback: str
    created_ms: int


class ConsentRequests:
    """Takes requests and decisions. Safe for concurrent use; several processes may share the database."""

    def __init__(self, context: CitizenContext, consents: Consents, guardianship: Guardianship | None = None) -> None:
        self._context = context
        self._engine: AsyncEngine = context.engine
        self._consents = consents
        self._store = ConsentStore(context.engine)
        self._declarations = Declarations(context.engine)
        self._notices = Notices(context.engine, context.clock)
        self._guardianship = guardianship

    # -- the institution asks --------------------------------------------------------------------------------------

    async def ask(
        self,
        client: SubsystemId,
        purposes: Sequence[str],
        *,
        client_subject: str,
        person: str,
        callback: str,
        opener: str | None = None,
    ) -> tuple[str, str]:
        """A request's reference and link; durable when it returns. Raises ConsentServiceError.

        `client_subject`: how the client names `person`. `opener`: who decides, if somebody represents them.
        """
        now_ms = self._context.clock.now_ms()
        declared = await self._declared(client, purposes, now_ms)
        await self._store.expire(now_ms=now_ms)
        names = tuple(declared)
        standing = await self._store.requested_by(client.encoded, person, names, _IN_FORCE)
        missing = [name for name in names if name not in {consent.purpose for consent in standing}]
        if not missing:
            raise ConsentServiceError(
                ServiceError.ALL_REQUESTED_CONSENTS_HAVE_ALREADY_BEEN_APPROVED, "nothing is left to decide"
            )
        group = _Group(str(uuid.uuid4()), client.encoded, opener or person, person, callback, now_ms)
        await self._keep(group, missing, now_ms)
        await self._ask_for(group, [declared[name] for name in missing], client_subject, now_ms)
        return group.reference, f"{self._context.settings.public_url}/consent-request?reference={group.reference}"

    async def _declared(self, client: SubsystemId, purposes: Sequence[str], now_ms: int) -> dict[str, Declared]:
        declared = await self._declarations.of_client(client, purposes)
        if set(declared) != set(purposes):
            # One answer for unknown and foreign declarations: nobody learns what others declared.
            raise ConsentServiceError(
                ServiceError.REQUESTED_CONSENTS_NOT_RELATED_TO_ANY_DECLARATIONS,
                "not every purpose is a declaration of this subsystem",
            )
        ended = sorted(name for name, one in declared.items() if not one.holds(now_ms))
        if ended:
            raise ConsentServiceError(ServiceError.REQUESTED_CONSENTS_RELATED_TO_INVALID_DECLARATIONS, ", ".join(ended))
        return declared

    async def _keep(self, group: _Group, purposes: Sequence[str], now_ms: int) -> None:
        values = {
            "reference": group.reference,
            "client": group.client,
            "opener": group.opener,
            "person": group.person,
            "callback": group.callback,
            "purposes": list(purposes),
            "created_ms": now_ms,
            "expires_ms": now_ms + _LINK_DAYS * _DAY_MS,
        }
        async with self._engine.begin() as connection:
            await connection.execute(insert(tables.consent_group).values(values))

    async def _ask_for(self, group: _Group, declared: Sequence[Declared], client_subject: str, now_ms: int) -> None:
        purposes = [one.purpose.id for one in declared]
        states = (ConsentState.REQUESTED,)
        open_ones = await self._store.requested_by(group.client, group.person, purposes, states)
        expires_ms = now_ms + _LINK_DAYS * _DAY_MS
        await self._store.regroup([consent.reference for consent in open_ones], group.reference, expires_ms=expires_ms)
        known = {consent.purpose: consent.reference for consent in open_ones}
        for one in declared:
            reference = known.get(one.purpose.id) or str(uuid.uuid4())
            if one.purpose.id not in known:
                consent = Consent(
                    reference=reference,
                    subject="",
                    purpose=one.purpose.id,
                    client=group.client,
                    service=one.service.service.encoded,
                    declaration=declaration_of(one, "de"),
                    state=ConsentState.REQUESTED,
                    given_ms=now_ms,
                    expires_ms=expires_ms,
                    sequence=0,
                    acknowledged=0,
                    events=(ConsentEvent(EventState.REQUESTED, now_ms),),
                    jws="",
                    client_subject=client_subject,
                    service_declaration=one.service.id,
                    group_reference=group.reference,
                )
                await self._consents.ask(consent, person=group.person)
            facts = {
                "institution": one.purpose.texts.recipient_name,
                "title": one.service.texts.name,
                "reference": reference,
            }
            await self._notices.notify(group.opener, NoticeKind.CONSENT_REQUESTED, occasion=reference, facts=facts)

    # -- the person decides ----------------------------------------------------------------------------------------

    async def open(self, session: Session, reference: str) -> ConsentRequest:
        """The request behind a link, for the person whom it is for. Raises UnknownThing for everybody else."""
        group = await self._group(session, reference)
        now_ms = self._context.clock.now_ms()
        await self._store.expire(now_ms=now_ms)
        asked = []
        for consent in await self._store.of_group(group.reference):
            declared = await self._declarations.declared(consent.purpose)
            if consent.state is ConsentState.REQUESTED and declared is not None and declared.holds(now_ms):
                asked.append(Asked(consent, declared, declared.latest_ms(now_ms)))
        if not asked:
            raise UnknownThing(reference)
        represented = await self._represented(session, group)
        name = "" if represented is None else represented.name
        return ConsentRequest(group.reference, group.client, group.callback, tuple(asked), name, group.created_ms)

    async def decide(
        self, session: Session, reference: str, approved: Collection[str], *, language: str
    ) -> ConsentRequest:
        """The decision about everything that the link asks for: `approved` (references) are given, the rest refused.

        The link is spent when it returns. Raises UnknownThing, LevelTooLow, ConsentConflict (decided already).
        """
        if session.level < REQUIRED_LEVEL:
            raise LevelTooLow(REQUIRED_LEVEL.word)
        request = await self.open(session, reference)
        for asked in request.asked:
            if asked.consent.reference in approved and session.level < asked.declared.service.required_level:
                # The provider would refuse what is asked for on it; refusing it is free to whoever opened the link.
                raise LevelTooLow(asked.declared.service.required_level.word)
        group = await self._group(session, reference)
        represented = await self._represented(session, group)
        issuer, subject, representative = session.issuer, session.subject, ""
        if represented is not None:
            issuer, subject = represented.issuer, represented.subject
            representative = self._context.person(session.own.issuer, session.own.subject)
        await self._spend(reference)
        for asked in request.asked:
            # Decided meanwhile by another link, or its declaration was withdrawn: that stands.
            with suppress(ConsentConflict):
                if asked.consent.reference not in approved:
                    await self._consents.refuse(asked.consent, representative=representative)
                    continue
                provider = asked.declared.service.provider.member
                await self._consents.approve(
                    asked.consent,
                    subject=self._context.pseudonym_at(provider, issuer, subject),
                    declaration=declaration_of(asked.declared, language),
                    expires_ms=asked.expires_ms,
                    level=session.level,
                    representative=representative,
                )
        return request

    async def waiting(self, session: Session) -> tuple[ConsentRequest, ...]:
        """The requests that this session's citizen may decide now, newest first."""
        row = tables.consent_group.c
        query = select(row.reference).where(*self._may_open(session)).order_by(row.created_ms.desc(), row.reference)
        async with self._engine.connect() as connection:
            references = (await connection.execute(query)).scalars().all()
        found = []
        for reference in references:
            # Withdrawn meanwhile, or asked anew under another link.
            with suppress(UnknownThing):
                found.append(await self.open(session, reference))
        return tuple(found)

    def _may_open(self, session: Session) -> tuple[ColumnElement[bool], ...]:
        """Unspent links for this citizen; while they act for somebody, those about that person."""
        row, now_ms = tables.consent_group.c, self._context.clock.now_ms()
        person = self._context.person(session.issuer, session.subject)
        own = self._context.person(session.own.issuer, session.own.subject)
        mine = [row.opener == own]
        if session.representing is not None:
            mine = [row.opener.in_((own, person)), row.person == person]
        return (*mine, row.spent_ms.is_(None), row.expires_ms > now_ms)

    async def _group(self, session: Session, reference: str) -> _Group:
        query = select(tables.consent_group).where(
            tables.consent_group.c.reference == reference, *self._may_open(session)
        )
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None:
            raise UnknownThing(reference)
        return _Group(found.reference, found.client, found.opener, found.person, found.callback, found.created_ms)

    async def _spend(self, reference: str) -> None:
        row = tables.consent_group.c
        async with self._engine.begin() as connection:
            spent = await connection.execute(
                update(tables.consent_group)
                .where(row.reference == reference, row.spent_ms.is_(None))
                .values(spent_ms=self._context.clock.now_ms())
            )
        if spent.rowcount != 1:
            raise ConsentConflict(reference)

    async def _represented(self, session: Session, group: _Group) -> Represented | None:
        """Whom the opener decides for; None for themselves. Raises UnknownThing if they may not any more."""
        if session.representing is not None:
            return session.representing
        if group.opener == group.person:
            return None
        known = () if self._guardianship is None else await self._guardianship.registered(group.opener)
        for one in known:
            current = one.until_ms is None or one.until_ms > self._context.clock.now_ms()
            if current and self._context.person(one.issuer, one.subject) == group.person:
                return one
        raise UnknownThing(group.reference)

    async def of_child(self, representative: str, client: SubsystemId, representee: str) -> str:
        """The child, as a pseudonym at the city, whom `client` knows as `representee` and `representative` has custody
        of. Raises ConsentServiceError."""
        known = () if self._guardianship is None else await self._guardianship.registered(representative)
        for one in known:
            if self._context.pseudonym_at(client.member, one.issuer, one.subject) != representee:
                continue
            if one.until_ms is not None and one.until_ms <= self._context.clock.now_ms():
                # Custody is registered until the child is of age.
                raise ConsentServiceError(ServiceError.REPRESENTED_PERSON_NOT_MINOR, "custody has ended")
            return self._context.person(one.issuer, one.subject)
        raise ConsentServiceError(ServiceError.RR_REPRESENTATION_ERROR, "no custody is registered")


def declaration_of(declared: Declared, language: str) -> Declaration:
    """What the citizen is shown, kept word for word with the consent."""
    service, purpose = declared.service, declared.purpose
    assert isinstance(service.service.provider, SubsystemId)
    return Declaration(
        language=language,
        provider_name=service.texts.processor_name or service.texts.controller_name or service.provider.encoded,
        recipient_name=purpose.texts.recipient_name,
        title=service.texts.name,
        provider_text=service.texts.description,
        purpose_text=purpose.texts.purpose(language),
        privacy_url=purpose.texts.privacy_url,
        legal_basis="",
        data_categories=service.texts.data_categories,
        recipient_service=purpose.texts.trade_name,
        controller_name=service.texts.controller_name,
        processor_name=service.texts.processor_name,
        extension_days=service.max_days if service.extension_allowed else 0,
        storage_location=purpose.texts.storage_location,
    )
