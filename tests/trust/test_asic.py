from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.containers import LATER, REQUEST, RESPONSE, STAMPED_AT, Making, make, making, soap
from tests.trust.factory import BODY, MEMBER, NOW, rsa_key
from tests.trust.zips import Entry, deflate, descriptor, pack
from trust.asic import (
    MIME_TYPE,
    Limits,
    SignatureForm,
    StampForm,
    read_container,
    write_container,
)
from trust.errors import ContainerInvalid, TrustError
from trust.keys import PrivateKey
from trust.xades import parse_signature
from trust.xml import parse

FORMS = [(form, stamp) for form in SignatureForm for stamp in StampForm]
JAVA_MIMETYPE_EXTRA = bytes.fromhex("555405000174575167")


@pytest.fixture(scope="module")
def one() -> Making:
    return making()


def entries_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


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


# Containers that others made


def foreign(
    one: Making, form: SignatureForm = SignatureForm.PER_PART, stamp: StampForm = StampForm.BATCH
) -> list[Entry]:
    return [Entry(name, data) for name, data in entries_of(write_container(one.container(form, stamp))).items()]


def test_data_descriptors_and_a_packed_mimetype(one: Making) -> None:
    """As Java's ZipOutputStream writes: everything deflated, figures behind the content, times in extra fields."""
    entries = [
        replace(entry, flags=0x0808, local={"extra": JAVA_MIMETYPE_EXTRA}, central={"extra": JAVA_MIMETYPE_EXTRA[:9]})
        for entry in foreign(one)
    ]
    assert one.verify(pack(entries, comment=b"mimetype=" + MIME_TYPE.encode())).member == MEMBER
    # APPNOTE 4.3.9.3: the descriptor's mark is optional, and a writer may say in front what it knows.
    bare = [replace(entry, descriptor=descriptor(entry.data, deflate(entry.data), mark=False)) for entry in entries]
    assert one.verify(pack(bare)).member == MEMBER
    sized = [replace(entry, local={"size": len(entry.data)}) for entry in entries]
    assert one.verify(pack(sized)).member == MEMBER


@pytest.mark.parametrize("method", [0, 8])
def test_stored_and_deflated(one: Making, method: int) -> None:
    assert one.verify(pack([replace(entry, method=method) for entry in foreign(one)])).member == MEMBER


def test_a_time_stamp_as_base64(one: Making) -> None:
    for encode in (base64.b64encode, base64.encodebytes):
        entries = foreign(one)
        token = next(entry for entry in entries if entry.name == "META-INF/timestamp.tst")
        der, token.data = token.data, encode(token.data)
        verified = one.verify(pack(entries))
        assert verified.container.timestamp == der
        assert verified.timestamp.time == STAMPED_AT


def test_a_container_that_was_packed_again_by_hand(one: Making) -> None:
    """Folder entries, another order, files that nobody signed: X-Road's verifier takes them, and says nothing."""
    entries = foreign(one, stamp=StampForm.SIGNATURE)[::-1]
    entries.insert(0, Entry("META-INF/", b"", method=0, central={"made_by": 0x0314, "attributes": 0o040755 << 16}))
    entries += [Entry("notiz.txt", b"gesehen"), Entry("hashchain.xml", b"<x/>"), Entry("attachment9x", b"y")]
    verified = one.verify(pack(entries, comment=b"von Hand"))
    assert verified.not_signed == ("notiz.txt", "hashchain.xml", "attachment9x")
    assert not verified.container.mimetype_first
    assert one.verify(pack(foreign(one))).container.mimetype_first


def test_an_attachment_that_nobody_signed_is_named(one: Making) -> None:
    for form in SignatureForm:
        verified = one.verify(pack([*foreign(one, form), Entry("attachment2", b"untergeschoben")]))
        assert verified.attachments_verified == ("/attachment1",)
        assert verified.not_signed == ("attachment2",)


def test_hash_chains_that_nobody_signed_are_files_that_nobody_signed(one: Making) -> None:
    entries = [*foreign(one), Entry("sig-hashchainresult.xml", b"<x/>"), Entry("sig-hashchain.xml", b"<x/>")]
    verified = one.verify(pack(entries))
    assert verified.form is SignatureForm.PER_PART


