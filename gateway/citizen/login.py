"""The login: OpenID Connect's authorization code flow with PKCE, as the relying party.

OpenID Connect Core 1.0 section 3.1, RFC 7636, RFC 9207, RFC 9700. A login that has begun is one row, taken out by the
answer to it: an answer is used once. The browser that began it holds the state in a cookie; another browser's answer
is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlencode

from joserfc.jwk import KeySet
from sqlalchemy import delete, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.bindings import StatementUsed, UsedStatements
from gateway.citizen.context import CitizenSettings
from gateway.citizen.errors import IssuerDown, LoginCancelled, LoginRefused, LoginTooWeak
from gateway.citizen.identity_tokens import (
    UnknownKey,
    VerifiedIdentity,
    VerifiedLogout,
    verify_id_token,
    verify_logout_token,
)
from gateway.citizen.issuer_client import IssuerClient
from gateway.clock import Clock
from gateway.exchange.citizen_tokens import CitizenTokenRefused, CitizenTokens, IssuerUnavailable, VerifiedCitizen
from gateway.exchange.discovery import acr_values
from gateway.messages.headers import IdentityLevel

_LOGIN_MS: Final = 600_000
CALLBACK: Final = "/login/callback"
_Verified = TypeVar("_Verified")


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """Where to send the browser, and the state that its cookie has to hold."""

    redirect: str
    state: str


@dataclass(frozen=True, slots=True)
class FinishedLogin:
    """A login that holds: who it is, their access token for the road, and the page that they wanted."""

    identity: VerifiedIdentity
    citizen: VerifiedCitizen
    access_token: str
    return_to: str
    id_token: str = ""


class Logins:
    """Begins and finishes logins. Safe for concurrent use; several processes may share the database."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        settings: CitizenSettings,
        clock: Clock,
        issuer: IssuerClient,
        tokens: CitizenTokens,
        statements: UsedStatements,
    ) -> None:
        self._statements = statements
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._issuer = issuer
        self._tokens = tokens

    @property
    def _redirect_uri(self) -> str:
        return self._settings.public_url + CALLBACK

    async def begin(self, *, return_to: str, level: IdentityLevel | None, language: str) -> BegunLogin:
        """A new login.

        `return_to` is a local path (see `web.local_path`), `level` the one to step up to. Raises IssuerDown.
        """
        metadata = await self._issuer.metadata()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        now_ms = self._clock.now_ms()
        async with self._engine.begin() as connection:
            await connection.execute(delete(tables.login).where(tables.login.c.expires_ms <= now_ms))
            await connection.execute(
                insert(tables.login).values(
                    state=_digest(state),
                    nonce=nonce,
                    verifier=verifier,
                    return_to=return_to,
                    level="" if level is None else level.word,
                    expires_ms=now_ms + _LOGIN_MS,
                )
            )
        challenge = base64.urlsafe_b64encode(_digest(verifier)).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "ui_locales": language,
        }
        if level is not None:
            query["acr_values"] = acr_values(level, self._settings.acr_levels, metadata.acr_values)
        separator = "&" if "?" in metadata.authorization_endpoint else "?"
        return BegunLogin(f"{metadata.authorization_endpoint}{separator}{urlencode(query)}", state)

    async def finish(self, query: Mapping[str, str], *, browser_state: str) -> FinishedLogin:
        """The login that the issuer's answer completes. Raises LoginRefused, IssuerDown."""
        state = query.get("state", "")
        # 1. The same browser, and a login of ours that nobody has answered yet.
        if not state or not hmac.compare_digest(_octets(state), _octets(browser_state)):
            raise LoginRefused("state")
        begun = tables.login
        async with self._engine.begin() as connection:
            taken = delete(begun).where(begun.c.state == _digest(state)).returning(begun)
            row = (await connection.execute(taken)).one_or_none()
        if row is None or row.expires_ms <= self._clock.now_ms():
            raise LoginRefused("state")
        # 2. From the issuer that was asked (RFC 9207 section 2.4).
        metadata = await self._issuer.metadata()
        stated = query.get("iss")
        if stated != self._settings.issuer and (stated is not None or metadata.answers_with_issuer):
            raise LoginRefused("issuer")
        if "error" in query:
            raise _refusal(query["error"])
        if not 0 < len(query.get("code", "")) <= 2048:
            raise LoginRefused("code")
        # 3. The code, with the proof that we began this login (RFC 7636 section 4.5).
        answer = await self._issuer.exchange(query["code"], verifier=row.verifier, redirect_uri=self._redirect_uri)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise LoginRefused("tokens")
        # 4. Who it is, and that the road will believe it: both tokens, about the same person.
        identity = await self._identity(id_token, nonce=row.nonce, access_token=access_token)
        try:
            citizen = await self._tokens.verify(access_token)
        except CitizenTokenRefused as refused:
            raise LoginRefused(f"access token {refused.reason}") from None
        except IssuerUnavailable:
            raise IssuerDown("keys") from None
        if (citizen.issuer, citizen.subject) != (identity.issuer, identity.subject):
            raise LoginRefused("two persons")
        # 5. As surely as was asked for: `acr_values` binds no issuer (Core section 3.1.2.1), so the answer decides.
        if row.level and min(identity.level, citizen.level) < IdentityLevel.from_word(row.level):
            raise LoginTooWeak("level")
        return FinishedLogin(identity, citizen, access_token, row.return_to, id_token)

    async def logged_out(self, token: str) -> VerifiedLogout:
        """Whom a logout token of the issuer's logs out; each counts once. Raises LoginRefused, IssuerDown."""
        settings = self._settings

        def verify(keys: KeySet) -> VerifiedLogout:
            now = self._clock.now()
            return verify_logout_token(token, keys, issuer=settings.issuer, client_id=settings.client_id, at=now)

        logout = await self._with_keys(verify)
        try:
            await self._statements.use(logout.fingerprint, expires_ms=logout.expires_ms)
        except StatementUsed:
            raise LoginRefused("replayed") from None
        return logout

    async def _identity(self, token: str, *, nonce: str, access_token: str) -> VerifiedIdentity:
        settings = self._settings

        def verify(keys: KeySet) -> VerifiedIdentity:
            return verify_id_token(
                token,
                keys,
                issuer=settings.issuer,
                client_id=settings.client_id,
                nonce=nonce,
                at=self._clock.now(),
                levels=settings.acr_levels,
                access_token=access_token,
            )

        return await self._with_keys(verify)

    async def _with_keys(self, verify: Callable[[KeySet], _Verified]) -> _Verified:
        """What `verify` finds with the issuer's keys, fetched again once if it needs one that isn't known."""
        try:
            return verify(await self._issuer.keys())
        except UnknownKey:
            # The issuer may have rotated its keys since (Core section 10.1.1).
            keys = await self._issuer.newer_keys()
        if keys is None:
            raise LoginRefused("key")
        try:
            return verify(keys)
        except UnknownKey:
            raise LoginRefused("key") from None


def _digest(text: str) -> bytes:
    return hashlib.sha256(_octets(text)).digest()


def _octets(text: str) -> bytes:
    # Octets that are no UTF-8 come out of a header as half characters, which nobody can encode.
    return text.encode("utf-8", "replace")


def _refusal(error: str) -> LoginRefused:
    """What an issuer's error (RFC 6749 section 4.1.2.1, OpenID Connect Unmet Authentication Requirements 1.0) means."""
    match error:
        case "unmet_authentication_requirements":
            return LoginTooWeak("level")
        case "access_denied":
            return LoginCancelled("cancelled")
        case _:
            return LoginRefused("issuer refused")
