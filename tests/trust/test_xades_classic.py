"""Signatures in the form of X-Road 7: over one message, over a hash chain, over a batch; and reading archives."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signxml.algorithms import CanonicalizationMethod
from signxml.algorithms import DigestAlgorithm as SignXMLDigest
from signxml.verifier import SignatureConfiguration, XMLVerifier

from tests.trust.factory import BODY, MEMBER, MESSAGE, NOW, OTHER_MEMBER, PARTS, World, make_world, parts_of, world
from tests.trust.forging import Change, outcome, resign, rsub, sub
from tests.trust.signature_changes import REFERENCE, SHA256, VALUE
from trust.canonical import CanonicalisationMethod, canonicalise
from trust.errors import KeyUnavailable, SignatureMalformed, TrustError
from trust.hashchain import SIGNATURE_CHAIN_RESULT, PartDigest, build_message_chain
from trust.keys import SignatureAlgorithm, verify_value
from trust.xades import (
    MessageSignature,
    SignatureBuilder,
    SignedPart,
    VerifiedSignature,
    discover_signature,
    insert_timestamp,
    parse_signature,
    signature_value,
)
from trust.xades.template import DS, XADES
from trust.xml import parse

Answer = VerifiedSignature | tuple[str, str]


def sign_batch(*messages: tuple[SignedPart, ...], w: World | None = None) -> tuple[MessageSignature, ...]:
    w = w or world()
    return SignatureBuilder(w.key).build_batch(messages, signing_time=NOW, ocsp_response=w.ocsp_response)


def verdict(signed: MessageSignature, parts: tuple[SignedPart, ...] = PARTS, w: World | None = None) -> Answer:
    return outcome(
        signed.document,
        (w or world()).verifier(),
        parts=parts,
        hash_chain_result=signed.hash_chain_result,
        hash_chain=signed.hash_chain,
    )


def test_one_part_is_signed_as_it_is() -> None:
    (signed,) = sign_batch(parts_of(MESSAGE))
    assert signed.hash_chain_result is signed.hash_chain is None
    assert b'<ds:Reference Id="signature-reference-0" URI="/message.xml">' in signed.document
    assert b'ObjectReference="#signature-reference-0"><xades:MimeType>text/xml<' in signed.document
    answer = verdict(signed, parts_of(MESSAGE))
    assert isinstance(answer, VerifiedSignature)
    assert answer.is_classic
    assert answer.chain is None


def test_several_parts_are_signed_by_their_hash_chain() -> None:
    (signed,) = sign_batch(PARTS)
    assert (signed.hash_chain_result, signed.hash_chain) == build_message_chain(PARTS)
    assert b"<xades:MimeType>application/hash-chain-result<" in signed.document
    answer = verdict(signed)
    assert isinstance(answer, VerifiedSignature)
    assert answer.signer == MEMBER
    assert answer.is_classic
    assert answer.chain is not None
    assert answer.chain.covered == answer.covered == ("/message.xml", "/attachment1")
    # The form of X-Road 8 says of itself that it is another.
    assert not parse_signature(world().sign()).is_classic


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
def test_every_algorithm_signs_hash_chains(algorithm: SignatureAlgorithm) -> None:
    from tests.trust.test_xades import _keys

    key = next(key for _, key, chosen in _keys() if chosen is algorithm)
    w = make_world(key, algorithm)
    (signed,) = sign_batch(PARTS, w=w)
    assert isinstance(verdict(signed, w=w), VerifiedSignature)


def test_a_batch_has_one_signature_and_a_chain_for_each() -> None:
    messages = [parts_of(*[b"%d-%d" % (n, part) for part in range(1 + n % 3)]) for n in range(7)]
    batch = sign_batch(*messages)
    assert len({signed.document for signed in batch}) == 1
    assert len({signed.hash_chain for signed in batch}) == len(batch)
    for signed, parts in zip(batch, messages, strict=True):
        assert isinstance(verdict(signed, parts), VerifiedSignature)
        assert verdict(replace(signed, hash_chain=batch[0].hash_chain), messages[1])[1].startswith("malformed_")  # type: ignore[index]


def test_what_cannot_be_signed() -> None:
    for messages in ((), ((),), (PARTS, ()), ((PARTS[0], PARTS[0]),), (PARTS * 600,)):
        with pytest.raises(KeyUnavailable):
            sign_batch(*messages)


@settings(max_examples=40, deadline=None)
@given(
    messages=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    time=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - with zone
)
def test_whatever_is_signed_is_canonical(messages: list[int], time: datetime) -> None:
    """What the builder signs is what libxml2 finds in the document."""
    w = world()
    parts = [parts_of(*[b"x"] * count) for count in messages]
    signed = SignatureBuilder(w.key).build_batch(parts, signing_time=time, ocsp_response=w.ocsp_response)[0]
    parsed, root = parse_signature(signed.document), parse(signed.document)
    info, properties = (next(root.iter(tag)) for tag in (f"{{{DS}}}SignedInfo", f"{{{XADES}}}SignedProperties"))
    octets = canonicalise(info, CanonicalisationMethod.INCLUSIVE)
    verify_value(parsed.algorithm, w.key.private_key.public_key(), parsed.value, octets)
    digest = hashlib.sha512(canonicalise(properties, CanonicalisationMethod.INCLUSIVE)).digest()
    assert digest == parsed.properties_digest


def test_signxml_agrees() -> None:
    (signed,) = sign_batch(PARTS)
    assert signed.hash_chain_result is not None
    config = SignatureConfiguration(
        location="./",
        expect_references=2,
        digest_algorithms=frozenset({SignXMLDigest.SHA512}),
        default_reference_c14n_method=CanonicalizationMethod.CANONICAL_XML_1_0,
        verification_time=NOW,
    )
    contents = {SIGNATURE_CHAIN_RESULT: signed.hash_chain_result}
    results = XMLVerifier().verify(
        signed.document,
        x509_cert=world().holder.certificate,
        uri_resolver=contents.__getitem__,
        expect_config=config,
    )
    assert isinstance(results, list)
    assert len(results) == 2


# -- what X-Road 7 writes --


def as_java_writes(text: str) -> str:
    """Line breaks between elements and within base64, one namespace more, empty-element tags."""
    text = text.replace("<asic:XAdESSignatures ", '<asic:XAdESSignatures xmlns:xsi="urn:unused" ', 1)
    text = text.replace("></ds:DigestMethod>", "/>").replace("<ds:Reference ", "\n<ds:Reference ")
    return rsub('(signature-value">)', "\\g<1>\n")(text).replace("</ds:SignatureValue>", "\n</ds:SignatureValue>")


def test_as_java_writes() -> None:
    (good,) = sign_batch(PARTS)
    document = resign(as_java_writes(good.document.decode()).encode(), world().key)
    assert isinstance(verdict(replace(good, document=document)), VerifiedSignature)


def test_the_namespace_of_earlier_archives() -> None:
    (good,) = sign_batch(PARTS)
    document = resign(good.document.replace(b"02918/v1.2.1#", b"02918/v1.1.1#"), world().key)
    assert isinstance(verdict(replace(good, document=document)), VerifiedSignature)


@pytest.mark.parametrize("uri", [SHA256, "http://www.w3.org/2001/04/xmldsig-more#sha384"])
def test_other_digests_of_parts_whose_bytes_are_there(uri: str) -> None:
    digest = hashlib.new("sha256" if "256" in uri else "sha384", MESSAGE).digest()
    change = rsub(
        '(URI="/message.xml"><ds:DigestMethod Algorithm=")[^"]*("></ds:DigestMethod><ds:DigestValue>)[^<]*',
        rf"\g<1>{uri}\g<2>{b64encode(digest).decode()}",
    )
    (good,) = sign_batch(parts_of(MESSAGE))
    signed = MessageSignature(resign(change(good.document.decode()).encode(), world().key))
    assert isinstance(verdict(signed, (SignedPart.of("/message.xml", MESSAGE),)), VerifiedSignature)
    assert verdict(signed, (SignedPart.of("/message.xml", MESSAGE + b" "),)) == VALUE
    assert verdict(signed, parts_of(MESSAGE)) == VALUE


# -- archives --


def discovered(signed: MessageSignature, files: Mapping[str, bytes], at: datetime = NOW) -> Answer:
    try:
        return discover_signature(
            signed.document,
            [SignedPart.of(name, data) for name, data in files.items()],
            certificates=world().verifier(),
            at=at,
            hash_chain_result=signed.hash_chain_result,
            hash_chain=signed.hash_chain,
        )
    except TrustError as error:
        return type(error).__name__, error.code


FILES = {"/message.xml": MESSAGE, "/attachment1": BODY}


@pytest.mark.parametrize("form", ["chain", "parts"])
def test_the_signer_is_found_and_missing_attachments_are_told(form: str) -> None:
    signed = sign_batch(PARTS)[0] if form == "chain" else MessageSignature(world().sign())
    answer = discovered(signed, FILES)
    assert isinstance(answer, VerifiedSignature)
    assert answer.signer == MEMBER != OTHER_MEMBER
    assert (answer.covered, answer.unverified) == (("/message.xml", "/attachment1"), ())
    answer = discovered(signed, {"/message.xml": MESSAGE})
    assert isinstance(answer, VerifiedSignature)
    assert [name for name, _ in answer.unverified] == ["/attachment1"]
    assert isinstance(answer.unverified[0][1], PartDigest)
    # The message itself has to be there, and as it was signed.
    assert discovered(signed, {"/attachment1": BODY})[1].endswith("invalid_reference")  # type: ignore[index]
    changed = discovered(signed, {**FILES, "/message.xml": b"x"})
    assert changed in (VALUE, ("SignatureMalformed", "malformed_signature.invalid_hash_chain_ref"))
    unsigned = discovered(signed, {**FILES, "/attachment2": b""})
    assert unsigned in (REFERENCE, ("SignatureMalformed", "malformed_signature.hashchain_unused_inputs"))
    # At another time the certificate's status isn't known to have been good.
    stale = ("StatusNotGood", "invalid_cert_path.incorrect_validation_info")
    assert discovered(signed, FILES, NOW + timedelta(days=3)) == stale


def test_an_unsigned_chain_in_a_container_is_a_file_as_any_other() -> None:
    result, chain = build_message_chain(PARTS)
    assert isinstance(discovered(MessageSignature(world().sign(), result, chain), FILES), VerifiedSignature)


# -- time-stamps over signatures --


def test_a_time_stamp_changes_nothing_that_is_signed() -> None:
    (good,) = sign_batch(PARTS)
    stamped = replace(good, document=insert_timestamp(good.document, b"token"))
    answer = verdict(stamped)
    assert isinstance(answer, VerifiedSignature)
    assert answer.timestamps == (b"token",)
    again = insert_timestamp(stamped.document, b"second")
    assert parse_signature(again).timestamps == (b"token", b"second")
    assert signature_value(again) == signature_value(good.document)
    place = again.index(b"<xades:SignatureTimeStamp>")
    assert again[:place] == good.document[:place]


def foreign_prefix(text: str) -> str:
    return text.replace("xades:", "x:").replace("xmlns:xades", "xmlns:x")


STAMPABLE: Mapping[str, Change] = {
    "as it is": str,
    "another prefix": foreign_prefix,
    "no unsigned properties": rsub("<xades:UnsignedProperties>.*</xades:UnsignedProperties>", ""),
    "white space in the end tag": sub(
        "</xades:UnsignedSignatureProperties>", "</xades:UnsignedSignatureProperties\n >"
    ),
}


@pytest.mark.parametrize("name", STAMPABLE)
def test_any_form_takes_a_time_stamp(name: str) -> None:
    document = STAMPABLE[name](world().sign().decode()).encode()
    before, after = parse_signature(document), parse_signature(insert_timestamp(document, b"token"))
    assert after == replace(before, timestamps=(b"token",))


@pytest.mark.parametrize(
    "change",
    [
        sub("text/xml<", "<![CDATA[</xades:UnsignedSignatureProperties>]]><"),
        rsub(
            "<xades:UnsignedSignatureProperties>.*</xades:UnsignedSignatureProperties>",
            "<xades:UnsignedSignatureProperties/>",
        ),
        lambda _: "<a/>",
    ],
    ids=["an end tag that is text", "an empty element", "no signature"],
)
def test_no_place_for_a_time_stamp(change: Change) -> None:
    with pytest.raises(SignatureMalformed):
        insert_timestamp(change(world().sign().decode()).encode(), b"token")


def test_what_is_stamped() -> None:
    document = world().sign()
    value = signature_value(document)
    assert value.decoded == parse_signature(document).value
    namespaces = b" ".join(
        b'xmlns:%b="%b"' % pair
        for pair in (
            (b"asic", b"http://uri.etsi.org/02918/v1.2.1#"),
            (b"ds", DS.encode()),
            (b"xades", XADES.encode()),
        )
    )
    assert value.canonical == b'<ds:SignatureValue %b Id="signature-value">%b</ds:SignatureValue>' % (
        namespaces,
        b64encode(value.decoded),
    )


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_raise_only_our_errors(content: bytes) -> None:
    for function in (signature_value, lambda data: insert_timestamp(data, b"token")):
        with pytest.raises(TrustError):
            function(content)
    assert isinstance(verdict(MessageSignature(content, content, content)), tuple)
    (good,) = sign_batch(PARTS)
    assert isinstance(verdict(replace(good, hash_chain=content)), tuple)
    assert isinstance(verdict(replace(good, hash_chain_result=content)), tuple)
