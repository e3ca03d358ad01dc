"""Certificates: whom they name, what they are for, who vouches for them, and whether their status is good.

Follows PR-MESSTRANSP 2.7 (usage, chain, OCSP), RFC 5280 section 6 (path validation, done by `cryptography`) and the
global configuration, which says which authorities count. A CertificateVerifier belongs to one configuration; a new
configuration makes a new one, so nothing that it remembers outlives what it rests on. Results are remembered until
they lapse, in bounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Generic, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from trust.certification_path import (
    Authority,
    find_chain,
    is_authority,
    is_for_authentication,
    is_for_signing,
    load_certificate,
    read_authority,
    status_addresses,
)
from trust.costs import in_order
from trust.errors import CertificateUntrusted, MalformedInput, SignatureMalformed, StatusNotGood
from trust.identifiers import MemberId
from trust.keys import PublicKey, require_strong
from trust.ocsp import CLOCK_SKEW, NOT_GOOD, StatusPolicy, VerifiedStatus, concerns, verify_response
from trust.parameters import SharedParameters
from trust.profiles import member_of

MAX_VALIDATION_VALUES: Final = 16
_CACHE_SIZE: Final = 1024
_PATH_INVALID: Final = "invalid_cert_path"
# X-Road's CertChainFactory and CertChainVerifier name no reason of its own below it.
NO_PATH: Final = "cannot_create_cert_path.internal_error"
WRONG_USAGE: Final = "wrong_cert_usage"

_K = TypeVar("_K")
_V = TypeVar("_V")


class CertificateUsage(Enum):
    """What a certificate is for."""

    SIGNING = "signing"
    AUTHENTICATION = "authentication"


@dataclass(frozen=True, slots=True)
class VerifiedCertificate:
    """A certificate of an approved authority, of the right usage, whose status was good when it was verified.

    `member` is None for authentication certificates: their server is found by hash in the global configuration.
    `valid_until` is the end of the certification path, `status` the OCSP answer that was relied on.
    """

    certificate: x509.Certificate
    member: MemberId | None
    subject: str
    usage: CertificateUsage
    issuer: x509.Certificate
    valid_until: datetime
    status: VerifiedStatus


@dataclass(frozen=True, slots=True)
class ClaimedSigner:
    """What a signing certificate says of itself. Not verified: good for refusing early, for nothing else."""

    certificate: x509.Certificate
    public_key: PublicKey
    digest_sha512: bytes
    members: frozenset[MemberId]


@dataclass(frozen=True, slots=True)
class StatusQuery:
    """Where and how to ask for a certificate's status, and who may answer."""

    certificate: x509.Certificate
    issuer: x509.Certificate
    urls: tuple[str, ...]
    authorised_responders: tuple[x509.Certificate, ...]
    freshness: timedelta
    verify_next_update: bool = True
    fetch_interval: timedelta | None = None

    @property
    def certificate_der(self) -> bytes:
        """The certificate's DER, by which answers are known."""
        return self.certificate.public_bytes(Encoding.DER)

    def verify_status(self, der: bytes, *, at: datetime) -> VerifiedStatus:
        """The good status that the OCSP response `der` gives at the time `at`. Raises as `verify_response`."""
        return verify_response(
            der,
            certificate=self.certificate,
            issuer=self.issuer,
            authorised_responders=self.authorised_responders,
            freshness=self.freshness,
            verify_next_update=self.verify_next_update,
            at=at,
        )


@dataclass(frozen=True, slots=True)
class VerifiedPath:
    """A certificate of the right usage with a path to an approved authority. Its status is not known.

    `chain` is DER from the certificate to the last intermediate, without the root; `member` is a signing
    certificate's.
    """

    chain: tuple[bytes, ...]
    member: MemberId | None
    valid_from: datetime
    valid_until: datetime


class _Bounded(Generic[_K, _V]):
    """A cache that forgets the oldest entry when it is full."""

    __slots__ = ("_entries", "_limit")

    def __init__(self, limit: int = _CACHE_SIZE) -> None:
        self._entries: dict[_K, _V] = {}
        self._limit = limit

    def get(self, key: _K) -> _V | None:
        return self._entries.get(key)

    def put(self, key: _K, value: _V) -> None:
        if len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value


@dataclass(frozen=True, slots=True)
class _Path:
    """From the certificate (first) to the authority's root (last), and when all of it is valid."""

    chain: tuple[x509.Certificate, ...]
    authority: Authority
    member: MemberId | None
    valid_from: datetime
    valid_until: datetime


