"""The page on which a citizen chooses for whom they act. Plain forms; no script needed.

The choice is kept with the session, sealed, and ends with it, with one click, or when the relation does. The forms here
are the representative's own, whomever they act for.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.citizen.acting import act_for, verified_citizen
from gateway.citizen.sessions import Chosen
from gateway.citizen.web import CITIZEN, form_of, redirect, render, session_of

_MAX_REFERENCE: Final = 128
routes: Final = web.RouteTableDef()


@routes.get("/representation")
async def choice(request: web.Request) -> web.Response:
    """Whom the citizen may act for."""
    citizen, session = request.app[CITIZEN], await session_of(request)
    found = await citizen.relations.of(await verified_citizen(citizen, session))
    return render(request, "representation.html", session=session, represented=found)


@routes.post("/representation")
async def choose(request: web.Request) -> web.Response:
    """From now on for this person. Refused for everybody whom nothing lets them act for."""
    citizen, session = request.app[CITIZEN], await session_of(request)
    form = await form_of(request, session)
    acting = await act_for(request, session, form.get("reference", "")[:_MAX_REFERENCE])
    assert acting.representing is not None
    chosen = Chosen(acting.representing.reference, acting.representing.name)
    await citizen.sessions.choose(request.cookies.get(citizen.session_cookie, ""), chosen)
    return redirect("/")


@routes.post("/representation/end")
async def end(request: web.Request) -> web.Response:
    """From now on for themselves."""
    citizen, session = request.app[CITIZEN], await session_of(request)
    await form_of(request, session)
    await citizen.sessions.choose(request.cookies.get(citizen.session_cookie, ""), None)
    return redirect("/")
