"""The consent service: a citizen decides, the provider is told and acknowledges, in the background again and again if
need be.

DESIGN section 7. A consent becomes valid when the provider has acknowledged its signed copy. A withdrawal counts here
at once (nothing is asked for on it any more) and is confirmed when the provider has acknowledged it; until then the
citizen is told by when the provider's copy lapses by itself.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from gateway.citizen.catalogue import OfferedService
from gateway.citizen.consent import Consent, ConsentEvent, ConsentState, Declaration, EventState, sign_copy
from gateway.citizen.consent_store import ConsentStore
from gateway.citizen.context import CitizenContext
from gateway.citizen.errors import ConsentConflict, RoadDown
from gateway.citizen.road import RoadClient
from gateway.citizen.sessions import Session
from gateway.logging import describe_error, get_logger
from trust.identifiers import ServiceId, parse_service_id

PUSH: Final = "datenwegConsent"
CONTENT_TYPE: Final = "application/jose"
_DAY_MS: Final = 86_400_000
_FIRST_WAIT_MS: Final = 5_000
_LONGEST_WAIT_MS: Final = 600_000
_BATCH: Final = 50
_STOP_SECONDS: Final = 5
_log = get_logger()


class Consents:
    """Gives, finds and withdraws consents, and pushes them.

    Safe for concurrent use; several processes may share the database.
    """

    def __init__(self, context: CitizenContext, road: RoadClient) -> None:
        self._context = context
        self._road = road
        self._store = ConsentStore(context.engine)

    async def of(self, session: Session) -> tuple[Consent, ...]:
        """All of the citizen's consents, newest first."""
        await self._store.expire(now_ms=self._context.clock.now_ms())
        return await self._store.of_person(self._person(session))

    async def get(self, session: Session, reference: str) -> Consent:
        """One of the citizen's consents. Raises UnknownThing."""
        await self._store.expire(now_ms=self._context.clock.now_ms())
        return await self._store.get(reference, person=self._person(session))

    async def usable(self, session: Session, key: str) -> Consent | None:
        """The consent on which data may be asked for now for the purpose `key`, if there is one."""
        return next((c for c in await self.of(session) if c.purpose == key and c.usable), None)

    async def give(self, session: Session, service: OfferedService, *, language: str) -> Consent:
        """The citizen consents.

        Tried at once at the provider; the answer says whether it is valid yet. Raises ConsentConflict.
        """
        if not service.declaration.needs_consent:
            raise ConsentConflict(service.key)
        now_ms = self._context.clock.now_ms()
        await self._store.expire(now_ms=now_ms)
        purpose, settings = service.purpose, self._context.settings
        reference = str(uuid.uuid4())
        subject = self._context.pseudonym_at(purpose.service.provider.member, session.issuer, session.subject)
        expires_ms = now_ms + purpose.validity_days * _DAY_MS
        events = (ConsentEvent(EventState.REQUESTED, now_ms), ConsentEvent(EventState.GIVEN, now_ms))
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
            ),
            state=ConsentState.PENDING,
            given_ms=now_ms,
            expires_ms=expires_ms,
            sequence=1,
            acknowledged=0,
            events=events,
            jws=sign_copy(
                self._context.consent_key,
                reference=reference,
                client=settings.client.encoded,
                subject=subject,
                service=purpose.service.encoded,
                purpose=purpose.key,
                withdrawn=False,
                sequence=1,
                given_ms=now_ms,
                expires_ms=expires_ms,
                events=events,
            ),
        )
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
        if consent.state not in (ConsentState.PENDING, ConsentState.VALID):
            raise ConsentConflict(reference)
        now_ms = self._context.clock.now_ms()
        event = ConsentEvent(EventState.WITHDRAWN, now_ms)
        signed = sign_copy(
            self._context.consent_key,
            reference=consent.reference,
            client=consent.client,
            subject=consent.subject,
            service=consent.service,
            purpose=consent.purpose,
            withdrawn=True,
            sequence=consent.sequence + 1,
            given_ms=consent.given_ms,
            expires_ms=consent.expires_ms,
            events=(*consent.events, event),
        )
        await self._store.withdraw(consent, jws=signed, event=event, due_ms=now_ms + _FIRST_WAIT_MS)
        person = self._person(session)
        await self._push(await self._store.get(reference, person=person))
        return await self._store.get(reference, person=person)

    async def push_due(self) -> int:
        """Tells the providers what they haven't acknowledged and is due. Gives how many were tried."""
        now_ms = self._context.clock.now_ms()
        await self._store.expire(now_ms=now_ms)
        due = await self._store.due(now_ms=now_ms, limit=_BATCH)
        await asyncio.gather(*(self._push(consent) for consent in due))
        return len(due)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Within this block the background retries run. At its end the push under way gets a moment to finish."""
        stopping = asyncio.Event()
        task = asyncio.create_task(self._retry(stopping))
        try:
            yield
        finally:
            stopping.set()
            _, unfinished = await asyncio.wait({task}, timeout=_STOP_SECONDS)
            for late in unfinished:
                late.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _retry(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self.push_due()
            except Exception as error:  # noqa: BLE001 - the loop must go on
                # The loop must outlive a database that is away for a while; what failed is due again.
                _log.error("consent push failed", **describe_error(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._context.settings.push_interval_ms / 1000)

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
