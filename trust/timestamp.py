"""Time stamps: building requests, reading answers, verifying tokens.

Follows RFC 3161 sections 2.4 (request, answer, token), RFC 5816 (certificate identifiers) and RFC 5652 section 5
(signed data). Trust is X-Road's: the global configuration names the very certificate that signs a time-stamping
authority's tokens, so no path is built and the token need not carry the certificate. `rfc3161-client` and OpenSSL
verify against roots only; the tests hold this module against both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from trust import timestamp_asn1 as tsp
from trust.ber import has_indefinite_length, with_definite_lengths
from trust.certification_path import UNREADABLE
from trust.errors import TimestampInvalid
from trust.parameters import ApprovedTSA
from trust.timestamp_asn1 import OID

MAX_TOKEN_BYTES: Final = 64 << 10
# A token from the future is wrong; a clock that is a little behind the authority's is usual.
_FUTURE: Final = timedelta(minutes=5)
_PAST: Final = timedelta(minutes=5)
_GRANTED: Final = (0, 1)
REFUSED: Final = "mlog.timestamp_non_granted_response"
# The codes of X-Road's verifier of stamps, by what doesn't hold: who signed, the signature, what it is over.
_STRANGER: Final = "mlog.tsp_certificate_not_found"
_UNPROVEN: Final = "mlog.timestamp_signer_verification_failed"
_OTHER_IMPRINT: Final = "malformed_signature"

_DIGESTS: Final = {tsp.SHA256: "sha256", tsp.SHA384: "sha384", tsp.SHA512: "sha512"}
_DIGEST_OIDS: Final = {name: oid for oid, name in _DIGESTS.items()}
_HASHES: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_RSA_ENCRYPTION: Final = OID("1.2.840.113549.1.1.1")
_RSA_SIGNATURES: Final = {
    OID("1.2.840.113549.1.1.11"): "sha256",
    OID("1.2.840.113549.1.1.12"): "sha384",
    OID("1.2.840.113549.1.1.13"): "sha512",
}
_ECDSA_SIGNATURES: Final = {
    OID("1.2.840.10045.4.3.2"): "sha256",
    OID("1.2.840.10045.4.3.3"): "sha384",
    OID("1.2.840.10045.4.3.4"): "sha512",
}

# OverflowError: a number too large for its place; TypeError: a name of a kind that can't be. All mean the same to us.
_UNREADABLE: Final = (ValueError, OverflowError, TypeError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VerifiedTimestamp:
    """A token that holds: the stamped digest existed at `time`."""

    time: datetime
    serial_number: int
    policy: str
    digest: bytes
    tsa_certificate: bytes
    token: bytes


def build_request(
    digest: bytes, *, digest_name: str = "sha512", nonce: int | None = None, certificate_requested: bool = False
) -> bytes:
    """A DER request to stamp `digest`. X-Road sends no nonce and asks for no certificate; so do the defaults."""
    algorithm = tsp.AlgorithmIdentifier(algorithm=_DIGEST_OIDS[digest_name], parameters=asn1.Null())
    return asn1.encode_der(
        tsp.TimeStampReq(
            version=1,
            message_imprint=tsp.MessageImprint(hash_algorithm=algorithm, hashed_message=digest),
            policy=None,
            nonce=nonce,
            certificate_requested=certificate_requested,
        )
    )


def parse_response(data: bytes) -> bytes:
    """The token (DER) in an authority's answer, not yet verified. Raises TimestampInvalid, also for a refusal."""
    if len(data) > MAX_TOKEN_BYTES:
        raise TimestampInvalid("the answer is too large")
    try:
        response = asn1.decode_der(tsp.TimeStampResp, data)
    except _UNREADABLE:
        _decode(tsp.TimeStampRefusal, data)
        raise TimestampInvalid("the time-stamping authority refused", code=REFUSED) from None
    if response.status.status not in _GRANTED:
        raise TimestampInvalid("the time-stamping authority refused", code=REFUSED)
    return asn1.encode_der(response.token)


def add_certificate(token: bytes, certificate: bytes) -> bytes:
    """The token with its signer's certificate (DER) in it, as containers carry it. Raises TimestampInvalid."""
    info = _content_info(token)
    present = [asn1.encode_der(item) for item in info.content.certificates or ()]
    if certificate in present:
        return token
    # A SET OF in DER is sorted (X.690 11.6).
    info.content.certificates = [_decode(asn1.TLV, item) for item in sorted((*present, certificate))]
    return asn1.encode_der(info)


