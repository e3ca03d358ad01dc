"""Canonical XML: libxml2's octets, our escaping, and base64 in its one spelling."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.canonical import (
    CanonicalisationMethod,
    DigestAlgorithm,
    canonicalise,
    decode_base64,
    encode_base64,
    escape_attribute,
    escape_text,
)
from trust.errors import MalformedInput
from trust.xml import parse

XML_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r")
)


@given(XML_TEXT, XML_TEXT)
def test_escaping_is_libxml2s(text: str, attribute: str) -> None:
    written = f'<a x="{escape_attribute(attribute)}">{escape_text(text)}</a>'.encode()
    element = parse(written)
    assert canonicalise(element, CanonicalisationMethod.INCLUSIVE) == written
    assert (element.text or "", element.get("x")) == (text, attribute)


# Canonical XML 1.0 section 2.3 and Exclusive Canonicalization section 2.2: namespaces in scope of a subtree.
def test_inclusive_brings_the_namespaces_in_scope_exclusive_those_used() -> None:
    root = parse(b'<r xmlns="urn:d" xmlns:b="urn:b" xmlns:a="urn:a"><b:x z="1" a:y="2"  c="3"/>tail</r>')
    inclusive = b'<b:x xmlns="urn:d" xmlns:a="urn:a" xmlns:b="urn:b" c="3" z="1" a:y="2"></b:x>'
    exclusive = b'<b:x xmlns:a="urn:a" xmlns:b="urn:b" c="3" z="1" a:y="2"></b:x>'
    assert canonicalise(root[0], CanonicalisationMethod.INCLUSIVE) == inclusive
    assert canonicalise(root[0], CanonicalisationMethod.EXCLUSIVE) == exclusive


def test_comments_vanish() -> None:
    assert canonicalise(parse(b"<a>x<!-- c -->y</a>"), CanonicalisationMethod.INCLUSIVE) == b"<a>xy</a>"


def test_what_has_no_canonical_form_is_our_error() -> None:
    root = parse(b'<r xmlns:a="relative/uri"><a:x/></r>')
    with pytest.raises(MalformedInput):
        canonicalise(root, CanonicalisationMethod.INCLUSIVE)


@given(st.binary(min_size=1, max_size=100))
def test_base64_there_and_back(data: bytes) -> None:
    assert encode_base64(data) == base64.b64encode(data)
    assert decode_base64(encode_base64(data)) == data
    assert decode_base64(encode_base64(data).decode()) == data


@given(st.text(alphabet="AB+/=gwQz \u00e4", max_size=12))
def test_octets_have_one_spelling(text: str) -> None:
    try:
        data = decode_base64(text)
    except MalformedInput:
        return
    assert base64.b64encode(data).decode() == text


@pytest.mark.parametrize(
    "text", ["", "A", "AA", "AAA", "AAAAA", "AA==AA==", "=AAA", "AAA-", "AAA_", "AAA\n", "AB==", "AAB="]
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(MalformedInput):
        decode_base64(text)
    with pytest.raises(MalformedInput):
        decode_base64(text.encode())


def test_digests_are_named_as_in_the_specification() -> None:
    sizes = {algorithm: len(algorithm.digest(b"")) for algorithm in DigestAlgorithm}
    assert sizes == {DigestAlgorithm.SHA256: 32, DigestAlgorithm.SHA384: 48, DigestAlgorithm.SHA512: 64}
