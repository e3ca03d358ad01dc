"""The pages of consents: what was decided, what is asked here or by an institution, and the files that prove it.

The link to the institution is one that the citizen follows or not: we send nobody anywhere. Everything that the
institution wrote is escaped by the template engine; its addresses were checked when it declared them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from gateway.citizen.access_pages import download
from gateway.citizen.accounts import ACCOUNTS
from gateway.citizen.acting import session_for
from gateway.citizen.calls import missing_level
from gateway.citizen.consent import REQUIRED_LEVEL, Consent
from gateway.citizen.errors import InvalidRequest
from gateway.citizen.sessions import Session
from gateway.citizen.web import CITIZEN, form_of, language_of, redirect, render

_MAX_REFERENCE: Final = 64
routes: Final = web.RouteTableDef()


@routes.get("/consents")
async def consents(request: web.Request) -> web.Response:
    """All of the citizen's decisions."""
    session = await session_for(request)
    decided = await request.app[CITIZEN].consents.of(session)
    return render(request, "consents.html", session=session, consents=decided)


@routes.get("/consents/new")
async def consent_question(request: web.Request) -> web.Response:
    """The decision: who gets what, what for, for how long."""
    session = await session_for(request)
    offered = (await request.app[CITIZEN].catalogues.current()).find(request.query.get("service", ""))
    step_up = missing_level(session, offered.declaration.identity_level)
    return render(request, "consent_new.html", session=session, service=offered, step_up=step_up, here=request.path_qs)


@routes.post("/consents")
async def consent_decision(request: web.Request) -> web.Response:
    """The citizen's answer: consent, or not."""
    citizen = request.app[CITIZEN]
    session = await session_for(request)
    form = await form_of(request, session)
    offered = (await citizen.catalogues.current()).find(form.get("service", ""))
    match form.get("decision"):
        case "give":
            consent = await citizen.consents.give(session, offered, language=language_of(request))
            return redirect(f"/consents#c-{consent.reference}")
        case "refuse":
            return redirect(f"/services/{offered.key}")
        case _:
            raise InvalidRequest("decision")


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


@routes.post("/consents/{reference}/withdraw")
async def withdrawn(request: web.Request) -> web.Response:
    """The citizen takes a consent back."""
    return await _changed(request, request.app[CITIZEN].consents.withdraw)


@routes.post("/consents/{reference}/extend")
async def extended(request: web.Request) -> web.Response:
    """The citizen lets a consent last longer."""
    return await _changed(request, request.app[CITIZEN].consents.extend)


async def _changed(request: web.Request, change: Callable[[Session, str], Awaitable[Consent]]) -> web.Response:
    session = await session_for(request)
    await form_of(request, session)
    consent = await change(session, request.match_info["reference"])
    return redirect(f"/consents#c-{consent.reference}")


@routes.get("/consents/{reference}/receipt")
async def consent_receipt(request: web.Request) -> web.Response:
    """The receipt of a decision, as a file to keep."""
    citizen = request.app[CITIZEN]
    session = await session_for(request)
    receipt = await citizen.consents.receipt(session, request.match_info["reference"])
    return download(receipt, f"consent-{receipt['dct:identifier']}.json", "application/ld+json")


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
