"""The pages of a decision that an institution asks for, of extension, and the files that prove a decision.

The link to the institution is one that the citizen follows or not: we send nobody anywhere. Everything that the
institution wrote is escaped by the template engine; its addresses were checked when it declared them.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from gateway.citizen.accounts import ACCOUNTS
from gateway.citizen.acting import session_for
from gateway.citizen.consent import REQUIRED_LEVEL
from gateway.citizen.errors import InvalidRequest
from gateway.citizen.web import CITIZEN, form_of, language_of, redirect, render

_MAX_REFERENCE: Final = 64
routes: Final = web.RouteTableDef()


@routes.get("/consent-request")
async def asked(request: web.Request) -> web.Response:
    """Who asks for which data, what for, for how long: one choice for each."""
    session = await session_for(request)
    reference = request.query.get("reference", "")[:_MAX_REFERENCE]
    found = await request.app[ACCOUNTS].consent_requests.open(session, reference)
    return render(
        request,
        "consent_request.html",
        session=session,
        asked=found,
        here=f"/consent-request?reference={found.reference}",
        step_up="" if session.level >= REQUIRED_LEVEL else REQUIRED_LEVEL.word,
        days_until=lambda ms: max(1, round((ms - request.app[CITIZEN].context.clock.now_ms()) / 86_400_000)),
    )


@routes.post("/consent-request")
async def decided(request: web.Request) -> web.Response:
    """The decision. The link is spent with it."""
    session = await session_for(request)
    form = await form_of(request, session)
    requests, language = request.app[ACCOUNTS].consent_requests, language_of(request)
    reference = form.get("reference", "")[:_MAX_REFERENCE]
    opened = await requests.open(session, reference)
    choices = {one.consent.reference: form.get(f"decision-{one.consent.reference}") for one in opened.asked}
    if not set(choices.values()) <= {"give", "refuse"}:
        # A choice is missing: nothing is decided by omission.
        raise InvalidRequest("decision")
    approved = {chosen for chosen, decision in choices.items() if decision == "give"}
    done = await requests.decide(session, reference, approved, language=language)
    consents = [await request.app[CITIZEN].consents.find_decided(one.consent.reference) for one in done.asked]
    return render(
        request,
        "consent_decided.html",
        session=session,
        asked=done,
        consents=consents,
        host=urlsplit(done.callback).hostname or "",
        here="/consents",
    )


@routes.post("/consents/{reference}/extend")
async def extended(request: web.Request) -> web.Response:
    """The citizen lets a consent last longer."""
    session = await session_for(request)
    await form_of(request, session)
    consent = await request.app[CITIZEN].consents.extend(session, request.match_info["reference"])
    return redirect(f"/consents#c-{consent.reference}")


@routes.get("/consents/{reference}/receipt.jws")
async def signed_receipt(request: web.Request) -> web.Response:
    """The receipt's signature by itself: a compact JWS, which holds the receipt."""
    citizen = request.app[CITIZEN]
    session = await session_for(request)
    receipt = await citizen.consents.receipt(session, request.match_info["reference"])
    return web.Response(
        text=str(receipt["signature"]),
        content_type="application/jose",
        headers={"Content-Disposition": 'attachment; filename="consent-receipt.jws"'},
    )
