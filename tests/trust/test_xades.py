"""Signatures: our own hold in every algorithm, and are for exactly these parts, of exactly this member."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.trust.factory import (
    BODY,
    MEMBER,
    MESSAGE,
    NOW,
    OTHER_MEMBER,
    PARTS,
    Authority,
    World,
    approve,
    common_name,
    key_usage,
    make_authority,
    make_world,
    parameters,
    parts_of,
    rsa_key,
    world,
)
from tests.trust.forging import outcome
from trust.canonical import CanonicalisationMethod, canonicalise
from trust.certificates import CertificateVerifier
from trust.errors import KeyUnavailable, TrustError
from trust.identifiers import MemberId
from trust.keys import PrivateKey, SignatureAlgorithm, SoftwareKey, verify_value
from trust.xades import (
    ParsedSignature,
    SignatureBuilder,
    SignedPart,
    VerifiedSignature,
    parse_signature,
    verify_signature,
)
from trust.xades import recognise as recognise_module
from trust.xades.parse import parse_general
from trust.xades.recognise import recognise
from trust.xades.template import DS, XADES
from trust.xml import parse


def verified(document: bytes, world: World, parts: tuple[SignedPart, ...] = PARTS) -> VerifiedSignature:
    answer = outcome(document, world.verifier(), parts=parts)
    assert isinstance(answer, VerifiedSignature), answer
    return answer


def test_own_signature_holds_and_says_who_and_when() -> None:
    w = world()
    document = w.sign()
    result = verified(document, w)
    assert result.signer == MEMBER
    assert result.certificate.certificate == w.holder.certificate
    assert result.signing_time == NOW
    assert result.ocsp_produced_at == result.certificate.status.produced_at
    assert result.document == document


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_own_signature_takes_the_quick_way(count: int) -> None:
    parts = parts_of(*[b"%d" % number for number in range(count)])
    document = world().sign(parts)
    assert recognise(document) == parse_general(document)
    verified(document, world(), parts)


def test_intermediates_and_further_values_take_the_quick_way() -> None:
    root = make_authority()
    middle = root.intermediate()
    holder = middle.signer()
    key = SoftwareKey(holder.key, holder.certificate, (middle.der,))
    responder = root.responder()
    document = SignatureBuilder(key).build(
        PARTS,
        signing_time=NOW,
        ocsp_response=middle.status(holder.certificate),
        further_ocsp_responses=(root.status(middle.certificate, responder=responder),),
        certificate_values=(responder.der, middle.der),
    )
    quick = recognise(document)
    assert quick is not None
    assert quick == parse_general(document)
    assert quick.certificate_values == (middle.der, responder.der)
    answer = outcome(document, CertificateVerifier(parameters(approve(root))))
    assert isinstance(answer, VerifiedSignature)
    assert answer.certificate.issuer == middle.certificate


def test_what_is_known_of_a_signer_is_known_by_every_byte() -> None:
    w = world()
    builder = SignatureBuilder(w.key)
    first, second = (
        builder.build(PARTS, signing_time=NOW + timedelta(seconds=later), ocsp_response=w.ocsp_response)
        for later in (0, 1)
    )
    assert recognise(first) == parse_general(first)
    assert recognise(second) == parse_general(second)
    quick = recognise(second)
    assert quick is not None
    assert quick.signing_time == NOW + timedelta(seconds=1)
    # Behind the signature value stands what is remembered.
    for position in range(second.index(b"</ds:SignatureValue>"), len(second), 61):
        changed = second[:position] + (b"A" if second[position] != ord("A") else b"B") + second[position + 1 :]
        found = _taken_apart(recognise, changed)
        assert found is None or (found != quick and found == _taken_apart(parse_general, changed)), position


def _taken_apart(way: Callable[[bytes], ParsedSignature | None], document: bytes) -> ParsedSignature | None:
    try:
        return way(document)
    except TrustError:
        return None


def test_a_signer_that_says_much_is_not_remembered() -> None:
    w = world()
    known = recognise_module._known_signer
    before = known.cache_info().currsize
    document = SignatureBuilder(w.key).build(PARTS, signing_time=NOW, ocsp_response=bytes(20_000))
    assert recognise(document) == parse_general(document)
    assert known.cache_info().currsize == before


def test_two_messages_of_one_millisecond() -> None:
    w = world()
    builder = SignatureBuilder(w.key)
    for name, at in ((b"a", NOW), (b"b", NOW + timedelta(microseconds=400)), (b"c", NOW + timedelta(milliseconds=1))):
        parts = parts_of(name)
        document = builder.build(parts, signing_time=at, ocsp_response=w.ocsp_response)
        signed_at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        assert verified(document, w, parts).signing_time == signed_at
        (classic,) = builder.build_batch((parts,), signing_time=at, ocsp_response=w.ocsp_response)
        assert verified(classic.document, w, parts).signing_time == signed_at


def test_signed_elements_are_what_libxml2_calls_canonical() -> None:
    document = world().sign()
    quick = recognise(document)
    assert quick is not None
    root = parse(document)
    info = next(root.iter(f"{{{DS}}}SignedInfo"))
    properties = next(root.iter(f"{{{XADES}}}SignedProperties"))
    assert quick.signed_info == canonicalise(info, CanonicalisationMethod.INCLUSIVE)
    assert quick.signed_properties == canonicalise(properties, CanonicalisationMethod.INCLUSIVE)


NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    digests=st.lists(st.binary(min_size=64, max_size=64), min_size=4, max_size=4),
    time=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - with zone
    issuer=NAMES,
)
def test_whatever_is_signed_is_canonical(names: list[str], digests: list[bytes], time: datetime, issuer: str) -> None:
    """Part names and issuers of any text: what the builder signs is what libxml2 finds in the document."""
    authority = _authority_named(issuer)
    holder = authority.issue(common_name("x"), key_usage("content_commitment"), key=_KEY)
    parts = [SignedPart("/" + name, digest) for name, digest in zip(names, digests, strict=False)]
    document = SignatureBuilder(SoftwareKey(holder.key, holder.certificate)).build(
        parts, signing_time=time, ocsp_response=b"status"
    )
    parsed = parse_general(document)
    assert [(r.name, r.digest) for r in parsed.references] == [(p.name, p.digest) for p in parts]
    assert parsed.signing_time == time.replace(microsecond=time.microsecond // 1000 * 1000)
    assert parsed.properties_digest == hashlib.sha512(parsed.signed_properties).digest()
    # The builder signed its own text; the value holds over libxml2's only if the two are one.
    verify_value(parsed.algorithm, _KEY.public_key(), parsed.value, parsed.signed_info)
    quick = recognise(document)
    assert quick is None or quick == parsed


_KEY = ec.generate_private_key(ec.SECP256R1())


def _authority_named(name: str) -> Authority:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(_KEY.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return Authority(_KEY, builder.sign(_KEY, hashes.SHA256()))


def _keys() -> list[tuple[str, PrivateKey, SignatureAlgorithm]]:
    curves: dict[str, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
    keys: list[tuple[str, PrivateKey, SignatureAlgorithm]] = []
    for algorithm in SignatureAlgorithm:
        if algorithm.is_elliptic:
            keys += [(f"{algorithm.name}-{n}", ec.generate_private_key(c), algorithm) for n, c in curves.items()]
        else:
            keys.append((algorithm.name, rsa_key(), algorithm))
    return keys


@pytest.mark.parametrize(("key", "algorithm"), [pytest.param(k, a, id=name) for name, k, a in _keys()])
def test_every_algorithm_signs_and_verifies(key: PrivateKey, algorithm: SignatureAlgorithm) -> None:
    w = make_world(key, algorithm)
    document = w.sign()
    assert parse_signature(document).algorithm is algorithm
    verified(document, w)
    assert outcome(document, w.verifier(), parts=parts_of(MESSAGE, b"other")) == (
        "SignatureInvalid",
        "invalid_signature_value",
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (parts_of(MESSAGE), "invalid_reference"),
        (parts_of(MESSAGE, BODY, b"x"), "invalid_reference"),
        ((), "invalid_reference"),
        ((PARTS[0], PARTS[0]), "invalid_reference"),
        ((PARTS[0], SignedPart("/attachment2", PARTS[1].digest)), "invalid_reference"),
        (parts_of(MESSAGE + b" ", BODY), "invalid_signature_value"),
        (parts_of(BODY, MESSAGE), "invalid_signature_value"),
    ],
    ids=["one less", "one more", "none", "one twice", "other name", "changed", "exchanged"],
)
def test_signature_is_for_exactly_these_parts(parts: tuple[SignedPart, ...], expected: str) -> None:
    assert outcome(world().sign(), world().verifier(), parts=parts) == ("SignatureInvalid", expected)


def test_order_of_the_parts_does_not_matter() -> None:
    assert isinstance(outcome(world().sign(), world().verifier(), parts=PARTS[::-1]), VerifiedSignature)


def test_parts_of_one_name_are_refused_even_if_signed() -> None:
    twice = (PARTS[0], PARTS[0])
    assert outcome(world().sign(twice), world().verifier(), parts=twice)[1:] == ("invalid_reference",)  # type: ignore[index]


def test_another_members_signature_is_not_the_senders() -> None:
    verifier = world().verifier()
    document = world().sign()
    assert isinstance(outcome(document, verifier), VerifiedSignature)
    for other in (OTHER_MEMBER, MemberId("DE-TEST", "COM", "MUSTERSTADT"), MemberId("EE-TEST", "GOV", "MUSTERSTADT")):
        assert outcome(document, verifier, signer=other) == ("CertificateUntrusted", "incorrect_certificate")


def test_remembered_result_lapses() -> None:
    """The same document, verified later with the same verifier: the OCSP answer is too old then."""
    verifier = world().verifier()
    document = world().sign()
    assert isinstance(outcome(document, verifier), VerifiedSignature)
    at_the_end, after = NOW + timedelta(seconds=3600), NOW + timedelta(seconds=3601)
    assert isinstance(outcome(document, verifier, at=at_the_end), VerifiedSignature)
    refused = ("StatusNotGood", "invalid_cert_path.incorrect_validation_info")
    assert outcome(document, verifier, at=after) == refused
    assert outcome(document, verifier, at=NOW - timedelta(hours=1)) == refused


def test_certificate_of_an_unknown_authority() -> None:
    foreign = make_world()
    no_path = ("CertificateUntrusted", "cannot_create_cert_path.internal_error")
    assert outcome(foreign.sign(), world().verifier()) == no_path


def test_certificate_that_is_not_for_signing() -> None:
    w = world()
    holder = w.authority.authentication()
    key = SoftwareKey(holder.key, holder.certificate)
    document = SignatureBuilder(key).build(
        PARTS, signing_time=NOW, ocsp_response=w.authority.status(holder.certificate)
    )
    assert outcome(document, w.verifier()) == ("SignatureMalformed", "malformed_signature")


def test_builder_refuses_what_it_cannot_sign() -> None:
    with pytest.raises(KeyUnavailable):
        world().sign(())
    with pytest.raises(KeyUnavailable):
        world().sign(parts_of(*[b""] * 1001))
    with pytest.raises(KeyUnavailable):
        world().sign(certificate_values=(b"no certificate",))


def test_builder_takes_a_new_status_at_once() -> None:
    builder = SignatureBuilder(world().key)
    later = NOW + timedelta(minutes=30)
    second = world().authority.status(world().holder.certificate, at=later)
    for response in (world().ocsp_response, second, world().ocsp_response):
        document = builder.build(PARTS, signing_time=NOW, ocsp_response=response)
        assert parse_signature(document).ocsp_responses == (response,)


def test_builder_writes_utc() -> None:
    east = timezone(timedelta(hours=5))
    document = world().sign(signing_time=NOW.astimezone(east))
    assert b"<xades:SigningTime>2026-11-22T10:00:00.000Z<" in document


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_foreign_error_leaves_the_verifier(data: st.DataObject) -> None:
    """Bytes cut, repeated and exchanged at random: an answer or one of our errors, the same on both ways."""
    document = bytearray(world().sign())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(document) - 1))
        end = min(len(document), start + data.draw(st.integers(0, 60)))
        document[start:end] = data.draw(
            st.one_of(
                st.binary(max_size=20),
                st.sampled_from([b"<!--", b"-->", b"&#0;", b"&lt;", b"\xc3\xa4", b"<a>", b"</a>", b"AAAA", b"="]),
            )
        )
    outcome(bytes(document), world().verifier())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_no_foreign_error_for_bytes(data: bytes) -> None:
    with pytest.raises(TrustError):
        verify_signature(data, PARTS, signer=MEMBER, certificates=world().verifier(), at=NOW)


def test_canonical_text_is_escaped_in_part_names() -> None:
    parts = (SignedPart('/a&b<c>"d"\t', bytes(64)),)
    document = world().sign(parts)
    assert etree.QName(parse(document)).localname == "XAdESSignatures"
    assert parse_signature(document).references[0].name == parts[0].name
    answer = outcome(document, world().verifier(), parts=parts)
    assert isinstance(answer, VerifiedSignature)


def test_every_byte_that_is_signed_matters() -> None:
    """A change of any one byte of the signed elements is refused; both ways agree on every byte of the document."""
    good = world().sign()
    unsigned = range(good.index(b"<xades:UnsignedProperties>"), len(good))
    verifier = world().verifier()
    for position in range(0, len(good), 3):
        changed = good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]
        answer = outcome(changed, verifier)
        if position not in unsigned and not isinstance(answer, tuple):
            # What is left: the identifiers of elements that nothing refers to.
            assert b'Id="' in changed[position - 20 : position + 1]


@pytest.mark.parametrize("position", range(0, 5000, 211))
def test_a_byte_less_or_more_gets_one_answer_on_both_ways(position: int) -> None:
    good = world().sign()
    outcome(good[:position] + good[position + 1 :], world().verifier())
    outcome(good[:position] + b"\0" + good[position:], world().verifier())
    outcome(good[:position] + b"\xff" + good[position:], world().verifier())