def imprint_of(token: bytes) -> tuple[str, bytes]:
    """The name of the digest algorithm and the digest that a token claims to stamp; `verify_token` proves it.

    Raises TimestampInvalid.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TimestampInvalid("the token is too large")
    imprint = _decode(tsp.TSTInfo, _content_info(token).content.content.content).message_imprint
    name = _DIGESTS.get(imprint.hash_algorithm.algorithm)
    if name is None:
        raise TimestampInvalid("the token's digest algorithm isn't accepted")
    return name, imprint.hashed_message


def signer_of(token: bytes, approved: Sequence[ApprovedTSA]) -> ApprovedTSA:
    """The approved authority whose certificate the token names; `verify_token` proves it. Raises TimestampInvalid."""
    if not approved:
        raise TimestampInvalid("no time-stamping authority is approved", code="mlog.no_timestamping_provider_found")
    signer = _signer(_content_info(token)).signer
    for authority in approved:
        certificate = _certificate(authority.certificate)
        if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
            return authority
    raise TimestampInvalid("the token is not of an approved time-stamping authority", code=_STRANGER)


def verify_token(
    token: bytes,
    *,
    digest: bytes,
    tsa_certificate: bytes,
    at: datetime,
    digest_name: str = "sha512",
    nonce: int | None = None,
    asked_at: datetime | None = None,
) -> VerifiedTimestamp:
    """The time stamp in `token`, when the authority with `tsa_certificate` (DER) stamped `digest`.

    `at` is the verifier's time; `nonce`, if given, is the request's; so is `asked_at`, its time: whoever asks doesn't
    take an older stamp. Raises TimestampInvalid.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TimestampInvalid("the token is too large")
    certificate = _certificate(tsa_certificate)
    # 1. Signed data with one signer over a TSTInfo (RFC 3161 2.4.2).
    info = _content_info(token)
    if info.content_type != tsp.SIGNED_DATA or info.content.content.content_type != tsp.TST_INFO:
        raise TimestampInvalid("not a time-stamp token")
    signer = _signer(info)
    content = info.content.content.content
    # 2. The signer is the authority's certificate, by name and by hash (RFC 5816 2.2.1).
    if (signer.signer.issuer, signer.signer.serial_number) != (certificate.issuer, certificate.serial_number):
        raise TimestampInvalid("the token is by another signer than the approved one", code=_STRANGER)
    attributes = _attributes(signer)
    _verify_signing_certificate(attributes, tsa_certificate)
    # 3. The certificate's key is for time-stamping alone (RFC 3161 2.3).
    _verify_usage(certificate)
    # 4. The signed attributes are about this content (RFC 5652 11.1 and 11.2), and the signature is over them.
    _verify_content(attributes, content, signer)
    _verify_signature(certificate, signer)
    # 5. The content is about our digest, and about our request.
    stamped = _decode(tsp.TSTInfo, content)
    imprint = stamped.message_imprint
    if imprint.hash_algorithm.algorithm != _DIGEST_OIDS[digest_name] or imprint.hashed_message != digest:
        raise TimestampInvalid("the token stamps something else", code=_OTHER_IMPRINT)
    if nonce is not None and stamped.nonce != nonce:
        raise TimestampInvalid("the token answers another request")
    # 6. The time is possible: not ahead of ours, and within the certificate's validity.
    time = stamped.generated.as_datetime().replace(tzinfo=UTC)
    if time > at + _FUTURE:
        raise TimestampInvalid("the token is from the future", hint="compare the clocks")
    if asked_at is not None and time < asked_at - _PAST:
        raise TimestampInvalid("the token is older than the request", hint="compare the clocks")
    if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
        raise TimestampInvalid("the token's time is outside its signer's validity")
    return VerifiedTimestamp(time, stamped.serial_number, stamped.policy.dotted_string, digest, tsa_certificate, token)


def _signer(info: tsp.ContentInfo) -> tsp.SignerInfo:
    signers = info.content.signers.as_list()
    if len(signers) != 1:
        raise TimestampInvalid("a token has exactly one signer")
    return signers[0]


def _attributes(signer: tsp.SignerInfo) -> dict[OID, asn1.TLV]:
    attributes: dict[OID, asn1.TLV] = {}
    for attribute in signer.signed_attributes.as_list():
        values = attribute.values.as_list()
        # RFC 5652 5.3: an attribute occurs once; those we read have one value.
        if len(values) != 1 or attribute.type in attributes:
            raise TimestampInvalid("a signed attribute is given twice")
        attributes[attribute.type] = values[0]
    return attributes


