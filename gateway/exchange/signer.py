"""Our own keys at work: signing messages, and keeping the OCSP answers of our own certificates current.

A signature carries the signing certificate's OCSP answer; one that is stale makes a message that every peer refuses, so
signing stops with `cannot_create_signature` as soon as there is no current one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from gateway.clock import Clock
from gateway.exchange.own_keys import OwnKey, OwnKeys
from gateway.exchange.trust_state import TrustState
from gateway.messages.transport import HashChain
from trust.errors import KeyUnavailable, TrustError
from trust.identifiers import MemberId
from trust.ocsp_client import StatusSource
from trust.tokens import is_in_device
from trust.xades import SignatureBuilder, SignedPart

MESSAGE: Final = "/message.xml"
FIRST_ATTACHMENT: Final = "/attachment1"
_MOST_AUTHENTICATION: Final = 2
_MOST_BUILDERS: Final = 256

_Document = TypeVar("_Document")


def signed_parts(message: bytes, body: bytes | None) -> list[SignedPart]:
    """What is signed of a REST message: the message, and its body if there is one (PR-MESSTRANSP 2.7)."""
    return digested_parts(hashlib.sha512(message).digest(), None if not body else hashlib.sha512(body).digest())


def digested_parts(message_digest: bytes, body_digest: bytes | None, *more: bytes) -> list[SignedPart]:
    """As `signed_parts`, from SHA-512 digests that are there already; a SOAP message may have `more` attachments."""
    parts = [SignedPart(MESSAGE, message_digest)]
    if body_digest is not None:
        parts.append(SignedPart(FIRST_ATTACHMENT, body_digest))
    parts += [SignedPart(f"/attachment{number}", digest) for number, digest in enumerate(more, 2)]
    return parts


class OwnCertificates:
    """OCSP answers of our signing and authentication certificates and their intermediates, refreshed by `refresh`,
    served to peers.
    """

    def __init__(self, source: StatusSource, trust: TrustState, clock: Clock, keys: OwnKeys) -> None:
        self._source = source
        self._trust = trust
        self._clock = clock
        self.keys = keys
        # Whose certificate our connections show: its answers go along even when it has just been deactivated.
        self.presented: OwnKey | None = None
        self._current: dict[bytes, bytes] = {}

    async def refresh(self) -> Mapping[bytes, bytes]:
        """The current answers.

        Called every few seconds: the source remembers, and asks again when it is time to.

        It gives what it has as long as that is fresh, so a failure here means that there is no fresh answer.
        """
        used = (*self.keys.all, *(() if self.presented is None else (self.presented,)))
        for own in used:
            await self._refresh(own)
        for der in self._current.keys() - {der for own in used for der in own.chain}:
            self._current.pop(der, None)
        return dict(self._current)

    async def prepare(self, keys: OwnKeys) -> None:
        """Fetches the answers of keys that are to be used from now on."""
        for own in keys.all:
            if not all(der in self._current for der in own.chain):
                await self._refresh(own)

    async def _refresh(self, own: OwnKey) -> None:
        verifier = self._trust.latest.certificates
        try:
            queries = verifier.status_queries(own.certificate, at=self._clock.now(), intermediates=own.chain[1:])
        except TrustError:
            self._current.pop(own.certificate, None)
            return
        for query in queries:
            try:
                self._current[query.certificate_der] = await self._source.status_for(query)
            except TrustError:
                self._current.pop(query.certificate_der, None)

    @property
    def complete(self) -> bool:
        """Whether every certificate of ours has a current answer."""
        return all(der in self._current for own in self.keys.all for der in own.chain)

    def statuses_of(self, own: OwnKey) -> tuple[bytes, ...]:
        """The answers at hand for one of our certificates and its intermediates, in this order.

        Raises KeyUnavailable when one has no current answer.
        """
        try:
            return tuple([self._current[der] for der in own.chain])
        except KeyError:
            raise KeyUnavailable("no current OCSP answer for our own certificate") from None

    def authentication_statuses(self) -> tuple[bytes, ...]:
        """The answers for our authentication certificates, which each request carries (PR-MESSTRANSP 2.4).

        While one certificate follows another, of both: an open connection shows the one that it began with. Raises
        KeyUnavailable when there is none.
        """
        found: dict[bytes, None] = {}
        first = () if self.presented is None else (self.presented,)
        for own in (*first, *self.keys.authentication[:_MOST_AUTHENTICATION]):
            with suppress(KeyUnavailable):
                found.update(dict.fromkeys(self.statuses_of(own)))
        if not found:
            raise KeyUnavailable("no current OCSP answer for our own certificate")
        return tuple(found)


class MessageSigner:
    """Signs messages for the members whose keys are here, responses within the log's transaction.

    On the event loop with keys in memory, in other threads with a device's (`waits`).
    """

    def __init__(self, owner: MemberId, certificates: OwnCertificates, clock: Clock) -> None:
        self._owner = owner
        self._certificates = certificates
        self._clock = clock
        self._builders: dict[bytes, tuple[OwnKey, SignatureBuilder]] = {}

    def serves(self, member: MemberId) -> bool:
        """Whether there is a signing key of this member."""
        return member in self._certificates.keys.signing

    def waits(self, member: MemberId) -> bool:
        """Whether to sign for this member means to wait for a device."""
        return any(is_in_device(own.key.private_key) for own in self._certificates.keys.signing.get(member, ()))

    def status(self) -> bytes:
        """The current OCSP answer of the owner's signing certificate. Raises KeyUnavailable."""
        return self._ready(self._owner)[1][0]

    def sign(self, parts: Sequence[SignedPart], *, member: MemberId | None = None) -> bytes:
        """The member's (by default the owner's) signature document over these parts. Raises KeyUnavailable."""
        return self._with_key(
            member,
            lambda builder, statuses: builder.build(
                parts,
                signing_time=self._clock.now(),
                ocsp_response=statuses[0],
                further_ocsp_responses=statuses[1:],
            ),
        )

    def sign_classic(
        self, parts: Sequence[SignedPart], *, member: MemberId | None = None
    ) -> tuple[bytes, HashChain | None]:
        """The signature document in the form of X-Road 7, and the hash chain if there are several parts.

        Raises KeyUnavailable.
        """

        def build(builder: SignatureBuilder, statuses: tuple[bytes, ...]) -> tuple[bytes, HashChain | None]:
            (signed,) = builder.build_batch(
                (parts,),
                signing_time=self._clock.now(),
                ocsp_response=statuses[0],
                further_ocsp_responses=statuses[1:],
            )
            if signed.hash_chain_result is None or signed.hash_chain is None:
                return signed.document, None
            return signed.document, HashChain(signed.hash_chain_result, signed.hash_chain)

        return self._with_key(member, build)

    def sign_for(
        self, parts: Sequence[SignedPart], *, classic: bool, member: MemberId | None = None
    ) -> tuple[bytes, HashChain | None]:
        """As `sign_classic` for a peer that needs that form, else as `sign`."""
        return self.sign_classic(parts, member=member) if classic else (self.sign(parts, member=member), None)

    def _with_key(
        self, member: MemberId | None, build: Callable[[SignatureBuilder, tuple[bytes, ...]], _Document]
    ) -> _Document:
        """Signs with the latest key that can: a token that fails leaves the work to the key before."""
        failure: KeyUnavailable | None = None
        for own in self._certificates.keys.of(member or self._owner):
            try:
                return build(self._builder(own), self._statuses(own))
            except KeyUnavailable as error:
                failure = failure or error
        raise failure or KeyUnavailable("no key signs")

    def _ready(self, member: MemberId) -> tuple[OwnKey, tuple[bytes, ...]]:
        failure: KeyUnavailable | None = None
        for own in self._certificates.keys.of(member):
            try:
                return own, self._statuses(own)
            except KeyUnavailable as error:
                failure = failure or error
        raise failure or KeyUnavailable("no key signs")

    def _statuses(self, own: OwnKey) -> tuple[bytes, ...]:
        if self._clock.now() > own.valid_until:
            raise KeyUnavailable("our certificate has expired", hint="import its successor: datenweg key")
        return self._certificates.statuses_of(own)

    def _builder(self, own: OwnKey) -> SignatureBuilder:
        known = self._builders.get(own.certificate)
        if known is None or known[0] is not own:
            if len(self._builders) >= _MOST_BUILDERS:
                self._builders.clear()
            known = self._builders[own.certificate] = (own, SignatureBuilder(own.key))
        return known[1]
