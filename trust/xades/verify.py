"""Verifying the signature of a message, as a numbered proof.

Follows PR-MESSTRANSP 2.7 and the order of X-Road's SignatureVerifier, so that a message with several defects gets the
same answer from either. A hash-chain signature (its only part `/sig-hashchainresult.xml`) would be resolved in step
2.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from trust.canonical import DigestAlgorithm
from trust.certificates import MAX_VALIDATION_VALUES, CertificateVerifier, ClaimedSigner
from trust.errors import CertificateUntrusted, SignatureInvalid, SignatureMalformed, StatusNotGood
from trust.identifiers import MemberId
from trust.keys import verify_value
from trust.ocsp import NOT_GOOD
from trust.xades.model import ParsedSignature, SignedPart, VerifiedSignature
from trust.xades.parse import parse_signature

_HASH_CHAIN_RESULT: Final = "/sig-hashchainresult.xml"


def verify_signature(
    document: bytes,
    parts: Sequence[SignedPart],
    *,
    signer: MemberId,
    certificates: CertificateVerifier,
    at: datetime,
) -> VerifiedSignature:
    """The signature of `signer` over exactly `parts`, valid at the time `at`.

    Raises SignatureMalformed, SignatureInvalid, CertificateUntrusted, StatusNotGood or MalformedInput, with the fault
    code.
    """
    # 1. The document is a signature of the profile, and nothing besides.
    parsed = parse_signature(document)
    if max(len(parsed.certificate_values), len(parsed.ocsp_responses)) > MAX_VALIDATION_VALUES:
        raise SignatureMalformed("too many certificates or OCSP responses")
    # 2. It refers to every part of the message, to nothing else, to none twice.
    _require_coverage(parsed, parts)
    # 3. The certificate is for signing (nonRepudiation) and is the one that the signed properties name (XAdES 5.2.2).
    claim = certificates.read_signer(parsed.certificate)
    _require_named(parsed, claim)
    # 4. Its subject, read as its authority's profile says, is the sender.
    if signer not in claim.members:
        raise _other_signer()
    # 5. The signature value holds over SignedInfo; the digests in it hold over the parts and the signed properties.
    verify_value(parsed.algorithm, claim.public_key, parsed.value, parsed.signed_info)
    _require_digests(parsed, parts)
    # 6. The certificate has a path to an approved authority, and 7. its status is good at that time.
    if not parsed.ocsp_responses:
        raise StatusNotGood("the signature has no OCSP response", code=NOT_GOOD)
    certificate = certificates.verify_signing(
        parsed.certificate,
        intermediates=parsed.certificate_values,
        ocsp_response=parsed.ocsp_responses[0],
        more_ocsp_responses=parsed.ocsp_responses[1:],
        at=at,
    )
    # Step 4 read the name on the certificate's word; now it is the authority's.
    if certificate.member != signer:
        raise _other_signer()
    return VerifiedSignature(signer, certificate, parsed.signing_time, certificate.status.produced_at, document)


def _require_coverage(parsed: ParsedSignature, parts: Sequence[SignedPart]) -> None:
    if not parts:
        raise SignatureInvalid("there is no part to be signed", code="invalid_reference")
    if len(parsed.references) == len(parts) and all(
        reference.name == part.name for reference, part in zip(parsed.references, parts, strict=True)
    ):
        # In the order of the parts, as everyone writes them; only repeated names are left to refuse.
        if len(parts) < 2 or len({part.name for part in parts}) == len(parts):
            return
        raise SignatureInvalid("two parts have one name", code="invalid_reference")
    referred = [reference.name for reference in parsed.references]
    if len(set(referred)) != len(referred):
        raise SignatureInvalid("the signature refers to a part twice", code="invalid_reference")
    if sorted(referred) != sorted(part.name for part in parts):
        hint = "hash-chain signatures aren't supported here" if _HASH_CHAIN_RESULT in referred else ""
        raise SignatureInvalid(
            "the signature doesn't cover exactly the message's parts", code="invalid_reference", hint=hint
        )


def _require_named(parsed: ParsedSignature, claim: ClaimedSigner) -> None:
    if parsed.certificate_algorithm is DigestAlgorithm.SHA512:
        digest = claim.digest_sha512
    else:
        digest = parsed.certificate_algorithm.digest(parsed.certificate)
    # The issuer's name is not compared: there are many ways to spell it, and the digest already fixes the certificate.
    serial = parsed.certificate_serial
    if digest != parsed.certificate_digest or serial not in (None, claim.certificate.serial_number):
        raise CertificateUntrusted("the signed properties name another certificate", code="incorrect_certificate")


def _require_digests(parsed: ParsedSignature, parts: Sequence[SignedPart]) -> None:
    if parsed.properties_algorithm.digest(parsed.signed_properties) != parsed.properties_digest:
        raise SignatureInvalid("the signed properties were changed")
    digests = {part.name: part.digest for part in parts}
    for reference in parsed.references:
        # Parts are digested while they stream in, with SHA-512 (header x-hash-algorithm).
        if reference.algorithm is not DigestAlgorithm.SHA512 or reference.digest != digests[reference.name]:
            raise SignatureInvalid("a part was changed")


def _other_signer() -> CertificateUntrusted:
    return CertificateUntrusted("the certificate is another member's", code="incorrect_certificate")
