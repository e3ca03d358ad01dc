"""Containers that were changed, each refused with the code that says what is wrong."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.x509 import ocsp

from tests.trust.containers import LATER, REQUEST, RESPONSE, Change, Making, entries, make, making, soap
from tests.trust.factory import BODY, DAY, NOW, OTHER_MEMBER, Holder, parameters
from tests.trust.zips import Entry, pack
from trust.asic import (
    MIME_TYPE,
    Container,
    SignatureForm,
    StampForm,
    VerificationConfiguration,
    read_container,
    verify_container,
    write_container,
)
from trust.errors import TrustError
from trust.hashchain import TIMESTAMP_FILES, build_batch
from trust.keys import SoftwareKey


def code_of(data: bytes | Container, one: Making | None = None, **options: object) -> str:
    with pytest.raises(TrustError) as refused:
        (one or making()).verify(data, **options)  # type: ignore[arg-type]
    return refused.value.code


# The files


def without(*names: str) -> Change:
    def change(found: list[Entry]) -> bytes:
        left = [entry for entry in found if entry.name not in names]
        assert len(left) == len(found) - len(names)
        return pack(left)

    return change


def with_(name: str, data: bytes | Callable[[bytes], bytes]) -> Change:
    def change(found: list[Entry]) -> bytes:
        index = next(number for number, entry in enumerate(found) if entry.name == name)
        content = data if isinstance(data, bytes) else data(found[index].data)
        assert content != found[index].data
        return pack([*found[:index], Entry(name, content), *found[index + 1 :]])

    return change


def renamed(name: str, new: str) -> Change:
    return lambda found: pack([replace(entry, name=new if entry.name == name else entry.name) for entry in found])


FILES: list[tuple[str, str, Change]] = [
    ("no mimetype", "asic_mime_type_not_found", without("mimetype")),
    ("empty mimetype", "asic_mime_type_not_found", with_("mimetype", b" \n")),
    ("another mimetype", "asic_invalid_mime_type", with_("mimetype", b"application/vnd.etsi.asic-s+zip")),
    ("a mimetype that isn't text", "asic_invalid_mime_type", with_("mimetype", b"\xff\xfe")),
    ("a mimetype and a line end", "asic_invalid_mime_type", with_("mimetype", MIME_TYPE.encode() + b"\n")),
    ("no message", "asic_message_not_found", without("message.xml")),
    ("empty message", "asic_message_not_found", with_("message.xml", b"")),
    ("a message in capitals", "asic_message_not_found", renamed("message.xml", "Message.xml")),
    ("no signature", "asic_signature_not_found", without("META-INF/signatures.xml")),
    ("empty signature", "asic_signature_not_found", with_("META-INF/signatures.xml", b"\n")),
    ("no chain", "asic_hash_chain_not_found", without("sig-hashchain.xml")),
    ("empty chain", "asic_hash_chain_not_found", with_("sig-hashchain.xml", b"")),
    ("no chain result", "asic_hash_chain_result_not_found", without("sig-hashchainresult.xml")),
    ("no chain of the time-stamp", "asic_hash_chain_not_found", without("ts-hashchain.xml")),
    ("no chain result of the time-stamp", "asic_hash_chain_result_not_found", without("ts-hashchainresult.xml")),
    ("empty time-stamp", "asic_timestamp_not_found", with_("META-INF/timestamp.tst", b"")),
    ("a time-stamp of no kind", "timestamp_validation", with_("META-INF/timestamp.tst", b"?")),
    ("a time-stamp of bad base64", "timestamp_validation", with_("META-INF/timestamp.tst", b"MIIB=")),
    ("no manifest", "asic_manifest_not_found", without("META-INF/manifest.xml")),
    ("empty manifest", "asic_manifest_not_found", with_("META-INF/manifest.xml", b"")),
    ("no manifest of the time-stamp", "asic_manifest_not_found", without("META-INF/ASiCManifest.xml")),
    ("empty manifest of the time-stamp", "asic_manifest_not_found", with_("META-INF/ASiCManifest.xml", b" ")),
]


@pytest.mark.parametrize(("code", "change"), [(c, f) for _, c, f in FILES], ids=[name for name, _, _ in FILES])
def test_containers_that_lack_a_file(code: str, change: Change) -> None:
    data = change(entries(SignatureForm.HASH_CHAIN))
    with pytest.raises(TrustError) as refused:
        read_container(data)
    assert refused.value.code == code


# What is signed and stamped


def sub(pattern: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert re.search(pattern, data, re.DOTALL), pattern
        return re.sub(pattern, new, data, count=1, flags=re.DOTALL)

    return change


def other_letter(before: bytes) -> Callable[[bytes], bytes]:
    """Another letter of base64 behind the first place that matches."""

    def change(data: bytes) -> bytes:
        match = re.search(before, data, re.DOTALL)
        assert match, before
        place = match.end()
        return data[:place] + (b"B" if data[place : place + 1] == b"A" else b"A") + data[place + 1 :]

    return change


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


SIGNATURE = "META-INF/signatures.xml"
TOKEN = "META-INF/timestamp.tst"
CHAIN = SignatureForm.HASH_CHAIN
PARTS = SignatureForm.PER_PART
ALONE = StampForm.SIGNATURE
BATCH = StampForm.BATCH
CHAIN_CODE = "malformed_signature."

CONTENTS: list[tuple[str, SignatureForm, StampForm, str, Change]] = [
    ("message changed", PARTS, BATCH, "invalid_signature_value", with_("message.xml", sub(b"4711", b"4712"))),
    ("message unreadable", PARTS, BATCH, "invalid_signature_value", with_("message.xml", b"\xff")),
    ("message of another", PARTS, BATCH, "invalid_signature_value", with_("message.xml", RESPONSE)),
    ("attachment changed", PARTS, ALONE, "invalid_signature_value", with_("attachment1", BODY + b" ")),
    ("message changed, in a chain", CHAIN, BATCH, CHAIN_CODE + "invalid_hash_chain_ref",
     with_("message.xml", sub(b"4711", b"4712"))),
    ("attachment changed, in a chain", CHAIN, BATCH, CHAIN_CODE + "invalid_hash_chain_ref",
     with_("attachment1", BODY + b" ")),
    ("chain changed", CHAIN, BATCH, CHAIN_CODE + "invalid_hash_chain_ref",
     with_("sig-hashchain.xml", other_letter(b"DigestValue>"))),
    ("chain's order changed", CHAIN, BATCH, CHAIN_CODE + "invalid_hash_chain",
     with_("sig-hashchain.xml", sub(rb"(<DataRef .*?</DataRef>)(<DataRef .*?</DataRef>)", rb"\2\1"))),
    ("chain without the message", CHAIN, BATCH, CHAIN_CODE + "hashchain_unused_inputs",
     with_("sig-hashchain.xml", sub(rb"/message\.xml", b"/attachment2"))),
    ("chain to another file", CHAIN, BATCH, CHAIN_CODE + "invalid_reference",
     with_("sig-hashchain.xml", sub(rb'"/attachment1"', b'"/etc/passwd"'))),
    ("chain that is no chain", CHAIN, BATCH, CHAIN_CODE + "malformed_hash_chain", with_("sig-hashchain.xml", b"<x/>")),
    ("chain result changed", CHAIN, BATCH, CHAIN_CODE + "invalid_hash_chain",
     with_("sig-hashchainresult.xml", other_letter(b"DigestValue>"))),
    ("chain result spelt otherwise", CHAIN, BATCH, "invalid_signature_value",
     with_("sig-hashchainresult.xml", lambda data: data + b"\n")),
    ("chain left out", CHAIN, BATCH, "invalid_reference", without("sig-hashchain.xml", "sig-hashchainresult.xml")),
    ("message's reference renamed", PARTS, BATCH, "malformed_signature",
     with_(SIGNATURE, sub(b'URI="/message.xml"', b'URI="/attachment2"'))),
    ("attachment left out", PARTS, BATCH, "invalid_reference", without("attachment1")),
    ("reference to a file elsewhere", PARTS, BATCH, "invalid_reference",
     with_(SIGNATURE, sub(b'URI="/attachment1"', b'URI="/etc/passwd"'))),
    ("signature of no kind", PARTS, BATCH, "malformed_signature", with_(SIGNATURE, b"<x/>")),
    ("signature not XML", PARTS, BATCH, "invalid_xml", with_(SIGNATURE, b"PK")),
    ("signature value changed", PARTS, BATCH, "invalid_signature_value",
     with_(SIGNATURE, other_letter(b'Id="signature-value">'))),
    ("signature value changed, stamped alone", PARTS, ALONE, "invalid_signature_value",
     with_(SIGNATURE, other_letter(b'Id="signature-value">'))),
    ("signing time changed", PARTS, ALONE, "invalid_signature_value",
     with_(SIGNATURE, sub(b"SigningTime>2026", b"SigningTime>2025"))),
    ("OCSP answer cut, stamped alone", PARTS, ALONE, "malformed_signature",
     with_(SIGNATURE, sub(rb"<xades:RevocationValues>.*</xades:RevocationValues>", b""))),
    ("OCSP answer changed, stamped in a batch", PARTS, BATCH, "malformed_signature",
     with_(SIGNATURE, sub(rb"<xades:RevocationValues>.*</xades:RevocationValues>", b""))),
    ("time-stamp left out", PARTS, BATCH, "asic_timestamp_not_found", without(TOKEN)),
    ("time-stamp's signature changed", PARTS, BATCH, "mlog.timestamp_signer_verification_failed",
     with_(TOKEN, flipped)),
    ("time-stamp of one byte less", PARTS, BATCH, "timestamp_validation", with_(TOKEN, lambda data: data[:-1])),
    ("time-stamp and a byte more", PARTS, BATCH, "timestamp_validation", with_(TOKEN, lambda data: data + b"\0")),
    ("time-stamp over something else", PARTS, BATCH, "malformed_signature",
     with_(TOKEN, lambda _: making().token(b"something else"))),
    ("time-stamp over the signature's file", PARTS, ALONE, "malformed_signature",
     lambda e: pack([*e, Entry(TOKEN, making().token(e[2].data))])),
    ("time-stamp moved from a batch", PARTS, BATCH, "malformed_signature",
     without("ts-hashchain.xml", "ts-hashchainresult.xml")),
    ("time-stamp's chain changed", PARTS, BATCH, "malformed_signature",
     with_("ts-hashchain.xml", other_letter(b"<HashValue><ds:DigestValue>"))),
    ("time-stamp's chain of another", PARTS, BATCH, "malformed_signature",
     with_("ts-hashchain.xml", lambda _: other_chain())),
    ("time-stamp's chain result changed", PARTS, BATCH, "malformed_signature",
     with_("ts-hashchainresult.xml", other_letter(b"DigestValue>"))),
    ("time-stamp's chain result spelt otherwise", PARTS, BATCH, "malformed_signature",
     with_("ts-hashchainresult.xml", lambda data: data + b"\n")),
    ("manifest about something else", PARTS, BATCH, "asic_manifest_invalid",
     with_("META-INF/ASiCManifest.xml", other_letter(b"DigestValue>"))),
    ("manifest about no file of ours", PARTS, BATCH, "asic_manifest_invalid",
     with_("META-INF/ASiCManifest.xml", sub(rb"ts-hashchainresult\.xml", b"x"))),
    ("manifest with a weak digest", PARTS, BATCH, "asic_manifest_invalid",
     with_("META-INF/ASiCManifest.xml", sub(rb"2001/04/xmlenc#sha512", b"2000/09/xmldsig#sha1"))),
    ("manifest not XML", PARTS, BATCH, "asic_manifest_invalid", with_("META-INF/ASiCManifest.xml", b"x")),
]  # fmt: skip


def other_chain() -> bytes:
    _, chains = build_batch([hashlib.sha512(b"x").digest(), hashlib.sha512(b"y").digest()], files=TIMESTAMP_FILES)
    return chains[0]


@pytest.mark.parametrize(
    ("form", "stamp", "code", "change"), [row[1:] for row in CONTENTS], ids=[row[0] for row in CONTENTS]
)
def test_containers_that_do_not_hold(form: SignatureForm, stamp: StampForm, code: str, change: Change) -> None:
    assert code_of(change(entries(form, stamp))) == code


# Who signed, who stamped, and when


def test_an_unstamped_container_is_refused() -> None:
    assert code_of(write_container(making().signed())) == "asic_timestamp_not_found"


def test_a_certificate_revoked_before_the_time_stamp() -> None:
    one, certificate = making(), making().world.holder.certificate
    revoked = one.world.authority.status(certificate, status=ocsp.OCSPCertStatus.REVOKED)
    assert code_of(write_container(one.container(ocsp_response=revoked))) == "invalid_cert_path.cert_validation"


def test_an_ocsp_answer_that_was_old_when_it_was_stamped() -> None:
    one, certificate = making(), making().world.holder.certificate
    old = one.world.authority.status(certificate, at=NOW - timedelta(hours=2))
    assert code_of(write_container(one.container(ocsp_response=old))) == "invalid_cert_path.incorrect_validation_info"


def test_a_time_stamp_after_the_certificate_expired() -> None:
    one = making()
    stamped = one.stamp(one.signed(), at=NOW + 400 * DAY)
    assert code_of(write_container(stamped)) == "timestamp_validation"  # the authority's own has expired too
    short = make()
    holder = short.world.authority.signer(until=NOW + DAY)
    key = SoftwareKey(holder.key, holder.certificate)
    short.world = replace(short.world, key=key, holder=holder)
    late = short.stamp(short.signed(ocsp_response=short.world.authority.status(holder.certificate)), at=NOW + 2 * DAY)
    assert code_of(write_container(late), short) == "cert_validity_time"


def test_a_time_stamp_from_the_future() -> None:
    assert code_of(write_container(making().container()), at=NOW - DAY) == "timestamp_validation"


def test_a_time_stamp_by_an_authority_that_is_not_approved() -> None:
    one, other = making(), make()
    container = write_container(one.container())
    approved = replace(parameters(*one.configuration.parameters["DE-TEST"].approved_cas), approved_tsas=())
    with pytest.raises(TrustError) as refused:
        verify_container(container, VerificationConfiguration.of(approved), at=LATER)
    assert refused.value.code == "mlog.no_timestamping_provider_found"
    stranger = replace(one.signed())
    # Of the same name and number, as each test authority's is: the signature tells them apart.
    assert code_of(write_container(other.stamp(stranger)), one) == "mlog.timestamp_signer_verification_failed"


def test_a_signer_whose_authority_is_not_approved() -> None:
    one, other = making(), make()
    other.tsa = one.tsa
    assert code_of(write_container(other.container()), one) == "cannot_create_cert_path.internal_error"


def signed_by(holder: Holder, message: bytes = REQUEST) -> bytes:
    one = making()
    key = SoftwareKey(holder.key, holder.certificate)
    world = replace(one.world, key=key, holder=holder, ocsp_response=one.world.authority.status(holder.certificate))
    return write_container(replace(one, world=world).container(message=message))


@pytest.mark.parametrize("message", [REQUEST, RESPONSE, soap()], ids=["request", "response", "SOAP"])
def test_a_message_that_another_member_signed(message: bytes) -> None:
    assert code_of(signed_by(making().world.authority.signer(OTHER_MEMBER), message)) == "incorrect_certificate"


def test_a_response_is_its_providers_not_its_clients() -> None:
    other = making().world.authority.signer(OTHER_MEMBER)
    answer = soap(body="billsResponse")
    assert making().verify(signed_by(other, answer)).member == OTHER_MEMBER
    assert code_of(write_container(making().container(message=answer))) == "incorrect_certificate"


def test_a_certificate_that_is_not_for_signing() -> None:
    assert code_of(signed_by(making().world.authority.authentication())) == "malformed_signature"


def test_a_sender_of_an_unknown_instance() -> None:
    message = REQUEST.replace(b"DE-TEST/GOV", b"DE-OTHER/GOV")
    assert code_of(write_container(making().container(message=message))) == "incorrect_certificate"


@pytest.mark.parametrize(
    "message",
    [
        b"GET",
        b"GET\r\n/r1/x\r\n",
        b"GET\r\n/r1/x\r\nX-Road-Client:DE-TEST\r\n",
        b"GET\r\n/r1/x\r\nX-Road-Client:DE-TEST/GOV/A\r\nx-road-client:DE-TEST/GOV/B\r\n",
        b"200\r\nOK\r\nX-Road-Client:DE-TEST/GOV/MUSTERSTADT\r\n",
        b"GET\r\n/r1/x\r\nX-Road-Client:DE-TEST/GOV/M%XXSTADT\r\n",
        b"GET\r\n/\xff\r\n",
        b"<x/>",
        b"<x",
        soap().replace(b"memberCode", b"memberKode"),
        soap().replace(b"xrd:client", b"xrd:klient"),
        soap().replace(b"<xrd:id>", b"<xrd:id>1</xrd:id><xrd:id>"),
        b"<!DOCTYPE x>" + soap().partition(b"?>")[2],
    ],
)
def test_a_signed_message_that_does_not_say_who_sent_it(message: bytes) -> None:
    assert code_of(write_container(making().container(message=message))) == "invalid_message"


def test_the_base64_of_a_time_stamp_is_bounded() -> None:
    data = with_(TOKEN, base64.b64encode(bytes(200_000)))(entries())
    with pytest.raises(TrustError) as refused:
        read_container(data)
    assert refused.value.code == "asic_too_large"
