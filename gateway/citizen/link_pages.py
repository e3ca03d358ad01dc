"""The pages of linked accounts: what is linked, the steps to a link, and its end. No script needed."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.citizen.acting import session_for
from gateway.citizen.calls import call_service
from gateway.citizen.errors import InvalidRequest
from gateway.citizen.journeys import NextForm, same_form
from gateway.citizen.linking import (
    IDENTITY_ATTRIBUTES,
    Linkable,
    link_identity,
    linkable,
    linkables,
    required_level,
    step_of,
)
from gateway.citizen.pages import ActionResult, forms_after, result_of
from gateway.citizen.sessions import Session
from gateway.citizen.unlinking import end_link
from gateway.citizen.web import CITIZEN, form_of, language_of, redirect, render
from gateway.messages.headers import IdentityLevel

routes: Final = web.RouteTableDef()


@routes.get("/links")
async def links(request: web.Request) -> web.Response:
    """Which accounts are linked, and which could be."""
    session = await session_for(request)
    found = await linkables(request.app[CITIZEN], session)
    return render(request, "links.html", session=session, linkables=found)


@routes.get("/links/{key}")
async def way(request: web.Request) -> web.Response:
    """The first step to a link."""
    session = await session_for(request)
    return await _way(request, session, await linkable(request.app[CITIZEN], session, request.match_info["key"]))


@routes.post("/links/{key}/identity")
async def by_identity(request: web.Request) -> web.Response:
    """Links the authority to who the login proves the citizen to be."""
    citizen, session = request.app[CITIZEN], await session_for(request)
    await form_of(request, session)
    found = await linkable(citizen, session, request.match_info["key"])
    await link_identity(citizen, session, found.service)
    return redirect("/links")


@routes.post("/links/{key}/step/{action}")
async def step(request: web.Request) -> web.Response:
    """One step at the institution: done, the next form, or what went wrong."""
    citizen, session = request.app[CITIZEN], await session_for(request)
    form = await form_of(request, session)
    found = await linkable(citizen, session, request.match_info["key"])
    action = step_of(found.service, request.match_info["action"])
    try:
        call = action.build(form)
    except InvalidRequest as error:
        again = same_form(action, form, error.status)
        return await _way(request, session, found, following=again, failed_field=error.field, status=error.status)
    answer = await call_service(
        citizen, session, found.service, call.method, call.path, query=call.query, body=call.body
    )
    now = await linkable(citizen, session, found.service.key)
    if answer.good and now.link is not None and now.link.state == "linked":
        return redirect("/links")
    following = forms_after(found.service.purpose.journey, action, form, answer)
    result = result_of(action, answer, following, language_of(request))
    return await _way(request, session, now, result=result, following=following)


@routes.post("/links/{key}/end")
async def unlink(request: web.Request) -> web.Response:
    """The link is over, and the consents with it."""
    citizen, session = request.app[CITIZEN], await session_for(request)
    await form_of(request, session)
    found = await linkable(citizen, session, request.match_info["key"])
    if found.link is not None:
        await end_link(citizen, session, found.link.id)
    return redirect("/links")


async def _way(
    request: web.Request,
    session: Session,
    found: Linkable,
    *,
    result: ActionResult | None = None,
    following: tuple[NextForm, ...] = (),
    failed_field: str = "",
    status: int = 200,
) -> web.Response:
    service, citizen = found.service, request.app[CITIZEN]
    required = required_level(service)
    needs_consent = service.declaration.needs_consent
    return render(
        request,
        "link.html",
        session=session,
        status=status,
        here=f"/links/{service.key}",
        found=found,
        service=service,
        attributes=IDENTITY_ATTRIBUTES,
        step_up="" if session.level >= IdentityLevel.from_word(required) else required,
        consent_missing=needs_consent and await citizen.consents.usable(session, service.key) is None,
        result=result,
        forms=following or ((NextForm(found.first),) if found.first is not None else ()),
        failed_field=failed_field,
    )
