"""Verifying the signature of a message, as a numbered proof.

Follows PR-MESSTRANSP 2.7 and the order of X-Road's SignatureVerifier, so that a message with several defects gets the
same answer from either. Live messages and those of an archive take the same steps: an archive's reader doesn't know
the sender beforehand, and may lack attachments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from trust.canonical import DigestAlgorithm
from trust.certificates import MAX_VALIDATION_VALUES, CertificateVerifier, ClaimedSigner
from trust.errors import (
    CertificateUntrusted,
    HashChainInvalid,
    HashChainMalformed,
    MalformedInput,
    SignatureInvalid,
    SignatureMalformed,
)
from trust.hashchain import SIGNATURE_CHAIN_RESULT, PartDigest, VerifiedChain, verify_hash_chain
from trust.identifiers import MemberId
from trust.keys import verify_value
from trust.ocsp import DEFECTIVE as STATUS_DEFECTIVE
from trust.xades.model import ParsedSignature, SignedPart, VerifiedSignature
from trust.xades.parse import parse_signature

_ATTACHMENT: Final = re.compile("/attachment[1-9][0-9]{0,3}")


def verify_signature(
    document: bytes,
    parts: Sequence[SignedPart],
    *,
    signer: MemberId,
    certificates: CertificateVerifier,
    at: datetime,
    hash_chain_result: bytes | None = None,
    hash_chain: bytes | None = None,
) -> VerifiedSignature:
    """The signature of `signer` over exactly `parts`, valid at the time `at`.

    `hash_chain_result` and `hash_chain` (XML) came with a signature of that form, and only then. Raises
    SignatureMalformed, SignatureInvalid, CertificateUntrusted, StatusNotGood or MalformedInput, with the fault code;
    what is wrong with a hash chain has the code `malformed_signature.` and its own.
    """
    chain = _Chain.of(hash_chain_result, hash_chain)
    return _verify(document, parts, chain, signer=signer, certificates=certificates, at=at, live=True)


def discover_signature(
    document: bytes,
    parts: Sequence[SignedPart],
    *,
    certificates: CertificateVerifier,
    at: datetime,
    hash_chain_result: bytes | None = None,
    hash_chain: bytes | None = None,
) -> VerifiedSignature:
    """The signature of whoever signed `parts`, valid at the time `at`: `signer` is the answer's, not the caller's.

    For containers. Attachments that the signature covers may be absent from `parts` and are reported as unverified; the
    message must be there. A hash chain that isn't signed is a file that nobody vouches for, as any other. Otherwise as
    `verify_signature`.
    """
    chain = _Chain.of(hash_chain_result, hash_chain)
    return _verify(document, parts, chain, signer=None, certificates=certificates, at=at, live=False)


@dataclass(frozen=True, slots=True)
class _Chain:
    result: bytes
    chain: bytes | None

    @classmethod
    def of(cls, result: bytes | None, chain: bytes | None) -> _Chain | None:
        return None if result is None else cls(result, chain)


@dataclass(frozen=True, slots=True)
class _Coverage:
    """What the references must have the digests of; how the parts hang on them."""

    files: Sequence[SignedPart]
    chain: VerifiedChain | None = None
    unverified: tuple[tuple[str, PartDigest], ...] = ()


def _verify(
    document: bytes,
    parts: Sequence[SignedPart],
    chain: _Chain | None,
    *,
    signer: MemberId | None,
    certificates: CertificateVerifier,
    at: datetime,
    live: bool,
) -> VerifiedSignature:
    # 1. The document is a signature of the profile, and nothing besides.
    parsed = parse_signature(document)
    if max(len(parsed.certificate_values), len(parsed.ocsp_responses)) > MAX_VALIDATION_VALUES:
        raise SignatureMalformed("too many certificates or OCSP responses")
    # 2. It refers to every part of the message, to nothing else, to none twice; directly or by way of its hash chain.
    coverage = _cover(parsed, parts, chain, live=live)
    # 3. The certificate is for signing (nonRepudiation) and is the one that the signed properties name (XAdES 5.2.2).
    claim = certificates.read_signer(parsed.certificate)
    _require_named(parsed, claim)
    # 4. Its subject, read as its authority's profile says, is the sender.
    if signer is not None and signer not in claim.members:
        raise _other_signer()
    # 5. The signature value holds over SignedInfo; the digests in it hold over the parts and the signed properties.
    verify_value(parsed.algorithm, claim.public_key, parsed.value, parsed.signed_info)
    _require_digests(parsed, coverage)
    # 6. The certificate has a path to an approved authority, and 7. its status is good at that time.
    if not parsed.ocsp_responses:
        raise SignatureMalformed("the signature has no OCSP response")
    try:
        certificate = certificates.verify_signing(
            parsed.certificate,
            intermediates=parsed.certificate_values,
            ocsp_response=parsed.ocsp_responses[0],
            more_ocsp_responses=parsed.ocsp_responses[1:],
            at=at,
        )
    except MalformedInput as error:
        if error.code != STATUS_DEFECTIVE:
            raise
        # As X-Road has it: what isn't an OCSP response is a defect of the signature, not of the certificate.
        raise SignatureMalformed("what isn't an OCSP response, in place of one") from None
    # Step 4 read the name on the certificate's word; now it is the authority's.
    if certificate.member is None or (signer is not None and certificate.member != signer):
        raise _other_signer()
    return VerifiedSignature(
        signer=certificate.member,
        certificate=certificate,
        signing_time=parsed.signing_time,
        ocsp_produced_at=certificate.status.produced_at,
        document=document,
        value=parsed.value,
        timestamps=parsed.timestamps,
        chain=coverage.chain,
        is_classic=parsed.is_classic,
        covered=tuple([part.name for part in parts]),
        unverified=coverage.unverified,
    )


def _cover(parsed: ParsedSignature, parts: Sequence[SignedPart], chain: _Chain | None, *, live: bool) -> _Coverage:
    if not parts:
        raise SignatureInvalid("there is no part to be signed", code="invalid_reference")
    if parsed.has_hash_chain:
        return _cover_by_chain(parsed, parts, chain, live=live)
    if chain is not None and live:
        # PR-MESSTRANSP 2.7: a hash chain travels with a batch signature, and only then. This one nobody signed.
        raise SignatureInvalid("a hash chain that the signature doesn't cover", code="invalid_reference")
    references = parsed.references
    if len(references) == len(parts) and all(
        reference.name == part.name for reference, part in zip(references, parts, strict=True)
    ):
        # In the order of the parts, as everyone writes them; only repeated names are left to refuse.
        if len(parts) < 2 or len({part.name for part in parts}) == len(parts):
            return _Coverage(parts)
        raise SignatureInvalid("two parts have one name", code="invalid_reference")
    referred = {reference.name: reference for reference in references}
    names = {part.name for part in parts}
    if len(referred) != len(references) or len(names) != len(parts):
        raise SignatureInvalid("the signature refers to a part twice", code="invalid_reference")
    absent = [] if names == referred.keys() else [name for name in referred if name not in names]
    if names - referred.keys() or (absent and (live or not _are_attachments(absent))):
        raise SignatureInvalid("the signature doesn't cover exactly the message's parts", code="invalid_reference")
    return _Coverage(
        parts, unverified=tuple((name, PartDigest(referred[name].algorithm, referred[name].digest)) for name in absent)
    )


def _cover_by_chain(
    parsed: ParsedSignature, parts: Sequence[SignedPart], chain: _Chain | None, *, live: bool
) -> _Coverage:
    if len(parsed.references) != 1:
        raise SignatureInvalid("a signature over a hash chain and something besides", code="invalid_reference")
    if chain is None:
        raise SignatureInvalid("the hash chain that is signed is missing", code="invalid_reference")
    if len({part.name for part in parts}) != len(parts):
        raise SignatureInvalid("two parts have one name", code="invalid_reference")
    try:
        verified = _verify_chain(chain, parts, live=live)
    except (HashChainMalformed, HashChainInvalid) as error:
        raise SignatureMalformed(f"the hash chain: {error}", code=f"malformed_signature.{error.code}") from None
    return _Coverage((SignedPart.of(SIGNATURE_CHAIN_RESULT, chain.result),), verified, verified.unverified)


def _verify_chain(chain: _Chain, parts: Sequence[SignedPart], *, live: bool) -> VerifiedChain:
    if chain.chain is None:
        raise HashChainInvalid("a chain that isn't there", code="invalid_reference")
    # Live parts were digested while they streamed in (header x-hash-algorithm), an archive has the files.
    inputs: dict[str, bytes | PartDigest] = {
        part.name: PartDigest(DigestAlgorithm.SHA512, part.digest) if live or part.data is None else part.data
        for part in parts
    }
    verified = verify_hash_chain(chain.result, chain.chain, inputs, allow_missing=not live)
    if not _are_attachments([name for name, _ in verified.unverified]):
        raise HashChainInvalid("a file that isn't there", code="invalid_reference")
    return verified


def _are_attachments(names: Sequence[str]) -> bool:
    return all(_ATTACHMENT.fullmatch(name) for name in names)


def _require_named(parsed: ParsedSignature, claim: ClaimedSigner) -> None:
    if parsed.certificate_algorithm is DigestAlgorithm.SHA512:
        digest = claim.digest_sha512
    else:
        digest = parsed.certificate_algorithm.digest(parsed.certificate)
    # The issuer's name is not compared: there are many ways to spell it, and the digest already fixes the certificate.
    serial = parsed.certificate_serial
    if digest != parsed.certificate_digest or serial not in (None, claim.certificate.serial_number):
        raise CertificateUntrusted("the signed properties name another certificate", code="incorrect_certificate")


def _require_digests(parsed: ParsedSignature, coverage: _Coverage) -> None:
    if parsed.properties_algorithm.digest(parsed.signed_properties) != parsed.properties_digest:
        raise SignatureInvalid("the signed properties were changed")
    files = {part.name: part for part in coverage.files}
    for reference in parsed.references:
        part = files.get(reference.name)
        if part is None:
            continue  # an archive's missing attachment: step 2 let it pass as unverified
        if reference.algorithm is DigestAlgorithm.SHA512:
            digest = part.digest
        elif part.data is not None:
            digest = reference.algorithm.digest(part.data)
        else:
            raise SignatureInvalid("a digest that the parts weren't given with")
        if digest != reference.digest:
            raise SignatureInvalid("a part was changed")


def _other_signer() -> CertificateUntrusted:
    return CertificateUntrusted("the certificate is another member's", code="incorrect_certificate")
