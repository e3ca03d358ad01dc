"""The key ring and its software token: what a key is for, which certificates it takes, and how one follows another."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.factory import (
    DAY,
    MEMBER,
    NOW,
    OTHER_MEMBER,
    Authority,
    approve,
    common_name,
    key_usage,
    make_authority,
    parameters,
    subject_of,
)
from trust.certificates import CertificateUsage, CertificateVerifier, VerifiedPath
from trust.errors import CertificateUntrusted, KeyUnavailable, TrustError
from trust.keys import verify_value
from trust.keystore import save_pkcs12
from trust.tokens import KeyEntry, KeyKind, KeyRing, SoftwareToken, pin_from, require_strong_pin
from trust.tokens.records import KeyRecords

PIN = "Geheim-1234"
SIGNING, AUTHENTICATION = CertificateUsage.SIGNING, CertificateUsage.AUTHENTICATION
ROOT = make_authority()


def ring_in(folder: Path, *, pin: str | None = PIN, **contained: Path) -> KeyRing:
    token = SoftwareToken(folder / "software", contained)
    if pin is not None:
        token.login(pin)
    return KeyRing(folder, [token], {name: CertificateUsage(name) for name in contained})


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return ring_in(tmp_path)


def verify_path(usage: CertificateUsage, der: bytes, intermediates: Sequence[bytes]) -> VerifiedPath:
    return CertificateVerifier(parameters(approve(ROOT))).verify_path(usage, der, at=NOW, intermediates=intermediates)


def certify(entry: KeyEntry, ring: KeyRing, authority: Authority = ROOT, **options: object) -> bytes:
    """A certificate for a key's request, as an authority issues it."""
    request = x509.load_der_x509_csr(ring.request(entry.id, common_name("x")))
    assert request.is_signature_valid
    usage = "content_commitment" if entry.usage is SIGNING else "digital_signature"
    key = _PublicOnly(request.public_key())
    options = {"subject": subject_of(MEMBER), "usage": key_usage(usage)} | options
    return authority.issue(key=key, **options).der  # type: ignore[arg-type]


class _PublicOnly:
    """All that an authority has of a key."""

    def __init__(self, public: object) -> None:
        self._public = public

    def public_key(self) -> object:
        return self._public


def take(ring: KeyRing, der: bytes, *, activate: bool = True, late: timedelta = timedelta(0), **o: object) -> object:
    return ring.import_certificate(der, verify_path=verify_path, at=NOW + late, activate=activate, **o)  # type: ignore[arg-type]


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(TrustError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA_2048])
def test_a_key_from_generation_to_signature(ring: KeyRing, kind: KeyKind) -> None:
    entry = ring.generate("software", kind, SIGNING, member=MEMBER.encoded)
    assert ring.usable(SIGNING) == ((), ())
    take(ring, certify(entry, ring))
    ((found,), problems) = ring.usable(SIGNING)
    assert problems == ()
    assert found.entry.member == MEMBER.encoded
    public = found.key.certificate.public_key()
    assert isinstance(public, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey))
    verify_value(found.key.algorithm, public, found.key.sign(b"nachricht"), b"nachricht")


@pytest.mark.parametrize("kind", list(KeyKind))
def test_kinds_are_what_they_say(ring: KeyRing, kind: KeyKind) -> None:
    if kind in {KeyKind.RSA_3072, KeyKind.RSA_4096}:
        assert kind.rsa_bits == int(kind.value[4:])  # too slow to make in each run
        return
    entry = ring.generate("software", kind, AUTHENTICATION)
    key = ring.tokens["software"].private_key(entry.id)
    assert (f"rsa-{key.key_size}" if isinstance(key, rsa.RSAPrivateKey) else f"ec-p{key.key_size}") == kind.value


