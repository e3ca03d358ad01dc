"""Keys in files: they come back as they went in, for their owner alone."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from tests.trust.factory import make_authority, rsa_key, world
from trust.errors import KeyUnavailable
from trust.keys import PrivateKey, SoftwareKey
from trust.keystore import load_into_tls, load_pkcs12, read_secret, save_pkcs12

PIN = "Geheimnis-1"


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_key_comes_back(tmp_path: Path, kind: str) -> None:
    private: PrivateKey = world().holder.key if kind == "ec" else rsa_key()
    authority = make_authority()
    middle = authority.intermediate()
    holder = middle.signer(key=private)
    path = tmp_path / "sign.p12"
    save_pkcs12(path, private, holder.certificate, [middle.der], PIN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["sign.p12"]
    key = load_pkcs12(path, PIN)
    assert (key.certificate, key.intermediates) == (holder.certificate, (middle.der,))
    assert key.sign(b"x")


def test_saving_replaces(tmp_path: Path) -> None:
    path = tmp_path / "sign.p12"
    for holder in (world().authority.signer(), world().authority.signer()):
        save_pkcs12(path, holder.key, holder.certificate, (), PIN)
        assert load_pkcs12(path, PIN).certificate == holder.certificate


def test_pin_counts_and_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "sign.p12"
    save_pkcs12(path, world().holder.key, world().holder.certificate, (), PIN)
    with pytest.raises(KeyUnavailable) as caught:
        load_pkcs12(path, "falsch-4711")
    assert caught.value.code == "pin_incorrect"
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(KeyUnavailable):
        save_pkcs12(path, world().holder.key, world().holder.certificate, (), "")


@pytest.mark.parametrize("content", [b"", b"0", b"no container", bytes(2_000_000)])
def test_what_is_no_container(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.p12"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(KeyUnavailable):
        load_pkcs12(path, PIN)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable):
        load_pkcs12(tmp_path / "none.p12", PIN)
    with pytest.raises(KeyUnavailable):
        save_pkcs12(tmp_path / "none" / "x.p12", world().holder.key, world().holder.certificate, (), PIN)
    with pytest.raises(KeyUnavailable):
        save_pkcs12(tmp_path / "x.p12", world().holder.key, world().holder.certificate, [b"x"], PIN)


def test_open_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sign.p12"
    save_pkcs12(path, world().holder.key, world().holder.certificate, (), PIN)
    path.chmod(0o644)
    with pytest.raises(KeyUnavailable) as caught:
        load_pkcs12(path, PIN)
    assert "chmod" in caught.value.hint


def test_other_kinds_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "x.p12"
    path.touch(mode=0o600)
    key = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(None, key, None, None, BestAvailableEncryption(PIN.encode()))
    )
    with pytest.raises(KeyUnavailable) as caught:
        load_pkcs12(path, PIN)
    assert caught.value.code == "key_not_found"


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pin"
    path.touch(mode=0o600)
    path.write_text("aus der Datei\n")
    monkeypatch.setenv("DATENWEG_TEST_PIN", "aus der Umgebung")
    assert read_secret(file=path, variable="DATENWEG_TEST_PIN") == "aus der Datei"
    assert read_secret(variable="DATENWEG_TEST_PIN") == "aus der Umgebung"
    path.write_bytes(b"\xff")
    with pytest.raises(KeyUnavailable):
        read_secret(file=path)
    path.write_bytes(b"\n")
    for file, variable in ((path, None), (None, "DATENWEG_TEST_NONE"), (None, None), (tmp_path / "none", None)):
        with pytest.raises(KeyUnavailable):
            read_secret(file=file, variable=variable)


def test_key_serves_tls() -> None:
    authority = make_authority()
    middle = authority.intermediate()
    holder = middle.authentication()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into_tls(context, SoftwareKey(holder.key, holder.certificate, (middle.der,)))
