"""The citizen's token on the road: an OpenID Connect access token (JWT, RFC 9068), verified at the consumer gateway.

The client sends it as `X-Datenweg-Citizen`; it never travels further. What is carried onward, signed, is the pseudonym
and the identity level. Keys come from the issuer's discovery document and are fetched again when a token names one
that is not known, at most once a minute. Verified tokens are remembered by their SHA-256 until they expire, or until
the issuer's keys are others. A token that is bound to a key (RFC 9449) counts only together with a proof of that key,
checked at each use.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.clock import Clock
from gateway.exchange.discovery import level_of
from gateway.exchange.dpop import ProofRefused, VerifiedProof, verify_proof
from gateway.exchange.issuer_documents import DocumentUnavailable, IssuerDocuments
from gateway.messages.headers import IdentityLevel, UnknownIdentityLevel
from gateway.settings_base import is_private

_ALGORITHMS: Final = ["ES256", "ES384", "PS256", "RS256", "EdDSA"]
_LEEWAY_SECONDS: Final = 30
_MAX_TOKEN_BYTES: Final = 8192
_DOCUMENT_SECONDS: Final = 5
_REMEMBERED: Final = 10_000
_REFETCH_AFTER: Final = timedelta(seconds=60)
_KEYS_AGE: Final = timedelta(minutes=15)
# While the issuer is down each caller would wait for it in turn: for this long they are told at once.
_GIVE_UP: Final = timedelta(seconds=5)
_END_OF_TIME: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, where datetime ends
_MAX_REPRESENTED: Final = 50
_MAX_NAME: Final = 200
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class CitizenTokenRefused(Exception):
    """The token doesn't hold: forged, expired, foreign, for somebody else.

    The client's fault; `reason` is a fixed word.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NonceWanted(CitizenTokenRefused):
    """The proof names no nonce of ours, or an old one. `nonce` is the one to use (RFC 9449 section 9)."""

    def __init__(self, nonce: str) -> None:
        super().__init__("proof nonce")
        self.nonce = nonce


class IssuerUnavailable(Exception):
    """The issuer's keys can't be had now. Nobody's fault: try again."""


@dataclass(frozen=True, slots=True)
class ClaimedRelation:
    """Somebody for whom the issuer says that the citizen may act: the claim `represents`."""

    subject: str
    role: str
    name: str


