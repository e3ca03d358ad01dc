"""The pages about the citizen's own account: devices, taking data along, complaints, help. No script needed."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.citizen.access_listing import SPANS
from gateway.citizen.access_pages import FORMATS
from gateway.citizen.accesses import months_before
from gateway.citizen.acting import session_for
from gateway.citizen.errors import InvalidRequest, NotLoggedIn
from gateway.citizen.sessions import Session
from gateway.citizen.texts import TEXTS
from gateway.citizen.web import CITIZEN, form_of, redirect, render, session_of

_MAX_COMPLAINT: Final = 4_000
_MAX_ABOUT: Final = 200
# The questions of the help page: `help_1_question` and `help_1_answer` in the catalogues, and so on.
_QUESTIONS: Final = tuple(number for number in range(1, 30) if f"help_{number}_question" in TEXTS)
routes: Final = web.RouteTableDef()


@routes.get("/devices")
async def devices(request: web.Request) -> web.Response:
    """The browsers and apps that this person logs in with."""
    session = await session_of(request)
    found = await request.app[CITIZEN].devices.of(_person(request, session))
    return render(
        request,
        "devices.html",
        session=session,
        active=[device for device in found if device.revoked_ms is None],
        revoked=[device for device in found if device.revoked_ms is not None],
    )


@routes.post("/devices/{device}/revoke")
async def revoke_device(request: web.Request) -> web.Response:
    """The device logs in no more; its sessions end, this one too if it is its own."""
    session = await session_of(request)
    await form_of(request, session)
    await request.app[CITIZEN].devices.revoke(_person(request, session), request.match_info["device"])
    return redirect("/devices")


@routes.get("/export")
async def export(request: web.Request) -> web.Response:
    """Everything that there is to take along, and as what."""
    session = await session_for(request)
    citizen = request.app[CITIZEN]
    return render(
        request,
        "export.html",
        session=session,
        months=months_before(citizen.context.clock.now()),
        spans=SPANS,
        formats=tuple(FORMATS),
        consents=await citizen.consents.of(session),
    )


@routes.get("/complaints")
async def complaints(request: web.Request) -> web.Response:
    """The citizen's complaints with the city's answers, and a form for a new one."""
    session = await session_of(request)
    found = await request.app[CITIZEN].complaints.of(_person(request, session))
    about = request.query.get("about", "")[:_MAX_ABOUT]
    return render(request, "complaints.html", session=session, complaints=found, about=about)


@routes.post("/complaints")
async def complain(request: web.Request) -> web.Response:
    """Takes a complaint."""
    session = await session_of(request)
    form = await form_of(request, session)
    text, about = form.get("text", "").strip(), form.get("about", "").strip()
    if not 0 < len(text) <= _MAX_COMPLAINT:
        raise InvalidRequest("text")
    if len(about) > _MAX_ABOUT:
        raise InvalidRequest("about")
    stated = {"access": about} if about else {}
    await request.app[CITIZEN].complaints.add(_person(request, session), text=text, about=stated)
    return redirect("/complaints")


@routes.get("/help")
async def help_page(request: web.Request) -> web.Response:
    """Questions and answers; readable before the login, too."""
    session: Session | None
    try:
        session = await session_of(request)
    except NotLoggedIn:
        session = None
    return render(request, "help.html", session=session, questions=_QUESTIONS)


def _person(request: web.Request, session: Session) -> str:
    return request.app[CITIZEN].context.person(session.issuer, session.subject)
