"""The citizen API's consents: given, asked for by institutions, extended, taken back, with their receipts."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.citizen.accounts import ACCOUNTS
from gateway.citizen.api_answers import answer
from gateway.citizen.api_operations import Call, Operations
from gateway.citizen.contract import BASE
from gateway.citizen.documents import consent_json, consent_request_json
from gateway.citizen.errors import InvalidRequest
from gateway.citizen.web import language_of

operations: Final = Operations()


@operations.handles("listConsents")
async def list_consents(call: Call) -> web.Response:
    """All of the citizen's decisions."""
    decided = await call.citizen.consents.of(call.session)
    return call.answer_page("consents", decided, lambda one: (-one.given_ms, one.reference), consent_json)


@operations.handles("giveConsent")
async def give_consent(call: Call) -> web.Response:
    """The citizen consents."""
    offered = (await call.citizen.catalogues.current()).find(call.body["service"])
    consent = await call.citizen.consents.give(call.session, offered, language=language_of(call.request))
    location = f"{BASE}/consents/{consent.reference}"
    return answer(call.request, consent_json(consent), status=201, headers={"Location": location})


@operations.handles("getConsent")
async def get_consent(call: Call) -> web.Response:
    """One decision."""
    return answer(call.request, consent_json(await call.citizen.consents.get(call.session, call.path["reference"])))


@operations.handles("withdrawConsent")
async def withdraw_consent(call: Call) -> web.Response:
    """The citizen takes a consent back: 200 when the provider has acknowledged, 202 when it hasn't yet."""
    consent = await call.citizen.consents.withdraw(call.session, call.path["reference"])
    return answer(call.request, consent_json(consent), status=200 if consent.provider_knows else 202)


@operations.handles("getReceipt")
async def get_receipt(call: Call) -> web.Response:
    """The receipt of one decision, to keep."""
    document = await call.citizen.consents.receipt(call.session, call.path["reference"])
    return answer(call.request, document, content_type="application/ld+json")


@operations.handles("extendConsent")
async def extend_consent(call: Call) -> web.Response:
    """The citizen lets a consent last longer: 200 when the provider has acknowledged, 202 when it hasn't yet."""
    consent = await call.citizen.consents.extend(call.session, call.path["reference"])
    return answer(call.request, consent_json(consent), status=200 if consent.provider_knows else 202)


@operations.handles("listConsentRequests")
async def list_consent_requests(call: Call) -> web.Response:
    """What institutions ask for."""
    waiting = await call.request.app[ACCOUNTS].consent_requests.waiting(call.session)
    return call.answer_page("requests", waiting, lambda one: (-one.created_ms, one.reference), consent_request_json)


@operations.handles("getConsentRequest")
async def get_consent_request(call: Call) -> web.Response:
    """One request."""
    found = await call.request.app[ACCOUNTS].consent_requests.open(call.session, call.path["reference"])
    return answer(call.request, consent_request_json(found))


@operations.handles("decideConsentRequest")
async def decide_consent_request(call: Call) -> web.Response:
    """The decision about everything that is asked."""
    requests, reference = call.request.app[ACCOUNTS].consent_requests, call.path["reference"]
    opened = await requests.open(call.session, reference)
    approved, refused = call.body["approved"], call.body["refused"]
    if sorted([*approved, *refused]) != sorted(one.consent.reference for one in opened.asked):
        # Each exactly once: nothing is decided by omission.
        raise InvalidRequest("approved")
    done = await requests.decide(call.session, reference, set(approved), language=language_of(call.request))
    consents = [await call.citizen.consents.find_decided(one.consent.reference) for one in done.asked]
    return answer(call.request, {"consents": [consent_json(one) for one in consents], "callback": done.callback})
