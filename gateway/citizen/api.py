"""The citizen API, version 1: the same as the pages, as JSON, for a citizen's own app.

Who calls is told by a bearer token of the issuer (an access token for the road's audience) or by the pages' session
cookie; with a cookie each change also needs the header X-CSRF-Token. Errors are problem details (RFC 9457).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.citizen.accesses import is_month, load_accesses, months_before
from gateway.citizen.calls import call_service
from gateway.citizen.catalogue import OfferedService
from gateway.citizen.consent import Consent
from gateway.citizen.consent_receipt import build_receipt
from gateway.citizen.errors import InvalidRequest, IssuerDown, NotLoggedIn
from gateway.citizen.sessions import Session
from gateway.citizen.web import CITIZEN, language_of, require_csrf, require_same_site, session_of
from gateway.exchange.citizen_tokens import CitizenTokenRefused, IssuerUnavailable
from gateway.messages.headers import IdentityLevel

routes: Final = web.RouteTableDef()
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_MAX_SEGMENTS: Final = 20
_MAX_TEXT: Final = 500


async def caller_of(request: web.Request) -> Session:
    """Who calls. Raises NotLoggedIn, FormRefused, IssuerDown."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        session = await session_of(request)
        if request.method not in ("GET", "HEAD"):
            require_same_site(request)
            require_csrf(session, request.headers.get("X-CSRF-Token", ""))
        return session
    try:
        citizen = await request.app[CITIZEN].tokens.verify(token.strip())
    except CitizenTokenRefused:
        raise NotLoggedIn("bearer") from None
    except IssuerUnavailable:
        raise IssuerDown("keys") from None
    if citizen.level is IdentityLevel.NONE:
        raise NotLoggedIn("identity level")
    expires_ms = int(citizen.expires.timestamp() * 1000)
    return Session(citizen.issuer, citizen.subject, "", citizen.level, token.strip(), expires_ms, "")


@routes.get("/api/v1/me")
async def me(request: web.Request) -> web.Response:
    """Who is logged in, and how surely."""
    session = await caller_of(request)
    return web.json_response(
        {
            "name": session.name or None,
            "identityLevel": session.level.word,
            "tokenExpiresMs": session.token_expires_ms,
            "csrf": session.csrf or None,
        }
    )


@routes.get("/api/v1/services")
async def services(request: web.Request) -> web.Response:
    """What is offered, with what each service is for and on what basis."""
    await caller_of(request)
    catalogue = await request.app[CITIZEN].catalogues.current()
    return web.json_response(
        {
            "services": [_service_json(service) for service in catalogue.services],
            "unreachable": [provider.encoded for provider in catalogue.unreachable],
        }
    )


@routes.get("/api/v1/consents")
async def consents(request: web.Request) -> web.Response:
    """All of the citizen's decisions, newest first."""
    session = await caller_of(request)
    decided = await request.app[CITIZEN].consents.of(session)
    return web.json_response({"consents": [_consent_json(consent) for consent in decided]})


@routes.post("/api/v1/consents")
async def give_consent(request: web.Request) -> web.Response:
    """`{"service": key}`. 201; the answer's `state` says whether the provider has acknowledged."""
    citizen = request.app[CITIZEN]
    session = await caller_of(request)
    body = await _object(request, {"service"})
    offered = (await citizen.catalogues.current()).find(_text(body, "service"))
    consent = await citizen.consents.give(session, offered, language=language_of(request))
    location = f"/api/v1/consents/{consent.reference}"
    return web.json_response(_consent_json(consent), status=201, headers={"Location": location})


@routes.get("/api/v1/consents/{reference}")
async def consent_by_reference(request: web.Request) -> web.Response:
    """One decision."""
    session = await caller_of(request)
    return web.json_response(
        _consent_json(await request.app[CITIZEN].consents.get(session, request.match_info["reference"]))
    )


@routes.post("/api/v1/consents/{reference}/withdrawal")
async def withdraw_consent(request: web.Request) -> web.Response:
    """200 when the provider has acknowledged, 202 when it hasn't yet: `lapsesMs` then says by when its copy ends by
    itself."""
    session = await caller_of(request)
    consent = await request.app[CITIZEN].consents.withdraw(session, request.match_info["reference"])
    return web.json_response(_consent_json(consent), status=200 if consent.provider_knows else 202)


