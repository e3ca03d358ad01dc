"""XAdES documents of third parties: made by another implementation, accepted as they are and not when changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from signxml import methods
from signxml.xades import XAdESSigner

from tests.trust.factory import NOW, Authority, approve, make_authority, world
from trust.errors import CertificateUntrusted, MalformedInput, SignatureInvalid, SignatureMalformed, TrustError
from trust.third_party import VerifiedDocument, verify_third_party
from trust.xml import parse

DOCUMENT = b"<Bescheid xmlns='urn:musterstadt'><Betrag>12,50</Betrag></Bescheid>"


def signed(authority: Authority | None = None, *, how: methods = methods.enveloped, usage: str = "signer") -> bytes:
    """A document that signxml signed for a member of the authority."""
    who = authority or world().authority
    holder = who.authentication() if usage == "authentication" else who.signer()
    signer = XAdESSigner(method=how, signature_algorithm="ecdsa-sha256", digest_algorithm="sha256")
    made = signer.sign(parse(DOCUMENT), key=holder.key, cert=[holder.certificate])
    return etree.tostring(made)


def verified(document: bytes, authority: Authority | None = None) -> VerifiedDocument:
    return verify_third_party(document, authorities=(approve(authority or world().authority),), at=NOW)


@pytest.mark.parametrize("how", [methods.enveloped, methods.enveloping])
def test_a_document_of_another_implementation_holds(how: methods) -> None:
    found = verified(signed(how=how))
    assert len(found.signed) == 1
    assert b"<Betrag>12,50</Betrag>" in found.signed[0]
    assert b"SignatureValue" not in found.signed[0]
    assert found.signing_time is not None
    assert found.chain[-1] == world().authority.certificate


@pytest.mark.parametrize(
    "change", [(b"12,50", b"99,50"), (b"Bescheid", b"Besch3id"), (b"urn:musterstadt", b"urn:musterdorf")]
)
def test_a_changed_document_is_refused(change: tuple[bytes, bytes]) -> None:
    document = signed()
    assert change[0] in document
    with pytest.raises(SignatureInvalid):
        verified(document.replace(*change))


def test_a_stranger_s_certificate_is_refused() -> None:
    with pytest.raises(CertificateUntrusted, match="no path"):
        verified(signed(make_authority("Fremde CA")))
    with pytest.raises(CertificateUntrusted, match="not for signatures"):
        verified(signed(usage="authentication"))


def test_one_signature_and_no_other() -> None:
    document = signed()
    with pytest.raises(SignatureMalformed, match="found 0"):
        verified(DOCUMENT)
    inner = document[document.index(b"<ds:Signature") : document.rindex(b"</ds:Signature>") + 15]
    with pytest.raises(SignatureMalformed, match="found 2"):
        verified(document.replace(b"<Betrag>", inner + b"<Betrag>"))


def test_wrapped_content_is_not_what_was_signed() -> None:
    """The signed element moved aside and another put in its place: it is no longer the document under the signature."""
    document = signed()
    with pytest.raises(TrustError):
        verified(b"<Umschlag><Betrag>99,50</Betrag>" + document + b"</Umschlag>")


def test_no_dtd_and_no_giant() -> None:
    with pytest.raises(MalformedInput):
        verified(b"<!DOCTYPE x [<!ENTITY y 'z'>]>" + signed())
    with pytest.raises(MalformedInput):
        verified(b" " * (5 << 20) + signed())


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(TrustError):
        verified(data)
