"""Certificate status: building OCSP requests and verifying responses.

Follows RFC 6960 section 3.2 (what a client must confirm) and PR-MESSTRANSP 2.7: responses travel with messages, so
there is no nonce, and freshness is counted from thisUpdate. Asking responders and keeping answers is
`trust.ocsp_client`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from trust.certification_path import UNREADABLE
from trust.costs import CostStrategy
from trust.errors import CertificateRevoked, MalformedInput, SignatureMalformed, StatusNotGood
from trust.keys import PublicKey, require_strong

MAX_BYTES: Final = 64 * 1024
_MAX_CERTIFICATES: Final = 8
_MAX_ANSWERS: Final = 16
# Clocks of peers and responders may run ahead of ours by this much.
CLOCK_SKEW: Final = timedelta(seconds=60)
# A statement about the certificate itself; everything else is a defect of the response.
NOT_GOOD: Final = "cert_validation"
DEFECTIVE: Final = "incorrect_validation_info"
_STRONG: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True)
class StatusPolicy:
    """How current an OCSP answer must be, and how often one is fetched (PR-GCONF: ocspFreshnessSeconds and the parts
    NEXTUPDATE and FETCHINTERVAL; the defaults are X-Road's).

    `verify_next_update`: an answer also lapses at its own nextUpdate. `costs` says which responders are asked.
    """

    freshness: timedelta = timedelta(seconds=3600)
    verify_next_update: bool = True
    fetch_interval: timedelta = timedelta(seconds=1200)
    costs: CostStrategy = CostStrategy.NONE


@dataclass(frozen=True, slots=True)
class VerifiedStatus:
    """A certificate's status is good from `this_update` until `good_until` (the end of freshness, or nextUpdate)."""

    produced_at: datetime
    this_update: datetime
    next_update: datetime | None
    good_until: datetime


def build_request(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes:
    """The DER of a request for one certificate's status, without nonce. Raises MalformedInput."""
    try:
        # SHA-1 only names the certificate, and it is the one hash that every responder knows (RFC 6960 section 4.3).
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303
        return builder.build().public_bytes(serialization.Encoding.DER)
    except (ValueError, TypeError):
        raise MalformedInput("no status can be asked for this certificate", code="incorrect_certificate") from None


def concerns(der: bytes, *, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether a response speaks of this certificate at all. Raises MalformedInput."""
    try:
        response = _parse(der)
        return any(_matches(single, certificate, issuer) for single in _answers(response))
    except UNREADABLE:
        raise MalformedInput("not an OCSP response", code=DEFECTIVE) from None


# A gateway sends the same answers with each of its messages for as long as they are current.
@lru_cache(maxsize=64)
def require_readable(der: bytes) -> None:
    """Raises MalformedInput unless the bytes are an OCSP response of whatever content (RFC 6960 section 4.2.1)."""
    try:
        ocsp.load_der_ocsp_response(der)
    except UNREADABLE:
        raise MalformedInput("not an OCSP response", code=DEFECTIVE) from None


def verify_response(
    der: bytes,
    *,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    authorised_responders: Sequence[x509.Certificate] = (),
    freshness: timedelta,
    verify_next_update: bool = True,
    at: datetime,
) -> VerifiedStatus:
    """The good status of `certificate` at the time `at`.

    `freshness` and `verify_next_update` are a StatusPolicy's.

    Raises StatusNotGood (`cert_validation` when an authentic answer says revoked or unknown,
    `incorrect_validation_info` when the answer is foreign, forged or stale) and MalformedInput.
    """
    try:
        response = _parse(der)
        # 1. It is about this certificate, once.
        matching = [single for single in _answers(response) if _matches(single, certificate, issuer)]
        if len(matching) != 1:
            raise _defective("the OCSP response doesn't apply to the certificate")
        single = matching[0]
        # 2. A responder signed it; 3. and 4. who may answer for this authority, now.
        _verify_signature(response, issuer, authorised_responders, at)
        # 5. thisUpdate is recent enough, and has been.
        this_update, next_update = single.this_update_utc, single.next_update_utc
        if this_update > at + CLOCK_SKEW:
            raise _defective("the OCSP response is from the future")
        good_until = this_update + freshness
        # 6. nextUpdate, when it is there and the instance wants it looked at, isn't over.
        if next_update is not None and verify_next_update:
            good_until = min(good_until, next_update)
        if at > good_until:
            raise _defective("the OCSP response is too old")
        # The status last: only an authentic, current answer speaks about the certificate.
        if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
            revoked = single.certificate_status is ocsp.OCSPCertStatus.REVOKED
            raise (CertificateRevoked if revoked else StatusNotGood)(
                f"the certificate's status is {single.certificate_status.name.lower()}",
                code=NOT_GOOD,
                hint="the holder must ask the certification authority for a new certificate",
            )
        return VerifiedStatus(response.produced_at_utc, this_update, next_update, good_until)
    except UNREADABLE:
        raise MalformedInput("not an OCSP response", code=DEFECTIVE) from None


def _parse(der: bytes) -> ocsp.OCSPResponse:
    if len(der) > MAX_BYTES:
        raise MalformedInput("the OCSP response is too large", code=DEFECTIVE)
    response = ocsp.load_der_ocsp_response(der)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise _defective(f"the responder answered {response.response_status.name.lower()}")
    return response


def _answers(response: ocsp.OCSPResponse) -> Iterator[ocsp.OCSPSingleResponse]:
    for number, single in enumerate(response.responses):
        if number == _MAX_ANSWERS:
            raise MalformedInput("the OCSP response has too many answers", code=DEFECTIVE)
        yield single


def _matches(single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if single.serial_number != certificate.serial_number:
        return False
    expected = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, single.hash_algorithm).build()
    return single.issuer_name_hash == expected.issuer_name_hash and single.issuer_key_hash == expected.issuer_key_hash


def _verify_signature(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, authorised: Sequence[x509.Certificate], at: datetime
) -> None:
    embedded = response.certificates
    if len(embedded) > _MAX_CERTIFICATES:
        raise _defective("the OCSP response has too many certificates")
    for responder in _named(response, (issuer, *authorised, *embedded)):
        # RFC 6960 section 4.2.2.2: the authority itself, one that we were told of, or its delegate for this purpose.
        if not (responder == issuer or responder in authorised or _is_delegate(responder, issuer)):
            continue
        if not responder.not_valid_before_utc <= at + CLOCK_SKEW or not at <= responder.not_valid_after_utc:
            continue
        if _is_signed_by(response, responder):
            return
    raise _defective("no authorised responder signed the OCSP response")


def _named(response: ocsp.OCSPResponse, candidates: Iterable[x509.Certificate]) -> Iterator[x509.Certificate]:
    """The candidates that the responder id names."""
    name, key_hash = response.responder_name, response.responder_key_hash
    for candidate in candidates:
        if name is not None:
            if candidate.subject == name:
                yield candidate
        elif key_hash is not None and _key_hash(candidate) == key_hash:
            yield candidate


def _key_hash(certificate: x509.Certificate) -> bytes:
    # RFC 6960 section 4.2.1: a name by SHA-1 of the key, not a security measure.
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _is_delegate(responder: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        usage = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
            return False
        if not isinstance(responder.signature_hash_algorithm, _STRONG):
            return False
        responder.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, *UNREADABLE):
        return False
    return True


def _is_signed_by(response: ocsp.OCSPResponse, responder: x509.Certificate) -> bool:
    algorithm = response.signature_hash_algorithm
    if not isinstance(algorithm, _STRONG):
        raise _defective("the OCSP response is signed with an algorithm that isn't accepted")
    try:
        _verify_value(require_strong(responder.public_key()), response, algorithm)
    except (InvalidSignature, SignatureMalformed):
        return False
    return True


def _verify_value(key: PublicKey, response: ocsp.OCSPResponse, algorithm: hashes.HashAlgorithm) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), algorithm)
    else:
        key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))


def _defective(message: str) -> StatusNotGood:
    return StatusNotGood(message, code=DEFECTIVE, hint="ask the responder again")
