"""Keys in a PKCS#11 token, against SoftHSM2: everything that the software token does, and what only devices do.

The module keeps its state for the process, so that these tests share one token; each makes its own keys.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.trust.factory import MEMBER, NOW, approve, parameters, world
from tests.trust.softhsm import MODULE, PIN, make_token
from tests.trust.test_tokens import ROOT, certify, code_of, take
from trust.certificates import CertificateUsage, CertificateVerifier
from trust.keys import SignatureAlgorithm, SoftwareKey, verify_value
from trust.tokens import KeyKind, KeyRing
from trust.tokens.pkcs11 import PKCS11Token
from trust.xades import SignatureBuilder, verify_signature

SIGNING, AUTHENTICATION = CertificateUsage.SIGNING, CertificateUsage.AUTHENTICATION
LABEL = "datenweg-test"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(make_token(tmp_path_factory.mktemp("softhsm"), LABEL)))
        import pkcs11

        pkcs11.unload(str(MODULE))  # whoever loaded it before had another configuration
        yield
        pkcs11.unload(str(MODULE))


@pytest.fixture
def token(home: None) -> Iterator[PKCS11Token]:
    token = PKCS11Token(MODULE, LABEL)
    token.login(PIN)
    yield token
    token.logout()


@pytest.fixture
def ring(token: PKCS11Token, tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path, [token])


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA_2048])
def test_a_key_from_generation_to_a_signature_that_verifies(ring: KeyRing, kind: KeyKind) -> None:
    from tests.trust.factory import PARTS

    entry = ring.generate(LABEL, kind, SIGNING, member=MEMBER.encoded)
    take(ring, certify(entry, ring))
    ((found,), problems) = ring.usable(SIGNING)
    assert problems == ()
    status = ROOT.status(found.key.certificate)
    document = SignatureBuilder(found.key).build(PARTS, signing_time=NOW, ocsp_response=status)
    verifier = CertificateVerifier(parameters(approve(ROOT)))
    assert verify_signature(document, PARTS, signer=MEMBER, certificates=verifier, at=NOW).signer == MEMBER
    ring.set_active(found.certificate.fingerprint, active=False, at=NOW)
    ring.delete_key(entry.id)
    assert entry.id not in ring.tokens[LABEL].key_ids()


@pytest.mark.parametrize(
    "algorithm", [a for a in SignatureAlgorithm if not a.is_elliptic], ids=lambda algorithm: algorithm.name
)
def test_every_rsa_algorithm(token: PKCS11Token, algorithm: SignatureAlgorithm) -> None:
    public = token.generate("ab" * 16, KeyKind.RSA_2048)
    try:
        holder = ROOT.signer(key=token.private_key("ab" * 16))
        key = SoftwareKey(holder.key, holder.certificate, algorithm=algorithm)
        verify_value(algorithm, public, key.sign(b"nachricht"), b"nachricht")
    finally:
        token.delete("ab" * 16)


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.EC_P384])
@pytest.mark.parametrize(
    "algorithm", [a for a in SignatureAlgorithm if a.is_elliptic], ids=lambda algorithm: algorithm.name
)
def test_every_elliptic_algorithm(token: PKCS11Token, kind: KeyKind, algorithm: SignatureAlgorithm) -> None:
    """Digests longer than the curve's order are cut, as the other side does."""
    public = token.generate("cd" * 16, kind)
    try:
        holder = ROOT.signer(key=token.private_key("cd" * 16))
        key = SoftwareKey(holder.key, holder.certificate, algorithm=algorithm)
        verify_value(algorithm, public, key.sign(b"nachricht"), b"nachricht")
    finally:
        token.delete("cd" * 16)


def test_the_key_does_not_leave_the_device(token: PKCS11Token) -> None:
    token.generate("ef" * 16, KeyKind.EC_P256)
    key = token.private_key("ef" * 16)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    for call in (
        key.private_numbers,
        lambda: key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        lambda: key.exchange(ec.ECDH(), ec.generate_private_key(ec.SECP256R1()).public_key()),
    ):
        assert code_of(call) == "cannot_sign"
    token.delete("ef" * 16)
    assert code_of(lambda: key.sign(b"x", ec.ECDSA(hashes.SHA256()))) == "key_not_found"


def test_authentication_keys_are_not_for_devices(ring: KeyRing) -> None:
    assert code_of(lambda: ring.generate(LABEL, KeyKind.EC_P256, AUTHENTICATION)) == "token_not_available"


