"""Web push by its RFCs, read as a browser and a push service read it: our own receiver, our own keys."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.citizen.errors import InvalidRequest
from gateway.citizen.web_push import PushSender, encrypt, is_public_address, is_push_endpoint, subscription_from

HOSTS = ("push.example", "*.push.example.net", "localhost:8443")


class Receiver:
    """A browser's side of RFC 8291."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = b"0123456789abcdef"

    @property
    def point(self) -> bytes:
        return self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def subscription(self, endpoint: str = "https://push.example/abc") -> dict[str, object]:
        return {"endpoint": endpoint, "keys": {"p256dh": encode(self.point), "auth": encode(self.auth)}}

    def read(self, body: bytes) -> bytes:
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, record = body[21 : 21 + length], body[21 + length :]
        assert len(record) <= size
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
        secret = expand(shared, self.auth, b"WebPush: info\0" + self.point + sender, 32)
        key = expand(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
        nonce = expand(secret, salt, b"Content-Encoding: nonce\0", 12)
        padded = AESGCM(key).decrypt(nonce, record, None)
        content, end, _ = padded.rpartition(b"\x02")
        assert end
        return content


def expand(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(st.binary(min_size=1, max_size=900).filter(lambda content: b"\x02" not in content and content[-1] != 0))
def test_a_browser_reads_what_was_sent_and_its_length_says_nothing(content: bytes) -> None:
    browser = Receiver()
    subscription = subscription_from(browser.subscription(), hosts=HOSTS)
    body = encrypt(subscription, content)
    assert browser.read(body) == content
    assert len(body) == len(encrypt(subscription, b"x"))
    assert body != encrypt(subscription, content)
    with pytest.raises(InvalidTag):
        Receiver().read(body)


def test_the_push_service_sees_who_sends_and_no_more() -> None:
    browser = Receiver()
    sender = PushSender(b"k" * 32, "mailto:it@musterstadt.example")
    subscription = subscription_from(browser.subscription("https://push.example:443/abc"), hosts=HOSTS)
    message = sender.message(subscription, {"title": "Neues"}, now_seconds=1_000_000)
    scheme, _, fields = message.headers["Authorization"].partition(" ")
    token, key = (part.partition("=")[2] for part in fields.split(", "))
    assert (scheme, key) == ("vapid", sender.public_key)
    point = base64.urlsafe_b64decode(key + "=")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    decoded = jwt.decode(token, ECKey.import_key(public), algorithms=["ES256"])  # type: ignore[arg-type]
    assert decoded.claims == {
        "aud": "https://push.example:443",
        "exp": 1_000_000 + 43_200,
        "sub": "mailto:it@musterstadt.example",
    }
    assert message.headers["Content-Encoding"] == "aes128gcm"
    assert int(message.headers["TTL"]) > 0
    assert json.loads(browser.read(message.body)) == {"title": "Neues"}
    # Browsers are bound to the key: it is the same after a restart, and another city's is another.
    assert PushSender(b"k" * 32, "mailto:x@y.example").public_key == sender.public_key
    assert PushSender(b"j" * 32, "mailto:x@y.example").public_key != sender.public_key


@pytest.mark.parametrize(
    "url",
    [
        "http://push.example/abc",
        "https://push.example.evil/abc",
        "https://evilpush.example.net/abc",
        "https://push.example.net/abc",
        "https://push.example:8443/abc",
        "https://push.example@evil.example/abc",
        "https://erika:geheim@push.example/abc",
        "https://127.0.0.1/abc",
        "https://[::1]/abc",
        "https://localhost/abc",
        "https://push.example\\@evil.example/",
        "https://push.example/a b",
        "https://push.example/#x",
        "https://push.example:x/",
        "https:///abc",
        "file:///etc/passwd",
        "https://push.example/" + "a" * 1_000,
    ],
)
def test_endpoints_elsewhere_are_refused(url: str) -> None:
    assert not is_push_endpoint(url, HOSTS)
    with pytest.raises(InvalidRequest):
        subscription_from(Receiver().subscription(url), hosts=HOSTS)


def test_endpoints_of_the_push_services() -> None:
    for url in (
        "https://push.example/a",
        "https://PUSH.example/a",
        "https://a.b.push.example.net/",
        "https://localhost:8443/x",
    ):
        assert is_push_endpoint(url, HOSTS), url


@pytest.mark.parametrize(
    "keys",
    [
        None,
        {},
        {"p256dh": "x", "auth": "x"},
        {"p256dh": 7, "auth": 7},
        {"p256dh": encode(b"\x04" + bytes(64)), "auth": encode(b"0" * 16)},
        {"p256dh": encode(Receiver().point), "auth": encode(b"0" * 15)},
        {"p256dh": encode(Receiver().point[:33]), "auth": encode(b"0" * 16)},
    ],
)
def test_keys_that_are_none(keys: object) -> None:
    with pytest.raises(InvalidRequest):
        subscription_from({"endpoint": "https://push.example/a", "keys": keys}, hosts=HOSTS)


def test_addresses_of_our_own_network() -> None:
    for text in (
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "x",
    ):
        assert not is_public_address(text), text
    assert is_public_address("9.9.9.9")
