"""The consent service: a citizen decides, the provider is told and acknowledges, in the background again and again if
need be.

DESIGN section 7; what institutions ask for is in `consent_requests`. A consent becomes valid when the provider has
acknowledged its signed copy. A withdrawal counts here at once (nothing is asked for on it any more) and is confirmed
when the provider has acknowledged it; until then the citizen is told by when the provider's copy lapses by itself.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import and_

from gateway.citizen import tables
from gateway.citizen.acquaintances import Acquaintances
from gateway.citizen.background import repeating
from gateway.citizen.catalogue import OfferedService
from gateway.citizen.consent import Consent, ConsentEvent, ConsentState, Declaration, EndReason, EventState, sign_copy
from gateway.citizen.consent_receipt import build_signed_receipt
from gateway.citizen.consent_store import ConsentStore
from gateway.citizen.context import CitizenContext
from gateway.citizen.declaration_store import Declarations
from gateway.citizen.errors import ConsentConflict, LevelTooLow, RoadDown, UnknownThing
from gateway.citizen.notices import NoticeKind, Notices
from gateway.citizen.road import RoadClient
from gateway.citizen.sessions import Session
from gateway.logging import get_logger
from gateway.messages.headers import IdentityLevel
from trust.identifiers import ServiceId, SubsystemId, parse_service_id

PUSH: Final = "datenwegConsent"
CONTENT_TYPE: Final = "application/jose"
_DAY_MS: Final = 86_400_000
_FIRST_WAIT_MS: Final = 5_000
_LONGEST_WAIT_MS: Final = 600_000
_BATCH: Final = 50
# A consent that ends within these days is told of.
_WARNING_DAYS: Final = 14
_log = get_logger()


class Consents:
    """Gives, finds and withdraws consents, and pushes them.

    Safe for concurrent use; several processes may share the database.
    """

    def __init__(self, context: CitizenContext, road: RoadClient) -> None:
        self._context = context
        self._road = road
        self._store = ConsentStore(context.engine)
        self._notices = Notices(context.engine, context.clock)
        self._declarations = Declarations(context.engine)
        self.acquaintances = Acquaintances(context.engine)

    async def of(self, session: Session) -> tuple[Consent, ...]:
        """All of the citizen's consents, newest first."""
        await self._store.expire(now_ms=self._context.clock.now_ms())
        return await self._store.of_person(self._person(session))

    async def get(self, session: Session, reference: str) -> Consent:
        """One of the citizen's consents. Raises UnknownThing."""
        await self._store.expire(now_ms=self._context.clock.now_ms())
        return await self._store.get(reference, person=self._person(session))

    async def introduce(self, session: Session, service: OfferedService) -> None:
        """The provider is about to know the citizen by their pseudonym there: it may then ask for consents by it."""
        member = service.purpose.service.provider.member
        subject = self._context.pseudonym_at(member, session.issuer, session.subject)
        await self.acquaintances.introduce(self._person(session), member, subject)

    async def usable(self, session: Session, key: str) -> Consent | None:
        """The consent on which data may be asked for now for the purpose `key`, if there is one."""
        own = self._context.settings.client.encoded
        # An institution's purpose may bear the same name as one of ours: it is for that institution alone.
        return next((c for c in await self.of(session) if c.client == own and c.purpose == key and c.usable), None)

    async def give(self, session: Session, service: OfferedService, *, language: str) -> Consent:
        """The citizen consents.

        Tried at once at the provider; the answer says whether it is valid yet. Raises ConsentConflict, LevelTooLow.
        """
        if not service.declaration.needs_consent:
            raise ConsentConflict(service.key)
        # Whoever opens the data must be as surely the person as whoever sees them; taking back needs any login.
        required = service.declaration.identity_level
        if session.level < IdentityLevel.from_word(required.value):
            raise LevelTooLow(required.value)
        now_ms = self._context.clock.now_ms()
        await self._store.expire(now_ms=now_ms)
        purpose, settings = service.purpose, self._context.settings
        reference = str(uuid.uuid4())
        subject = self._context.pseudonym_at(purpose.service.provider.member, session.issuer, session.subject)
        expires_ms = now_ms + purpose.validity_days * _DAY_MS
        representative = self._representative(session)
        given = ConsentEvent(EventState.GIVEN, now_ms, representative)
        events = (ConsentEvent(EventState.REQUESTED, now_ms), given)
        consent = Consent(
            reference=reference,
            subject=subject,
            purpose=purpose.key,
            client=settings.client.encoded,
            service=purpose.service.encoded,
            declaration=Declaration(
                language=language,
                provider_name=purpose.provider_name,
                recipient_name=settings.city_name,
                title=service.declaration.title(language),
                provider_text=service.declaration.purpose(language),
                purpose_text=purpose.text(language),
                privacy_url=purpose.privacy_url,
                legal_basis=service.declaration.legal_basis,
                data_categories=service.declaration.data_categories,
                extension_days=purpose.validity_days,
                storage_location=purpose.storage_location,
                identity_level=required.value,
            ),
            state=ConsentState.PENDING,
            given_ms=now_ms,
            expires_ms=expires_ms,
            sequence=1,
            acknowledged=0,
            events=events,
            jws="",
            representative=representative,
        )
        consent = replace(consent, jws=self._sign(consent))
        person = self._person(session)
        # Due a little later: this very call tries first, and the background only if it doesn't live to see the answer.
        await self._store.add(consent, person=person, due_ms=now_ms + _FIRST_WAIT_MS)
        await self._push(consent)
        return await self._store.get(reference, person=person)

    async def withdraw(self, session: Session, reference: str) -> Consent:
        """The citizen takes a consent back. Durable here when it returns; the answer says whether the provider knows.

        Raises UnknownThing, ConsentConflict (it has ended already).
        """
        consent = await self.get(session, reference)
        await self._end(consent, EndReason.CITIZEN, representative=self._representative(session))
        return await self._store.get(reference, person=self._person(session))

    async def withdraw_all_for(self, session: Session, provider: SubsystemId) -> int:
        """With a link go the consents to its provider's data, whoever's they are. How many there were."""
        ended = 0
        for consent in await self.of(session):
            theirs = parse_service_id(consent.service).provider == provider
            if not theirs or not (consent.in_force or consent.state is ConsentState.REQUESTED):
                continue
            # What changed in between was the citizen's own doing, in another window.
            with suppress(ConsentConflict):
                await self._end(consent, EndReason.UNLINKED, representative=self._representative(session))
                ended += 1
        return ended

    async def end_declared(self, *, service_declaration: str = "", purpose: str = "", client: str = "") -> int:
        """A declaration was withdrawn: so are the consents on it, at the providers, too. How many there were."""
        row = tables.consent.c
        if service_declaration:
            where = row.service_declaration == service_declaration
        else:
            where = and_(row.purpose == purpose, row.client == client, row.client_subject != "")
        ended = 0
        while consents := await self._store.open_ones(where):
            for consent in consents:
                with suppress(ConsentConflict):
                    await self._end(consent, EndReason.DECLARATION)
                    person = await self._store.person_of(consent.reference)
                    facts = {"title": consent.declaration.title, "reference": consent.reference}
                    await self._notices.notify(
                        person, NoticeKind.CONSENT_ENDED, occasion=consent.reference, facts=facts
                    )
                    ended += 1
        return ended

    async def _end(self, consent: Consent, reason: EndReason, *, representative: str = "") -> None:
        """Ends a consent. Durable here when it returns; tried at once at the provider. Raises ConsentConflict."""
        now_ms = self._context.clock.now_ms()
        withdrawn = EventState.TERMINATED if reason is EndReason.DECLARATION else EventState.WITHDRAWN
        if consent.state is ConsentState.REQUESTED:
            state = withdrawn if reason is EndReason.DECLARATION else EventState.REFUSED
            event = ConsentEvent(state, now_ms, representative)
            await self._store.decline(consent, event=event, reason=reason, representative=representative)
            return
        if not consent.in_force:
            raise ConsentConflict(consent.reference)
        event = ConsentEvent(withdrawn, now_ms, representative)
        after = replace(consent, sequence=consent.sequence + 1, events=(*consent.events, event))
        signed = self._sign(after, withdrawn=True)
        await self._store.withdraw(consent, jws=signed, event=event, reason=reason, due_ms=now_ms + _FIRST_WAIT_MS)
        await self._push_current(consent.reference)

    async def extend(self, session: Session, reference: str) -> Consent:
        """The citizen extends a valid consent by what its provider allows, from now on.

        Raises UnknownThing, LevelTooLow, ConsentConflict (it has ended, or may not be extended).
        """
        consent = await self.get(session, reference)
        if not consent.extendable or session.representing is not None:
            raise ConsentConflict(reference)
        now_ms = self._context.clock.now_ms()
        expires_ms = now_ms + consent.declaration.extension_days * _DAY_MS
        required = IdentityLevel.from_word(consent.declaration.identity_level)
        if consent.service_declaration:
            declared = await self._declarations.declared(consent.purpose)
            if declared is None or not declared.holds(now_ms) or not declared.service.extension_allowed:
                raise ConsentConflict(reference)
            required = declared.service.required_level
            expires_ms = declared.latest_ms(now_ms)
        if session.level < required:
            # As much is given away by it as by the decision itself.
            raise LevelTooLow(required.word)
        if expires_ms <= consent.expires_ms:
            raise ConsentConflict(reference)
        event = ConsentEvent(EventState.RENEWED, now_ms)
        after = replace(consent, sequence=consent.sequence + 1, expires_ms=expires_ms, events=(*consent.events, event))
        await self._store.extend(
            consent, jws=self._sign(after), event=event, expires_ms=expires_ms, due_ms=now_ms + _FIRST_WAIT_MS
        )
        await self._push_current(reference)
        return await self._store.get(reference, person=self._person(session))

    async def receipt(self, session: Session, reference: str) -> dict[str, Any]:
        """The signed receipt of one of the citizen's decisions. Raises UnknownThing."""
        return self.receipt_of(session, await self.get(session, reference))

    def receipt_of(self, session: Session, consent: Consent) -> dict[str, Any]:
        """The signed receipt of a consent of this session's person, with the names of both where somebody acts for
        them."""
        represented = session.representing
        mine = represented is not None and consent.representative == self._representative(session)
        return build_signed_receipt(
            consent,
            controller=self._context.settings.city_name,
            exercised_at=f"{self._context.settings.public_url}/consents#c-{consent.reference}",
            key=self._context.consent_key,
            represented="" if represented is None else represented.name,
            # Another representative's name is theirs: the pseudonym stands for them.
            representative=session.own.name if mine else "",
            role=represented.role if mine and represented is not None else "",
        )

    async def find_decided(self, reference: str) -> Consent:
        """What has become of a consent that a request of the same session just decided. Raises UnknownThing."""
        consent = await self._store.find(reference)
        if consent is None:
            raise UnknownThing(reference)
        return consent

    async def ask(self, consent: Consent, *, person: str) -> None:
        """An institution asks for a consent. Durable when it returns."""
        await self._store.add(consent, person=person, due_ms=0)

    async def approve(
        self,
        consent: Consent,
        *,
        subject: str,
        declaration: Declaration,
        expires_ms: int,
        level: IdentityLevel,
        representative: str = "",
    ) -> None:
        """What an institution asked for is given; tried at once at the provider. Raises ConsentConflict.

        `subject` is the person's pseudonym at the provider, `level` how surely who decided is identified.
        """
        now_ms = self._context.clock.now_ms()
        event = ConsentEvent(EventState.GIVEN, now_ms, representative)
        given = replace(
            consent,
            subject=subject,
            state=ConsentState.PENDING,
            declaration=declaration,
            given_ms=now_ms,
            expires_ms=expires_ms,
            sequence=consent.sequence + 1,
            events=(*consent.events, event),
            representative=representative,
            identity_level=level.word,
        )
        given = replace(given, jws=self._sign(given))
        await self._store.give(consent, given, event=event, due_ms=now_ms + _FIRST_WAIT_MS)
        await self._push_current(consent.reference)

    async def refuse(self, consent: Consent, *, representative: str = "") -> None:
        """What an institution asked for is refused. Raises ConsentConflict."""
        event = ConsentEvent(EventState.REFUSED, self._context.clock.now_ms(), representative)
        await self._store.decline(consent, event=event, reason=EndReason.CITIZEN, representative=representative)

    async def tell_of_expiring(self) -> int:
        """Tells of the consents that end soon, each once. How many."""
        now_ms = self._context.clock.now_ms()
        until_ms = now_ms + _WARNING_DAYS * _DAY_MS
        expiring = await self._store.expiring(now_ms=now_ms, until_ms=until_ms, limit=_BATCH)
        for person, consent in expiring:
            facts = {
                "title": consent.declaration.title,
                "institution": consent.declaration.recipient_name,
                "reference": consent.reference,
                "expires_ms": str(consent.expires_ms),
            }
            await self._notices.notify(person, NoticeKind.CONSENT_EXPIRING, occasion=consent.reference, facts=facts)
        return len(expiring)

    def _sign(self, consent: Consent, *, withdrawn: bool = False) -> str:
        return sign_copy(
            self._context.consent_key,
            reference=consent.reference,
            client=consent.client,
            subject=consent.subject,
            service=consent.service,
            purpose=consent.purpose,
            withdrawn=withdrawn,
            sequence=consent.sequence,
            given_ms=consent.given_ms,
            expires_ms=consent.expires_ms,
            events=consent.events,
            identity_level=consent.identity_level,
        )

    async def _push_current(self, reference: str) -> None:
        current = await self._store.find(reference)
        if current is not None:
            await self._push(current)

    async def push_due(self) -> int:
        """Tells the providers what they haven't acknowledged and is due. Gives how many were tried."""
        now_ms = self._context.clock.now_ms()
        await self._store.expire(now_ms=now_ms)
        due = await self._store.due(now_ms=now_ms, limit=_BATCH)
        await asyncio.gather(*(self._push(consent) for consent in due))
        return len(due)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Within this block the background retries run."""
        interval_ms = self._context.settings.push_interval_ms
        async with repeating(self._round, interval_ms=interval_ms, failure="consent push failed"):
            yield

    async def _round(self) -> None:
        await self.push_due()
        await self.tell_of_expiring()

    async def _push(self, consent: Consent) -> None:
        """One attempt to have the provider acknowledge the newest state."""
        service = ServiceId(parse_service_id(consent.service).provider, PUSH)
        try:
            answer = await self._road.call(
                "PUT", service, [consent.reference], body=consent.jws.encode(), content_type=CONTENT_TYPE
            )
            acknowledged = answer.good and answer.status in (200, 204)
            reason = answer.failure.code if answer.failure is not None else f"status {answer.status}"
        except RoadDown:
            acknowledged, reason = False, "road_unavailable"
        if acknowledged:
            await self._store.acknowledge(consent)
            return
        attempts = await self._store.attempts(consent)
        wait_ms = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS << min(attempts, 10))
        await self._store.postpone(consent, until_ms=self._context.clock.now_ms() + wait_ms)
        _log.warning("consent not acknowledged", sequence=consent.sequence, attempt=attempts + 1, reason=reason)

    def _person(self, session: Session) -> str:
        return self._context.person(session.issuer, session.subject)

    def _representative(self, session: Session) -> str:
        return "" if session.representing is None else self._person(session.own)
