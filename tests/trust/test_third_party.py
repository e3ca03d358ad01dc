"""XAdES documents of third parties: made by another implementation, accepted as they are and not when changed."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signxml import methods

from tests.trust.documents import sign
from tests.trust.factory import DAY, NOW, Authority, approve, make_authority, rsa_key, world
from trust.errors import CertificateUntrusted, MalformedInput, SignatureInvalid, SignatureMalformed, TrustError
from trust.third_party import MAX_CERTIFICATES, MAX_REFERENCES, MAX_TRANSFORMS, VerifiedDocument, verify_third_party

DOCUMENT = b"<Bescheid xmlns='urn:musterstadt'><Betrag>12,50</Betrag></Bescheid>"


def signed(authority: Authority | None = None, *, how: methods = methods.enveloped, usage: str = "signer") -> bytes:
    """A document that signxml signed for a member of the authority."""
    who = authority or world().authority
    holder = who.authentication() if usage == "authentication" else who.signer()
    return sign(DOCUMENT, holder.key, holder.certificate, how=how)


def verified(document: bytes, authority: Authority | None = None, at: datetime = NOW) -> VerifiedDocument:
    return verify_third_party(document, authorities=(approve(authority or world().authority),), at=at)


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


MARKED = b"<Akte xmlns='urn:musterstadt'><Bescheid Id='b1'><Betrag>12,50</Betrag></Bescheid></Akte>"


def marked() -> bytes:
    """A document of which one element, named by its Id, is signed."""
    holder = world().authority.signer()
    return sign(MARKED, holder.key, holder.certificate, reference="#b1")


def test_of_a_document_with_a_signed_part_that_part_counts() -> None:
    (part,) = verified(marked()).signed
    assert part == b'<Bescheid xmlns="urn:musterstadt" Id="b1"><Betrag>12,50</Betrag></Bescheid>'


@pytest.mark.parametrize("where", [b"<Bescheid Id='b2'><Betrag>99,50</Betrag></Bescheid>", b"<Betrag>99,50</Betrag>"])
def test_what_is_put_beside_the_signed_part_never_counts(where: bytes) -> None:
    """The classic wrapping: the signed element stays where its Id finds it, a forged one stands where readers look."""
    forged = marked().replace(b"<Bescheid Id", where + b"<Bescheid Id", 1)
    assert b"99,50" in forged
    assert all(b"99,50" not in part for part in verified(forged).signed)


def test_two_elements_of_one_id_are_refused() -> None:
    twin = b"<Bescheid Id='b1'><Betrag>99,50</Betrag></Bescheid>"
    for forged in (marked().replace(b"<Bescheid Id", twin + b"<Bescheid Id", 1), marked().replace(b"</Akte>", twin)):
        with pytest.raises(TrustError):
            verified(forged if forged.endswith(b"</Akte>") else forged + b"</Akte>")


def test_what_a_reference_names_must_be_in_the_document() -> None:
    for uri in (b"http://127.0.0.1:1/akte.xml", b"/etc/hostname", b"#xpointer(/)", b"#nobody"):
        with pytest.raises((SignatureInvalid, SignatureMalformed)):
            verified(marked().replace(b'URI="#b1"', b'URI="' + uri + b'"'))


@pytest.mark.parametrize("how", ["rsa-sha256", "rsa-sha512", "sha256-rsa-MGF1", "sha384-rsa-MGF1"])
def test_rsa_holds_too(how: str) -> None:
    holder = world().authority.signer(key=rsa_key())
    found = verified(sign(DOCUMENT, holder.key, holder.certificate, signature=how, digest="sha512"))
    assert found.certificate == holder.certificate


@pytest.mark.parametrize(
    ("signature", "digest", "bits"),
    [
        ("rsa-sha1", "sha256", 2048),
        ("rsa-sha256", "sha1", 2048),
        ("rsa-sha224", "sha256", 2048),
        ("rsa-sha256", "sha3-256", 2048),
        ("rsa-sha256", "sha256", 1024),
    ],
)
def test_weak_and_rare_algorithms_are_refused_with_what_to_do(signature: str, digest: str, bits: int) -> None:
    holder = world().authority.signer(key=rsa_key(bits))
    with pytest.raises(SignatureMalformed) as refusal:
        verified(sign(DOCUMENT, holder.key, holder.certificate, signature=signature, digest=digest))
    assert refusal.value.code == "malformed_signature"
    assert bits < 2048 or "SHA-256 or stronger" in refusal.value.hint


def test_a_transform_that_is_not_on_the_list_is_refused() -> None:
    """The library passes over what it doesn't know; here the document is refused before it is asked."""
    other = b"http://www.w3.org/TR/1999/REC-xpath-19991116"
    document = signed().replace(b"http://www.w3.org/2000/09/xmldsig#enveloped-signature", other)
    assert other in document
    with pytest.raises(SignatureMalformed, match="transform"):
        verified(document)


@pytest.mark.parametrize(
    ("element", "most"),
    [
        (b"<ds:Reference .*?</ds:Reference>", MAX_REFERENCES),
        (b"<ds:Transform .*?/>", MAX_TRANSFORMS),
        (b"<ds:X509Certificate>.*?</ds:X509Certificate>", MAX_CERTIFICATES),
    ],
)
def test_the_work_is_bounded(element: bytes, most: int) -> None:
    """Each of these costs a pass over the document or a path to an authority."""
    document = signed()
    found = re.search(element, document, re.DOTALL)
    assert found is not None
    with pytest.raises(SignatureMalformed, match="too many"):
        verified(document.replace(found.group(), found.group() * (most + 1), 1))


def test_the_certificate_must_be_valid_at_the_time_that_is_asked_about() -> None:
    holder = world().authority.signer(since=NOW - 20 * DAY, until=NOW - 10 * DAY)
    document = sign(DOCUMENT, holder.key, holder.certificate)
    assert verified(document, at=NOW - 15 * DAY).certificate == holder.certificate
    for at in (NOW, NOW - 21 * DAY):
        with pytest.raises(CertificateUntrusted):
            verified(document, at=at)


def test_a_chain_with_an_intermediate() -> None:
    above = world().authority.intermediate()
    holder = above.signer()
    found = verified(sign(DOCUMENT, holder.key, holder.certificate, above.certificate))
    assert [link.issuer for link in found.chain[:-1]] == [issuer.subject for _, issuer in pairwise(found.chain)]
    with pytest.raises(CertificateUntrusted):
        verified(sign(DOCUMENT, holder.key, holder.certificate))


def test_no_dtd_and_no_giant() -> None:
    with pytest.raises(MalformedInput):
        verified(b"<!DOCTYPE x [<!ENTITY y 'z'>]>" + signed())
    with pytest.raises(MalformedInput):
        verified(b" " * (5 << 20) + signed())


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(TrustError):
        verified(data)
