"""The consent service that institutions call over the road: the Estonian service's seven calls, and declarations.

    service code  path (PR-REST: what follows the code)             call
    consent       POST /api/consent                                 getConsentGroupReference
                  POST /api/consent/reference                       getConsentReferences
                  GET  /api/consent/validation/client               validateConsentForClient
                  GET  /api/consent/validation/dataprovider         validateConsentForDataProvider
                  POST /api/consent/representation                  getConsentGroupReferenceRepresentable
                  POST /api/consent/filter-by-status                postConsentFilterByStatus
                  PUT, GET, DELETE /api/declarations/service/<id>   a provider's service declaration
                  PUT, GET, DELETE /api/declarations/purpose/<id>   a recipient's purpose declaration
    reporting     POST /api/reporting/consent                       reportDataTransmission

"RIA Data Consent Service" 2.1, section 5.1. Who calls is the subsystem that the road has authenticated; each call
answers only about what is that subsystem's own. Persons are named by the pseudonym that the caller knows them by, in
place of the personal identification code.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from gateway.citizen.acquaintances import Acquaintances
from gateway.citizen.consent import Consent, ConsentState, ServiceStatus
from gateway.citizen.consent_errors import ConsentServiceError, ServiceError
from gateway.citizen.consent_parsing import (
    MAX_NAME,
    callback_of,
    id_code_of,
    invalid,
    moment_text,
    object_of,
    purposes_of,
    query_of,
    reference_of,
    require_fields,
    text_of,
)
from gateway.citizen.consent_requests import ConsentRequests
from gateway.citizen.consent_store import ConsentStore
from gateway.citizen.consents import Consents
from gateway.citizen.context import CitizenContext
from gateway.citizen.declaration_store import Declarations, DeclarationTaken
from gateway.citizen.declarations import (
    INVALID,
    VALID,
    DeclarationInvalid,
    parse_moment,
    parse_purpose_declaration,
    parse_service_declaration,
    purpose_document,
    service_document,
)
from gateway.citizen.notices import NoticeKind, Notices
from gateway.citizen.transmissions import Transmissions
from gateway.exchange.services import ServiceAnswer
from gateway.rate import RateLimit, TooManyAttempts
from trust.identifiers import SubsystemId, parse_service_id

CONSENT: Final = "consent"
REPORTING: Final = "reporting"
_MAX_REFERENCES: Final = 5_000
_CLOCK_SKEW_MS: Final = 300_000
_RELATIONS: Final = ("LAPS", "CHILD")
_VALID: Final = frozenset({ServiceStatus.APPROVED})
_INVALID: Final = frozenset({ServiceStatus.DECLINED, ServiceStatus.INAPPLICABLE, ServiceStatus.EXPIRED})
_FILTERS: Final[Mapping[str, frozenset[ServiceStatus]]] = {"VALID": _VALID, "INVALID": _INVALID}

_Call = Callable[["ConsentService", SubsystemId, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class ConsentService:
    """Answers institutions. Safe for concurrent use within one event loop; several processes may share the database."""

    def __init__(
        self,
        context: CitizenContext,
        consents: Consents,
        requests: ConsentRequests,
        acquaintances: Acquaintances,
        *,
        declarants: frozenset[SubsystemId],
    ) -> None:
        self._context = context
        self._consents = consents
        self._requests = requests
        self._acquaintances = acquaintances
        self._declarants = declarants
        self._store = ConsentStore(context.engine)
        self._declarations = Declarations(context.engine)
        self._notices = Notices(context.engine, context.clock)
        self._transmissions = Transmissions(context.engine)
        self._asked = RateLimit(burst=200, refill_ms=500)
        # One for each answer with data: as many as a provider may really have.
        self._reported = RateLimit(burst=1_000, refill_ms=20)

    async def answer(
        self, client: SubsystemId, code: str, method: str, path: str, *, query: str, body: bytes
    ) -> ServiceAnswer:
        """The answer to one verified request. `path` is raw, what follows the service code."""
        try:
            call, values = self._parse(client, code, method, path, query=query, body=body)
            return _json(200, "OK", await call(self, client, values))
        except ConsentServiceError as error:
            return _json(error.error.status, error.error.name, error.as_json())
        except DeclarationInvalid as error:
            refused = ConsentServiceError(ServiceError.VALIDATION, error.field)
        except DeclarationTaken:
            refused = ConsentServiceError(ServiceError.DECLARATION_EXISTS, "the identifier is taken")
        except TooManyAttempts:
            refused = ConsentServiceError(ServiceError.TOO_MANY_REQUESTS, "ask for less at once")
        return _json(refused.error.status, refused.error.name, refused.as_json())

    def _parse(
        self, client: SubsystemId, code: str, method: str, path: str, *, query: str, body: bytes
    ) -> tuple[_Call, Mapping[str, Any]]:
        segments = [unquote(segment) for segment in path.split("/")[1:]]
        if segments[:1] == ["api"]:
            segments = segments[1:]
        if code == CONSENT and len(segments) == 3 and segments[0] == "declarations":
            if client not in self._declarants:
                raise ConsentServiceError(ServiceError.DECLARATION_NOT_PERMITTED, "the city has not admitted you")
            declaration = _DECLARATION_CALLS.get((method, segments[1]))
            if declaration is None:
                raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such call")
            return declaration, {"id": segments[2], "document": object_of(body) if method == "PUT" else {}}
        call = _CALLS.get((code, method, "/".join(segments)))
        if call is None:
            raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such call")
        return call, object_of(body) if method == "POST" else query_of(query)

    # -- the seven calls -------------------------------------------------------------------------------------------

    async def group_reference(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """getConsentGroupReference."""
        require_fields(values, "idCode", "callback", "purposeDeclarationBusinessIdentifiers")
        id_code, callback, purposes = id_code_of(values, "idCode"), callback_of(values), purposes_of(values)
        self._asked.admit(client.encoded, now_ms=self._context.clock.now_ms())
        person = await self._person(client, id_code)
        reference, url = await self._requests.ask(
            client, purposes, client_subject=id_code, person=person, callback=callback
        )
        return {"consentGroupReference": reference, "url": url}

    async def group_reference_representable(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """getConsentGroupReferenceRepresentable."""
        names = ("representativeIdCode", "representeeIdCode", "relationType", "callback")
        require_fields(values, *names, "purposeDeclarationBusinessIdentifiers")
        relation = text_of(values, "relationType")
        if relation not in _RELATIONS:
            raise ConsentServiceError(ServiceError.RELATION_TYPE_INVALID, "relationType is LAPS or CHILD")
        representative, representee = (
            id_code_of(values, "representativeIdCode"),
            id_code_of(values, "representeeIdCode"),
        )
        callback, purposes = callback_of(values), purposes_of(values)
        self._asked.admit(client.encoded, now_ms=self._context.clock.now_ms())
        opener = await self._person(client, representative)
        person = await self._requests.of_child(opener, client, representee)
        reference, url = await self._requests.ask(
            client, purposes, client_subject=representee, person=person, callback=callback, opener=opener
        )
        return {"consentGroupReference": reference, "url": url}

    async def references(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """getConsentReferences."""
        require_fields(values, "idCode", "purposeDeclarationBusinessIdentifiers")
        id_code, purposes = id_code_of(values, "idCode"), purposes_of(values)
        await self._store.expire(now_ms=self._context.clock.now_ms())
        found = await self._store.named_by(client.encoded, id_code, purposes, ConsentState.VALID)
        if not found:
            raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no valid consent")
        return {consent.purpose: consent.reference for consent in found}

    async def validate_for_client(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """validateConsentForClient. `subject` is ours: how the provider knows the person, for the request itself."""
        consent = await self._valid(values, lambda found: found.client == client.encoded)
        return {
            "consentReference": consent.reference,
            "consentExpiration": moment_text(consent.expires_ms),
            "idCode": consent.client_subject,
            "purposeDeclarationId": consent.purpose,
            "subject": consent.subject,
        }

    async def validate_for_provider(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """validateConsentForDataProvider."""
        consent = await self._valid(values, lambda found: parse_service_id(found.service).provider == client)
        return {
            "consentReference": consent.reference,
            "consentExpiration": moment_text(consent.expires_ms),
            "idCode": consent.subject,
            "clientSubsystemIdentifier": consent.client,
            "serviceDeclarationId": consent.service_declaration or parse_service_id(consent.service).service_code,
        }

    async def filter_by_status(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """postConsentFilterByStatus."""
        require_fields(values, "consentStatus", "consentReferences")
        statuses, references = values.get("consentStatus"), values.get("consentReferences")
        if (
            not isinstance(statuses, list)
            or not statuses
            or not all(status in _FILTERS for status in map(str, statuses))
        ):
            raise invalid("consentStatus")
        if not isinstance(references, list) or not 0 < len(references) <= _MAX_REFERENCES:
            raise invalid("consentReferences")
        if not all(isinstance(reference, str) and len(reference) <= MAX_NAME for reference in references):
            raise invalid("consentReferences")
        wanted = frozenset().union(*(_FILTERS[status] for status in statuses))
        await self._store.expire(now_ms=self._context.clock.now_ms())
        found = {consent.reference: consent for consent in await self._store.among(references, client=client.encoded)}
        listed = (found[reference] for reference in dict.fromkeys(references) if reference in found)
        answer: dict[str, Any] = {
            "consent": [
                {
                    "consentReference": consent.reference,
                    "consentStatus": consent.service_status.value,
                    "consentExpiration": moment_text(consent.expires_ms),
                    "idCode": consent.client_subject,
                    "purposeDeclarationId": consent.purpose,
                }
                for consent in listed
                if consent.service_status in wanted
            ]
        }
        # One answer for an unknown and a foreign reference: nobody learns which exist.
        if unknown := [reference for reference in dict.fromkeys(references) if reference not in found]:
            answer["invalidConsents"] = unknown
        return answer

    async def report(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """reportDataTransmission. The same report again changes nothing."""
        require_fields(values, "transmissionTimestamp", "consentReference")
        at_ms, reference, now_ms = parse_moment(values.get("transmissionTimestamp")), reference_of(values), self._now_ms
        if at_ms is None or at_ms > now_ms + _CLOCK_SKEW_MS:
            raise invalid("transmissionTimestamp")
        consent = await self._store.find(reference)
        if consent is None or parse_service_id(consent.service).provider != client or not consent.subject:
            raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such consent of yours")
        if at_ms + _CLOCK_SKEW_MS < consent.given_ms:
            raise invalid("transmissionTimestamp")
        self._reported.admit(client.encoded, now_ms=now_ms)
        news = await self._transmissions.record(reference, at_ms=at_ms, now_ms=now_ms)
        if news and consent.client != self._context.settings.client.encoded:
            facts = {
                "institution": consent.declaration.recipient_name,
                "title": consent.declaration.title,
                "reference": reference,
            }
            person = await self._store.person_of(reference)
            await self._notices.notify(person, NoticeKind.NEW_INSTITUTION, occasion=consent.client, facts=facts)
        return {"response": "success"}

    # -- declarations ----------------------------------------------------------------------------------------------

    async def declare_service(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A provider declares one of its services."""
        declared = parse_service_declaration(values["document"], id_=values["id"], provider=client)
        await self._declarations.declare_service(declared, now_ms=self._now_ms)
        return {"id": declared.id, "status": declared.status}

    async def declare_purpose(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A recipient declares what it wants a declared service for."""
        declared = parse_purpose_declaration(values["document"], id_=values["id"], client=client)
        await self._declarations.declare_purpose(declared, now_ms=self._now_ms)
        return {"id": declared.id, "status": declared.status}

    async def service_declaration(self, _: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A service declaration, for whoever may declare purposes on it."""
        found = await self._declarations.service(values["id"])
        if found is None:
            raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such declaration")
        return {"id": found.id} | service_document(found) | _status(found.holds(self._now_ms))

    async def purpose_declaration(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """One of the recipient's own purpose declarations."""
        found = (await self._declarations.of_client(client, [values["id"]])).get(values["id"])
        if found is None:
            raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such declaration of yours")
        return {"id": found.purpose.id} | purpose_document(found.purpose) | _status(found.holds(self._now_ms))

    async def withdraw_service(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A service declaration becomes INVALID, with every purpose and consent on it."""
        if not await self._declarations.withdraw_service(values["id"], provider=client):
            raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such declaration of yours")
        ended = await self._consents.end_declared(service_declaration=values["id"])
        return {"id": values["id"], "status": "INVALID", "consentsEnded": ended}

    async def withdraw_purpose(self, client: SubsystemId, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A purpose declaration becomes INVALID, with every consent on it."""
        if not await self._declarations.withdraw_purpose(values["id"], client=client):
            raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such declaration of yours")
        ended = await self._consents.end_declared(purpose=values["id"], client=client.encoded)
        return {"id": values["id"], "status": "INVALID", "consentsEnded": ended}

    # -- helpers ---------------------------------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return self._context.clock.now_ms()

    async def _person(self, client: SubsystemId, id_code: str) -> str:
        person = await self._acquaintances.person(client.member, id_code)
        if person is None:
            raise ConsentServiceError(ServiceError.DATA_SUBJECT_ERROR, "nobody is known under this idCode")
        return person

    async def _valid(self, values: Mapping[str, Any], theirs: Callable[[Consent], bool]) -> Consent:
        require_fields(values, "consentReference")
        reference = reference_of(values)
        await self._store.expire(now_ms=self._now_ms)
        consent = await self._store.find(reference)
        if consent is None or not theirs(consent):
            raise ConsentServiceError(ServiceError.HTTP_NOT_FOUND, "no such consent of yours")
        if consent.service_status is not ServiceStatus.APPROVED:
            raise ConsentServiceError(ServiceError.CONSENT_VALIDATE_INVALID_STATUS, "the consent is not approved")
        return consent


_CALLS: Final[Mapping[tuple[str, str, str], _Call]] = {
    (CONSENT, "POST", "consent"): ConsentService.group_reference,
    (CONSENT, "POST", "consent/reference"): ConsentService.references,
    (CONSENT, "GET", "consent/validation/client"): ConsentService.validate_for_client,
    (CONSENT, "GET", "consent/validation/dataprovider"): ConsentService.validate_for_provider,
    (CONSENT, "POST", "consent/representation"): ConsentService.group_reference_representable,
    (CONSENT, "POST", "consent/filter-by-status"): ConsentService.filter_by_status,
    (REPORTING, "POST", "reporting/consent"): ConsentService.report,
}
_DECLARATION_CALLS: Final[Mapping[tuple[str, str], _Call]] = {
    ("PUT", "service"): ConsentService.declare_service,
    ("GET", "service"): ConsentService.service_declaration,
    ("DELETE", "service"): ConsentService.withdraw_service,
    ("PUT", "purpose"): ConsentService.declare_purpose,
    ("GET", "purpose"): ConsentService.purpose_declaration,
    ("DELETE", "purpose"): ConsentService.withdraw_purpose,
}


def _status(holds: bool) -> dict[str, str]:
    return {"status": VALID if holds else INVALID}


def _json(status: int, reason: str, document: Mapping[str, Any]) -> ServiceAnswer:
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = (("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store"))
    return ServiceAnswer(status, reason, headers, body)