@dataclass(frozen=True, slots=True)
class VerifiedCitizen:
    """Who is asking, as a verified token says. `thumbprint`: of the key that it is bound to, or empty.

    `name` is for the citizen's own pages and papers; empty where the issuer keeps it to itself. The road never has it.
    """

    issuer: str
    subject: str
    level: IdentityLevel
    expires: datetime
    thumbprint: str = ""
    represents: tuple[ClaimedRelation, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Presentation:
    """How a token was presented: the request's method, our names for what it asked for, its DPoP headers.

    `vouched`: our own citizen application has checked the proof (`vouching`). `check_nonce` raises NonceWanted for a
    nonce, or its lack, that isn't taken here.
    """

    method: str
    urls: tuple[str, ...]
    proofs: tuple[str, ...] = ()
    vouched: bool = False
    check_nonce: Callable[[str | None], None] | None = None


class Bindings(Protocol):
    """What of a proof only a database can tell."""

    async def use(self, citizen: VerifiedCitizen, proof: VerifiedProof, /) -> None:
        """Takes a proof, once. Raises ProofRefused (`replayed`, `device revoked`), NonceWanted."""
        ...


class NoBindings:
    """A verifier that keeps nothing takes no bound tokens."""

    async def use(self, _citizen: VerifiedCitizen, _proof: VerifiedProof) -> None:
        """Always refuses."""
        raise ProofRefused("bound to a key")


class CitizenTokens:
    """Verifies tokens of one issuer for one audience. Safe for concurrent use within one event loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        issuer: str,
        audience: str,
        clock: Clock,
        bindings: Bindings | None = None,
        levels: Mapping[str, str] | None = None,
    ) -> None:
        self._bindings = bindings or NoBindings()
        self._levels = levels or {}
        self._documents = IssuerDocuments(session, seconds=_DOCUMENT_SECONDS)
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched: datetime | None = None
        self._failed: datetime | None = None
        self._fetching = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        self._remembered: OrderedDict[bytes, VerifiedCitizen] = OrderedDict()

    async def verify(self, token: str) -> VerifiedCitizen:
        """The citizen that an unbound `token` speaks for. Raises CitizenTokenRefused, IssuerUnavailable."""
        citizen = await self._verify(token)
        if citizen.thumbprint:
            # RFC 9449 section 7.2: what is bound is never taken as a bearer token.
            raise CitizenTokenRefused("bound to a key")
        return citizen

    async def verify_presented(self, token: str, presentation: Presentation) -> VerifiedCitizen:
        """The citizen that `token` speaks for, with the proof that it needs if it is bound to a key.

        Raises CitizenTokenRefused (NonceWanted: try again with its nonce), IssuerUnavailable.
        """
        citizen = await self._verify(token)
        if not citizen.thumbprint or presentation.vouched:
            return citizen
        # RFC 9449 section 4.3 (1): one header, no more.
        if len(presentation.proofs) != 1:
            raise CitizenTokenRefused("proof doubled" if presentation.proofs else "proof missing")
        try:
            proof = verify_proof(
                presentation.proofs[0],
                method=presentation.method,
                urls=presentation.urls,
                at=self._clock.now(),
                token=token,
            )
            # Section 6.1: the key of the proof is the one that the token was given to.
            if not hmac.compare_digest(proof.thumbprint, citizen.thumbprint):
                raise ProofRefused("key")
            if presentation.check_nonce is not None:
                presentation.check_nonce(proof.nonce)
            await self._bindings.use(citizen, proof)
        except ProofRefused as refused:
            raise CitizenTokenRefused(f"proof {refused.reason}") from None
        return citizen

    async def _verify(self, token: str) -> VerifiedCitizen:
        fingerprint = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._remembered.get(fingerprint)
        now = self._clock.now()
        if known is not None:
            if known.expires > now:
                self._look_for_removed_keys(now)
                return known
            del self._remembered[fingerprint]
        citizen = await self._verify_anew(token, now)
        self._remembered[fingerprint] = citizen
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return citizen

    def _look_for_removed_keys(self, now: datetime) -> None:
        """Keys that are too old are fetched beside the question: what a removed one has signed is forgotten then."""
        current = self._fetched is not None and now - self._fetched < _KEYS_AGE
        if not current and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(now), name="issuer's keys")

    async def _look(self, now: datetime) -> None:
        # An issuer that is down has removed nothing.
        with suppress(IssuerUnavailable):
            await self._fetch_keys(now)

    async def _verify_anew(self, token: str, now: datetime) -> VerifiedCitizen:
        if len(token) > _MAX_TOKEN_BYTES:
            raise CitizenTokenRefused("oversize")
        keys = await self._current_keys(now)
        try:
            claims = self._decode(token, keys)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            # A key that the issuer has rotated in since is the one cause that asking again can mend.
            if not self._may_refetch(now):
                raise CitizenTokenRefused("signature") from None
            keys = await self._fetch_keys(now)
            try:
                claims = self._decode(token, keys)
            except (JoseError, ValueError, TypeError, KeyError, RecursionError):
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
        thumbprint = _thumbprint(claims["cnf"]) if "cnf" in claims else ""
        not_before = claims.get("nbf", 0)
        if not isinstance(not_before, int) or now.timestamp() + _LEEWAY_SECONDS < not_before:
            raise CitizenTokenRefused("not yet valid")
        if now.timestamp() >= expires:
            raise CitizenTokenRefused("expired")
        try:
            level = level_of(claims.get("acr"), self._levels)
        except UnknownIdentityLevel:
            raise CitizenTokenRefused("identity level") from None
        ends = datetime.fromtimestamp(expires, now.tzinfo)
        # RFC 9068 section 2.2.3.1: what else the issuer says of the person, in the claims of OpenID Connect.
        name = claims.get("name")
        return VerifiedCitizen(
            self._issuer,
            subject,
            level,
            ends,
            thumbprint,
            _represents(claims.get("represents")),
            name[:_MAX_NAME] if isinstance(name, str) else "",
        )

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
            if self._keys is not None and keys.as_dict() != self._keys.as_dict():
                self._remembered.clear()
            self._keys, self._fetched = keys, now
            return keys

    async def _fetch(self) -> KeySet:
        try:
            return await self._fetch_key_set()
        except DocumentUnavailable as error:
            raise IssuerUnavailable(f"the issuer's documents: {error}") from None

    async def _fetch_key_set(self) -> KeySet:
        discovery = await self._documents.fetch_metadata(self._issuer)
        # OpenID Connect Discovery 1.0 section 4.3: the document has to name the issuer that it was asked for.
        uri = discovery.get("jwks_uri")
        if discovery.get("issuer") != self._issuer or not isinstance(uri, str):
            raise IssuerUnavailable("discovery document of another issuer")
        try:
            if is_private(self._issuer) and not is_private(uri):
                # Whoever could change the keys on the way would be every citizen.
                raise IssuerUnavailable("the issuer's keys are not where nobody can change them on the way")
            return KeySet.import_key_set(await self._documents.fetch(uri))  # type: ignore[arg-type]
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise IssuerUnavailable("the issuer's key set can't be read") from None


def _thumbprint(confirmation: object) -> str:
    """RFC 9449 section 6.1: the key's thumbprint, and no other kind of binding, which we couldn't check."""
    if not isinstance(confirmation, dict) or set(confirmation) != {"jkt"}:
        raise CitizenTokenRefused("bound to a key")
    value = confirmation["jkt"]
    if not isinstance(value, str) or not _THUMBPRINT.fullmatch(value):
        raise CitizenTokenRefused("bound to a key")
    return value


def _represents(claim: object) -> tuple[ClaimedRelation, ...]:
    """The persons that a claim names; what is malformed in it gives nobody any right."""
    found: list[ClaimedRelation] = []
    for entry in claim[:_MAX_REPRESENTED] if isinstance(claim, list) else ():
        if not isinstance(entry, dict):
            continue
        subject, role, name = entry.get("sub"), entry.get("role"), entry.get("name", "")
        if isinstance(subject, str) and 0 < len(subject) <= 255 and isinstance(role, str) and isinstance(name, str):
            found.append(ClaimedRelation(subject, role, name[:_MAX_NAME]))
    return tuple(found)
