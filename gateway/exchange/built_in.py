"""The gateway's own services, answered in place of an adapter. They go the whole way of a message, like any other.

PUT datenwegConsent/<reference>      a signed consent copy, taken before it is acknowledged
*   consent/…, reporting/…           the consent service, where citizens decide (`gateway.citizen.consent_service`)
GET datenwegAccesses?month=2026-11   one person's accesses in this gateway's log, with proofs
GET findUsage/v2/findUsage           the Data Tracker's interface (`data_tracker`), and its older form over SOAP
GET datenwegServices                 what the calling client may use here, and on what basis

The metaservices are in `metaservices`.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs

from sqlalchemy.exc import SQLAlchemyError

from audit.errors import AuditError
from gateway.exchange import metaservices
from gateway.exchange.consents import MAX_JWS_BYTES, ConsentRefused, parse_consent, verify_consent
from gateway.exchange.data_tracker import answer_data_tracker, answer_data_tracker_soap
from gateway.exchange.directory import BuiltIn, Offer
from gateway.exchange.node import Node
from gateway.exchange.services import ServiceAnswer
from gateway.exchange.state import VerifiedRequest, VerifiedSOAPRequest
from gateway.logging import describe_error
from gateway.messages.faults import Fault
from gateway.messages.soap_request import SOAPParts
from gateway.monitoring.answers import answer_monitoring
from gateway.store.errors import ConsentConflict, StaleConsent
from gateway.store.model import ConsentCopy, Service
from trust.errors import TrustError
from trust.identifiers import SubsystemId

_SIZE: Final = re.compile(r"\d{1,16}", re.ASCII)
_MONTH: Final = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")
_JSON: Final = ("Content-Type", "application/json; charset=utf-8")


async def answer(node: Node, verified: VerifiedRequest, offer: Offer) -> ServiceAnswer:
    """The built-in service's answer. Raises Fault `server.serverproxy.invalid_request` and others."""
    match offer.built_in:
        case BuiltIn.CONSENT:
            return await _take_consent(node, verified)
        case BuiltIn.ACCESSES:
            return await _accesses(node, verified)
        case BuiltIn.SERVICES:
            return _services(node, verified)
        case BuiltIn.CONSENT_SERVICE | BuiltIn.REPORTING:
            return await _consent_service(node, verified, offer.built_in)
        case BuiltIn.FIND_USAGE:
            return await answer_data_tracker(node, verified)
        case BuiltIn.LIST_METHODS | BuiltIn.ALLOWED_METHODS | BuiltIn.GET_OPENAPI | BuiltIn.GET_WSDL:
            return await metaservices.answer_rest(node, verified, offer)
        case BuiltIn.OPERATIONAL_DATA | BuiltIn.HEALTH_DATA | BuiltIn.METRICS:
            raise Fault("server.serverproxy.service_type", str(verified.request.service))
        case None:
            raise Fault("server.serverproxy.internal_error", "no built-in service")


async def answer_soap(node: Node, verified: VerifiedSOAPRequest, offer: Offer) -> SOAPParts:
    """As `answer`, over SOAP: a message made by `messages.soap_answer.build_soap_answer`.

    Raises Fault, `server.serverproxy.service_type` for a service that speaks REST only.
    """
    match offer.built_in:
        case BuiltIn.OPERATIONAL_DATA | BuiltIn.HEALTH_DATA | BuiltIn.METRICS:
            return await answer_monitoring(node, verified, offer.built_in)
        case BuiltIn.LIST_METHODS | BuiltIn.ALLOWED_METHODS | BuiltIn.GET_OPENAPI | BuiltIn.GET_WSDL:
            return await metaservices.answer_soap(node, verified, offer)
        case BuiltIn.FIND_USAGE:
            return await answer_data_tracker_soap(node, verified)
        case _:
            raise Fault("server.serverproxy.service_type", str(verified.request.service))


def _invalid(reason: str) -> Fault:
    return Fault("server.serverproxy.invalid_request", reason)


# -- consent copies --------------------------------------------------------------------------------------------------


