"""What every answer of the citizen's application shares: security headers, language, sessions, forms, errors.

Content Security Policy without any script or third host, but for the verifier's page and the notices' with web push,
which run our script files; the pages work without JavaScript. Errors become a page or, under /api/, problem details
(RFC 9457): here and nowhere else. What isn't ours becomes an opaque error with an id that is in the log.
"""

from __future__ import annotations

import hmac
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import jinja2
from aiohttp import web

from gateway.citizen.bindings import Nonces
from gateway.citizen.catalogue import Catalogues
from gateway.citizen.complaints import Complaints
from gateway.citizen.consents import Consents
from gateway.citizen.context import CitizenContext
from gateway.citizen.devices import Devices, browser_thumbprint
from gateway.citizen.errors import CitizenError, FormRefused, InvalidRequest, LevelTooLow, NotLoggedIn, TokenRefused
from gateway.citizen.issuer_client import IssuerClient
from gateway.citizen.links import Links
from gateway.citizen.login import Logins
from gateway.citizen.moments import format_date, format_moment
from gateway.citizen.notices import NoticeKind, Notices
from gateway.citizen.representation import Relations
from gateway.citizen.road import RoadClient
from gateway.citizen.sessions import BrowserHint, Session, SessionElsewhere, Sessions
from gateway.citizen.texts import CATALOGUES, LANGUAGES, TEXTS, categories_text, fault_text, text
from gateway.exchange.citizen_tokens import CitizenTokens
from gateway.exchange.dpop import ALGORITHMS
from gateway.logging import describe_error, get_logger
from gateway.rate import RateLimit, TooManyAttempts
from trust.identifiers import SubsystemId

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# A path of ours: no scheme, no host, no backslash that a browser would read as a slash, nothing invisible.
_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[!-\[\]-~]{0,500}")
_LANGUAGE_COOKIE: Final = "datenweg_language"
API: Final = "/api/"
# In the query of a page to which a login led back from a form.
_UNSENT: Final = "unsent"
_PAGES_WITH_FORMS: Final = frozenset({"complaints", "consents", "devices", "links", "notices", "representation"})
_NUMBER: Final = web.RequestKey("number", str)
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Citizen:
    """The application's parts, as the handlers need them."""

    context: CitizenContext
    road: RoadClient
    issuer: IssuerClient
    tokens: CitizenTokens
    logins: Logins
    sessions: Sessions
    catalogues: Catalogues
    consents: Consents
    login_attempts: RateLimit
    person_requests: RateLimit
    devices: Devices
    notices: Notices
    links: Links
    complaints: Complaints
    relations: Relations
    nonces: Nonces
    templates: jinja2.Environment

    @property
    def session_cookie(self) -> str:
        return self._cookie("datenweg_session")

    @property
    def device_cookie(self) -> str:
        return self._cookie("datenweg_device")

    @property
    def login_cookie(self) -> str:
        return self._cookie("datenweg_login")

    def person(self, session: Session) -> str:
        """How the tables name whom a session is about."""
        return self.context.person(session.issuer, session.subject)

    def count_request(self, person: str) -> None:
        """Counts one request of a person. Raises TooManyAttempts."""
        self.person_requests.admit(person, now_ms=self.context.clock.now_ms())

    def _cookie(self, name: str) -> str:
        # RFC 6265bis section 4.1.3.2: __Host- binds the cookie to this host and TLS; browsers refuse it without TLS.
        return f"__Host-{name}" if self.context.settings.secure else name


CITIZEN: Final = web.AppKey("citizen", Citizen)


def local_path(path: str) -> str:
    """`path` if it is one of ours, else the start page: a link can't send the citizen elsewhere after the login."""
    return path if _LOCAL_PATH.fullmatch(path) else "/"


def language_of(request: web.Request) -> str:
    """`de` or `en`: what the citizen chose, else what their browser prefers, else German."""
    chosen = request.cookies.get(_LANGUAGE_COOKIE)
    if chosen in LANGUAGES:
        return chosen
    for part in request.headers.get("Accept-Language", "").lower().split(",")[:16]:
        language = part.split(";")[0].strip()[:2]
        if language in LANGUAGES:
            return language
    return "de"


def set_language(answer: web.StreamResponse, language: str, *, secure: bool) -> None:
    """Remembers the citizen's choice for a year."""
    answer.set_cookie(
        _LANGUAGE_COOKIE, language, max_age=31_536_000, httponly=True, samesite="Lax", secure=secure, path="/"
    )