@pytest.mark.parametrize("form", [SignatureForm.HASH_CHAIN, SignatureForm.BATCH])
def test_attachments_that_are_only_digests_are_named_with_their_digest(one: Making, form: SignatureForm) -> None:
    """X-Road before version 8 doesn't log a SOAP message's attachments."""
    container = replace(one.container(form, message=soap(), attachments=(BODY, b"zwei")), attachments=(None, b"zwei"))
    verified = one.verify(write_container(container))
    (missing,) = verified.attachments_unverified
    assert (missing.name, missing.digest) == ("/attachment1", hashlib.sha512(BODY).digest())
    assert missing.digest_algorithm == "SHA512"
    assert verified.attachments_verified == ("/attachment2",)


def test_a_time_stamp_over_the_canonical_element(one: Making) -> None:
    """As XAdES has it; X-Road stamps the value's octets."""
    from trust.xades import insert_timestamp, signature_value

    signed = one.signed()
    token = one.token(signature_value(signed.signature).canonical)
    stamped = replace(signed, signature=insert_timestamp(signed.signature, token))
    assert one.verify(write_container(stamped)).timestamp_form is StampForm.SIGNATURE


@pytest.mark.parametrize("name", ["sha256", "sha384"])
@pytest.mark.parametrize("form", list(StampForm))
def test_time_stamps_with_other_digests(one: Making, form: StampForm, name: str) -> None:
    stamped = one.stamp(one.signed(), form, digest_name=name)
    assert one.verify(write_container(stamped)).timestamp.time == STAMPED_AT


def test_status_and_path_are_judged_at_the_time_stamp(one: Making) -> None:
    """The certificate has long expired by now, and was good when it was stamped."""
    assert one.world.holder.certificate.not_valid_after_utc < LATER
    assert one.verify(write_container(one.container()), at=LATER).timestamp.time == STAMPED_AT


# Strangers' tools


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT CHECKED WITH {name.upper()}: it isn't on this machine")
    return found


def test_unzip_accepts_what_we_write_and_refuses_a_changed_byte(one: Making, tmp_path: Path) -> None:
    unzip = tool("unzip")
    path = tmp_path / "a.asice"
    data = write_container(one.container(SignatureForm.BATCH))
    path.write_bytes(data)
    tested = subprocess.run([unzip, "-t", path], capture_output=True, text=True, timeout=30, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    changed = bytearray(data)
    changed[data.index(MIME_TYPE.encode())] ^= 1
    path.write_bytes(changed)
    tested = subprocess.run([unzip, "-t", path], capture_output=True, text=True, timeout=30, check=False)
    assert tested.returncode != 0
    with pytest.raises(ContainerInvalid):
        read_container(bytes(changed))


@pytest.mark.parametrize("changed", [False, True], ids=["as made", "one byte changed"])
def test_openssl_agrees_on_the_time_stamp(one: Making, tmp_path: Path, changed: bool) -> None:
    openssl = tool("openssl")
    for name, data in entries_of(write_container(one.container())).items():
        (tmp_path / name.replace("/", "-")).write_bytes(data)
    stamped = tmp_path / "ts-hashchainresult.xml"
    if changed:
        data = bytearray(stamped.read_bytes())
        data[-5] ^= 1
        stamped.write_bytes(data)
    for name, certificate in (("ca", one.world.authority.certificate), ("tsa", one.tsa.certificate)):
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    result = subprocess.run(
        [openssl, "ts", "-verify", "-data", stamped, "-in", tmp_path / "META-INF-timestamp.tst", "-token_in",
         "-CAfile", tmp_path / "ca.pem", "-untrusted", tmp_path / "tsa.pem", "-attime", str(int(NOW.timestamp()) + 60)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ("Verification: OK" in result.stdout) is not changed, result.stderr
    assert (result.returncode == 0) is not changed


def test_the_zip_tool_packs_what_we_read(one: Making, tmp_path: Path) -> None:
    zip_tool = tool("zip")
    for name, data in entries_of(write_container(one.container())).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    subprocess.run([zip_tool, "-q", "-X", "-0", "a.asice", "mimetype"], cwd=tmp_path, check=True, timeout=30)
    subprocess.run(
        [zip_tool, "-q", "-r", "a.asice", ".", "-x", "mimetype", "-x", "a.asice"], cwd=tmp_path, check=True, timeout=30
    )
    verified = one.verify((tmp_path / "a.asice").read_bytes())
    assert verified.container.mimetype_first
    assert verified.member == MEMBER


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