def test_many_threads_sign_at_once(token: PKCS11Token) -> None:
    public = token.generate("01" * 16, KeyKind.EC_P256)
    key = token.private_key("01" * 16)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(20):
                data = b"%d" % number
                public.verify(key.sign(data, ec.ECDSA(hashes.SHA512())), data, ec.ECDSA(hashes.SHA512()))
        except BaseException as error:  # noqa: BLE001 - shown in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    token.delete("01" * 16)
    assert failures == []


def test_a_lost_session_is_opened_again(token: PKCS11Token) -> None:
    """The device was away: all sessions, and with them the login, are gone."""
    public = token.generate("02" * 16, KeyKind.EC_P256)
    key = token.private_key("02" * 16)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    key.sign(b"x", ec.ECDSA(hashes.SHA256()))
    token._session.close()  # ends the login of the process
    public.verify(key.sign(b"y", ec.ECDSA(hashes.SHA256())), b"y", ec.ECDSA(hashes.SHA256()))
    token.delete("02" * 16)


def test_a_pin_that_has_become_wrong_is_tried_once(token: PKCS11Token, monkeypatch: pytest.MonkeyPatch) -> None:
    token.generate("03" * 16, KeyKind.EC_P256)
    key = token.private_key("03" * 16)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    tried: list[str] = []
    opening = PKCS11Token._open

    def watch(self: PKCS11Token, pin: str) -> None:
        tried.append(pin)
        opening(self, pin)

    monkeypatch.setattr(PKCS11Token, "_open", watch)
    token._session.close()
    token._pin = "0000"
    assert code_of(lambda: key.sign(b"x", ec.ECDSA(hashes.SHA256()))) == "pin_incorrect"
    assert code_of(lambda: key.sign(b"x", ec.ECDSA(hashes.SHA256()))) == "token_not_active"
    assert tried == ["0000"]
    token.login(PIN)
    token.delete("03" * 16)


def test_wrong_pins_labels_and_modules(home: None, tmp_path: Path) -> None:
    token = PKCS11Token(MODULE, LABEL)
    assert code_of(token.key_ids) == "token_not_active"
    assert code_of(lambda: token.login("9999")) == "pin_incorrect"
    assert not token.active
    assert code_of(lambda: PKCS11Token(MODULE, "anderes").login(PIN)) == "token_not_found"
    assert code_of(lambda: PKCS11Token(tmp_path / "none.so", LABEL).login(PIN)) == "token_not_available"
    (tmp_path / "no-library.so").write_bytes(b"nonsense")
    assert code_of(lambda: PKCS11Token(tmp_path / "no-library.so", LABEL).login(PIN)) == "token_not_available"


def test_a_refusal_of_the_device_leaves_tls_alone(home: None) -> None:
    """SoftHSM uses this process's OpenSSL: an error that stays in its queue would be the next TLS context's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert code_of(lambda: PKCS11Token(MODULE, LABEL).login("9999")) == "pin_incorrect"
    context.load_verify_locations(cadata=ROOT.der)
    assert len(context.get_ca_certs()) == 1


def test_the_pin_can_be_changed(token: PKCS11Token) -> None:
    token.change_pin(PIN, "56789")
    try:
        token.login("56789")
        assert code_of(lambda: PKCS11Token(MODULE, LABEL).change_pin("x", "y")) == "token_not_active"
    finally:
        token.change_pin("56789", PIN)


def test_a_device_that_is_busy_says_so(token: PKCS11Token, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trust.tokens.pkcs11._WAIT_SECONDS", 0.01)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with token._my_turn():
            held.set()
            done.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(10)
    try:
        assert code_of(token.key_ids) == "token_not_available"
    finally:
        done.set()
        other.join()


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pkcs11", None)
    token = PKCS11Token(MODULE, LABEL)
    with pytest.raises(Exception, match="python-pkcs11") as caught:
        token.login(PIN)
    assert "pip install 'datenweg[pkcs11]'" in caught.value.hint  # type: ignore[attr-defined]


def test_pss_and_v15_verify_with_the_library(token: PKCS11Token) -> None:
    public = token.generate("04" * 16, KeyKind.RSA_2048)
    key = token.private_key("04" * 16)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert isinstance(public, rsa.RSAPublicKey)
    for scheme in (padding.PKCS1v15(), padding.PSS(padding.MGF1(hashes.SHA384()), padding.PSS.DIGEST_LENGTH)):
        public.verify(key.sign(b"x", scheme, hashes.SHA384()), b"x", scheme, hashes.SHA384())
    assert code_of(lambda: key.sign(b"x", padding.PKCS1v15(), hashes.SHA1())) == "unsupported_sign_algorithm"
    assert isinstance(x509.load_der_x509_certificate(world().holder.der), x509.Certificate)
    token.delete("04" * 16)