async def session_of(request: web.Request) -> Session:
    """The citizen's session. Raises NotLoggedIn, TooManyAttempts."""
    citizen = request.app[CITIZEN]
    cookie = request.cookies.get(citizen.session_cookie)
    if cookie is None:
        raise NotLoggedIn("no cookie")
    browser = browser_of(citizen, request, request.cookies.get(citizen.device_cookie, ""))
    try:
        session = await citizen.sessions.find(cookie, browser=browser)
    except SessionElsewhere as elsewhere:
        await citizen.notices.add(elsewhere.person, NoticeKind.SESSION_REFUSED)
        raise NotLoggedIn("elsewhere") from None
    citizen.count_request(citizen.person(session))
    return session


def browser_of(citizen: Citizen, request: web.Request, cookie: str) -> BrowserHint:
    """What tells this browser from others. `cookie`: its device cookie; one that isn't ours counts as none."""
    known = cookie if citizen.sessions.is_device_cookie(cookie) else ""
    return BrowserHint(browser_thumbprint(known), request.headers.get("User-Agent", "")[:500])


async def form_of(request: web.Request, session: Session) -> Mapping[str, str]:
    """The fields of one of our own forms. Raises FormRefused."""
    require_same_site(request)
    form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    require_csrf(session, form.get("csrf", ""))
    return form


def require_csrf(session: Session, stated: str) -> None:
    """Raises FormRefused unless `stated` is this session's CSRF token."""
    if not session.csrf or not hmac.compare_digest(session.csrf.encode(), stated.encode("utf-8", "replace")):
        raise FormRefused


def require_same_site(request: web.Request) -> None:
    """Raises FormRefused for a request that the browser itself says comes from elsewhere: by Origin (RFC 6454, `null`
    included), by Fetch Metadata. A client that says neither still needs the CSRF token.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise FormRefused
    own = urlsplit(request.app[CITIZEN].context.settings.public_url)
    if request.headers.get("Origin", f"{own.scheme}://{own.netloc}") != f"{own.scheme}://{own.netloc}":
        raise FormRefused


def redirect(path: str) -> web.Response:
    """See Other, to one of our own paths or a URL that we built."""
    return web.Response(status=303, headers={"Location": path})


def render(
    request: web.Request,
    template: str,
    *,
    session: Session | None,
    status: int = 200,
    scripts: bool = False,
    **values: Any,
) -> web.Response:
    """A page. Every value is escaped by the template engine. `scripts`: it may run our own script files."""
    citizen = request.app[CITIZEN]
    language = language_of(request)
    settings = citizen.context.settings
    names = {purpose.service.provider: purpose.provider_name for purpose in settings.purposes}

    def provider_name(provider: SubsystemId) -> str:
        return names.get(provider, provider.encoded)

    html = citizen.templates.get_template(template).render(
        t=lambda key, **parts: text(key, language, **parts),
        # With its placeholders, for the script that fills them in.
        raw=CATALOGUES[language].text,
        language=language,
        city=settings.city_name,
        session=session,
        # `here` is for the menu, `back` for what leads back to this very view.
        back=values.get("here", request.path_qs),
        here=values.pop("here", request.path),
        date=lambda milliseconds: format_date(milliseconds, settings.time_zone),
        moment=lambda milliseconds: format_moment(milliseconds, settings.time_zone, language),
        unsent=request.method == "GET" and request.query.get(_UNSENT) == "1",
        provider_name=provider_name,
        categories=lambda codes: categories_text(codes, language),
        fault=lambda code: fault_text(code, language),
        **values,
    )
    headers = {"Content-Language": language}
    if scripts:
        headers["Content-Security-Policy"] = _content_policy(settings.issuer_origin, scripts=True)
    return web.Response(text=html, content_type="text/html", status=status, headers=headers)


def _content_policy(issuer: str, *, scripts: bool = False) -> str:
    # The issuer stands in form-action because browsers check it on redirects that follow a form (logout, step-up).
    own = "script-src 'self'; connect-src 'self'; " if scripts else ""
    return (
        f"default-src 'none'; {own}style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action 'self' {issuer}"
    )


@web.middleware
async def security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost layer: no answer leaves without these."""
    answer = await handler(request)
    issuer = request.app[CITIZEN].context.settings.issuer_origin
    answer.headers.setdefault("Content-Security-Policy", _content_policy(issuer))
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["X-Frame-Options"] = "DENY"
    answer.headers["Referrer-Policy"] = "same-origin"
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    answer.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    answer.headers.setdefault("Cache-Control", "no-store")
    if request.app[CITIZEN].context.settings.secure:
        answer.headers["Strict-Transport-Security"] = "max-age=31536000"
    return answer


