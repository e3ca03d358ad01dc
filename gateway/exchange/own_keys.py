"""Which of our keys are in use: for each member the signing keys, and the gateway's authentication keys.

A snapshot of the key ring, replaced as a whole when the ring or the configuration changes. Of several active keys the
one activated last is taken, as soon as it can be: a signing key when its certificate has an OCSP answer, an
authentication key when the registry has also published its hash. The one before serves until then, so that no message
is lost while a certificate follows another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType

from trust.certificates import CertificateUsage, CertificateVerifier
from trust.errors import KeyUnavailable, TrustError
from trust.identifiers import MemberId
from trust.keys import SoftwareKey
from trust.tokens import RingKey


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of ours with a path to an approved authority. `chain` is DER, the certificate first, without the root."""

    key: SoftwareKey
    chain: tuple[bytes, ...]
    member: MemberId | None
    valid_until: datetime

    @property
    def certificate(self) -> bytes:
        """The certificate, DER."""
        return self.chain[0]

    @property
    def usage(self) -> CertificateUsage:
        """What the key is for."""
        return CertificateUsage.AUTHENTICATION if self.member is None else CertificateUsage.SIGNING


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """All keys in use. Of each member, and for authentication, the latest activated first."""

    signing: Mapping[MemberId, tuple[OwnKey, ...]] = field(default_factory=lambda: MappingProxyType({}))
    authentication: tuple[OwnKey, ...] = ()
    problems: tuple[TrustError, ...] = ()

    @property
    def all(self) -> tuple[OwnKey, ...]:
        """Every key, signing keys first."""
        return (*(key for keys in self.signing.values() for key in keys), *self.authentication)

    def of(self, member: MemberId) -> tuple[OwnKey, ...]:
        """The member's signing keys. Raises KeyUnavailable (`cannot_create_signature`) when there is none."""
        found = self.signing.get(member)
        if found is None:
            raise KeyUnavailable(
                f"no signing key for {member}", hint="generate one, and import its certificate: datenweg key"
            )
        return found

    def expiries(self) -> dict[CertificateUsage, datetime]:
        """Until when each usage is served: the first moment at which a member, or the gateway, has no certificate."""
        ends: dict[CertificateUsage, datetime] = {}
        for usage, keys in (
            *((CertificateUsage.SIGNING, keys) for keys in self.signing.values()),
            (CertificateUsage.AUTHENTICATION, self.authentication),
        ):
            if keys:
                last = max(key.valid_until for key in keys)
                ends[usage] = min(last, ends.get(usage, last))
        return ends


def select_keys(
    signing: Iterable[RingKey], authentication: Iterable[RingKey], verifier: CertificateVerifier, *, at: datetime
) -> OwnKeys:
    """The keys whose certificates have a path now; the others are among `problems`."""
    problems: list[TrustError] = []
    by_member: dict[MemberId, tuple[OwnKey, ...]] = {}
    for own in _with_path(signing, CertificateUsage.SIGNING, verifier, at, problems):
        if own.member is not None:
            by_member[own.member] = (*by_member.get(own.member, ()), own)
    ours = tuple(_with_path(authentication, CertificateUsage.AUTHENTICATION, verifier, at, problems))
    return OwnKeys(MappingProxyType(by_member), ours, tuple(problems))


def _with_path(
    keys: Iterable[RingKey],
    usage: CertificateUsage,
    verifier: CertificateVerifier,
    at: datetime,
    problems: list[TrustError],
) -> Iterable[OwnKey]:
    for found in keys:
        key = found.key
        try:
            path = verifier.verify_path(usage, key.certificate_der, at=at, intermediates=key.intermediates)
        except TrustError as error:
            problems.append(error)
            continue
        # The path may lead over intermediates that only the configuration names: peers get those with the signature.
        if usage is CertificateUsage.SIGNING and key.intermediates != path.chain[1:]:
            key = SoftwareKey(key.private_key, key.certificate, path.chain[1:], algorithm=key.algorithm)
        yield OwnKey(key, path.chain, path.member, path.valid_until)


def published(keys: Sequence[OwnKey], hashes: frozenset[bytes]) -> tuple[OwnKey, ...]:
    """The authentication keys whose certificates' SHA-256 the global configuration has for this gateway."""
    return tuple(key for key in keys if sha256(key.certificate).digest() in hashes)
