"""Login, logout and the choice of language: the pages that need no session."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from aiohttp import web

from gateway.citizen.devices import DeviceRevoked
from gateway.citizen.errors import InvalidRequest, IssuerDown, LoginRefused, NotLoggedIn, UnknownThing
from gateway.citizen.login import CALLBACK, FinishedLogin
from gateway.citizen.sessions import Chosen, Session
from gateway.citizen.texts import LANGUAGES
from gateway.citizen.web import (
    CITIZEN,
    Citizen,
    browser_of,
    form_of,
    language_of,
    local_path,
    redirect,
    require_same_site,
    session_of,
    set_language,
)
from gateway.messages.headers import IdentityLevel

routes: Final = web.RouteTableDef()
BACK_CHANNEL: Final = "/login/backchannel"
_DEVICE_SECONDS: Final = 400 * 86_400
_MAX_LOGOUT_TOKEN: Final = 8_192
_MAX_ADDRESS: Final = 64
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
        level=IdentityLevel.from_word(level) if level is not None else None,
        language=language_of(request),
    )
    answer = redirect(begun.redirect)
    # For the whole host, as __Host- demands: no neighbour in the domain can have another's login finished here.
    answer.set_cookie(
        citizen.login_cookie, begun.state, max_age=600, httponly=True, samesite="Lax", path="/",
        secure=citizen.context.settings.secure,
    )  # fmt: skip
    return answer


@routes.get(CALLBACK)
async def callback(request: web.Request) -> web.Response:
    """The issuer's answer: opens a new session and ends the one before. A browser that the person doesn't know yet
    becomes one of their devices, and they are told.
    """
    citizen = request.app[CITIZEN]
    _count(citizen, request)
    finished = await citizen.logins.finish(request.query, browser_state=request.cookies.get(citizen.login_cookie, ""))
    chosen = None
    if previous := request.cookies.get(citizen.session_cookie):
        chosen = await _chosen_before(request, previous, finished)
        await citizen.sessions.end(previous)
    person = citizen.context.person(finished.identity.issuer, finished.identity.subject)
    device_cookie = citizen.sessions.device_cookie(request.cookies.get(citizen.device_cookie))
    browser = browser_of(citizen, request, device_cookie)
    try:
        await citizen.devices.use(person, browser.device, kind="browser", user_agent=browser.user_agent)
    except DeviceRevoked:
        # Revoked by this person: the browser starts anew, as one that they don't know.
        device_cookie = citizen.sessions.device_cookie(None)
        browser = browser_of(citizen, request, device_cookie)
        await citizen.devices.use(person, browser.device, kind="browser", user_agent=browser.user_agent)
    cookie = await citizen.sessions.open(finished, person=person, browser=browser, chosen=chosen)
    answer = redirect(local_path(finished.return_to))
    secure = citizen.context.settings.secure
    answer.del_cookie(citizen.login_cookie, path="/", secure=secure)
    answer.set_cookie(citizen.session_cookie, cookie, httponly=True, samesite="Lax", secure=secure, path="/")
    answer.set_cookie(
        citizen.device_cookie, device_cookie, max_age=_DEVICE_SECONDS, httponly=True, samesite="Lax", secure=secure,
        path="/",
    )  # fmt: skip
    return answer


async def _chosen_before(request: web.Request, previous: str, finished: FinishedLogin) -> Chosen | None:
    """Whom the same citizen acted for in the session that ends now.

    A login that comes in between (a higher level, a token that ran out) must not turn one person's page into another's.
    """
    citizen = request.app[CITIZEN]
    browser = browser_of(citizen, request, request.cookies.get(citizen.device_cookie, ""))
    try:
        before = await citizen.sessions.find(previous, browser=browser)
    except NotLoggedIn:
        return None
    same = (before.issuer, before.subject) == (finished.identity.issuer, finished.identity.subject)
    return before.chosen if same else None


@routes.post(BACK_CHANNEL)
async def back_channel_logout(request: web.Request) -> web.Response:
    """The issuer says that somebody has logged out there (OpenID Connect Back-Channel Logout 1.0 section 2.5).

    No browser asks this, so there is no session and no CSRF token: the signed logout token is all that counts.
    """
    citizen = request.app[CITIZEN]
    token = (await request.post()).get("logout_token", "")
    try:
        if not isinstance(token, str) or not 0 < len(token) <= _MAX_LOGOUT_TOKEN:
            raise LoginRefused("logout token")
        logout = await citizen.logins.logged_out(token)
    except LoginRefused as refused:
        # Only what does not hold is counted: nobody's attempts keep the issuer's word from being heard.
        _count(citizen, request)
        body = {"error": "invalid_request", "error_description": refused.reason}
        return web.json_response(body, status=400)
    person = citizen.context.person(logout.issuer, logout.subject) if logout.subject else None
    await citizen.sessions.end_by_issuer(logout, person=person)
    return web.Response(status=200)


@routes.post("/logout")
async def logout(request: web.Request) -> web.Response:
    """Ends the session here, then at the issuer if it offers that (OpenID Connect RP-Initiated Logout 1.0)."""
    citizen = request.app[CITIZEN]
    settings = citizen.context.settings
    target = "/"
    # First of all: a foreign page's form comes without the cookie, and must not have it taken away.
    require_same_site(request)
    try:
        session = await session_of(request)
        await form_of(request, session)
        await citizen.sessions.end(request.cookies.get(citizen.session_cookie, ""))
        target = await end_session_url(citizen, session) or "/"
    except (NotLoggedIn, IssuerDown):
        # Nothing left to end: the citizen is logged out either way.
        target = "/"
    answer = redirect(target)
    answer.del_cookie(citizen.session_cookie, path="/", secure=settings.secure)
    return answer


async def end_session_url(citizen: Citizen, session: Session) -> str | None:
    """Where to send the browser so that the issuer ends its session, too; None where it offers no such thing.

    RP-Initiated Logout 1.0 section 2: the ID token as a hint, so that the issuer knows whom to log out without asking.
    Raises IssuerDown.
    """
    settings = citizen.context.settings
    end_session = (await citizen.issuer.metadata()).end_session_endpoint
    if end_session is None:
        return None
    back = {"client_id": settings.client_id, "post_logout_redirect_uri": settings.public_url + "/"}
    if session.id_token:
        back["id_token_hint"] = session.id_token
    return f"{end_session}{'&' if '?' in end_session else '?'}{urlencode(back)}"


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
    citizen.login_attempts.admit(_address(citizen, request), now_ms=citizen.context.clock.now_ms())


def _address(citizen: Citizen, request: web.Request) -> str:
    """Whose attempts are counted together: an address, as the proxy before us states it or as we see it.

    Only the last entry is the proxy's own; what stands before it may be the browser's invention.
    """
    header = citizen.context.settings.proxy_header
    stated = "" if header is None else ",".join(request.headers.getall(header, ()))
    return stated.rpartition(",")[2].strip()[:_MAX_ADDRESS] or request.remote or ""