@web.middleware
async def errors_as_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what handlers raise into pages or problem details."""
    try:
        return await handler(request)
    except NotLoggedIn as error:
        if request.path.startswith(API):
            return _unauthenticated(request, error)
        return redirect(f"/login?return_to={quote(_return_path(request), safe='')}")
    except LevelTooLow as error:
        return await _failed(request, error.code, error.status, required_level=error.required)
    except InvalidRequest as error:
        return await _failed(request, error.code, error.status, field=error.field)
    except CitizenError as error:
        return await _failed(request, error.code, error.status)
    except TooManyAttempts as error:
        answer = await _failed(request, "too_many_attempts", 429)
        answer.headers["Retry-After"] = str(error.retry_after_seconds)
        return answer
    except web.HTTPException as error:
        if error.status < 400:
            raise
        if error.status == 405 and request.method in ("GET", "HEAD") and not request.path.startswith(API):
            # A form's address, opened by itself: after a reload, from the history, as a bookmark.
            return redirect(_page_of_form(request))
        code = "not_found" if error.status == 404 else "invalid_request"
        answer = await _failed(request, code, error.status)
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except Exception as error:  # noqa: BLE001 - becomes an opaque error with an id
        number = _number(request)
        _log.error("citizen request failed", detail=number, path=route_of(request), **describe_error(error))
        return await _failed(request, "internal_error", 500, number=number)


def _return_path(request: web.Request) -> str:
    """Where to go after a login that came in between: this page, or for a form the page that it stands on."""
    if request.method == "GET":
        return local_path(request.path_qs)
    # What was typed is gone with the session: nothing was done, and the page says so.
    return f"{_page_of_form(request)}?{_UNSENT}=1"


def _page_of_form(request: web.Request) -> str:
    """The page that a form stands on, by the form's address."""
    parts = request.path.split("/")[1:]
    if parts[0] == "services":
        return local_path("/" + "/".join(parts[:2]))
    return f"/{parts[0]}" if parts[0] in _PAGES_WITH_FORMS else "/"


def route_of(request: web.Request) -> str:
    """The route's pattern: a path itself may hold a reference to a person's consent."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


async def _failed(
    request: web.Request, code: str, status: int, *, required_level: str = "", field: str = "", number: str = ""
) -> web.Response:
    if request.path.startswith(API):
        facts = {"requiredLevel": required_level, "field": field}
        answer = _problem(request, code, status, facts={name: fact for name, fact in facts.items() if fact})
        if required_level:
            # RFC 9470 section 3: what the next login has to prove; in the scheme that the caller used.
            bound = request.headers.get("Authorization", "")[:5].lower() == "dpop "
            scheme = "DPoP" if bound else "Bearer"
            answer.headers["WWW-Authenticate"] = (
                f'{scheme} error="insufficient_user_authentication", acr_values="{required_level}"'
            )
        return answer
    language = language_of(request)
    label = f"field_{field}"
    message = _message(code, language, text(label, language) if label in TEXTS else field)
    try:
        session: Session | None = await session_of(request)
    except Exception:  # noqa: BLE001 - the error page itself
        # The error page must come up even when sessions are what failed.
        session = None
    return render(
        request, "error.html", session=session, status=status, message=message, number=number, step_up=required_level,
        here=_return_path(request) if request.method == "GET" else _page_of_form(request), neutral=True,
    )  # fmt: skip


def _unauthenticated(request: web.Request, error: NotLoggedIn) -> web.Response:
    answer = _problem(request, error.code, error.status)
    if isinstance(error, TokenRefused):
        answer.headers["WWW-Authenticate"] = error.challenge
        if error.nonce:
            answer.headers["DPoP-Nonce"] = error.nonce
    else:
        # RFC 9728 section 5.1: where an app learns how to begin.
        public = request.app[CITIZEN].context.settings.public_url
        where = f'resource_metadata="{public}/.well-known/oauth-protected-resource"'
        answer.headers.add("WWW-Authenticate", f"Bearer {where}")
        answer.headers.add("WWW-Authenticate", f'DPoP algs="{" ".join(ALGORITHMS)}", {where}')
    return answer


def _message(code: str, language: str, field: str) -> str:
    if code == "invalid_request" and not field:
        return text("error_not_possible", language)
    return text(f"error_{code}", language, field=field)


def _number(request: web.Request) -> str:
    """The id of a request that failed: the same in its answer and in the log."""
    if _NUMBER not in request:
        request[_NUMBER] = str(uuid.uuid4())
    return request[_NUMBER]


def _problem(request: web.Request, code: str, status: int, *, facts: Mapping[str, str] | None = None) -> web.Response:
    """Problem details, RFC 9457 section 3. `code` repeats the type's last part for easy matching."""
    title = _message(code, "en", (facts or {}).get("field", "")) if f"error_{code}" in TEXTS else "Log in first."
    body = {"type": f"urn:datenweg:problem:{code}", "title": title, "status": status, "code": code, **(facts or {})}
    body["instance"] = f"urn:uuid:{_number(request)}"
    if status < 500:
        _log.info("citizen request refused", exchange=_number(request), path=route_of(request), code=code)
    return web.json_response(body, status=status, content_type="application/problem+json")
