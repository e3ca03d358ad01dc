"""The demo's OpenID Provider: logs invented citizens in, for demo and test instances only.

OpenID Connect Core 1.0 (code flow), OAuth 2.0 security best current practice (RFC 9700): exact redirect URIs, PKCE
with S256 always (RFC 7636), `iss` in the answer (RFC 9207), codes for one use within a minute. Access tokens are JWTs
(RFC 9068), bound to the app's key where it proves one (RFC 9449). When a citizen logs out here, the clients are told
(OpenID Connect Back-Channel Logout 1.0, `issuer_logout`). Stands in for the city's real identity provider; the relying
party never learns the difference. Leaves the login form to `issuer_form`, keys to `issuer_keys` and the citizens to
`citizens`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus, urlencode, urlsplit

from aiohttp import web

from gateway.city.citizens import CITIZENS, DEMO_PASSWORD, LEVELS, DemoCitizen
from gateway.city.issuer_form import ForeignForm, LoginForm
from gateway.city.issuer_keys import ALGORITHM, IssuerKeys
from gateway.city.issuer_logout import LogoutTokens
from gateway.clock import Clock
from gateway.exchange.dpop import ALGORITHMS as PROOF_ALGORITHMS
from gateway.exchange.dpop import MAX_AGE_SECONDS, ProofRefused, verify_proof
from gateway.rate import RateLimit, TooManyAttempts
from gateway.settings import IssuerSettings

_CODE_MS: Final = 60_000
_MAX_CODES: Final = 1_000
_MAX_PROOFS: Final = 10_000
_REMEMBERED_MS: Final = 3_600_000
_COOKIE: Final = "datenweg_issuer"
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_OPAQUE: Final = re.compile(r"[\x20-\x7e]{1,512}")
_EIDAS: Final = "http://eidas.europa.eu/LoA/"
_TEST_INSTANCES: Final = ("TEST", "DEMO", "DEV")


class NotATestInstance(Exception):
    """The issuer with invented citizens was asked to serve a real instance. The operator's fault."""


@dataclass(frozen=True, slots=True)
class IssuerClient:
    """A relying party that the issuer knows. Without a secret it is a public client, held by PKCE alone."""

    client_id: str
    redirect_uris: tuple[str, ...]
    logout_uris: tuple[str, ...] = ()
    secret: str | None = None
    # Where its back-channel logout tokens go.
    logout_url: str | None = None

    def may_redirect_to(self, uri: str) -> bool:
        """Whether `uri` is one of its own: exactly, but for the port of an app's own machine (RFC 8252 section 7.3)."""
        if uri in self.redirect_uris:
            return True
        return self.secret is None and _without_loopback_port(uri) in self.redirect_uris


@dataclass(frozen=True, slots=True)
class DemoIssuerSettings:
    """What the issuer is told: its own URL, who may use it, and for whom its access tokens are."""

    instance: str
    issuer: str
    data_directory: Path
    clients: tuple[IssuerClient, ...]
    audience: str
    citizens: tuple[DemoCitizen, ...] = CITIZENS
    password: str = DEMO_PASSWORD
    token_seconds: int = 600

    @classmethod
    def from_settings(cls, settings: IssuerSettings, *, secret: str | None = None) -> DemoIssuerSettings:
        """The issuer of a process's settings: the pages, which may also send citizens back after logout, and an app."""
        logout = tuple(f"{urlsplit(uri).scheme}://{urlsplit(uri).netloc}/" for uri in settings.redirect_uris)
        clients = [IssuerClient(settings.client_id, settings.redirect_uris, logout, secret, settings.logout_url)]
        if settings.app_client_id is not None:
            clients.append(IssuerClient(settings.app_client_id, settings.app_redirect_uris))
        return cls(
            instance=settings.instance,
            issuer=settings.issuer_url,
            data_directory=settings.data_directory,
            clients=tuple(clients),
            audience=settings.token_audience,
            token_seconds=int(settings.token_seconds),
        )


@dataclass(frozen=True, slots=True)
class _Grant:
    """What a code stands for until it is exchanged."""

    client_id: str
    redirect_uri: str
    challenge: str
    nonce: str
    scope: str
    citizen: DemoCitizen
    level: str
    logged_in_ms: int
    session: str
    expires_ms: int


