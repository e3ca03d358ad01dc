"""The ASN.1 of time-stamping: RFC 3161 section 2.4 and the part of CMS (RFC 5652 section 5) that its tokens use.

Types only, read and written with cryptography's declarative ASN.1 (DER). What we never look into stays TLV; an optional
one is a list of TLV, because that is what the library can leave out, and a constructed value is one.
"""

from __future__ import annotations

from typing import Annotated, Final

from cryptography import x509
from cryptography.hazmat import asn1

OID = x509.ObjectIdentifier

SIGNED_DATA: Final = OID("1.2.840.113549.1.7.2")
TST_INFO: Final = OID("1.2.840.113549.1.9.16.1.4")
CONTENT_TYPE: Final = OID("1.2.840.113549.1.9.3")
MESSAGE_DIGEST: Final = OID("1.2.840.113549.1.9.4")
SIGNING_CERTIFICATE: Final = OID("1.2.840.113549.1.9.16.2.12")
SIGNING_CERTIFICATE_V2: Final = OID("1.2.840.113549.1.9.16.2.47")
SHA256: Final = OID("2.16.840.1.101.3.4.2.1")
SHA384: Final = OID("2.16.840.1.101.3.4.2.2")
SHA512: Final = OID("2.16.840.1.101.3.4.2.3")


@asn1.sequence
class AlgorithmIdentifier:
    """RFC 5280 4.1.1.2; our algorithms have no parameters or NULL."""

    algorithm: OID
    parameters: asn1.Null | None


@asn1.sequence
class MessageImprint:
    """What is stamped (RFC 3161 2.4.1)."""

    hash_algorithm: AlgorithmIdentifier
    hashed_message: bytes


@asn1.sequence
class TimeStampReq:
    """A request (RFC 3161 2.4.1)."""

    version: int
    message_imprint: MessageImprint
    policy: OID | None
    nonce: int | None
    certificate_requested: Annotated[bool, asn1.Default(False)]


@asn1.sequence
class PKIStatusInfo:
    """How a request went (RFC 3161 2.4.2)."""

    status: int
    status_string: list[str] | None
    failure: asn1.BitString | None


@asn1.sequence
class TimeStampResp:
    """An answer with a token."""

    status: PKIStatusInfo
    token: asn1.TLV


@asn1.sequence
class TimeStampRefusal:
    """An answer without one."""

    status: PKIStatusInfo


@asn1.sequence
class Accuracy:
    """How exact the time is (RFC 3161 2.4.2)."""

    seconds: int | None
    milliseconds: Annotated[int | None, asn1.Implicit(0)]
    microseconds: Annotated[int | None, asn1.Implicit(1)]


@asn1.sequence
class TSTInfo:
    """What a token says (RFC 3161 2.4.2)."""

    version: int
    policy: OID
    message_imprint: MessageImprint
    serial_number: int
    generated: asn1.GeneralizedTime
    accuracy: Accuracy | None
    ordering: Annotated[bool, asn1.Default(False)]
    nonce: int | None
    authority: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)] = None
    extensions: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)] = None


@asn1.sequence
class Attribute:
    """RFC 5652 5.3."""

    type: OID
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class IssuerAndSerialNumber:
    """RFC 5652 10.2.4."""

    issuer: x509.Name
    serial_number: int


@asn1.sequence
class SignerInfo:
    """RFC 5652 5.3, with the signed attributes that a token must have."""

    version: int
    signer: IssuerAndSerialNumber
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: Annotated[asn1.SetOf[Attribute], asn1.Implicit(0)]
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    unsigned_attributes: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)] = None


@asn1.sequence
class EncapsulatedContent:
    """RFC 5652 5.2."""

    content_type: OID
    content: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class SignedData:
    """RFC 5652 5.1."""

    version: int
    digest_algorithms: asn1.SetOf[asn1.TLV]
    content: EncapsulatedContent
    certificates: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    revocation_lists: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)] = None
    signers: asn1.SetOf[SignerInfo]


@asn1.sequence
class ContentInfo:
    """RFC 5652 3, for signed data."""

    content_type: OID
    content: Annotated[SignedData, asn1.Explicit(0)]


@asn1.sequence
class ESSCertID:
    """RFC 2634 5.4.1: SHA-1."""

    certificate_hash: bytes
    issuer_and_serial_number: list[asn1.TLV] | None = None


@asn1.sequence
class SigningCertificate:
    """RFC 2634 5.4."""

    certificates: list[ESSCertID]
    policies: list[asn1.TLV] | None = None


@asn1.sequence
class ESSCertIDv2:
    """RFC 5035 section 4; without an algorithm it is SHA-256."""

    hash_algorithm: AlgorithmIdentifier | None
    certificate_hash: bytes
    issuer_and_serial_number: list[asn1.TLV] | None = None


@asn1.sequence
class SigningCertificateV2:
    """RFC 5035 3."""

    certificates: list[ESSCertIDv2]
    policies: list[asn1.TLV] | None = None


@asn1.sequence
class _SignedAttributes:
    attributes: asn1.SetOf[Attribute]


def attributes_to_sign(attributes: asn1.SetOf[Attribute]) -> bytes:
    """The bytes that a signer signs: RFC 5652 5.4, the attributes as SET OF instead of their implicit tag."""
    return bytes(asn1.decode_der(asn1.TLV, asn1.encode_der(_SignedAttributes(attributes=attributes))).data)