def test_requests_are_read_by_openssl(ring: KeyRing, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    entry = ring.generate("software", KeyKind.EC_P256, SIGNING)
    der = ring.request(entry.id, subject_of(MEMBER), names=[x509.DNSName("gateway.example")])
    (tmp_path / "request.der").write_bytes(der)
    command = ["openssl", "req", "-inform", "DER", "-in", str(tmp_path / "request.der"), "-verify", "-noout", "-text"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    assert "verify OK" in done.stdout + done.stderr
    assert "DNS:gateway.example" in done.stdout
    (tmp_path / "request.der").write_bytes(der[:-1] + bytes([der[-1] ^ 1]))
    broken = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert "verify OK" not in broken.stdout + broken.stderr


def test_the_latest_activated_comes_first_and_the_one_before_stays(ring: KeyRing) -> None:
    first = ring.generate("software", KeyKind.EC_P256, SIGNING)
    second = ring.generate("software", KeyKind.EC_P256, SIGNING)
    old, new = certify(first, ring), certify(second, ring)
    take(ring, old)
    take(ring, new, activate=False)
    assert [k.key.certificate_der for k in ring.usable(SIGNING)[0]] == [old]
    fingerprint = ring.find(second.id).certificates[0].fingerprint
    ring.set_active(fingerprint, active=True, at=NOW + DAY)
    assert [k.key.certificate_der for k in ring.usable(SIGNING)[0]] == [new, old]
    ring.set_active(ring.find(first.id).certificates[0].fingerprint, active=False, at=NOW + DAY)
    assert [k.key.certificate_der for k in ring.usable(SIGNING)[0]] == [new]


def test_one_key_may_have_a_second_certificate(ring: KeyRing) -> None:
    entry = ring.generate("software", KeyKind.EC_P256, SIGNING)
    take(ring, certify(entry, ring))
    renewed = certify(entry, ring)
    take(ring, renewed, late=DAY)
    assert ring.usable(SIGNING)[0][0].key.certificate_der == renewed


def test_what_is_not_taken(ring: KeyRing) -> None:
    signing = ring.generate("software", KeyKind.EC_P256, SIGNING, member=MEMBER.encoded)
    authentication = ring.generate("software", KeyKind.EC_P256, AUTHENTICATION)
    good = certify(signing, ring)
    take(ring, good)
    assert code_of(lambda: take(ring, good)) == "cert_exists"
    assert code_of(lambda: take(ring, ROOT.signer().der)) == "key_not_found"
    wrong = certify(signing, ring, usage=key_usage("digital_signature"))
    assert code_of(lambda: take(ring, wrong)) == "wrong_cert_usage"
    also_wrong = certify(authentication, ring, usage=key_usage("content_commitment"))
    assert code_of(lambda: take(ring, also_wrong)) == "wrong_cert_usage"
    authority = certify(signing, ring, is_authority=True)
    assert code_of(lambda: take(ring, authority)) == "wrong_cert_usage"
    foreign = certify(signing, ring, make_authority("Fremde"))
    assert code_of(lambda: take(ring, foreign)) == "cannot_create_cert_path.internal_error"
    over = certify(signing, ring, until=NOW - DAY / 2)
    assert code_of(lambda: take(ring, over)) == "cert_validity_time"
    other = certify(signing, ring, subject=subject_of(OTHER_MEMBER))
    assert code_of(lambda: take(ring, other)) == "cert_import_failed"
    assert code_of(lambda: take(ring, b"no certificate")) == "incorrect_certificate"
    assert len(ring.find(signing.id).certificates) == 1


def test_intermediates_are_kept_as_the_path_needs_them(ring: KeyRing) -> None:
    middle = ROOT.intermediate()
    entry = ring.generate("software", KeyKind.EC_P256, SIGNING)
    der = certify(entry, ring, middle)
    with pytest.raises(CertificateUntrusted):
        take(ring, der)
    # In any order, with what isn't needed.
    take(ring, der, intermediates=[make_authority("Andere").der, middle.der, ROOT.der])
    assert ring.usable(SIGNING)[0][0].key.intermediates == (middle.der,)


def test_names_are_unique_beginnings(ring: KeyRing) -> None:
    entry = ring.generate("software", KeyKind.EC_P256, SIGNING)
    take(ring, certify(entry, ring))
    fingerprint = ring.find(entry.id[:6]).certificates[0].fingerprint
    assert ring.find_certificate(fingerprint[:6].upper())[1].fingerprint == fingerprint
    for name in ("", entry.id[:5], "0" * 32):
        assert code_of(lambda name=name: ring.find(name)) == "key_not_found"
        assert code_of(lambda name=name: ring.find_certificate(name)) == "cert_not_found"


def test_what_is_in_use_is_not_deleted(ring: KeyRing) -> None:
    entry = ring.generate("software", KeyKind.EC_P256, SIGNING)
    take(ring, certify(entry, ring))
    fingerprint = ring.find(entry.id).certificates[0].fingerprint
    assert code_of(lambda: ring.delete_certificate(fingerprint)) == "cannot_sign"
    assert code_of(lambda: ring.delete_key(entry.id)) == "cannot_sign"
    ring.set_active(fingerprint, active=False, at=NOW)
    ring.delete_certificate(fingerprint)
    ring.delete_key(entry.id)
    assert ring.entries() == ()
    assert ring.tokens["software"].key_ids() == frozenset()


def test_nothing_works_without_the_pin(tmp_path: Path) -> None:
    entry = ring_in(tmp_path).generate("software", KeyKind.EC_P256, SIGNING)
    closed = ring_in(tmp_path, pin=None)
    assert [found.id for found in closed.entries()] == [entry.id]
    assert [(info.active, info.problem) for info in closed.infos()] == [(False, "token_not_active")]
    for call in (
        lambda: closed.generate("software", KeyKind.EC_P256, SIGNING),
        lambda: closed.request(entry.id, common_name("x")),
    ):
        assert code_of(call) == "token_not_active"
    assert code_of(lambda: closed.tokens["software"].login("falsch")) == "pin_incorrect"
    token = closed.tokens["software"]
    token.login(PIN)
    closed.request(entry.id, common_name("x"))
    token.logout()
    assert code_of(lambda: closed.request(entry.id, common_name("x"))) == "token_not_active"


def test_an_unknown_token(ring: KeyRing) -> None:
    assert code_of(lambda: ring.generate("hsm", KeyKind.EC_P256, SIGNING)) == "token_not_found"


def test_key_files_are_private_and_hold_no_readable_key(ring: KeyRing, tmp_path: Path) -> None:
    entry = ring.generate("software", KeyKind.EC_P256, SIGNING)
    path = tmp_path / "software" / f"{entry.id}.p12"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert PIN not in (tmp_path / "keys.json").read_text()
    path.chmod(0o644)
    assert code_of(lambda: ring_in(tmp_path)) == "cannot_create_signature"


def test_another_pin_opens_everything_and_a_change_cut_short_is_finished(tmp_path: Path) -> None:
    ring = ring_in(tmp_path)
    entries = [ring.generate("software", KeyKind.EC_P256, SIGNING) for _ in range(2)]
    # Cut short: one of the two has the new PIN already.
    half = SoftwareToken(tmp_path / "software")
    half.login(PIN)
    stopped = tmp_path / "software" / f"{entries[1].id}.p12"
    before = stopped.read_bytes()
    half.change_pin(PIN, "Neues-5678")
    stopped.write_bytes(before)
    stopped.chmod(0o600)
    assert code_of(lambda: ring_in(tmp_path, pin="Neues-5678")) == "pin_incorrect"
    SoftwareToken(tmp_path / "software").change_pin(PIN, "Neues-5678")
    opened = ring_in(tmp_path, pin="Neues-5678")
    for entry in entries:
        opened.request(entry.id, common_name("x"))
    assert code_of(lambda: ring_in(tmp_path)) == "pin_incorrect"


def test_containers_from_before_the_ring(tmp_path: Path) -> None:
    holder = ROOT.signer()
    path = tmp_path / "signing.p12"
    save_pkcs12(path, holder.key, holder.certificate, (), PIN)
    ring = ring_in(tmp_path / "ring", signing=path)
    ((found,), _) = ring.usable(SIGNING)
    assert found.key.certificate_der == holder.der
    assert not (tmp_path / "ring" / "keys.json").exists()
    fingerprint = found.certificate.fingerprint
    # A successor, and the end of the old one, are recorded beside it.
    entry = ring.generate("software", KeyKind.EC_P256, SIGNING)
    take(ring, certify(entry, ring))
    ring.set_active(fingerprint, active=False, at=NOW)
    assert fingerprint not in [k.certificate.fingerprint for k in ring.usable(SIGNING)[0]]
    assert code_of(lambda: ring.delete_certificate(fingerprint)) == "token_read_only"
    # A container that is replaced by hand counts anew.
    other = ROOT.signer()
    save_pkcs12(path, other.key, other.certificate, (), PIN)
    assert other.der in [k.key.certificate_der for k in ring.usable(SIGNING)[0]]
    path.unlink()
    assert [k.entry.id for k in ring.usable(SIGNING)[0]] == [entry.id]


def test_a_change_shows_in_the_version_and_two_writers_lose_nothing(ring: KeyRing, tmp_path: Path) -> None:
    before = ring.version
    ring.generate("software", KeyKind.EC_P256, SIGNING)
    assert ring.version != before

    def make() -> None:
        ring_in(tmp_path).generate("software", KeyKind.EC_P256, SIGNING)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ring.entries()) == 7


def test_one_broken_key_does_not_hide_the_others(ring: KeyRing, tmp_path: Path) -> None:
    good, bad = (ring.generate("software", KeyKind.EC_P256, SIGNING) for _ in range(2))
    take(ring, certify(good, ring))
    take(ring, certify(bad, ring))
    (tmp_path / "software" / f"{bad.id}.p12").unlink()
    usable, problems = ring.usable(SIGNING)
    assert [k.entry.id for k in usable] == [good.id]
    assert [error.code for error in problems] == ["key_not_found"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps({"format": 1, "keys": value}).encode()))
