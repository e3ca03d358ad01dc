"""Login, logout and the choice of language: the pages that need no session."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.citizen.errors import InvalidRequest, IssuerDown, NotLoggedIn, UnknownThing
from gateway.citizen.login import CALLBACK
from gateway.citizen.texts import LANGUAGES
from gateway.citizen.web import CITIZEN, Citizen, form_of, language_of, local_path, redirect, session_of, set_language
from gateway.messages.headers import IdentityLevel

routes: Final = web.RouteTableDef()
_LOGIN_COOKIE: Final = "datenweg_login"
_LEVELS: Final = tuple(level.word for level in IdentityLevel if level is not IdentityLevel.NONE)


@routes.get("/login")
async def login(request: web.Request) -> web.Response:
    """Sends the browser to the issuer; `level` asks for at least that level."""
    citizen = request.app[CITIZEN]
    _count(citizen, request)
    level = request.query.get("level")
    if level is not None and level not in _LEVELS:
        raise InvalidRequest("level")
    begun = await citizen.logins.begin(
        return_to=local_path(request.query.get("return_to", "/")),
        level=" ".join(_LEVELS[_LEVELS.index(level) :]) if level is not None else None,
        language=language_of(request),
    )
    answer = redirect(begun.redirect)
    answer.set_cookie(
        _LOGIN_COOKIE, begun.state, max_age=600, httponly=True, samesite="Lax", path="/login",
        secure=citizen.context.settings.secure,
    )  # fmt: skip
    return answer


@routes.get(CALLBACK)
async def callback(request: web.Request) -> web.Response:
    """The issuer's answer: opens a new session and ends the one before."""
    citizen = request.app[CITIZEN]
    _count(citizen, request)
    finished = await citizen.logins.finish(request.query, browser_state=request.cookies.get(_LOGIN_COOKIE, ""))
    if previous := request.cookies.get(citizen.session_cookie):
        await citizen.sessions.end(previous)
    cookie = await citizen.sessions.open(finished)
    answer = redirect(local_path(finished.return_to))
    answer.del_cookie(_LOGIN_COOKIE, path="/login")
    answer.set_cookie(
        citizen.session_cookie, cookie, httponly=True, samesite="Lax", secure=citizen.context.settings.secure, path="/"
    )
    return answer


@routes.post("/logout")
async def logout(request: web.Request) -> web.Response:
    """Ends the session here, then at the issuer if it offers that (OpenID Connect RP-Initiated Logout 1.0)."""
    citizen = request.app[CITIZEN]
    settings = citizen.context.settings
    target = "/"
    try:
        session = await session_of(request)
        await form_of(request, session)
        await citizen.sessions.end(request.cookies.get(citizen.session_cookie, ""))
        if end_session := (await citizen.issuer.metadata()).end_session_endpoint:
            back = {"client_id": settings.client_id, "post_logout_redirect_uri": settings.public_url + "/"}
            target = f"{end_session}{'&' if '?' in end_session else '?'}{urlencode(back)}"
    except (NotLoggedIn, IssuerDown):
        # Nothing left to end: the citizen is logged out either way.
        target = "/"
    answer = redirect(target)
    answer.del_cookie(citizen.session_cookie, path="/", secure=settings.secure)
    return answer


@routes.get("/language/{language}")
async def language(request: web.Request) -> web.Response:
    """Remembers the language that the citizen chose."""
    chosen = request.match_info["language"]
    if chosen not in LANGUAGES:
        raise UnknownThing(chosen)
    answer = redirect(local_path(request.query.get("return_to", "/")))
    set_language(answer, chosen, secure=request.app[CITIZEN].context.settings.secure)
    return answer


def _count(citizen: Citizen, request: web.Request) -> None:
    citizen.login_attempts.admit(request.remote or "", now_ms=citizen.context.clock.now_ms())
