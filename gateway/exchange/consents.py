"""The provider's own signed copies of citizens' consents (DESIGN section 7).

A copy is a JWS (RFC 7515, compact, ES256) by the city's signing certificate, which its header carries (`x5c`). It
counts when that certificate is a valid signing certificate of a member that this gateway was told to accept consents
from, and it replaces an earlier copy of the same consent only with a higher sequence number: a replayed old copy can't
undo a withdrawal. The check on each exchange is against the copies in memory, which the store backs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cryptography import x509
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.store.model import ConsentCopy, ConsentStatus, RequiredIdentityLevel
from trust.identifiers import ClientId, InvalidIdentifier, ServiceId, SubsystemId, parse_client_id, parse_service_id

MAX_JWS_BYTES: Final = 32 * 1024
_TYPE: Final = "datenweg-consent+jwt"
_MAX_MS: Final = 1 << 53
_HELD_AT_ONCE: Final = 8
_NO_LEVEL: Final = RequiredIdentityLevel.NONE


class _Registry(jws.JWSRegistry):
    """ES256 only; a header with a certificate chain is longer than the library's default of 512 bytes."""

    max_header_length = 24 * 1024


_REGISTRY: Final = _Registry(algorithms=["ES256"])


class ConsentRefused(Exception):
    """The copy doesn't hold: not signed as it must be, or not a consent. `reason` is a fixed sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class UnverifiedConsent:
    """A copy as received, and the certificate (DER) that claims to have signed it. Nothing here may be relied on."""

    jws: str
    certificate: bytes


def parse_consent(token: bytes) -> UnverifiedConsent:
    """The envelope of a consent copy. Raises ConsentRefused."""
    if len(token) > MAX_JWS_BYTES:
        raise ConsentRefused("the consent is too large")
    try:
        text = token.decode("ascii")
        header = json.loads(_base64url(text.split(".", 1)[0]))
        if header["typ"] != _TYPE:
            raise ConsentRefused("the token is not a consent")
        certificate = base64.b64decode(header["x5c"][0], validate=True)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise ConsentRefused("the consent is not a JWS with its certificate") from None
    return UnverifiedConsent(text, certificate)


def verify_consent(unverified: UnverifiedConsent, certificate: x509.Certificate) -> ConsentCopy:
    """The consent that `certificate` signed. The caller has verified the certificate: this checks what it signed.

    Raises ConsentRefused.
    """
    try:
        key = ECKey.import_key(certificate.public_key())  # type: ignore[arg-type]
        verified = jws.deserialize_compact(unverified.jws, key, registry=_REGISTRY)
        claims = json.loads(verified.payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise ConsentRefused("the consent's signature does not hold") from None
    if not isinstance(claims, dict):
        raise ConsentRefused("the consent is not a JSON object")
    return _consent_copy(claims, unverified.jws)


def _consent_copy(claims: Mapping[str, Any], token: str) -> ConsentCopy:
    try:
        client = parse_client_id(_text(claims, "client"))
        if not isinstance(client, SubsystemId):
            raise ConsentRefused("a consent is given to a subsystem")
        return ConsentCopy(
            reference=str(uuid.UUID(_text(claims, "reference"))),
            client=client,
            subject=_text(claims, "subject"),
            service=parse_service_id(_text(claims, "service")),
            expires_ms=_number(claims, "expires_ms"),
            status=ConsentStatus(_text(claims, "status")),
            sequence=_number(claims, "sequence"),
            jws=token,
            identity_level=_level(claims),
        )
    except (InvalidIdentifier, ValueError):
        raise ConsentRefused("the consent's fields are not as they must be") from None


def _level(claims: Mapping[str, Any]) -> RequiredIdentityLevel:
    return RequiredIdentityLevel(_text(claims, "identity_level")) if "identity_level" in claims else _NO_LEVEL


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 2048:
        raise ConsentRefused("the consent lacks a field")
    return value


def _number(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_MS:
        raise ConsentRefused("the consent lacks a number")
    return value


def _base64url(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ConsentRefused("the consent is not base64url") from None


class ConsentStore(Protocol):
    """Where copies are durable."""

    async def consent_copy(self, reference: str) -> ConsentCopy | None:
        """The copy under a reference."""
        ...

    def hold_consent_copy(self, reference: str) -> AbstractAsyncContextManager[ConsentCopy | None]:
        """Within the block no process changes the copy under a reference: who wants to, waits."""
        ...


class ConsentCopies:
    """The copies of this gateway, by reference, as they are at this moment. Used from one event loop.

    Where one process has the store to itself, memory knows as much as the store does: whoever acknowledges a withdrawal
    has put it here before, and the log's transaction looks here. Where several processes share it (PostgreSQL), each
    exchange asks the store, since another process may have acknowledged one a moment ago; and while data go out on a
    consent (`holding`), the store lets nobody change it.
    """

    def __init__(self, store: ConsentStore, copies: Iterable[ConsentCopy] = (), *, shared: bool) -> None:
        self._store = store
        self._shared = shared
        self._copies = {} if shared else {copy.reference: copy for copy in copies}
        # Each takes a connection of the store's pool; others need some, too.
        self._holding = asyncio.Semaphore(_HELD_AT_ONCE)

    async def current(self, reference: str) -> ConsentCopy | None:
        """The copy in force under a reference. Raises what the store raises."""
        return await self._store.consent_copy(reference) if self._shared else self._copies.get(reference)

    @asynccontextmanager
    async def holding(self, reference: str) -> AsyncIterator[ConsentCopy | None]:
        """The copy in force; within the block no withdrawal of it is acknowledged that `known` doesn't tell of.

        Raises what the store raises, at the block's end too: then it can't be told whether it was held to the end.
        """
        if not self._shared:
            yield self._copies.get(reference)
            return
        async with self._holding, self._store.hold_consent_copy(reference) as copy:
            yield copy

    def known(self, reference: str, otherwise: ConsentCopy | None) -> ConsentCopy | None:
        """The copy without a wait: what memory has, else the one that was current a moment ago."""
        return self._copies.get(reference, otherwise)

    def put(self, copy: ConsentCopy) -> None:
        """Takes a copy that the store has accepted, unless a newer one is here already."""
        known = self._copies.get(copy.reference)
        if not self._shared and (known is None or known.sequence < copy.sequence):
            self._copies[copy.reference] = copy

    def replace_all(self, copies: Iterable[ConsentCopy]) -> None:
        """Takes the store's state, keeping what is newer here."""
        for copy in copies:
            self.put(copy)


def covers(copy: ConsentCopy, *, client: ClientId, subject: str, service: ServiceId) -> bool:
    """Whether the consent is for exactly this client, subject and service."""
    return copy.client == client and copy.subject == subject and copy.service == service
