"""Verifying a container, as a numbered proof.

Follows UG-SIGDOC and the rules of X-Road's asicverifier. The certificate and its OCSP answer are judged at the time of
the time-stamp: what was good then stays good evidence. A container with several defects gets the code of the first
step that fails; the steps' work is ordered otherwise, because the time comes from the time-stamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from cryptography import x509
from cryptography.x509 import ocsp

from trust.asic.archive import Limits
from trust.asic.configuration import VerificationConfiguration
from trust.asic.model import Container
from trust.asic.read import DEFAULT_LIMITS, read_container
from trust.asic.sender import ClaimedOrigin, read_origin
from trust.asic.time_stamp import ContainerTimestamp, StampForm, verify_container_timestamp
from trust.certificates import CertificateVerifier, VerifiedCertificate
from trust.errors import (
    CertificateUntrusted,
    MalformedInput,
    SignatureInvalid,
    SignatureMalformed,
    StatusNotGood,
    TrustError,
)
from trust.hashchain import DataReference, HashValue, parse_hash_chain
from trust.identifiers import MemberId
from trust.parameters import ApprovedCA, ApprovedTSA, SharedParameters
from trust.timestamp import VerifiedTimestamp
from trust.xades import ParsedSignature, SignedPart, VerifiedSignature, discover_signature, parse_signature

_MESSAGE = "/message.xml"


class SignatureForm(Enum):
    """How a signature covers its message: each part, a hash chain over the parts, or one over many messages."""

    PER_PART = "per part"
    HASH_CHAIN = "hash chain"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class UnverifiedAttachment:
    """An attachment that is signed but not in the container: whoever has the file compares its digest."""

    name: str
    digest_algorithm: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class VerifiedContainer:
    """A container that holds. Names of parts are the signature's, such as `/attachment1`.

    `member` signed the message with the certificate at `signing_time`, by its own clock; an OCSP answer of
    `ocsp_responder` from `ocsp_produced_at` said that the certificate was good; `tsa` saw the signature at
    `timestamp.time`. `attachments_verified` are signed and unchanged; `attachments_unverified` are signed but absent;
    `not_signed` are the names of files in the container that nobody signed.
    """

    container: Container
    form: SignatureForm
    member: MemberId
    origin: ClaimedOrigin
    certificate: VerifiedCertificate
    signing_time: datetime
    ocsp_produced_at: datetime
    ocsp_responder: str
    timestamp: VerifiedTimestamp
    timestamp_form: StampForm
    tsa: ApprovedTSA
    attachments_verified: tuple[str, ...]
    attachments_unverified: tuple[UnverifiedAttachment, ...]
    not_signed: tuple[str, ...]

    @property
    def signer_subject(self) -> str:
        """The signing certificate's subject (RFC 4514)."""
        return self.certificate.subject

    @property
    def signer_serial_number(self) -> int:
        """The signing certificate's serial number."""
        return self.certificate.certificate.serial_number

    @property
    def tsa_subject(self) -> str:
        """The subject of the certificate that signed the time-stamp (RFC 4514)."""
        return x509.load_der_x509_certificate(self.tsa.certificate).subject.rfc4514_string()


class ContainerVerifier:
    """Verifies containers with one configuration; remembers certificates until they lapse. Not for several threads."""

    def __init__(self, configuration: VerificationConfiguration) -> None:
        self._configuration = configuration
        self._verifiers: dict[str, CertificateVerifier] = {}
        # As X-Road: a federated instance's authorities count as our own do.
        self._tsas = tuple(tsa for one in configuration.parameters.values() for tsa in one.approved_tsas)

    def verify(
        self, container: Container | bytes, *, at: datetime, limits: Limits = DEFAULT_LIMITS
    ) -> VerifiedContainer:
        """The container, verified; `at` is the verifier's time.

        Raises ContainerInvalid, SignatureMalformed, SignatureInvalid, TimestampInvalid, CertificateUntrusted,
        StatusNotGood or MalformedInput, with the code.
        """
        # 1. It is a container with all that belongs in it.
        if isinstance(container, bytes):
            container = read_container(container, limits)
        # 2. Its signature is of the profile and refers to the message, directly or by way of its hash chain.
        parsed = parse_signature(container.signature)
        if not parsed.has_hash_chain and all(reference.name != _MESSAGE for reference in parsed.references):
            raise SignatureMalformed("the signature refers neither to the message nor to a hash chain")
        # A signature over files is nothing without them; a hash chain stands for files that were never kept.
        present = container.parts()
        if not parsed.has_hash_chain and any(reference.name not in present for reference in parsed.references):
            raise SignatureInvalid("the signature refers to a file that isn't there", code="invalid_reference")
        origin = _origin(container.message)
        certificates, parameters = self._verifier(origin)
        parts = _signed_parts(container, parsed)
        try:
            # 4. An approved authority time-stamped it (X-Road's verifier asks this before step 3).
            stamp = verify_container_timestamp(container, parsed, authorities=self._tsas, at=at)
        except TrustError:
            # A signature that doesn't hold has a time-stamp that doesn't either: what comes first is what is said.
            with suppress(CertificateUntrusted, StatusNotGood):
                self._signature(container, parts, certificates, parsed.signing_time)
            raise
        # 3. The hash chain and the signature value hold over the parts, and 5. the certificate has a path to an
        #    approved authority and its status was good when it was time-stamped.
        signature = self._signature(container, parts, certificates, stamp.timestamp.time)
        # 6. Who signed is who the message, now authentic, says it is from.
        if origin is None:
            raise MalformedInput("the message doesn't say who sent it", code="invalid_message")
        if origin.member != signature.signer:
            raise CertificateUntrusted("the certificate is another member's", code="incorrect_certificate")
        responder = _responder(parsed, signature, parameters.approved_cas)
        return _result(container, origin, parsed, signature, stamp, responder=responder)

    def _verifier(self, origin: ClaimedOrigin | None) -> tuple[CertificateVerifier, SharedParameters]:
        # Of a stranger's instance no authority is approved here, whichever parameters are asked: step 5 says so.
        known = self._configuration.parameters
        instance = self._configuration.instance
        if origin is not None and origin.member.instance in known:
            instance = origin.member.instance
        verifier = self._verifiers.get(instance)
        if verifier is None:
            verifier = self._verifiers[instance] = CertificateVerifier(known[instance])
        return verifier, known[instance]

    @staticmethod
    def _signature(
        container: Container, parts: Sequence[SignedPart], certificates: CertificateVerifier, at: datetime
    ) -> VerifiedSignature:
        return discover_signature(
            container.signature,
            parts,
            certificates=certificates,
            at=at,
            hash_chain_result=container.signature_hash_chain_result,
            hash_chain=container.signature_hash_chain,
        )


