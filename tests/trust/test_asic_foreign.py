"""Containers that others made, and what others make of ours: their tools, their habits."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.trust.containers import LATER, STAMPED_AT, Making, entries_of, soap
from tests.trust.factory import BODY, MEMBER, NOW
from tests.trust.zips import Entry, deflate, descriptor, pack
from trust.asic import MIME_TYPE, SignatureForm, StampForm, read_container, write_container
from trust.errors import ContainerInvalid

JAVA_MIMETYPE_EXTRA = bytes.fromhex("555405000174575167")


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
