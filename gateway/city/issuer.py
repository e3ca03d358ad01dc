"""The demo's OpenID Provider: logs invented citizens in, for demo and test instances only.

OpenID Connect Core 1.0 (code flow), OAuth 2.0 security best current practice (RFC 9700): exact redirect URIs, PKCE
with S256 always (RFC 7636), `iss` in the answer (RFC 9207). When a citizen logs out here, the clients are told
(OpenID Connect Back-Channel Logout 1.0, `issuer_logout`). Stands in for the city's real identity provider; the relying
party never learns the difference. Here are the endpoints; codes and tokens are in `issuer_tokens`, the clients in
`issuer_clients`, the login form in `issuer_form`, keys in `issuer_keys`, the citizens in `citizens`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from gateway.city.citizens import LEVELS, DemoCitizen
from gateway.city.issuer_clients import DemoIssuerSettings, Refused
from gateway.city.issuer_form import ForeignForm, LoginForm
from gateway.city.issuer_keys import ALGORITHM, IssuerKeys
from gateway.city.issuer_logout import LogoutTokens
from gateway.city.issuer_tokens import IssuerTokens
from gateway.clock import Clock
from gateway.exchange.dpop import ALGORITHMS as PROOF_ALGORITHMS
from gateway.rate import RateLimit, TooManyAttempts

_REMEMBERED_MS: Final = 3_600_000
_COOKIE: Final = "datenweg_issuer"
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_OPAQUE: Final = re.compile(r"[\x20-\x7e]{1,512}")
_EIDAS: Final = "http://eidas.europa.eu/LoA/"
_TEST_INSTANCES: Final = ("TEST", "DEMO", "DEV")


class NotATestInstance(Exception):
    """The issuer with invented citizens was asked to serve a real instance. The operator's fault."""


def build_issuer(settings: DemoIssuerSettings, *, clock: Clock) -> web.Application:
    """The issuer as an application. Raises NotATestInstance unless the instance is a demo's or a test's."""
    if settings.instance not in _TEST_INSTANCES and not settings.instance.endswith("-TEST"):
        raise NotATestInstance(settings.instance)
    issuer = DemoIssuer(settings, clock=clock)
    app = web.Application(middlewares=[_guard], client_max_size=1 << 16)
    app[ISSUER] = issuer
    prefix = urlsplit(settings.issuer).path.rstrip("/")
    app.router.add_get(f"{prefix}/.well-known/openid-configuration", issuer.discovery)
    app.router.add_get(f"{prefix}/jwks", issuer.jwks)
    app.router.add_get(f"{prefix}/authorize", issuer.authorize)
    app.router.add_post(f"{prefix}/authorize", issuer.login)
    app.router.add_post(f"{prefix}/token", issuer.token)
    app.router.add_get(f"{prefix}/logout", issuer.logout)
    app.router.add_get(f"{prefix}/healthz", issuer.healthz)
    app.cleanup_ctx.append(issuer.logouts.running)
    return app


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    answer = await handler(request)
    answer.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers.setdefault("Cache-Control", "no-store")
    return answer