def verify_container(
    container: Container | bytes,
    configuration: VerificationConfiguration,
    *,
    at: datetime,
    limits: Limits = DEFAULT_LIMITS,
) -> VerifiedContainer:
    """One container, verified as `ContainerVerifier.verify` does."""
    return ContainerVerifier(configuration).verify(container, at=at, limits=limits)


def _origin(message: bytes) -> ClaimedOrigin | None:
    """Who the message claims to be from, None if that can't be read: a changed message is first of all changed."""
    try:
        return read_origin(message)
    except MalformedInput:
        return None


def _signed_parts(container: Container, parsed: ParsedSignature) -> tuple[SignedPart, ...]:
    """The message and those attachments that the signature speaks of: files that nobody signed are tolerated."""
    if parsed.has_hash_chain:
        signed = _chained(container.signature_hash_chain)
    else:
        signed = {reference.name for reference in parsed.references}
    return tuple(
        SignedPart.of(name, data) for name, data in container.parts().items() if name == _MESSAGE or name in signed
    )


def _chained(chain: bytes | None) -> set[str]:
    if chain is None:
        return set()
    try:
        steps = parse_hash_chain(chain).steps.values()
    except TrustError:
        return set()  # step 3 says what is wrong with it
    return {value.uri for step in steps for value in step.values if isinstance(value, DataReference)}


def _form(container: Container, parsed: ParsedSignature) -> SignatureForm:
    if not parsed.has_hash_chain or container.signature_hash_chain is None:
        return SignatureForm.PER_PART
    steps = parse_hash_chain(container.signature_hash_chain).steps.values()
    # A digest on the chain's word is another message's.
    batch = any(isinstance(value, HashValue) for step in steps for value in step.values)
    return SignatureForm.BATCH if batch else SignatureForm.HASH_CHAIN


def _result(
    container: Container,
    origin: ClaimedOrigin,
    parsed: ParsedSignature,
    signature: VerifiedSignature,
    stamp: ContainerTimestamp,
    *,
    responder: str,
) -> VerifiedContainer:
    covered = set(signature.covered)
    return VerifiedContainer(
        container=container,
        form=_form(container, parsed),
        member=signature.signer,
        origin=origin,
        certificate=signature.certificate,
        signing_time=signature.signing_time,
        ocsp_produced_at=signature.ocsp_produced_at,
        ocsp_responder=responder,
        timestamp=stamp.timestamp,
        timestamp_form=stamp.form,
        tsa=stamp.authority,
        attachments_verified=tuple(name for name in signature.covered if name != _MESSAGE),
        attachments_unverified=tuple(
            UnverifiedAttachment(name, part.algorithm.name, part.digest) for name, part in signature.unverified
        ),
        not_signed=(
            *(name.removeprefix("/") for name in container.parts() if name not in covered),
            *container.extras,
        ),
    )


def _responder(parsed: ParsedSignature, signature: VerifiedSignature, approved: Sequence[ApprovedCA]) -> str:
    """The name of whoever signed the OCSP answer, for people; the answer itself has been verified."""
    certificate, produced_at = signature.certificate, signature.ocsp_produced_at
    for der in parsed.ocsp_responses:
        response = ocsp.load_der_ocsp_response(der)
        about = any(single.serial_number == certificate.certificate.serial_number for single in response.responses)
        if not about or response.produced_at_utc != produced_at:
            continue
        if response.responder_name is not None:
            return response.responder_name.rfc4514_string()
        known = [x509.load_der_x509_certificate(one) for ca in approved for one in ca.ocsp_responders]
        for candidate in (certificate.issuer, *response.certificates, *known):
            # RFC 6960 section 4.2.1: a name by SHA-1 of the key.
            if x509.SubjectKeyIdentifier.from_public_key(candidate.public_key()).digest == response.responder_key_hash:
                return candidate.subject.rfc4514_string()
    return ""


__all__ = [
    "ContainerVerifier",
    "SignatureForm",
    "UnverifiedAttachment",
    "VerifiedContainer",
    "verify_container",
]