class _Refused(Exception):
    """An OAuth error (RFC 6749 sections 4.1.2.1 and 5.2).

    `redirect` says whether the client may be told by redirect.
    """

    def __init__(self, error: str, *, redirect: bool = True) -> None:
        super().__init__(error)
        self.error = error
        self.redirect = redirect


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
    """The provider's endpoints. State (codes, attempts) lives in memory: a restart asks the citizen to log in again."""

    def __init__(self, settings: DemoIssuerSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.keys = IssuerKeys(settings.data_directory)
        self._clients = {client.client_id: client for client in settings.clients}
        self._citizens = {citizen.username: citizen for citizen in settings.citizens}
        self._by_subject = {citizen.subject: citizen for citizen in settings.citizens}
        self._codes: OrderedDict[str, _Grant] = OrderedDict()
        self._proofs: OrderedDict[bytes, int] = OrderedDict()
        self.logouts = LogoutTokens(
            settings.issuer,
            self.keys,
            clock,
            {client.client_id: client.logout_url for client in settings.clients if client.logout_url is not None},
        )
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
                raise _Refused("login_required")
        except _Refused as refusal:
            return self._refusal(request.query, refusal)
        return self._form.answer(request, request.query)

    async def login(self, request: web.Request) -> web.Response:
        """The login form comes back.

        The password is checked in constant time, attempts are counted by name and address.
        """
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        try:
            self._check(form)
        except _Refused as refusal:
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
        except _Refused as refusal:
            return self._refusal(form, refusal)
        value = self._sealed({"sub": citizen.subject, "at": now_ms, "sid": session})
        answer.set_cookie(_COOKIE, value, httponly=True, samesite="Lax", secure=self._secure, path="/")
        return answer

    async def token(self, request: web.Request) -> web.Response:
        """Section 3.1.3: a code for tokens, once."""
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        try:
            client = self._authenticated_client(request, form)
            thumbprint = self._proven_key(request)
            return web.json_response(self._exchange(client, form, thumbprint), headers={"Pragma": "no-cache"})
        except _Refused as refusal:
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
            raise _Refused("invalid_request", redirect=False)
        if query.get("response_type") != "code":
            raise _Refused("unsupported_response_type")
        if "openid" not in query.get("scope", "").split():
            raise _Refused("invalid_scope")
        if not _OPAQUE.fullmatch(query.get("state", "")) or not _OPAQUE.fullmatch(query.get("nonce", "")):
            raise _Refused("invalid_request")
        # RFC 7636 section 4.4.1: no challenge, no code; `plain` isn't offered.
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(query.get("code_challenge", "")):
            raise _Refused("invalid_request")

    def _redirect_with_code(
        self, query: Mapping[str, str], citizen: DemoCitizen, logged_in_ms: int, session: str
    ) -> web.Response:
        now_ms = self._clock.now_ms()
        code = secrets.token_urlsafe(32)
        self._codes[code] = _Grant(
            query["client_id"], query["redirect_uri"], query["code_challenge"], query["nonce"], query["scope"],
            citizen, _level(query.get("acr_values", ""), citizen), logged_in_ms, session, now_ms + _CODE_MS,
        )  # fmt: skip
        if len(self._codes) > _MAX_CODES:
            self._codes.popitem(last=False)
        return self._redirect(query, code=code)

    def _redirect(self, query: Mapping[str, str], **answer: str) -> web.Response:
        parameters = urlencode({**answer, "state": query.get("state", ""), "iss": self._settings.issuer})
        separator = "&" if "?" in query["redirect_uri"] else "?"
        return web.Response(status=303, headers={"Location": f"{query['redirect_uri']}{separator}{parameters}"})

    def _refusal(self, query: Mapping[str, str], refusal: _Refused) -> web.Response:
        if refusal.redirect:
            return self._redirect(query, error=refusal.error)
        return web.Response(status=400, text="Unbekannte Anwendung. / Unknown application.\n")

    def _authenticated_client(self, request: web.Request, form: Mapping[str, str]) -> IssuerClient:
        client_id, secret = form.get("client_id", ""), form.get("client_secret")
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                client_id, _, secret = map(unquote_plus, base64.b64decode(credentials).decode().partition(":"))
            except (binascii.Error, UnicodeDecodeError):
                raise _Refused("invalid_client") from None
        client = self._clients.get(client_id)
        if client is None or (client.secret is None) != (secret is None):
            raise _Refused("invalid_client")
        if client.secret is not None and not hmac.compare_digest(client.secret.encode(), (secret or "").encode()):
            raise _Refused("invalid_client")
        return client

    def _proven_key(self, request: web.Request) -> str | None:
        """RFC 9449 section 5: the key that the client proves to hold, to which its token is then bound; None: none."""
        proofs = request.headers.getall("DPoP", [])
        if not proofs:
            return None
        url = f"{self._settings.issuer.rstrip('/')}/token"
        try:
            if len(proofs) != 1:
                raise ProofRefused("doubled")
            proof = verify_proof(proofs[0], method="POST", urls=(url,), at=self._clock.now())
            now_ms = self._clock.now_ms()
            if self._proofs.get(proof.fingerprint, 0) > now_ms:
                raise ProofRefused("replayed")
        except ProofRefused:
            raise _Refused("invalid_dpop_proof") from None
        self._proofs[proof.fingerprint] = now_ms + 2 * MAX_AGE_SECONDS * 1000
        if len(self._proofs) > _MAX_PROOFS:
            self._proofs.popitem(last=False)
        return proof.thumbprint

    def _exchange(self, client: IssuerClient, form: Mapping[str, str], thumbprint: str | None) -> dict[str, Any]:
        if form.get("grant_type") != "authorization_code":
            raise _Refused("unsupported_grant_type")
        # Taken out before any check: a code that was tried is spent (RFC 6749 section 4.1.2).
        grant = self._codes.pop(form.get("code", ""), None)
        if grant is None or grant.expires_ms <= self._clock.now_ms():
            raise _Refused("invalid_grant")
        if grant.client_id != client.client_id or grant.redirect_uri != form.get("redirect_uri"):
            raise _Refused("invalid_grant")
        verifier = form.get("code_verifier", "")
        if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(code_challenge(verifier), grant.challenge):
            raise _Refused("invalid_grant")
        now = self._clock.now_ms() // 1000
        common = {
            "iss": self._settings.issuer,
            "sub": grant.citizen.subject,
            "iat": now,
            "exp": now + self._settings.token_seconds,
            "auth_time": grant.logged_in_ms // 1000,
            "acr": grant.level,
        }
        access = {
            **common, "aud": self._settings.audience, "client_id": client.client_id, "scope": grant.scope,
            "jti": secrets.token_urlsafe(16),
        }  # fmt: skip
        if thumbprint is not None:
            access["cnf"] = {"jkt": thumbprint}
        if grant.citizen.parent_of:
            access["represents"] = [
                {"sub": child.subject, "role": "parent", "name": child.name} for child in grant.citizen.parent_of
            ]
        identity = {**common, "aud": client.client_id, "nonce": grant.nonce, "sid": grant.session}
        self.logouts.remember(client.client_id, grant.session)
        if "profile" in grant.scope.split():
            citizen = grant.citizen
            identity |= {"name": citizen.name, "given_name": citizen.given_name, "family_name": citizen.family_name}
        access_token = self.keys.sign(access, token_type="at+jwt")  # noqa: S106 - RFC 9068's name, no secret
        # Core section 3.1.3.6: ES256, so the left half of SHA-256.
        identity["at_hash"] = _base64(hashlib.sha256(access_token.encode()).digest()[:16])
        return {
            "access_token": access_token,
            "id_token": self.keys.sign(identity, token_type="JWT"),  # noqa: S106
            "token_type": "Bearer" if thumbprint is None else "DPoP",
            "expires_in": self._settings.token_seconds,
            "scope": grant.scope,
        }

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


def code_challenge(verifier: str) -> str:
    """RFC 7636 section 4.2, S256."""
    return _base64(hashlib.sha256(verifier.encode()).digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _without_loopback_port(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "::1"):
        return ""
    host = "[::1]" if parts.hostname == "::1" else parts.hostname
    return parts._replace(netloc=host).geturl()


def _level(acr_values: str, citizen: DemoCitizen) -> str:
    """The best of the levels asked for that the citizen can prove; their own when none is asked for."""
    asked = [value.removeprefix(_EIDAS) for value in acr_values.split()]
    if not asked:
        return citizen.level
    provable = [level for level in LEVELS[: LEVELS.index(citizen.level) + 1] if level in asked]
    if not provable:
        # OpenID Connect Core Unmet Authentication Requirements 1.0 section 2.
        raise _Refused("unmet_authentication_requirements")
    return provable[-1]