def _verify_signing_certificate(attributes: dict[OID, asn1.TLV], certificate: bytes) -> None:
    if tsp.SIGNING_CERTIFICATE_V2 in attributes:
        identifiers = _parse(attributes[tsp.SIGNING_CERTIFICATE_V2], tsp.SigningCertificateV2).certificates
        first = identifiers[0] if identifiers else None
        algorithm = tsp.SHA256 if first is None or first.hash_algorithm is None else first.hash_algorithm.algorithm
        named = None if first is None else first.certificate_hash
        name = _DIGESTS.get(algorithm)
    elif tsp.SIGNING_CERTIFICATE in attributes:
        # RFC 2634 knows SHA-1 only. It binds nothing that the configuration doesn't already bind.
        old = _parse(attributes[tsp.SIGNING_CERTIFICATE], tsp.SigningCertificate).certificates
        named, name = (old[0].certificate_hash if old else None), "sha1"
    else:
        raise TimestampInvalid("the token does not say which certificate signed it", code=_UNPROVEN)
    if name is None or hashlib.new(name, certificate).digest() != named:
        raise TimestampInvalid("the token names another certificate than the approved one", code=_UNPROVEN)


def _verify_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (x509.ExtensionNotFound, *UNREADABLE):
        raise TimestampInvalid("the signer's certificate is not for time-stamping") from None
    if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise TimestampInvalid("the signer's certificate is not for time-stamping alone")


def _verify_content(attributes: dict[OID, asn1.TLV], content: bytes, signer: tsp.SignerInfo) -> None:
    name = _DIGESTS.get(signer.digest_algorithm.algorithm)
    if name is None:
        raise TimestampInvalid("unsupported digest algorithm", code=_UNPROVEN)
    if tsp.CONTENT_TYPE not in attributes or tsp.MESSAGE_DIGEST not in attributes:
        raise TimestampInvalid("a signed attribute is missing", code=_UNPROVEN)
    if _parse(attributes[tsp.CONTENT_TYPE], OID) != tsp.TST_INFO:
        raise TimestampInvalid("the signed content type is another", code=_UNPROVEN)
    if _parse(attributes[tsp.MESSAGE_DIGEST], bytes) != hashlib.new(name, content).digest():
        raise TimestampInvalid("the content is not what was signed", code=_UNPROVEN)


def _verify_signature(certificate: x509.Certificate, signer: tsp.SignerInfo) -> None:
    signed = tsp.attributes_to_sign(signer.signed_attributes)
    algorithm = signer.signature_algorithm.algorithm
    if algorithm == _RSA_ENCRYPTION:
        rsa_hash = _DIGESTS.get(signer.digest_algorithm.algorithm)
    else:
        rsa_hash = _RSA_SIGNATURES.get(algorithm)
    ecdsa_hash = _ECDSA_SIGNATURES.get(algorithm)
    try:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey) and rsa_hash is not None:
            key.verify(signer.signature, signed, padding.PKCS1v15(), _HASHES[rsa_hash])
        elif isinstance(key, ec.EllipticCurvePublicKey) and ecdsa_hash is not None:
            key.verify(signer.signature, signed, ec.ECDSA(_HASHES[ecdsa_hash]))
        else:
            raise TimestampInvalid("unsupported signature algorithm", code=_UNPROVEN)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        raise TimestampInvalid("the token's signature does not hold", code=_UNPROVEN) from None


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE:
        raise TimestampInvalid("the approved certificate can't be read") from None


def _content_info(token: bytes) -> tsp.ContentInfo:
    # RFC 3161 asks for DER; some authorities answer in BER, and what X-Road keeps is what they answered.
    der = _guarded(lambda: with_definite_lengths(token)) if has_indefinite_length(token) else token
    return _decode(tsp.ContentInfo, der)


def _decode(kind: type[T], data: bytes) -> T:
    return _guarded(lambda: asn1.decode_der(kind, data))


def _parse(value: asn1.TLV, kind: type[T]) -> T:
    parsed: T = _guarded(lambda: value.parse(kind))
    return parsed


def _guarded(read: Callable[[], T]) -> T:
    try:
        return read()
    except _UNREADABLE:
        raise TimestampInvalid("not the ASN.1 that it should be") from None