class DemoIssuer:
    """The provider's endpoints. Attempts are counted in memory: a restart asks the citizen to log in again."""

    def __init__(self, settings: DemoIssuerSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.keys = IssuerKeys(settings.data_directory)
        self._clients = {client.client_id: client for client in settings.clients}
        self._citizens = {citizen.username: citizen for citizen in settings.citizens}
        self._by_subject = {citizen.subject: citizen for citizen in settings.citizens}
        self.logouts = LogoutTokens(
            settings.issuer,
            self.keys,
            clock,
            {client.client_id: client.logout_url for client in settings.clients if client.logout_url is not None},
        )
        self._tokens = IssuerTokens(settings, self.keys, clock, issued=self.logouts.remember)
        self._by_name = RateLimit(burst=5, refill_ms=10_000)
        self._by_address = RateLimit(burst=30, refill_ms=2_000)
        self._form = LoginForm(
            issuer=settings.issuer,
            citizens=settings.citizens,
            password=settings.password,
            secret=self.keys.cookie_secret,
        )

    async def healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def discovery(self, _: web.Request) -> web.Response:
        """OpenID Connect Discovery 1.0 section 3."""
        base = self._settings.issuer.rstrip("/")
        return web.json_response(
            {
                "issuer": self._settings.issuer,
                "authorization_endpoint": f"{base}/authorize",
                "token_endpoint": f"{base}/token",
                "jwks_uri": f"{base}/jwks",
                "end_session_endpoint": f"{base}/logout",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "scopes_supported": ["openid", "profile"],
                "claims_supported": ["sub", "name", "given_name", "family_name", "acr", "auth_time", "nonce"],
                "acr_values_supported": [*LEVELS, *(_EIDAS + level for level in LEVELS)],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
                "authorization_response_iss_parameter_supported": True,
                "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
                "backchannel_logout_supported": True,
                "backchannel_logout_session_supported": True,
                "ui_locales_supported": ["de", "en"],
            }
        )

    async def jwks(self, _: web.Request) -> web.Response:
        return web.json_response(self.keys.public())

    async def authorize(self, request: web.Request) -> web.Response:
        """Section 3.1.2: asks the citizen to log in, or answers at once when they did within the hour."""
        try:
            self._check(request.query)
            remembered = self._remembered(request)
            if remembered is not None and request.query.get("prompt") != "login":
                return self._redirect_with_code(request.query, *remembered)
            if request.query.get("prompt") == "none":
                raise Refused("login_required")
        except Refused as refusal:
            return self._refusal(request.query, refusal)
        return self._form.answer(request, request.query)

    async def login(self, request: web.Request) -> web.Response:
        """The login form comes back.

        The password is checked in constant time, attempts are counted by name and address.
        """
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        try:
            self._check(form)
        except Refused as refusal:
            return self._refusal(form, refusal)
        try:
            self._form.require_own_browser(request, form.get("form", ""))
        except ForeignForm:
            return self._form.answer(request, form, problem="again")
        username, password = form.get("username", "").strip().lower()[:64], form.get("password", "")
        try:
            self._by_address.admit(request.remote or "", now_ms=self._clock.now_ms())
            self._by_name.admit(username, now_ms=self._clock.now_ms())
        except TooManyAttempts as limited:
            return self._form.answer(request, form, problem="wait", status=429, retry_after=limited.retry_after_seconds)
        citizen = self._citizens.get(username)
        right = hmac.compare_digest(password.encode(), self._settings.password.encode())
        # One answer for both mistakes, so that names can't be tried out.
        if citizen is None or not right:
            return self._form.answer(request, form, problem="wrong", status=401)
        now_ms, session = self._clock.now_ms(), secrets.token_urlsafe(16)
        try:
            answer = self._redirect_with_code(form, citizen, now_ms, session)
        except Refused as refusal:
            return self._refusal(form, refusal)
        value = self._sealed({"sub": citizen.subject, "at": now_ms, "sid": session})
        answer.set_cookie(_COOKIE, value, httponly=True, samesite="Lax", secure=self._secure, path="/")
        return answer

    async def token(self, request: web.Request) -> web.Response:
        """Section 3.1.3: a code for tokens, once."""
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        try:
            client = self._tokens.client_of(request, form)
            thumbprint = self._tokens.proven_key(request)
            return web.json_response(self._tokens.exchange(client, form, thumbprint), headers={"Pragma": "no-cache"})
        except Refused as refusal:
            status = 401 if refusal.error == "invalid_client" else 400
            return web.json_response({"error": refusal.error}, status=status)

    async def logout(self, request: web.Request) -> web.Response:
        """OpenID Connect RP-Initiated Logout 1.0: forgets the citizen, goes back to a registered address only."""
        target = request.query.get("post_logout_redirect_uri", "")
        client = self._clients.get(request.query.get("client_id", ""))
        if (remembered := self._remembered(request)) is not None:
            await self.logouts.send(remembered[0].subject, remembered[2])
        answer = web.Response(text="Abgemeldet. / Logged out.\n")
        if client is not None and target in client.logout_uris:
            answer = web.Response(status=303, headers={"Location": target})
        answer.del_cookie(_COOKIE, path="/")
        return answer

    @property
    def _secure(self) -> bool:
        return self._settings.issuer.startswith("https://")

    def _check(self, query: Mapping[str, str]) -> None:
        client = self._clients.get(query.get("client_id", ""))
        # RFC 6749 section 4.1.2.1: with an unknown client or address there is nobody whom a redirect could safely
        # reach.
        if client is None or not client.may_redirect_to(query.get("redirect_uri", "")):
            raise Refused("invalid_request", redirect=False)
        if query.get("response_type") != "code":
            raise Refused("unsupported_response_type")
        if "openid" not in query.get("scope", "").split():
            raise Refused("invalid_scope")
        if not _OPAQUE.fullmatch(query.get("state", "")) or not _OPAQUE.fullmatch(query.get("nonce", "")):
            raise Refused("invalid_request")
        # RFC 7636 section 4.4.1: no challenge, no code; `plain` isn't offered.
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(query.get("code_challenge", "")):
            raise Refused("invalid_request")

    def _redirect_with_code(
        self, query: Mapping[str, str], citizen: DemoCitizen, logged_in_ms: int, session: str
    ) -> web.Response:
        level = _level(query.get("acr_values", ""), citizen)
        code = self._tokens.code_for(query, citizen, level, logged_in_ms=logged_in_ms, session=session)
        return self._redirect(query, code=code)

    def _redirect(self, query: Mapping[str, str], **answer: str) -> web.Response:
        parameters = urlencode({**answer, "state": query.get("state", ""), "iss": self._settings.issuer})
        separator = "&" if "?" in query["redirect_uri"] else "?"
        return web.Response(status=303, headers={"Location": f"{query['redirect_uri']}{separator}{parameters}"})

    def _refusal(self, query: Mapping[str, str], refusal: Refused) -> web.Response:
        if refusal.redirect:
            return self._redirect(query, error=refusal.error)
        return web.Response(status=400, text="Unbekannte Anwendung. / Unknown application.\n")

    def _sealed(self, value: Mapping[str, object]) -> str:
        body = base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
        return f"{body}.{hmac.new(self.keys.cookie_secret, body.encode(), hashlib.sha256).hexdigest()}"

    def _remembered(self, request: web.Request) -> tuple[DemoCitizen, int, str] | None:
        body, _, tag = request.cookies.get(_COOKIE, "").partition(".")
        expected = hmac.new(self.keys.cookie_secret, body.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), tag.encode()):
            return None
        value = json.loads(base64.urlsafe_b64decode(body))
        citizen = self._by_subject.get(value["sub"])
        if citizen is None or value["at"] + _REMEMBERED_MS < self._clock.now_ms():
            return None
        return citizen, value["at"], value["sid"]


ISSUER: Final = web.AppKey("issuer", DemoIssuer)


def _level(acr_values: str, citizen: DemoCitizen) -> str:
    """The best of the levels asked for that the citizen can prove; their own when none is asked for."""
    asked = [value.removeprefix(_EIDAS) for value in acr_values.split()]
    if not asked:
        return citizen.level
    provable = [level for level in LEVELS[: LEVELS.index(citizen.level) + 1] if level in asked]
    if not provable:
        # OpenID Connect Core Unmet Authentication Requirements 1.0 section 2.
        raise Refused("unmet_authentication_requirements")
    return provable[-1]