@routes.get("/api/v1/consents/{reference}/receipt")
async def receipt(request: web.Request) -> web.Response:
    """The receipt of one decision, to keep."""
    citizen = request.app[CITIZEN]
    consent = await citizen.consents.get(await caller_of(request), request.match_info["reference"])
    document = build_receipt(consent, controller=citizen.context.settings.city_name)
    return web.json_response(document, content_type="application/ld+json")


@routes.post("/api/v1/calls")
async def calls(request: web.Request) -> web.Response:
    """`{"service", "method", "path": [segments], "query": {}, "body": any}`: one exchange over the road.

    200 whenever there was an exchange: `status` and `failure` say how it went, `requestId` and `receipt` where it is
    logged.
    """
    citizen = request.app[CITIZEN]
    session = await caller_of(request)
    document = await _object(request, {"service", "method", "path", "query", "body"})
    method, path, query = document.get("method", "GET"), document.get("path", []), document.get("query", {})
    if method not in _METHODS:
        raise InvalidRequest("method")
    if not isinstance(path, list) or len(path) > _MAX_SEGMENTS or not all(_is_text(segment) for segment in path):
        raise InvalidRequest("path")
    if not isinstance(query, dict) or not all(_is_text(value) for value in query.values()):
        raise InvalidRequest("query")
    offered = (await citizen.catalogues.current()).find(_text(document, "service"))
    body = json.dumps(document["body"]).encode() if document.get("body") is not None else None
    answer = await call_service(citizen, session, offered, method, path, query=query, body=body)
    failure = answer.failure
    return web.json_response(
        {
            "status": answer.status,
            "contentType": answer.content_type,
            "body": answer.data if answer.data is not None else answer.body.decode("utf-8", "replace"),
            "requestId": answer.request_id,
            "receipt": answer.receipt or None,
            "consumerReceipt": answer.consumer_receipt or None,
            "failure": None
            if failure is None
            else {"code": failure.code, "message": failure.message, "detail": failure.detail},
        }
    )


@routes.get("/api/v1/accesses")
async def accesses(request: web.Request) -> web.Response:
    """All accesses of `?month=2026-11` (default: this month), from every gateway, each with its log's proofs."""
    citizen = request.app[CITIZEN]
    session = await caller_of(request)
    month = request.query.get("month", months_before(citizen.context.clock.now())[0])
    if not is_month(month):
        raise InvalidRequest("month")
    return web.json_response((await load_accesses(citizen, session, month)).as_json())


def _service_json(service: OfferedService) -> dict[str, Any]:
    purpose, declaration = service.purpose, service.declaration
    return {
        "key": service.key,
        "service": purpose.service.encoded,
        "provider": {"id": purpose.service.provider.encoded, "name": purpose.provider_name},
        "title": {"de": declaration.title("de"), "en": declaration.title("en")},
        "providerPurpose": {"de": declaration.purpose("de"), "en": declaration.purpose("en")},
        "purpose": {"de": purpose.text("de"), "en": purpose.text("en")},
        "legalBasis": {"kind": declaration.legal_basis_kind.value, "text": declaration.legal_basis},
        "dataCategories": list(declaration.data_categories),
        "identityLevel": declaration.identity_level.value,
        "enabled": declaration.enabled,
        "validityDays": purpose.validity_days if declaration.needs_consent else None,
    }


def _consent_json(consent: Consent) -> dict[str, Any]:
    return {
        "reference": consent.reference,
        "purpose": consent.purpose,
        "service": consent.service,
        "client": consent.client,
        "state": consent.state.value,
        "acknowledged": consent.provider_knows,
        "givenMs": consent.given_ms,
        "expiresMs": consent.expires_ms,
        "lapsesMs": None if consent.provider_knows else consent.expires_ms,
        "events": [{"state": event.state.value, "atMs": event.at_ms} for event in consent.events],
    }


async def _object(request: web.Request, known: set[str]) -> Mapping[str, Any]:
    try:
        document = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise InvalidRequest("body") from None
    if not isinstance(document, dict) or not set(document) <= known:
        raise InvalidRequest("body")
    return document


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not _is_text(value):
        raise InvalidRequest(name)
    return value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT
