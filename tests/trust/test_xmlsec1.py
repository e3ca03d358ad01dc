"""xmlsec1, which knows nothing of us, accepts the signatures that we make and refuses them after a byte has changed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.trust.factory import BODY, MESSAGE, NOW, PARTS, World, make_world, parts_of, rsa_key, world
from trust.hashchain import SIGNATURE_CHAIN_RESULT
from trust.keys import PrivateKey, SignatureAlgorithm
from trust.xades import SignatureBuilder, insert_timestamp

# tests/tools/debian.sh installs it where that is possible.
XMLSEC1 = shutil.which("xmlsec1")
pytestmark = pytest.mark.skipif(XMLSEC1 is None, reason="no xmlsec1 here (Debian: apt-get install xmlsec1)")

FILES: Mapping[str, bytes] = {"/message.xml": MESSAGE, "/attachment1": BODY}
KEYS: Mapping[str, tuple[PrivateKey, SignatureAlgorithm]] = {
    "ECDSA P-256, SHA-512": (ec.generate_private_key(ec.SECP256R1()), SignatureAlgorithm.ECDSA_SHA512),
    "ECDSA P-384, SHA-384": (ec.generate_private_key(ec.SECP384R1()), SignatureAlgorithm.ECDSA_SHA384),
    "RSA PKCS#1, SHA-512": (rsa_key(), SignatureAlgorithm.RSA_SHA512),
    "RSA PKCS#1, SHA-256": (rsa_key(), SignatureAlgorithm.RSA_SHA256),
}


def accepts(folder: Path, document: bytes, files: Mapping[str, bytes], w: World) -> bool:
    """Whether xmlsec1 takes the signature value, every digest, and the certificate's path to the root."""
    assert XMLSEC1 is not None
    (folder / "signature.xml").write_bytes(document)
    (folder / "root.pem").write_bytes(w.authority.certificate.public_bytes(serialization.Encoding.PEM))
    command = [XMLSEC1, "--verify", "--id-attr:Id", "http://uri.etsi.org/01903/v1.3.2#:SignedProperties"]
    command += ["--trusted-pem", str(folder / "root.pem"), "--verification-gmt-time", f"{NOW:%Y-%m-%d %H:%M:%S}"]
    for number, (name, content) in enumerate(files.items()):
        (folder / f"part{number}").write_bytes(content)
        command += [f"--url-map:{name}", str(folder / f"part{number}")]
    done = subprocess.run(
        [*command, str(folder / "signature.xml")], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode == 0


def spoilt(document: bytes, pattern: bytes) -> bytes:
    """Another base64 character a little into the match."""
    match = re.search(pattern, document)
    assert match is not None
    place = match.end() + 7
    return document[:place] + (b"A" if document[place : place + 1] != b"A" else b"B") + document[place + 1 :]


@pytest.mark.parametrize("name", KEYS)
def test_signature_for_each_part(name: str, tmp_path: Path) -> None:
    w = make_world(*KEYS[name])
    document = w.sign()
    assert accepts(tmp_path, document, FILES, w)
    assert not accepts(tmp_path, spoilt(document, b'signature-value">'), FILES, w)
    assert not accepts(tmp_path, document, {**FILES, "/attachment1": BODY + b" "}, w)


@pytest.mark.parametrize("name", KEYS)
def test_signature_over_a_hash_chain(name: str, tmp_path: Path) -> None:
    w = make_world(*KEYS[name])
    signed = SignatureBuilder(w.key).build_batch((PARTS,), signing_time=NOW, ocsp_response=w.ocsp_response)[0]
    assert signed.hash_chain_result is not None
    files = {SIGNATURE_CHAIN_RESULT: signed.hash_chain_result}
    assert accepts(tmp_path, signed.document, files, w)
    assert not accepts(tmp_path, spoilt(signed.document, b'signature-value">'), files, w)
    changed = {SIGNATURE_CHAIN_RESULT: signed.hash_chain_result.replace(b"#STEP0", b"#STEP1")}
    assert not accepts(tmp_path, signed.document, changed, w)


def test_every_changed_byte_of_what_is_signed(tmp_path: Path) -> None:
    document = world().sign()
    for place in range(document.index(b"<ds:SignedInfo>") + 30, document.index(b"</ds:SignedInfo>"), 131):
        changed = document[:place] + bytes([document[place] ^ 1]) + document[place + 1 :]
        assert not accepts(tmp_path, changed, FILES, world()), place


def test_one_part_and_a_time_stamp_put_in_later(tmp_path: Path) -> None:
    w = world()
    (signed,) = SignatureBuilder(w.key).build_batch(
        (parts_of(MESSAGE),), signing_time=NOW, ocsp_response=w.ocsp_response
    )
    assert accepts(tmp_path, signed.document, {"/message.xml": MESSAGE}, w)
    assert accepts(tmp_path, insert_timestamp(signed.document, b"token"), {"/message.xml": MESSAGE}, w)
