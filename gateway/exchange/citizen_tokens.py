"""The citizen's token on the road: an OpenID Connect access token (JWT, RFC 9068), verified at the consumer gateway.

The client sends it as `X-Datenweg-Citizen`; it never travels further. What is carried onward, signed, is the pseudonym
and the identity level. Keys come from the issuer's discovery document and are fetched again when a token names one
that is not known, at most once a minute. Verified tokens are remembered by their SHA-256 until they expire.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.bounded import TooLarge, read_bounded
from gateway.clock import Clock
from gateway.messages.headers import IdentityLevel, UnknownIdentityLevel

_ALGORITHMS: Final = ["ES256", "ES384", "PS256", "RS256", "EdDSA"]
_LEEWAY_SECONDS: Final = 30
_MAX_TOKEN_BYTES: Final = 8192
_MAX_DOCUMENT_BYTES: Final = 1 << 18
_REMEMBERED: Final = 10_000
_REFETCH_AFTER: Final = timedelta(seconds=60)
_KEYS_AGE: Final = timedelta(minutes=15)
# While the issuer is down each caller would wait for it in turn: for this long they are told at once.
_GIVE_UP: Final = timedelta(seconds=5)
_END_OF_TIME: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, where datetime ends


class CitizenTokenRefused(Exception):
    """The token doesn't hold: forged, expired, foreign, for somebody else.

    The client's fault; `reason` is a fixed word.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class IssuerUnavailable(Exception):
    """The issuer's keys can't be had now. Nobody's fault: try again."""


@dataclass(frozen=True, slots=True)
class VerifiedCitizen:
    """Who is asking, as a verified token says."""

    issuer: str
    subject: str
    level: IdentityLevel
    expires: datetime


class CitizenTokens:
    """Verifies tokens of one issuer for one audience. Safe for concurrent use within one event loop."""

    def __init__(self, session: aiohttp.ClientSession, *, issuer: str, audience: str, clock: Clock) -> None:
        self._session = session
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched: datetime | None = None
        self._failed: datetime | None = None
        self._fetching = asyncio.Lock()
        self._remembered: OrderedDict[bytes, VerifiedCitizen] = OrderedDict()

    async def verify(self, token: str) -> VerifiedCitizen:
        """The citizen that `token` speaks for. Raises CitizenTokenRefused, IssuerUnavailable."""
        fingerprint = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._remembered.get(fingerprint)
        now = self._clock.now()
        if known is not None:
            if known.expires > now:
                return known
            del self._remembered[fingerprint]
        citizen = await self._verify_anew(token, now)
        self._remembered[fingerprint] = citizen
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return citizen

    async def _verify_anew(self, token: str, now: datetime) -> VerifiedCitizen:
        if len(token) > _MAX_TOKEN_BYTES:
            raise CitizenTokenRefused("oversize")
        keys = await self._current_keys(now)
        try:
            claims = self._decode(token, keys)
        except (JoseError, ValueError, TypeError, KeyError):
            # A key that the issuer has rotated in since is the one cause that asking again can mend.
            if not self._may_refetch(now):
                raise CitizenTokenRefused("signature") from None
            keys = await self._fetch_keys(now)
            try:
                claims = self._decode(token, keys)
            except (JoseError, ValueError, TypeError, KeyError):
                raise CitizenTokenRefused("signature") from None
        return self._citizen(claims, now)

    @staticmethod
    def _decode(token: str, keys: KeySet) -> Mapping[str, Any]:
        decoded = jwt.decode(token, keys, algorithms=_ALGORITHMS)
        # RFC 9068 section 4: an access token, so that an ID token meant for another party can't be used as one.
        if decoded.header.get("typ") not in ("at+jwt", "application/at+jwt"):
            raise CitizenTokenRefused("type")
        return decoded.claims

    def _citizen(self, claims: Mapping[str, Any], now: datetime) -> VerifiedCitizen:
        if claims.get("iss") != self._issuer:
            raise CitizenTokenRefused("issuer")
        audience = claims.get("aud")
        if audience != self._audience and not (isinstance(audience, list) and self._audience in audience):
            raise CitizenTokenRefused("audience")
        expires, subject = claims.get("exp"), claims.get("sub")
        if type(expires) is not int or not 0 < expires <= _END_OF_TIME or not isinstance(subject, str) or not subject:
            raise CitizenTokenRefused("claims")
        if "cnf" in claims:
            # RFC 7800: bound to a key that its sender must prove to hold, which this gateway can't check yet.
            raise CitizenTokenRefused("bound to a key")
        not_before = claims.get("nbf", 0)
        if not isinstance(not_before, int) or now.timestamp() + _LEEWAY_SECONDS < not_before:
            raise CitizenTokenRefused("not yet valid")
        if now.timestamp() >= expires:
            raise CitizenTokenRefused("expired")
        try:
            level = IdentityLevel.from_word(str(claims.get("acr", "")))
        except UnknownIdentityLevel:
            raise CitizenTokenRefused("identity level") from None
        if level is IdentityLevel.NONE:
            raise CitizenTokenRefused("identity level")
        return VerifiedCitizen(self._issuer, subject, level, datetime.fromtimestamp(expires, now.tzinfo))

    async def _current_keys(self, now: datetime) -> KeySet:
        """The issuer's keys, not older than a quarter of an hour unless it is down: a key that it removed ends."""
        keys = self._keys
        if keys is not None and self._fetched is not None and now - self._fetched < _KEYS_AGE:
            return keys
        try:
            return await self._fetch_keys(now)
        except IssuerUnavailable:
            if keys is None:
                raise
            return keys

    def _may_refetch(self, now: datetime) -> bool:
        return self._fetched is None or now - self._fetched >= _REFETCH_AFTER

    async def _fetch_keys(self, now: datetime) -> KeySet:
        async with self._fetching:
            if self._keys is not None and not self._may_refetch(now):
                return self._keys
            if self._failed is not None and now - self._failed < _GIVE_UP:
                raise IssuerUnavailable("the issuer did not answer a moment ago")
            try:
                keys = await self._fetch()
            except IssuerUnavailable:
                self._failed = self._clock.now()
                raise
            self._keys, self._fetched = keys, now
            return keys

    async def _fetch(self) -> KeySet:
        discovery = await self._document(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        # OpenID Connect Discovery 1.0 section 4.3: the document has to name the issuer that it was asked for.
        if discovery.get("issuer") != self._issuer or not isinstance(discovery.get("jwks_uri"), str):
            raise IssuerUnavailable("discovery document of another issuer")
        try:
            return KeySet.import_key_set(await self._document(discovery["jwks_uri"]))  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError):
            raise IssuerUnavailable("the issuer's key set can't be read") from None

    async def _document(self, url: str) -> dict[str, Any]:
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=5), allow_redirects=False) as answer:
                if answer.status != 200:
                    raise IssuerUnavailable(f"status {answer.status}")
                document = json.loads(await read_bounded(answer.content, _MAX_DOCUMENT_BYTES))
        except (aiohttp.ClientError, TimeoutError, TooLarge, ValueError, RecursionError):
            raise IssuerUnavailable("the issuer does not answer") from None
        if not isinstance(document, dict):
            raise IssuerUnavailable("not a JSON object")
        return document