def test_whatever_is_in_the_record_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("ring")
    (folder / "keys.json").write_bytes(data)
    try:
        KeyRecords(folder).load()
    except KeyUnavailable as error:
        assert error.code == "token_not_available"  # noqa: PT017 - nothing else may come out


def test_where_a_pin_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pin"
    monkeypatch.setenv("SOME_PIN", "aus-der-umgebung")
    assert pin_from(file=file, variable="SOME_PIN") == "aus-der-umgebung"
    file.write_text("aus-der-datei\n")
    file.chmod(0o600)
    assert pin_from(file=file, variable="SOME_PIN") == "aus-der-datei"
    file.unlink()
    monkeypatch.delenv("SOME_PIN")
    assert code_of(lambda: pin_from(file=file, variable="SOME_PIN", prompt="PIN: ")) == "token_not_active"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "getippt")
    assert pin_from(file=file, variable="SOME_PIN", prompt="PIN: ") == "getippt"


@pytest.mark.parametrize("pin", ["Geheim-1234", "abcdefgh1!", "ABCDEFGH1 x"])
def test_strong_pins(pin: str) -> None:
    assert require_strong_pin(pin) == pin


@pytest.mark.parametrize("pin", ["", "Gehe-1234", "abcdefghijkl", "abcdefghij12", "Gehéim-1234", "Geheim-1234\x07"])
def test_weak_pins_are_refused_without_being_said(pin: str) -> None:
    with pytest.raises(KeyUnavailable) as caught:
        require_strong_pin(pin)
    assert caught.value.code == "token_pin_policy_failure"
    assert not pin or pin not in f"{caught.value} {caught.value.hint}"


def test_the_request_names_what_was_asked(ring: KeyRing) -> None:
    entry = ring.generate("software", KeyKind.EC_P256, AUTHENTICATION)
    request = x509.load_der_x509_csr(ring.request(entry.id, subject_of(MEMBER), names=[x509.DNSName("g.example")]))
    assert request.subject == subject_of(MEMBER)
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["g.example"]
    assert request.public_bytes(Encoding.DER)