class CertificateVerifier:
    """Verifies certificates against one version of the shared parameters.

    Keeps what it verified until that lapses. Not for several threads at once.
    """

    def __init__(self, parameters: SharedParameters, *, policy: StatusPolicy | None = None) -> None:
        """`policy` is by default the parameters' freshness with X-Road's defaults.

        Raises MalformedInput when an approved authority's certificate can't be read.
        """
        self._instance = parameters.instance
        self.policy = policy or StatusPolicy(timedelta(seconds=parameters.ocsp_freshness_seconds))
        self._authorities = tuple(read_authority(approved) for approved in parameters.approved_cas)
        self._claims: _Bounded[bytes, ClaimedSigner] = _Bounded()
        self._paths: _Bounded[tuple[CertificateUsage, bytes], _Path] = _Bounded()
        self._verified: _Bounded[
            tuple[CertificateUsage, bytes, tuple[bytes, ...]], tuple[datetime, VerifiedCertificate]
        ]
        self._verified = _Bounded()

    def read_signer(self, der: bytes) -> ClaimedSigner:
        """What a certificate claims: that it is for signing, and which member it names.

        Raises MalformedInput (not a certificate), SignatureMalformed (not for signing: X-Road's
        `malformed_signature`) and CertificateUntrusted (no approved authority of its issuer's name, or no member in
        the subject).
        """
        claim = self._claims.get(der)
        if claim is None:
            claim = self._read_signer(der)
            self._claims.put(der, claim)
        return claim

    def verify_signing(
        self,
        der: bytes,
        *,
        intermediates: Sequence[bytes] = (),
        ocsp_response: bytes,
        more_ocsp_responses: Sequence[bytes] = (),
        at: datetime,
    ) -> VerifiedCertificate:
        """The signing certificate, verified at the time `at`; `member` is set.

        Each intermediate of its path needs its own response among `more_ocsp_responses`. Raises CertificateUntrusted,
        StatusNotGood, MalformedInput.
        """
        return self._verify(CertificateUsage.SIGNING, der, intermediates, (ocsp_response, *more_ocsp_responses), at)

    def verify_authentication(
        self, der: bytes, *, intermediates: Sequence[bytes] = (), ocsp_responses: Sequence[bytes], at: datetime
    ) -> VerifiedCertificate:
        """The authentication certificate of a gateway, verified at the time `at`; `member` is None.

        Raises CertificateUntrusted, StatusNotGood, MalformedInput.
        """
        return self._verify(CertificateUsage.AUTHENTICATION, der, intermediates, tuple(ocsp_responses), at)

    def verify_path(
        self, usage: CertificateUsage, der: bytes, *, at: datetime, intermediates: Sequence[bytes] = ()
    ) -> VerifiedPath:
        """The certificate's path at the time `at`, without its status. Raises CertificateUntrusted, MalformedInput."""
        path = self._path(usage, der, intermediates, at)
        chain = tuple(link.public_bytes(Encoding.DER) for link in path.chain[:-1])
        return VerifiedPath(chain, path.member, path.valid_from, path.valid_until)

    def status_query(self, der: bytes, *, at: datetime, intermediates: Sequence[bytes] = ()) -> StatusQuery:
        """How to ask for the status of a certificate of an approved authority. Raises CertificateUntrusted,
        MalformedInput.
        """
        return self.status_queries(der, at=at, intermediates=intermediates)[0]

    def status_queries(
        self, der: bytes, *, at: datetime, intermediates: Sequence[bytes] = ()
    ) -> tuple[StatusQuery, ...]:
        """How to ask for the status of a certificate and of each intermediate above it, in this order.

        PR-MESSTRANSP 2.2: whoever relies on the certificate wants all of them. Raises CertificateUntrusted,
        MalformedInput.
        """
        certificate = load_certificate(der)
        usage = CertificateUsage.SIGNING if is_for_signing(certificate) else CertificateUsage.AUTHENTICATION
        path, policy = self._path(usage, der, intermediates, at), self.policy
        approved = path.authority.approved
        urls = in_order(approved.ocsp_urls, dict(approved.ocsp_costs).get, policy.costs)
        return tuple(
            StatusQuery(
                link,
                path.chain[number + 1],
                # The configuration's first; what the certificate itself names is asked when none of them answers.
                tuple(dict.fromkeys((*urls, *status_addresses(link)))),
                path.authority.responders,
                policy.freshness,
                policy.verify_next_update,
                policy.fetch_interval,
            )
            for number, link in enumerate(path.chain[:-1])
        )

    def _verify(
        self,
        usage: CertificateUsage,
        der: bytes,
        intermediates: Sequence[bytes],
        responses: tuple[bytes, ...],
        at: datetime,
    ) -> VerifiedCertificate:
        key = (usage, der, responses)
        known = self._verified.get(key)
        if known is not None and known[0] <= at <= min(known[1].valid_until, known[1].status.good_until):
            return known[1]
        if len(intermediates) > MAX_VALIDATION_VALUES or len(responses) > MAX_VALIDATION_VALUES:
            raise MalformedInput("too many certificates or OCSP responses", code="incorrect_validation_info")
        path = self._path(usage, der, intermediates, at)
        try:
            status = self._verify_statuses(path, responses, at)
        except StatusNotGood as error:
            # As X-Road's CertChainVerifier: a path that could be built and doesn't hold; what is wrong stands below it.
            error.code = f"{_PATH_INVALID}.{error.code}"
            raise
        verified = VerifiedCertificate(
            certificate=path.chain[0],
            member=path.member,
            subject=path.chain[0].subject.rfc4514_string(),
            usage=usage,
            issuer=path.chain[1],
            valid_until=path.valid_until,
            status=status,
        )
        self._verified.put(key, (max(path.valid_from, status.this_update - CLOCK_SKEW), verified))
        return verified

    def _verify_statuses(self, path: _Path, responses: tuple[bytes, ...], at: datetime) -> VerifiedStatus:
        statuses: list[VerifiedStatus] = []
        # PR-MESSTRANSP 2.7: every certificate of the path but the root, whoever named it.
        for number, certificate in enumerate(path.chain[:-1]):
            statuses += self._verify_status(certificate, path.chain[number + 1], path.authority, responses, at)
        first = statuses[0]
        if len(statuses) == 1:
            return first
        until = min(status.good_until for status in statuses)
        since = max(status.this_update for status in statuses)
        return VerifiedStatus(first.produced_at, since, first.next_update, until)

    def _verify_status(
        self,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        authority: Authority,
        responses: tuple[bytes, ...],
        at: datetime,
    ) -> list[VerifiedStatus]:
        matching = [der for der in responses if concerns(der, certificate=certificate, issuer=issuer)]
        if not matching:
            raise StatusNotGood("no OCSP response for a certificate", code=NOT_GOOD, hint="send its OCSP response")
        # All that speak of it must hold: a good answer doesn't outweigh a bad one.
        return [
            verify_response(
                der,
                certificate=certificate,
                issuer=issuer,
                authorised_responders=authority.responders,
                freshness=self.policy.freshness,
                verify_next_update=self.policy.verify_next_update,
                at=at,
            )
            for der in matching
        ]

    def _path(self, usage: CertificateUsage, der: bytes, intermediates: Sequence[bytes], at: datetime) -> _Path:
        path = self._paths.get((usage, der))
        if path is None or not path.valid_from <= at <= path.valid_until:
            path = self._build_path(usage, load_certificate(der), intermediates, at)
            self._paths.put((usage, der), path)
        return path

    def _build_path(
        self, usage: CertificateUsage, certificate: x509.Certificate, intermediates: Sequence[bytes], at: datetime
    ) -> _Path:
        _require_usage(certificate, usage)
        offered = [load_certificate(der) for der in intermediates]
        if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
            raise CertificateUntrusted("the certificate isn't valid at this time", code="cert_validity_time")
        for authority in self._authorities:
            if usage is CertificateUsage.SIGNING and authority.approved.authentication_only:
                continue
            chain = find_chain(certificate, authority, offered, at)
            if chain is None:
                continue
            member = None
            if usage is CertificateUsage.SIGNING:
                member = member_of(certificate.subject, profile=authority.approved.profile, instance=self._instance)
            return _Path(
                chain=chain,
                authority=authority,
                member=member,
                valid_from=max(link.not_valid_before_utc for link in chain),
                valid_until=min(link.not_valid_after_utc for link in chain),
            )
        raise CertificateUntrusted(
            "no path to an authority that the instance approves",
            code=NO_PATH,
            hint="the certificate must be issued by an authority of the global configuration",
        )

    def _read_signer(self, der: bytes) -> ClaimedSigner:
        certificate = load_certificate(der)
        if not is_for_signing(certificate):
            raise SignatureMalformed("the certificate isn't for signing (keyUsage nonRepudiation)")
        members: set[MemberId] = set()
        last: CertificateUntrusted | None = None
        for authority in self._authorities:
            if authority.approved.authentication_only:
                continue
            try:
                members.add(member_of(certificate.subject, profile=authority.approved.profile, instance=self._instance))
            except CertificateUntrusted as error:
                last = error
        if not members:
            raise last or CertificateUntrusted("no authority is approved", code=NO_PATH)
        try:
            public_key = require_strong(certificate.public_key())
        except (ValueError, UnsupportedAlgorithm):
            raise MalformedInput("the certificate's key can't be read", code="incorrect_certificate") from None
        return ClaimedSigner(certificate, public_key, hashlib.sha512(der).digest(), frozenset(members))


def _require_usage(certificate: x509.Certificate, usage: CertificateUsage) -> None:
    fits = is_for_signing(certificate) if usage is CertificateUsage.SIGNING else is_for_authentication(certificate)
    if is_authority(certificate) or not fits:
        raise CertificateUntrusted(f"the certificate isn't for {usage.value}", code=WRONG_USAGE)
