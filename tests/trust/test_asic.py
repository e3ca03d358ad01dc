"""Containers (ETSI EN 319 162-1): what is written is read, and holds; no bytes break reader or verifier."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.containers import REQUEST, RESPONSE, STAMPED_AT, Making, entries_of, make, making, soap
from tests.trust.factory import MEMBER, NOW, rsa_key
from tests.trust.zips import Entry, pack
from trust.asic import MIME_TYPE, Limits, SignatureForm, StampForm, read_container, write_container
from trust.errors import ContainerInvalid, TrustError
from trust.keys import PrivateKey
from trust.xades import parse_signature
from trust.xml import parse

FORMS = [(form, stamp) for form in SignatureForm for stamp in StampForm]


@pytest.mark.parametrize(("form", "stamp"), FORMS)
def test_what_is_written_is_read_and_holds(one: Making, form: SignatureForm, stamp: StampForm) -> None:
    container = one.container(form, stamp)
    data = write_container(container, time=NOW)
    read = read_container(data)
    assert replace(read, asic_manifest=None) == container
    verified = one.verify(data)
    assert (verified.form, verified.timestamp_form) == (form, stamp)
    assert verified.member == MEMBER
    assert verified.signing_time == NOW
    # The library that makes the answers says when by the machine's own clock.
    (answer,) = parse_signature(read.signature).ocsp_responses
    assert verified.ocsp_produced_at == ocsp.load_der_ocsp_response(answer).produced_at_utc
    assert verified.ocsp_responder == "CN=Auskunft"
    assert verified.timestamp.time == STAMPED_AT
    assert verified.tsa.name == "Zeitstelle"
    assert verified.tsa_subject == "CN=Zeitstelle"
    assert verified.signer_subject == one.world.holder.certificate.subject.rfc4514_string()
    assert verified.signer_serial_number == one.world.holder.certificate.serial_number
    assert verified.attachments_verified == ("/attachment1",)
    assert verified.attachments_unverified == ()
    assert verified.not_signed == ()


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa_key()], ids=["P-384", "RSA"])
def test_other_keys(key: PrivateKey) -> None:
    other = make(key)
    for form, stamp in FORMS:
        assert other.verify(write_container(other.container(form, stamp))).member == MEMBER


@pytest.mark.parametrize(
    ("message", "is_response"),
    [
        (REQUEST, False),
        (RESPONSE, True),
        (soap(), False),
        (soap(body="billsResponse", provider=("GOV", "MUSTERSTADT")), True),
        (b"\xef\xbb\xbf" + soap(), False),
        (soap(encoding="ISO-8859-1"), False),
    ],
    ids=["REST", "REST response", "SOAP", "SOAP response", "byte order mark", "ISO 8859-1"],
)
def test_messages_of_every_kind(one: Making, message: bytes, is_response: bool) -> None:
    verified = one.verify(write_container(one.container(message=message, attachments=())))
    assert verified.origin.is_response == is_response
    assert verified.origin.message_id in {"DE-TEST-4711", "Frage 7"}
    assert verified.member == MEMBER


def test_the_archive_is_as_the_specification_has_it(one: Making) -> None:
    data = write_container(one.container(SignatureForm.BATCH), time=datetime(2026, 11, 22, 10, 30, 2, tzinfo=UTC))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.comment == b"mimetype=application/vnd.etsi.asic-e+zip"
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type, first.extra) == ("mimetype", zipfile.ZIP_STORED, b"")
        assert {entry.date_time for entry in archive.infolist()} == {(2026, 11, 22, 10, 30, 2)}
        assert [entry.filename for entry in archive.infolist()] == [
            "mimetype",
            "message.xml",
            "META-INF/signatures.xml",
            "sig-hashchainresult.xml",
            "sig-hashchain.xml",
            "ts-hashchainresult.xml",
            "ts-hashchain.xml",
            "META-INF/manifest.xml",
            "META-INF/ASiCManifest.xml",
            "META-INF/timestamp.tst",
            "attachment1",
        ]
    # ETSI EN 319 162-1 A.1: whoever looks at fixed places finds the type there.
    assert data[30:38] == b"mimetype"
    assert data[38 : 38 + len(MIME_TYPE)] == MIME_TYPE.encode()


def test_the_manifests(one: Making) -> None:
    container = one.container(SignatureForm.HASH_CHAIN)
    files = entries_of(write_container(container))
    manifest = parse(files["META-INF/manifest.xml"])
    namespace = "{urn:oasis:names:tc:opendocument:xmlns:manifest:1.0}"
    assert manifest.get(namespace + "version") == "1.2"
    assert [(entry.get(namespace + "full-path"), entry.get(namespace + "media-type")) for entry in manifest] == [
        ("/", MIME_TYPE),
        ("message.xml", "text/xml"),
        ("sig-hashchainresult.xml", "text/xml"),
        ("sig-hashchain.xml", "text/xml"),
        ("ts-hashchainresult.xml", "text/xml"),
        ("ts-hashchain.xml", "text/xml"),
        ("attachment1", "application/octet-stream"),
    ]
    reference, stamped = parse(files["META-INF/ASiCManifest.xml"])
    assert (reference.get("URI"), reference.get("MimeType")) == ("META-INF/timestamp.tst", "vnd.etsi.timestamp-token")
    assert stamped.get("URI") == "ts-hashchainresult.xml"
    digest = base64.b64encode(hashlib.sha512(files["ts-hashchainresult.xml"]).digest()).decode()
    assert stamped[1].text == digest
    # A time-stamp inside the signature needs none of this.
    assert "META-INF/ASiCManifest.xml" not in entries_of(write_container(one.container(stamp=StampForm.SIGNATURE)))


def test_the_same_container_is_the_same_bytes(one: Making) -> None:
    container = one.container()
    assert write_container(container) == write_container(container)
    assert write_container(container, time=NOW) != write_container(container)


@pytest.mark.parametrize("year", [1970, 2108])
def test_a_time_that_zip_cannot_name_is_the_first_that_it_can(one: Making, year: int) -> None:
    container = one.container()
    assert write_container(container, time=datetime(year, 1, 1, tzinfo=UTC)) == write_container(container)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"message": b" \n"}, "asic_message_not_found"),
        ({"signature": b""}, "asic_signature_not_found"),
        ({"signature_hash_chain": None}, "asic_hash_chain_not_found"),
        ({"signature_hash_chain_result": None}, "asic_hash_chain_result_not_found"),
        ({"timestamp_hash_chain": None}, "asic_hash_chain_not_found"),
        ({"attachments": (b"",) * 1001}, "asic_too_large"),
    ],
)
def test_an_incomplete_container_is_not_written(one: Making, change: dict[str, object], code: str) -> None:
    container = replace(one.container(SignatureForm.HASH_CHAIN), **change)  # type: ignore[arg-type]
    with pytest.raises(ContainerInvalid) as refused:
        write_container(container)
    assert refused.value.code == code


def test_an_empty_attachment_is_an_attachment(one: Making) -> None:
    assert one.verify(write_container(one.container(attachments=(b"", b"x")))).attachments_verified == (
        "/attachment1",
        "/attachment2",
    )


# Anything at all


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(TrustError):
        read_container(data)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_breaks_reader_or_verifier(data: st.DataObject) -> None:
    """Bytes changed, left out or put in anywhere: it is refused with one of our errors, or it still is what it was."""
    good = _good()
    place = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["change", "cut", "insert", "end"]))
    new = data.draw(st.binary(min_size=1, max_size=4))
    match kind:
        case "change":
            changed = good[:place] + new + good[place + len(new) :]
        case "cut":
            changed = good[:place] + good[place + len(new) :]
        case "insert":
            changed = good[:place] + new + good[place:]
        case _:
            changed = good[:place]
    try:
        verified = making().verify(changed)
    except TrustError:
        return
    original = making().verify(good)
    assert verified.container.parts() == original.container.parts()
    assert verified.timestamp == original.timestamp


NAMES = [
    "mimetype",
    "message.xml",
    "META-INF/signatures.xml",
    "META-INF/manifest.xml",
    "META-INF/timestamp.tst",
    "ts-hashchain.xml",
    "ts-hashchainresult.xml",
    "attachment1",
    "attachment7",
    "x",
    "../x",
    "META-INF/",
]
CONTENTS = [MIME_TYPE.encode(), b"<x/>", b"", b" ", b"\x30\x80", b"TUlJ"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.sampled_from(CONTENTS),
            st.sampled_from([0, 8]),
            st.sampled_from([0, 8, 0x0800, 1]),
        ),
        max_size=8,
    )
)
def test_no_archive_breaks_the_reader(drawn: list[tuple[str, bytes, int, int]]) -> None:
    data = pack([Entry(name, content, method, flags) for name, content, method, flags in drawn])
    try:
        read = read_container(data)
    except TrustError as error:
        code = error.code
    else:
        assert read.mimetype == MIME_TYPE
        return
    assert code.startswith("asic_") or code == "timestamp_validation"


_GOOD: list[bytes] = []


def _good() -> bytes:
    if not _GOOD:
        _GOOD.append(write_container(making().container(SignatureForm.HASH_CHAIN)))
    return _GOOD[0]


def test_what_is_within_the_limits_is_read_and_what_is_not_is_not(one: Making) -> None:
    data = write_container(one.container())
    assert read_container(data, Limits(entries=9))
    for limits in (
        Limits(entries=8),
        Limits(archive_bytes=len(data) - 1),
        Limits(entry_bytes=2000),
        Limits(total_bytes=5000),
        Limits(free_bytes=0, ratio=1),
    ):
        with pytest.raises(ContainerInvalid) as refused:
            read_container(data, limits)
        assert refused.value.code == "asic_too_large"