async def _take_consent(node: Node, verified: VerifiedRequest) -> ServiceAnswer:
    """204 once the copy is durable and in force. An older state than ours is 409: the sender is behind."""
    request = verified.request
    if request.method != "PUT" or not isinstance(verified.body, bytes) or len(verified.body) > MAX_JWS_BYTES:
        raise _invalid("PUT a consent of at most 32 KiB")
    if not isinstance(request.client, SubsystemId):
        raise _invalid("a consent is sent by a subsystem")
    try:
        copy = replace(await _verified_consent(node, verified, verified.body), authority=request.client)
    except ConsentRefused as refused:
        raise _invalid(refused.reason) from None
    if request.service_path != f"/{copy.reference}" or copy.service.provider != request.service.provider:
        raise _invalid("the consent is not the one that the path names")
    try:
        await node.repository.upsert_consent_copy(copy)
    except StaleConsent:
        return ServiceAnswer(409, "Conflict", (), b"")
    except ConsentConflict:
        raise _invalid("the reference is another consent's") from None
    except SQLAlchemyError as error:
        node.log.error("consent copy not stored", **describe_error(error))
        raise Fault("server.serverproxy.database_error") from None
    node.consents.put(copy)
    return ServiceAnswer(204, "No Content", (), b"")


async def _consent_service(node: Node, verified: VerifiedRequest, built_in: BuiltIn) -> ServiceAnswer:
    """What the consent service answers the institution; not reached: a fault of ours."""
    request = verified.request
    if node.consent_service is None or not isinstance(request.client, SubsystemId):
        raise Fault("server.serverproxy.internal_error", "no consent service")
    if not isinstance(verified.body, bytes):
        raise _invalid("a body that large is no call of the consent service")
    try:
        return await node.consent_service.answer(
            request.client,
            built_in.value,
            request.method,
            request.service_path,
            query=request.query or "",
            body=verified.body,
        )
    except SQLAlchemyError as error:
        node.log.error("consents not readable", **describe_error(error))
        raise Fault("server.serverproxy.database_error") from None


async def _verified_consent(node: Node, verified: VerifiedRequest, body: bytes) -> ConsentCopy:
    """The consent, signed with a good signing certificate of the very member that sent it, an accepted authority."""
    unverified = parse_consent(body)
    trusted, at = node.trust.latest, node.clock.now()
    try:
        query = trusted.certificates.status_query(unverified.certificate, at=at)
        status = await node.statuses.status_for(query)
        signer = trusted.certificates.verify_signing(unverified.certificate, ocsp_response=status, at=at)
    except TrustError:
        raise ConsentRefused("the consent's certificate does not hold") from None
    if signer.member is None or signer.member != verified.request.client.member:
        raise ConsentRefused("the consent is signed by another member than the one that sends it")
    if signer.member not in node.consent_authorities:
        raise ConsentRefused("the signer may not attest consents here")
    return verify_consent(unverified, signer.certificate)


# -- accesses --------------------------------------------------------------------------------------------------------


async def _accesses(node: Node, verified: VerifiedRequest) -> ServiceAnswer:
    request = verified.request
    if request.method != "GET":
        raise _invalid("GET the accesses of a month")
    if len(request.fields.subjects) != 1:
        raise Fault("server.serverproxy.subject_required", "exactly one person")
    query = parse_qs(request.query or "", max_num_fields=8)
    months, seen = query.get("month", []), query.get("seen", ["0"])
    if len(months) != 1 or not _MONTH.fullmatch(months[0]):
        raise _invalid("month is YYYY-MM")
    if len(seen) != 1 or not _SIZE.fullmatch(seen[0]):
        raise _invalid("seen is the log's size at an earlier visit")
    try:
        bundle = await node.accesses.read(request.fields.subjects[0], months[0], seen=int(seen[0]))
    except (AuditError, SQLAlchemyError) as error:
        node.log.error("access log not readable", **describe_error(error))
        raise Fault("server.serverproxy.database_error") from None
    return ServiceAnswer(200, "OK", (_JSON, ("Cache-Control", "no-store")), bundle)


# -- services --------------------------------------------------------------------------------------------------------


def _services(node: Node, verified: VerifiedRequest) -> ServiceAnswer:
    request = verified.request
    groups = node.trust.latest.configuration.groups_of(request.client)
    provider = request.service.provider
    subjects = node.directory.subjects_of(request.client, groups, provider)
    usable = [offer for offer in node.directory.services_of(provider) if offer.opened_to(subjects)]
    listed = [_described(offer.registered) for offer in usable if offer.registered is not None]
    body = json.dumps({"services": listed}, ensure_ascii=False, separators=(",", ":")).encode()
    return ServiceAnswer(200, "OK", (_JSON,), body)


def _described(service: Service) -> dict[str, Any]:
    return {
        "code": service.code,
        "service_type": service.service_type.value,
        "enabled": service.enabled,
        "title_de": service.title_de,
        "title_en": service.title_en,
        "purpose_de": service.purpose_de,
        "purpose_en": service.purpose_en,
        "legal_basis_kind": service.legal_basis_kind.value,
        "legal_basis": service.legal_basis,
        "data_categories": list(service.data_categories),
        "identity_level": service.identity_level.value,
    }
