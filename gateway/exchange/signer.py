"""Our own keys at work: signing messages, and keeping the OCSP answers of our own certificates current.

A signature carries the signing certificate's OCSP answer; one that is stale makes a message that every peer refuses, so
signing stops with `cannot_create_signature` as soon as there is no current one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.clock import Clock
from gateway.exchange.trust_state import TrustState
from trust.errors import KeyUnavailable, TrustError
from trust.identifiers import MemberId
from trust.keys import SoftwareKey
from trust.ocsp_client import StatusSource
from trust.xades import SignatureBuilder, SignedPart

MESSAGE: Final = "/message.xml"
FIRST_ATTACHMENT: Final = "/attachment1"


def signed_parts(message: bytes, body: bytes | None) -> list[SignedPart]:
    """What is signed of a REST message: the message, and its body if there is one (PR-MESSTRANSP 2.7)."""
    return digested_parts(hashlib.sha512(message).digest(), None if not body else hashlib.sha512(body).digest())


def digested_parts(message_digest: bytes, body_digest: bytes | None) -> list[SignedPart]:
    """As `signed_parts`, from SHA-512 digests that are there already."""
    parts = [SignedPart(MESSAGE, message_digest)]
    if body_digest is not None:
        parts.append(SignedPart(FIRST_ATTACHMENT, body_digest))
    return parts


class OwnCertificates:
    """OCSP answers of our signing and authentication certificates, refreshed by `refresh`, served to peers."""

    def __init__(
        self, source: StatusSource, trust: TrustState, clock: Clock, signing: SoftwareKey, authentication: SoftwareKey
    ) -> None:
        self._source = source
        self._trust = trust
        self._clock = clock
        self._authentication = authentication.certificate_der
        self._certificates = {key.certificate_der: key.intermediates for key in (signing, authentication)}
        self._current: dict[bytes, bytes] = {}

    async def refresh(self) -> Mapping[bytes, bytes]:
        """The current answers.

        Called every few seconds: the source remembers, and asks again when half the time is over.

        It gives what it has as long as that is fresh, so a failure here means that there is no fresh answer.
        """
        verifier = self._trust.latest.certificates
        for der, intermediates in self._certificates.items():
            try:
                query = verifier.status_query(der, at=self._clock.now(), intermediates=intermediates)
                self._current[der] = await self._source.status_for(query)
            except TrustError:
                self._current.pop(der, None)
        return dict(self._current)

    def status_of(self, der: bytes) -> bytes:
        """The answer at hand for one of our certificates. Raises KeyUnavailable when there is no current one."""
        known = self._current.get(der)
        if known is None:
            raise KeyUnavailable("no current OCSP answer for our own certificate")
        return known

    def authentication_status(self) -> bytes:
        """The answer for our authentication certificate, which each request carries. Raises KeyUnavailable."""
        return self.status_of(self._authentication)


class MessageSigner:
    """Signs messages for the gateway's member, on the event loop; responses within the log's transaction."""

    def __init__(self, key: SoftwareKey, member: MemberId, certificates: OwnCertificates, clock: Clock) -> None:
        self.key = key
        self.member = member
        self._certificates = certificates
        self._clock = clock
        self._builder = SignatureBuilder(key)

    def status(self) -> bytes:
        """The signing certificate's current OCSP answer. Raises KeyUnavailable."""
        return self._certificates.status_of(self.key.certificate_der)

    def sign(self, parts: Sequence[SignedPart]) -> bytes:
        """The signature document over these parts. Raises KeyUnavailable."""
        return self._builder.build(parts, signing_time=self._clock.now(), ocsp_response=self.status())
