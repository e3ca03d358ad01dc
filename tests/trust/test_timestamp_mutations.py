"""Answers of a time-stamping authority that were changed in one place: each is refused, with the right code.

Built with another library's tools where ours would not write what is wrong: DER is taken apart and put together here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from trust import timestamp_asn1 as tsp
from trust.errors import TimestampInvalid
from trust.testca import CertificateAuthority
from trust.testca.time_stamping import POLICY, TimeStampingAuthority
from trust.timestamp import build_request, parse_response, verify_token
from trust.timestamp_asn1 import OID

NOW = datetime.now(UTC).replace(microsecond=0)
DIGEST = hashlib.sha512(b"message").digest()
OTHER = hashlib.sha512(b"other").digest()
REFUSED, INVALID = "mlog.timestamp_non_granted_response", "timestamp_validation"
# What X-Road's verifier of stamps says: of another digest, of another authority, of a signature that doesn't hold.
IMPRINT, STRANGER, UNPROVEN = (
    "malformed_signature",
    "mlog.tsp_certificate_not_found",
    "mlog.timestamp_signer_verification_failed",
)
SHA1 = OID("1.3.14.3.2.26")
MD5 = OID("1.2.840.113549.2.5")


@dataclass
class Stamping:
    """An authority with its key in the open, so that what is wrong can be well signed."""

    ca: CertificateAuthority
    other: CertificateAuthority

    @property
    def certificate(self) -> bytes:
        return self.ca.time_stamping.certificate_der

    def answer(self) -> bytes:
        return TimeStampingAuthority(self.ca.time_stamping, lambda: NOW).answer(build_request(DIGEST))

    def check(self, answer: bytes) -> None:
        verify_token(
            parse_response(answer), digest=DIGEST, tsa_certificate=self.certificate, at=NOW,
            asked_at=NOW,
        )  # fmt: skip


@pytest.fixture(scope="module")
def stamping(tmp_path_factory: pytest.TempPathFactory) -> Stamping:
    def authority(folder: Path) -> CertificateAuthority:
        return CertificateAuthority.load_or_create(folder, "DE-TEST", clock=lambda: NOW)

    return Stamping(authority(tmp_path_factory.mktemp("ca")), authority(tmp_path_factory.mktemp("other")))


Change = Callable[[Stamping, "Parts"], None]


@dataclass
class Parts:
    """An answer taken apart; `signed` says whether it is to be signed anew once it was changed."""

    info: tsp.ContentInfo
    signer: tsp.SignerInfo
    stamped: tsp.TSTInfo
    status: int = 0
    signed: bool = True

    def attribute(self, kind: OID, value: object | None) -> None:
        """Sets a signed attribute, or leaves it out."""
        kept = [one for one in self.signer.signed_attributes.as_list() if one.type != kind]
        if value is not None:
            values = asn1.SetOf([asn1.decode_der(asn1.TLV, asn1.encode_der(value))])
            kept.append(tsp.Attribute(type=kind, values=values))
        self.signer.signed_attributes = asn1.SetOf(kept)


def taken_apart(answer: bytes) -> Parts:
    info = asn1.decode_der(tsp.ContentInfo, parse_response(answer))
    (signer,) = info.content.signers.as_list()
    return Parts(info, signer, asn1.decode_der(tsp.TSTInfo, info.content.content.content))


def put_together(stamping: Stamping, parts: Parts, *, content: bool = True) -> bytes:
    info, signer = parts.info, parts.signer
    if content:
        info.content.content.content = asn1.encode_der(parts.stamped)
        if parts.signed:
            names = {one.type for one in signer.signed_attributes.as_list()}
            if tsp.MESSAGE_DIGEST in names:
                parts.attribute(tsp.MESSAGE_DIGEST, hashlib.sha512(info.content.content.content).digest())
    if parts.signed:
        key = stamping.ca.time_stamping.key
        signer.signature = key.sign(tsp.attributes_to_sign(signer.signed_attributes), ec.ECDSA(hashes.SHA512()))
    if info.content.signers.as_list():
        count = len(info.content.signers.as_list())
        info.content.signers = asn1.SetOf([signer] * count)
    status = tsp.PKIStatusInfo(status=parts.status, status_string=None, failure=None)
    token = asn1.decode_der(asn1.TLV, asn1.encode_der(info))
    return asn1.encode_der(tsp.TimeStampResp(status=status, token=token))


def imprint(algorithm: OID, digest: bytes) -> tsp.MessageImprint:
    return tsp.MessageImprint(
        hash_algorithm=tsp.AlgorithmIdentifier(algorithm=algorithm, parameters=asn1.Null()), hashed_message=digest
    )


def stamped(**fields: object) -> Change:
    def change(_: Stamping, parts: Parts) -> None:
        for name, value in fields.items():
            setattr(parts.stamped, name, value)

    return change


def signer(signed: bool = True, **fields: object) -> Change:
    def change(_: Stamping, parts: Parts) -> None:
        parts.signed = signed
        for name, value in fields.items():
            setattr(parts.signer, name, value)

    return change


def attribute(kind: OID, value: object | None) -> Change:
    return lambda _, parts: parts.attribute(kind, value)


def status(number: int) -> Change:
    return lambda _, parts: setattr(parts, "status", number)


def twice(_: Stamping, parts: Parts) -> None:
    attributes = parts.signer.signed_attributes.as_list()
    parts.signer.signed_attributes = asn1.SetOf([*attributes, attributes[0]])


def two_signers(_: Stamping, parts: Parts) -> None:
    parts.info.content.signers = asn1.SetOf([parts.signer, parts.signer])


def no_signer(_: Stamping, parts: Parts) -> None:
    parts.info.content.signers = asn1.SetOf([])


def content_type(outer: OID | None, inner: OID | None) -> Change:
    def change(_: Stamping, parts: Parts) -> None:
        if outer is not None:
            parts.info.content_type = outer
        if inner is not None:
            parts.info.content.content.content_type = inner

    return change


def named_by_another(stamping: Stamping, parts: Parts) -> None:
    other = hashlib.sha256(stamping.other.time_stamping.certificate_der).digest()
    parts.attribute(
        tsp.SIGNING_CERTIFICATE_V2,
        tsp.SigningCertificateV2(certificates=[tsp.ESSCertIDv2(hash_algorithm=None, certificate_hash=other)]),
    )


def anothers_name(stamping: Stamping, parts: Parts) -> None:
    certificate = stamping.other.time_stamping.certificate
    parts.signer.signer = tsp.IssuerAndSerialNumber(issuer=certificate.issuer, serial_number=certificate.serial_number)


def anothers_key(stamping: Stamping, parts: Parts) -> None:
    parts.signed = False
    key = stamping.other.time_stamping.key
    attributes = tsp.attributes_to_sign(parts.signer.signed_attributes)
    parts.signer.signature = key.sign(attributes, ec.ECDSA(hashes.SHA512()))


def algorithm(oid: str) -> tsp.AlgorithmIdentifier:
    return tsp.AlgorithmIdentifier(algorithm=OID(oid), parameters=None)


def identifier(kind: OID, digest: str | None, value: bytes) -> object:
    if kind == tsp.SIGNING_CERTIFICATE:
        return tsp.SigningCertificate(certificates=[tsp.ESSCertID(certificate_hash=value)])
    named = None if digest is None else algorithm(digest)
    return tsp.SigningCertificateV2(certificates=[tsp.ESSCertIDv2(hash_algorithm=named, certificate_hash=value)])


V2, V1 = tsp.SIGNING_CERTIFICATE_V2, tsp.SIGNING_CERTIFICATE
time = asn1.GeneralizedTime

CHANGES: dict[str, tuple[Change, str]] = {
    # What is stamped.
    "another digest": (stamped(message_imprint=imprint(tsp.SHA512, OTHER)), IMPRINT),
    "a shorter digest": (stamped(message_imprint=imprint(tsp.SHA512, DIGEST[:63])), IMPRINT),
    "a longer digest": (stamped(message_imprint=imprint(tsp.SHA512, DIGEST + b"x")), IMPRINT),
    "no digest": (stamped(message_imprint=imprint(tsp.SHA512, b"")), IMPRINT),
    "the digest by another name": (stamped(message_imprint=imprint(tsp.SHA384, DIGEST)), IMPRINT),
    "a weak digest": (stamped(message_imprint=imprint(SHA1, DIGEST[:20])), IMPRINT),
    "a broken digest": (stamped(message_imprint=imprint(MD5, DIGEST[:16])), IMPRINT),
    "an hour ahead": (stamped(generated=time(NOW + timedelta(hours=1))), INVALID),
    "six minutes ahead": (stamped(generated=time(NOW + timedelta(minutes=6))), INVALID),
    "an hour old": (stamped(generated=time(NOW - timedelta(hours=1))), INVALID),
    "six minutes old": (stamped(generated=time(NOW - timedelta(minutes=6))), INVALID),
    "before the certificate": (stamped(generated=time(NOW - timedelta(days=4000))), INVALID),
    "after the certificate": (stamped(generated=time(NOW + timedelta(days=9000))), INVALID),
    # Changed without the authority's signature.
    "another time, unsigned": (
        lambda _, parts: (
            setattr(parts.stamped, "generated", time(NOW - timedelta(seconds=1))),
            setattr(parts, "signed", False),
        )[0],
        UNPROVEN,
    ),
    "another serial number, unsigned": (
        lambda _, parts: (setattr(parts.stamped, "serial_number", 1), setattr(parts, "signed", False))[0],
        UNPROVEN,
    ),
    "another policy, unsigned": (
        lambda _, parts: (setattr(parts.stamped, "policy", OID("1.2.3")), setattr(parts, "signed", False))[0],
        UNPROVEN,
    ),
    # Who signed.
    "another authority's name": (anothers_name, STRANGER),
    "another authority's key": (anothers_key, UNPROVEN),
    "another authority's certificate": (named_by_another, UNPROVEN),
    "nobody's name": (signer(signer=tsp.IssuerAndSerialNumber(issuer=x509.Name([]), serial_number=1)), STRANGER),
    "no certificate named": (attribute(V2, None), UNPROVEN),
    "none in the list": (attribute(V2, tsp.SigningCertificateV2(certificates=[])), UNPROVEN),
    "a certificate named by SHA-1 of V2": (attribute(V2, identifier(V2, "1.3.14.3.2.26", bytes(20))), UNPROVEN),
    "a certificate named by nothing": (attribute(V2, identifier(V2, None, b"")), UNPROVEN),
    "another one named by V1": (
        lambda _, parts: (parts.attribute(V2, None), parts.attribute(V1, identifier(V1, None, bytes(20))))[0],
        UNPROVEN,
    ),
    "no signer": (no_signer, INVALID),
    "two signers": (two_signers, INVALID),
    # What was signed.
    "no content type": (attribute(tsp.CONTENT_TYPE, None), UNPROVEN),
    "another content type": (attribute(tsp.CONTENT_TYPE, OID("1.2.840.113549.1.7.1")), UNPROVEN),
    "no message digest": (attribute(tsp.MESSAGE_DIGEST, None), UNPROVEN),
    "an attribute twice": (twice, INVALID),
    "data instead of a token": (content_type(OID("1.2.840.113549.1.7.1"), None), INVALID),
    "a token of data": (content_type(None, OID("1.2.840.113549.1.7.1")), INVALID),
    "a digest algorithm nobody trusts": (signer(digest_algorithm=algorithm("1.3.14.3.2.26")), UNPROVEN),
    "another digest algorithm": (signer(digest_algorithm=algorithm("2.16.840.1.101.3.4.2.1")), UNPROVEN),
    "ECDSA with SHA-1": (signer(signature_algorithm=algorithm("1.2.840.10045.4.1")), UNPROVEN),
    "RSA for an ECDSA key": (signer(signature_algorithm=algorithm("1.2.840.113549.1.1.13")), UNPROVEN),
    "another hash": (signer(signature_algorithm=algorithm("1.2.840.10045.4.3.2")), UNPROVEN),
    "no signature": (signer(signed=False, signature=b""), UNPROVEN),
    "a signature of ones": (signer(signed=False, signature=b"\x30\x06\x02\x01\x01\x02\x01\x01"), UNPROVEN),
    "a signature that isn't DER": (signer(signed=False, signature=b"\xff" * 70), UNPROVEN),
    # What the authority says of it.
    "rejected, with a token": (status(2), REFUSED),
    "waiting": (status(3), REFUSED),
    "revocation warning": (status(4), REFUSED),
    "revocation notification": (status(5), REFUSED),
    "a status that doesn't exist": (status(99), REFUSED),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_answer_is_refused(stamping: Stamping, name: str) -> None:
    change, code = CHANGES[name]
    parts = taken_apart(stamping.answer())
    change(stamping, parts)
    answer = put_together(stamping, parts)
    with pytest.raises(TimestampInvalid) as refused:
        stamping.check(answer)
    assert refused.value.code == code


def test_what_was_not_changed_holds(stamping: Stamping) -> None:
    stamping.check(stamping.answer())
    stamping.check(put_together(stamping, taken_apart(stamping.answer())))
    granted_with_changes = taken_apart(stamping.answer())
    granted_with_changes.status = 1
    stamping.check(put_together(stamping, granted_with_changes))
    assert taken_apart(stamping.answer()).stamped.policy == POLICY


@pytest.mark.parametrize("length", [0, 1, 2, 5, 20, 100, -100, -1])
def test_a_cut_answer_is_refused(stamping: Stamping, length: int) -> None:
    with pytest.raises(TimestampInvalid) as refused:
        stamping.check(stamping.answer()[:length])
    assert refused.value.code in (INVALID, REFUSED, IMPRINT, STRANGER, UNPROVEN)


@pytest.mark.parametrize("answer", [b"\x30\x80\x00\x00", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x02\x01\x00", b"\x00"])
def test_what_is_no_answer_is_refused(stamping: Stamping, answer: bytes) -> None:
    with pytest.raises(TimestampInvalid) as refused:
        stamping.check(answer)
    assert refused.value.code in (INVALID, REFUSED, IMPRINT, STRANGER, UNPROVEN)


def test_something_behind_the_answer_is_refused(stamping: Stamping) -> None:
    with pytest.raises(TimestampInvalid):
        stamping.check(stamping.answer() + b"\x00")
