"""The time-stamp of a container: over its signature alone, or over a hash chain that leads to it.

Follows UG-SIGDOC and X-Road's verifier. Which data is stamped depends on what lies in the container: with
`ts-hashchainresult.xml` it is that file, and its chain leads to the SHA-512 of `META-INF/signatures.xml`; without, it
is the signature's value. X-Road stamps the value's decoded octets, XAdES 1.3.2 section 5.3 says the canonical element;
either fixes the signature, so both are taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from lxml import etree

from trust.asic import model
from trust.asic.model import Container
from trust.canonical import DigestAlgorithm, decode_base64
from trust.errors import ContainerInvalid, HashChainInvalid, HashChainMalformed, MalformedInput, SignatureMalformed
from trust.hashchain import TIMESTAMP_FILES, verify_hash_chain
from trust.parameters import ApprovedTSA
from trust.timestamp import VerifiedTimestamp, imprint_of, signer_of, verify_token
from trust.xades import ParsedSignature, signature_value
from trust.xml import parse

_DS: Final = "{http://www.w3.org/2000/09/xmldsig#}"
# ETSI's namespace, and X-Road's, which lacks a zero.
_ASIC: Final = ("{http://uri.etsi.org/02918/v1.2.1#}", "{http://uri.etsi.org/2918/v1.2.1#}")
_MANIFEST_INVALID: Final = "asic_manifest_invalid"


class StampForm(Enum):
    """What a time-stamp is over."""

    SIGNATURE = "signature"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class ContainerTimestamp:
    """A time-stamp that holds, whose it is, and what it is over."""

    timestamp: VerifiedTimestamp
    authority: ApprovedTSA
    form: StampForm


def verify_container_timestamp(
    container: Container, parsed: ParsedSignature, *, authorities: Sequence[ApprovedTSA], at: datetime
) -> ContainerTimestamp:
    """The container's time-stamp; `parsed` is its signature, `at` the verifier's time.

    Raises ContainerInvalid (`asic_timestamp_not_found`, `asic_manifest_invalid`), TimestampInvalid, and
    SignatureMalformed for a hash chain that doesn't lead to the signature.
    """
    # 1. There is a token: beside the signature, or within.
    token = container.timestamp or (parsed.timestamps[0] if parsed.timestamps else None)
    if token is None:
        raise ContainerInvalid("the container has no time-stamp", code="asic_timestamp_not_found")
    # 2. Where several signatures were stamped together, a hash chain leads to this one.
    result = container.timestamp_hash_chain_result
    if result is not None:
        _verify_chain(result, container.timestamp_hash_chain or b"", container.signature)
    # 3. The token is over the hash chain's result, or over the signature's value.
    name, imprint = imprint_of(token)
    stamped = parsed.value if result is None else result
    if result is None and hashlib.new(name, stamped).digest() != imprint:
        stamped = signature_value(container.signature).canonical
    # 4. An approved authority signed it over that digest, at a time when its certificate was valid.
    authority = signer_of(token, authorities)
    verified = verify_token(
        token,
        digest=hashlib.new(name, stamped).digest(),
        digest_name=name,
        tsa_certificate=authority.certificate,
        at=at,
    )
    # 5. The manifest says the same: another verifier goes by it.
    if result is not None and container.asic_manifest is not None:
        _check_manifest(container.asic_manifest, result)
    return ContainerTimestamp(verified, authority, StampForm.SIGNATURE if result is None else StampForm.BATCH)


def _verify_chain(result: bytes, chain: bytes, signature: bytes) -> None:
    try:
        verify_hash_chain(result, chain, {TIMESTAMP_FILES.data: signature}, chain_name=TIMESTAMP_FILES.chain)
    except (HashChainMalformed, HashChainInvalid) as error:
        raise SignatureMalformed(f"the hash chain of the time-stamp: {error}") from None


def _check_manifest(manifest: bytes, result: bytes) -> None:
    try:
        root = parse(manifest, max_bytes=1 << 20, max_depth=8, max_elements=2000)
        namespace = next((name for name in _ASIC if root.tag == name + "ASiCManifest"), "")
        references = [child for child in root if namespace and child.tag == namespace + "DataObjectReference"]
        stated = [_digest(child) for child in references if child.get("URI") == model.TIMESTAMP_CHAIN_RESULT]
    except MalformedInput:
        raise ContainerInvalid("ASiCManifest.xml can't be read", code=_MANIFEST_INVALID) from None
    if len(stated) != 1 or stated[0][0].digest(result) != stated[0][1]:
        raise ContainerInvalid("ASiCManifest.xml is about something else", code=_MANIFEST_INVALID)


def _digest(reference: etree._Element) -> tuple[DigestAlgorithm, bytes]:
    method, value = reference.find(_DS + "DigestMethod"), reference.find(_DS + "DigestValue")
    if method is None or value is None:
        raise MalformedInput("a reference without a digest")
    try:
        return DigestAlgorithm(method.get("Algorithm")), decode_base64("".join((value.text or "").split()))
    except ValueError:
        raise MalformedInput("a digest algorithm that isn't accepted") from None
