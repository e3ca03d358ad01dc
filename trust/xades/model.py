"""The values that signatures are made of: what is signed, what a document claims, what was verified."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from trust.canonical import DigestAlgorithm
from trust.certificates import VerifiedCertificate
from trust.hashchain import SIGNATURE_CHAIN_RESULT, PartDigest, VerifiedChain
from trust.identifiers import MemberId
from trust.keys import SignatureAlgorithm


@dataclass(frozen=True, slots=True)
class SignedPart:
    """One part of a message: its name (`/message.xml`, `/attachment1`, ...) and the SHA-512 of its raw bytes.

    With `data`, the bytes themselves, a signature may name another digest than SHA-512.
    """

    name: str
    digest: bytes
    data: bytes | None = None

    @classmethod
    def of(cls, name: str, data: bytes) -> SignedPart:
        """The part whose bytes are at hand."""
        return cls(name, hashlib.sha512(data).digest(), data)


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """The signature of one message, and what else is needed to verify it (XML): None in the form per part."""

    document: bytes
    hash_chain_result: bytes | None = None
    hash_chain: bytes | None = None


@dataclass(frozen=True, slots=True)
class PartReference:
    """What a signature says of one part."""

    name: str
    algorithm: DigestAlgorithm
    digest: bytes


@dataclass(frozen=True, slots=True)
class ParsedSignature:
    """A signature of the profile, taken apart. Nothing in it is verified.

    `signed_info` and `signed_properties` are canonical octets; certificates, OCSP responses and the time-stamp tokens
    over the signature value are DER. `is_classic` is the form of X-Road 7: what is signed before the properties.
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
    timestamps: tuple[bytes, ...] = ()
    is_classic: bool = False

    @property
    def has_hash_chain(self) -> bool:
        """Whether it signs a hash chain result instead of the parts themselves."""
        return any(reference.name == SIGNATURE_CHAIN_RESULT for reference in self.references)


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature that holds: `signer` signed the parts, and their certificate was good at the time of verification.

    `timestamps` are the tokens (DER) that the document carries, unverified; `chain` is the hash chain by which the
    parts are signed, if it is of that form; `is_classic` is the form of X-Road 7, with a chain or without; `covered`
    names the parts that were verified, `unverified` those that the signature also covers but that weren't there, with
    the digest that is signed; `value` is the signature value.
    """

    signer: MemberId
    certificate: VerifiedCertificate
    signing_time: datetime
    ocsp_produced_at: datetime
    document: bytes
    value: bytes
    timestamps: tuple[bytes, ...] = ()
    chain: VerifiedChain | None = None
    is_classic: bool = False
    covered: tuple[str, ...] = ()
    unverified: tuple[tuple[str, PartDigest], ...] = ()
