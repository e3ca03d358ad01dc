"""Web push: what a push service is given. A core, but for randomness.

RFC 8030 (the message), RFC 8291 with RFC 8188 (its encryption to the browser), RFC 8292 (who sends it, VAPID). The
push service learns that we send something to this browser, and when; every message has the same length.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.citizen.errors import InvalidRequest

_CURVE: Final = ec.SECP256R1()
_POINT_BYTES: Final = 65
_AUTH_BYTES: Final = 16
_MAX_ENDPOINT: Final = 1_000
# RFC 8291 section 4: push services take at least 4096 bytes. Everything is padded to this many before encryption.
_RECORD: Final = 4_096
_PADDED: Final = 1_024
_DAY_SECONDS: Final = 86_400
# RFC 8292 section 2: a token lives at most a day.
_TOKEN_SECONDS: Final = 12 * 3_600


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a browser is told, and its keys (RFC 8291 section 2)."""

    endpoint: str
    public_key: bytes
    auth_secret: bytes

    def as_json(self) -> dict[str, str]:
        return {"endpoint": self.endpoint, "p256dh": _encode(self.public_key), "auth": _encode(self.auth_secret)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Subscription:
        return cls(content["endpoint"], _decode(content["p256dh"]), _decode(content["auth"]))


@dataclass(frozen=True, slots=True)
class PushMessage:
    """A request to a push service."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def subscription_from(document: Mapping[str, Any], *, hosts: tuple[str, ...]) -> Subscription:
    """A subscription as a browser gives it (W3C Push API, `PushSubscription.toJSON`). Raises InvalidRequest."""
    endpoint, keys = document.get("endpoint"), document.get("keys")
    if not isinstance(endpoint, str) or not is_push_endpoint(endpoint, hosts):
        raise InvalidRequest("endpoint")
    if not isinstance(keys, Mapping) or not all(isinstance(keys.get(name), str) for name in ("p256dh", "auth")):
        raise InvalidRequest("keys")
    try:
        public_key, auth_secret = _decode(keys["p256dh"]), _decode(keys["auth"])
        # On the curve, uncompressed: checked here, so that nothing fails at the time of sending.
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, public_key)
    except (ValueError, binascii.Error):
        raise InvalidRequest("keys") from None
    if len(public_key) != _POINT_BYTES or len(auth_secret) != _AUTH_BYTES:
        raise InvalidRequest("keys")
    return Subscription(endpoint, public_key, auth_secret)


def is_push_endpoint(url: str, hosts: tuple[str, ...]) -> bool:
    """Whether it is an https address at one of the push services. `*.` in front stands for any subdomain."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not set(url) & set(" \\\"'<>`#") and len(url) <= _MAX_ENDPOINT
    if not plain or parts.scheme != "https" or "@" in parts.netloc or not parts.hostname:
        return False
    named = parts.hostname if port in (None, 443) else f"{parts.hostname}:{port}"
    return any(named == host or (host.startswith("*.") and named.endswith(host[1:])) for host in hosts)


def is_public_address(text: str) -> bool:
    """Whether an address is one of the internet's: no push service is inside our own network."""
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


class PushSender:
    """Makes messages in the name of one application server."""

    def __init__(self, seed: bytes, contact: str) -> None:
        """`seed` is secret and always the same: browsers are bound to the key. `contact`: RFC 8292 section 2.1."""
        number = int.from_bytes(_expand(seed, b"datenweg/web-push/v1", None, 48), "big")
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        self._key = ec.derive_private_key(number % (order - 1) + 1, _CURVE)
        self._contact = contact

    @property
    def public_key(self) -> str:
        """What a browser subscribes with (`applicationServerKey`), unpadded base64url."""
        return _encode(_point(self._key.public_key()))

    def message(self, subscription: Subscription, content: Mapping[str, str], *, now_seconds: int) -> PushMessage:
        """`content` (short texts) encrypted to the browser, with who we are."""
        parts = urlsplit(subscription.endpoint)
        claims = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": now_seconds + _TOKEN_SECONDS,
            "sub": self._contact,
        }
        token = jwt.encode({"typ": "JWT", "alg": "ES256"}, claims, ECKey.import_key(self._key), algorithms=["ES256"])
        headers = {
            "Authorization": f"vapid t={token}, k={self.public_key}",
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(_DAY_SECONDS),
            "Urgency": "normal",
        }
        return PushMessage(subscription.endpoint, headers, encrypt(subscription, json.dumps(content).encode()))


def encrypt(subscription: Subscription, content: bytes) -> bytes:
    """RFC 8291 section 3.4, in one record (section 4), padded to a fixed length."""
    if len(content) >= _PADDED:
        raise InvalidRequest("content")
    browser = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, subscription.public_key)
    ephemeral, salt = ec.generate_private_key(_CURVE), os.urandom(16)
    own = _point(ephemeral.public_key())
    shared = ephemeral.exchange(ec.ECDH(), browser)
    info = b"WebPush: info\0" + subscription.public_key + own
    secret = _expand(shared, info, subscription.auth_secret, 32)
    key = _expand(secret, b"Content-Encoding: aes128gcm\0", salt, 16)
    nonce = _expand(secret, b"Content-Encoding: nonce\0", salt, 12)
    # RFC 8188 section 2: 0x02 ends the last record, zeros fill it up.
    padded = content + b"\x02" + bytes(_PADDED - len(content) - 1)
    header = salt + _RECORD.to_bytes(4, "big") + bytes([len(own)]) + own
    return header + AESGCM(key).encrypt(nonce, padded, None)


def _expand(secret: bytes, info: bytes, salt: bytes | None, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
