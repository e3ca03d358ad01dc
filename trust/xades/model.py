"""The values that signatures are made of: what is signed, what a document claims, what was verified."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from trust.canonical import DigestAlgorithm
from trust.certificates import VerifiedCertificate
from trust.identifiers import MemberId
from trust.keys import SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class SignedPart:
    """One part of a message: its name (`/message.xml`, `/attachment1`, ...) and the SHA-512 of its raw bytes."""

    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class PartReference:
    """What a signature says of one part."""

    name: str
    algorithm: DigestAlgorithm
    digest: bytes


@dataclass(frozen=True, slots=True)
class ParsedSignature:
    """A signature of the profile, taken apart. Nothing in it is verified.

    `signed_info` and `signed_properties` are canonical octets; certificates and OCSP responses are DER.
    """

    algorithm: SignatureAlgorithm
    signed_info: bytes
    value: bytes
    references: tuple[PartReference, ...]
    signed_properties: bytes
    properties_algorithm: DigestAlgorithm
    properties_digest: bytes
    certificate: bytes
    certificate_algorithm: DigestAlgorithm
    certificate_digest: bytes
    certificate_serial: int | None
    signing_time: datetime
    certificate_values: tuple[bytes, ...]
    ocsp_responses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature that holds: `signer` signed the parts, and their certificate was good at the time of verification."""

    signer: MemberId
    certificate: VerifiedCertificate
    signing_time: datetime
    ocsp_produced_at: datetime
    document: bytes
