"""Private keys that sign somewhere else, in the shape that `cryptography` gives its own.

With it requests and signatures are made of a device's key by the same code as of a key in memory. What would need the
key's secret raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as asymmetric_utils

from trust.errors import KeyUnavailable

SignDigest = Callable[[bytes, hashes.HashAlgorithm, padding.AsymmetricPadding | None], bytes]
"""Signs a digest: (digest, its algorithm, RSA padding) -> the raw value (ECDSA: r || s)."""


class _StaysInDevice:
    """What both kinds of keys refuse: to hand out their secret. A copy is the same key."""

    def private_numbers(self) -> NoReturn:
        raise _exported()

    def private_bytes(
        self,
        encoding: serialization.Encoding,  # noqa: ARG002 - the base class's signature
        format: serialization.PrivateFormat,  # noqa: A002, ARG002 - likewise
        encryption_algorithm: serialization.KeySerializationEncryption,  # noqa: ARG002 - likewise
    ) -> NoReturn:
        raise _exported()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self


class EllipticDeviceKey(_StaysInDevice, ec.EllipticCurvePrivateKey):
    """An elliptic-curve key of a device."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey, sign_digest: SignDigest) -> None:
        self._public_key = public_key
        self._sign_digest = sign_digest

    def sign(self, data: bytes, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:  # type: ignore[override]
        """The DER signature over `data`. Raises KeyUnavailable."""
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, asymmetric_utils.Prehashed):
            raise _exported()
        # FIPS 186-5 section 6.4: the leftmost bits, as many as the order has. Not every device cuts by itself.
        size = (self._public_key.curve.key_size + 7) // 8
        value = self._sign_digest(digest(data, algorithm)[:size], algorithm, None)
        if len(value) != 2 * size:
            raise KeyUnavailable("the device gave a signature of the wrong length", code="cannot_sign")
        return asymmetric_utils.encode_dss_signature(
            int.from_bytes(value[:size], "big"), int.from_bytes(value[size:], "big")
        )

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public key."""
        return self._public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:  # noqa: ARG002 - the base class's signature
        raise _exported()


class RSADeviceKey(_StaysInDevice, rsa.RSAPrivateKey):
    """An RSA key of a device."""

    def __init__(self, public_key: rsa.RSAPublicKey, sign_digest: SignDigest) -> None:
        self._public_key = public_key
        self._sign_digest = sign_digest

    def sign(  # type: ignore[override]
        self, data: bytes, padding: padding.AsymmetricPadding, algorithm: hashes.HashAlgorithm
    ) -> bytes:
        """The signature over `data`, PKCS#1 v1.5 or PSS with a salt as long as the digest. Raises KeyUnavailable."""
        return self._sign_digest(digest(data, algorithm), algorithm, padding)

    def public_key(self) -> rsa.RSAPublicKey:
        """The public key."""
        return self._public_key

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def decrypt(self, ciphertext: bytes, padding: padding.AsymmetricPadding) -> NoReturn:  # noqa: ARG002 - the base class's signature
        raise _exported()


def is_in_device(key: object) -> bool:
    """Whether using the key means to wait for a device."""
    return isinstance(key, EllipticDeviceKey | RSADeviceKey)


def digest(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    """The digest of `data`."""
    state = hashes.Hash(algorithm)
    state.update(data)
    return state.finalize()


def _exported() -> KeyUnavailable:
    return KeyUnavailable("the key is in a device and only signs", code="cannot_sign", hint="use a key in software")
