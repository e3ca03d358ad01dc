"""The citizen API, version 1: identity, services, calls, accesses. `openapi.yaml` says what each does.

Consents are in `api_consents`, the rest of the account (devices, links, notices, complaints, export) in `api_account`,
the ways by which notices go out in `api_notices`.
"""

from __future__ import annotations

import json
from typing import Final

from aiohttp import web

from gateway.citizen.access import Access
from gateway.citizen.accesses import load_accesses, months_before
from gateway.citizen.acting import verified_citizen
from gateway.citizen.api_account import operations as account_operations
from gateway.citizen.api_answers import answer, page
from gateway.citizen.api_consents import operations as consent_operations
from gateway.citizen.api_notices import operations as notice_operations
from gateway.citizen.api_operations import CONTRACT, Call, Operations
from gateway.citizen.calls import call_service
from gateway.citizen.contract import BASE
from gateway.citizen.documents import represented_json, service_json
from gateway.citizen.errors import IssuerDown
from gateway.citizen.login_pages import end_session_url

operations: Final = Operations()


async def _describe(request: web.Request) -> web.Response:
    """The document that all this is made of. Anybody may read it."""
    return answer(request, CONTRACT.document)


@operations.handles("whoAmI")
async def who_am_i(call: Call) -> web.Response:
    """Who is logged in, how surely, and with which device."""
    session = call.session
    device = await call.citizen.devices.find(call.person, session.device) if session.device else None
    return answer(
        call.request,
        {
            "name": session.name or None,
            "identityLevel": session.level.word,
            "tokenExpiresMs": session.token_expires_ms,
            "csrf": session.csrf or None,
            "device": None if device is None else device.id,
        },
    )


@operations.handles("endSession")
async def end_session(call: Call) -> web.Response:
    """Ends the browser's session, if it is one."""
    citizen = call.citizen
    if not call.session.csrf:
        return answer(call.request, {"endSessionUrl": None})
    await citizen.sessions.end(call.request.cookies.get(citizen.session_cookie, ""))
    try:
        target = await end_session_url(citizen, call.session)
    except IssuerDown:
        target = None
    ended = answer(call.request, {"endSessionUrl": target})
    ended.del_cookie(citizen.session_cookie, path="/", secure=citizen.context.settings.secure)
    return ended


@operations.handles("listRepresented")
async def list_represented(call: Call) -> web.Response:
    """Whom the citizen may act for."""
    found = await call.citizen.relations.of(await verified_citizen(call.citizen, call.session))
    return call.answer_page("represented", found, lambda one: (0, one.reference), represented_json)


@operations.handles("listServices")
async def list_services(call: Call) -> web.Response:
    """What is offered, with what each service is for and on what basis."""
    catalogue = await call.citizen.catalogues.current()
    counted: dict[str, int] = {}
    for service in catalogue.services:
        category = service.purpose.shown_category
        counted[category] = counted.get(category, 0) + 1
    wanted = call.query.get("category")
    offered = [service for service in catalogue.services if wanted in (None, service.purpose.shown_category)]
    # In the order in which the city declares them.
    numbered = list(enumerate(offered))
    listed, following = page(numbered, lambda one: (one[0], one[1].key), **call.paging)
    return answer(
        call.request,
        {
            "services": [service_json(service) for _, service in listed],
            "categories": [{"category": category, "services": count} for category, count in counted.items()],
            "unreachable": [provider.encoded for provider in catalogue.unreachable],
            "next": following,
        },
    )


@operations.handles("getService")
async def get_service(call: Call) -> web.Response:
    """One service."""
    catalogue = await call.citizen.catalogues.current()
    return answer(call.request, service_json(catalogue.find(call.path["key"])))


@operations.handles("callService")
async def call_one_service(call: Call) -> web.Response:
    """One exchange over the road."""
    document = call.body
    offered = (await call.citizen.catalogues.current()).find(document["service"])
    body = json.dumps(document["body"]).encode() if document.get("body") is not None else None
    found = await call_service(
        call.citizen,
        call.session,
        offered,
        document.get("method", "GET"),
        document.get("path", []),
        query=document.get("query", {}),
        body=body,
    )
    failure = found.failure
    return answer(
        call.request,
        {
            "status": found.status,
            "contentType": found.content_type,
            "body": found.data if found.data is not None else found.body.decode("utf-8", "replace"),
            "requestId": found.request_id,
            "receipt": found.receipt or None,
            "consumerReceipt": found.consumer_receipt or None,
            "failure": None
            if failure is None
            else {"code": failure.code, "message": failure.message, "detail": failure.detail},
        },
    )


@operations.handles("listAccesses")
async def list_accesses(call: Call) -> web.Response:
    """A month's accesses from every gateway, each log with its proofs."""
    month = call.query.get("month", months_before(call.citizen.context.clock.now())[0])
    view = await load_accesses(call.citizen, call.session, month)
    document = view.as_json()
    wanted = call.query.get("result")
    found = [one for one in view.accesses if wanted in (None, one.result)]
    listed, following = page(found, _place, **call.paging)
    document["accesses"] = [one.as_json() for one in listed]
    document["next"] = following
    if not call.query["proofs"]:
        for source in document["sources"]:
            del source["bundle"]
    return answer(call.request, document)


def _place(access: Access) -> tuple[int, str]:
    return -access.time_ms, f"{access.message_id}\0{access.key}"


_all: Final = Operations()
_all.take(operations)
_all.take(consent_operations)
_all.take(account_operations)
_all.take(notice_operations)
routes: Final = _all.routes(CONTRACT, documented=web.get(f"{BASE}/openapi.json", _describe))
