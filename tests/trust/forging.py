"""What a forger has: changing the text of a signature, and signing the changed text with a member's real key."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import datetime

import pytest

from tests.trust.factory import MEMBER, NOW, PARTS
from trust.canonical import CanonicalisationMethod, DigestAlgorithm, canonicalise
from trust.certificates import CertificateVerifier
from trust.errors import TrustError
from trust.identifiers import MemberId
from trust.keys import SigningKey
from trust.xades import SignedPart, VerifiedSignature, verify_signature
from trust.xades import parse as parse_module
from trust.xades.template import DS, SIGNED_PROPERTIES_TYPE, XADES
from trust.xml import parse

Change = Callable[[str], str]


def sub(old: str, new: str, count: int = 1) -> Change:
    """Replaces literal text; a text that isn't there is a mistake in the test."""

    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, count)

    return change


def rsub(pattern: str, new: str) -> Change:
    """Replaces the first match of a pattern; no match is a mistake in the test."""

    def change(text: str) -> str:
        assert re.search(pattern, text, re.DOTALL), pattern
        return re.sub(pattern, new, text, count=1, flags=re.DOTALL)

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(text: str) -> str:
        for step in changes:
            text = step(text)
        return text

    return change


def resign(document: bytes, key: SigningKey) -> bytes:
    """The document with the digest of its signed properties and its signature value made right, as far as they can
    be.
    """
    root = parse(document)
    info = next(root.iter(f"{{{DS}}}SignedInfo"))
    properties = next(root.iter(f"{{{XADES}}}SignedProperties"))
    for reference in info.iter(f"{{{DS}}}Reference"):
        if reference.get("Type") == SIGNED_PROPERTIES_TYPE or reference.get("URI") == "#signed-properties":
            transform = next(reference.iter(f"{{{DS}}}Transform"), None)
            octets = canonicalise(properties, _method(None if transform is None else transform.get("Algorithm")))
            digest = _digest(next(reference.iter(f"{{{DS}}}DigestMethod")).get("Algorithm"), octets)
            old = next(reference.iter(f"{{{DS}}}DigestValue")).text or ""
            document = document.replace(old.encode(), base64.b64encode(digest), 1)
    info = next(parse(document).iter(f"{{{DS}}}SignedInfo"))
    method = next(info.iter(f"{{{DS}}}CanonicalizationMethod")).get("Algorithm")
    value = base64.b64encode(key.sign(canonicalise(info, _method(method))))
    return re.sub(rb"(<ds:SignatureValue[^>]*>)[^<]*", rb"\g<1>" + value, document, count=1)


def _method(uri: str | None) -> CanonicalisationMethod:
    exclusive = uri is not None and "exc-c14n" in uri
    return CanonicalisationMethod.EXCLUSIVE if exclusive else CanonicalisationMethod.INCLUSIVE


def _digest(uri: str | None, octets: bytes) -> bytes:
    try:
        return DigestAlgorithm(uri).digest(octets)
    except ValueError:
        return DigestAlgorithm.SHA512.digest(octets)


def outcome(
    document: bytes,
    certificates: CertificateVerifier,
    *,
    parts: Sequence[SignedPart] = PARTS,
    signer: MemberId = MEMBER,
    at: datetime = NOW,
    hash_chain_result: bytes | None = None,
    hash_chain: bytes | None = None,
) -> VerifiedSignature | tuple[str, str]:
    """The verified signature, or the error's class and code. The quick way and the general way must agree."""

    def once() -> VerifiedSignature | tuple[str, str]:
        try:
            return verify_signature(
                document,
                parts,
                signer=signer,
                certificates=certificates,
                at=at,
                hash_chain_result=hash_chain_result,
                hash_chain=hash_chain,
            )
        except TrustError as error:
            return type(error).__name__, error.code

    quick = once()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parse_module, "recognise", lambda _document: None)
        general = once()
    assert quick == general
    return quick
