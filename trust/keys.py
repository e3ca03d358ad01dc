"""Keys that sign for a member, and the algorithms that signatures may name.

Follows XML Signature 1.1 section 6.4 and RFC 9231: RSA with PKCS#1 v1.5 or PSS (salt as long as the digest), ECDSA
with the value as the plain concatenation r || s. A key in software is here; reading it from a file is
`trust.keystore`'s. A key in a token needs only be a SigningKey.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from trust.errors import KeyUnavailable, SignatureInvalid, SignatureMalformed

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

MIN_RSA_BITS: Final = 2048
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")

_SHA256: Final = hashes.SHA256()
_SHA384: Final = hashes.SHA384()
_SHA512: Final = hashes.SHA512()


class SignatureAlgorithm(Enum):
    """A signature algorithm of the profile. `uri` is its name in XML Signature."""

    ECDSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
    ECDSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
    ECDSA_SHA512 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"
    RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
    RSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384"
    RSA_SHA512 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"
    RSA_PSS_SHA256 = "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"
    RSA_PSS_SHA384 = "http://www.w3.org/2007/05/xmldsig-more#sha384-rsa-MGF1"
    RSA_PSS_SHA512 = "http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1"

    @property
    def uri(self) -> str:
        return self.value

    @property
    def is_elliptic(self) -> bool:
        return self in _ECDSA


_HASHES: Final[dict[SignatureAlgorithm, hashes.HashAlgorithm]] = {
    algorithm: _SHA256 if "256" in algorithm.name else _SHA384 if "384" in algorithm.name else _SHA512
    for algorithm in SignatureAlgorithm
}
_ECDSA: Final = {a: ec.ECDSA(_HASHES[a]) for a in SignatureAlgorithm if a.name.startswith("ECDSA")}
_PADDINGS: Final[dict[SignatureAlgorithm, padding.AsymmetricPadding]] = {
    a: padding.PSS(padding.MGF1(_HASHES[a]), padding.PSS.DIGEST_LENGTH) if "PSS" in a.name else padding.PKCS1v15()
    for a in SignatureAlgorithm
    if a not in _ECDSA
}


class SigningKey(Protocol):
    """Signs for the holder of one certificate. May be used from several threads at once."""

    @property
    def algorithm(self) -> SignatureAlgorithm:
        """What `sign` produces."""
        ...

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the key."""
        ...

    @property
    def certificate_der(self) -> bytes:
        """The same certificate, DER."""
        ...

    @property
    def intermediates(self) -> tuple[bytes, ...]:
        """The certificates (DER) between it and the approved authority, nearest first, without that authority."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The SignatureValue over `data` (ECDSA: r || s). Raises KeyUnavailable."""
        ...


class SoftwareKey:
    """A SigningKey in this process's memory."""

    __slots__ = ("_private_key", "algorithm", "certificate", "certificate_der", "intermediates")

    def __init__(
        self,
        private_key: PrivateKey,
        certificate: x509.Certificate,
        intermediates: tuple[bytes, ...] = (),
        *,
        algorithm: SignatureAlgorithm | None = None,
    ) -> None:
        """Raises KeyUnavailable when the key is too weak, doesn't fit the algorithm, or isn't the certificate's."""
        chosen = algorithm or _default_algorithm(private_key)
        if chosen.is_elliptic != isinstance(private_key, ec.EllipticCurvePrivateKey):
            raise KeyUnavailable("the key doesn't fit the signature algorithm")
        try:
            public = require_strong(certificate.public_key())
        except (ValueError, UnsupportedAlgorithm, SignatureMalformed):
            raise KeyUnavailable("the certificate's key is of a kind that isn't supported") from None
        if _spki(public) != _spki(private_key.public_key()):
            raise KeyUnavailable("the certificate belongs to another key", hint="import the certificate of this key")
        self._private_key = private_key
        self.algorithm = chosen
        self.certificate = certificate
        self.certificate_der = certificate.public_bytes(serialization.Encoding.DER)
        self.intermediates = intermediates

    @property
    def private_key(self) -> PrivateKey:
        """The key itself, for TLS and for saving. Never to be logged."""
        return self._private_key

    def sign(self, data: bytes) -> bytes:
        """See SigningKey."""
        key = self._private_key
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, _PADDINGS[self.algorithm], _HASHES[self.algorithm])
        r, s = decode_dss_signature(key.sign(data, _ECDSA[self.algorithm]))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def __repr__(self) -> str:
        return f"SoftwareKey({self.algorithm.name}, serial {self.certificate.serial_number:x})"


def _default_algorithm(key: PrivateKey) -> SignatureAlgorithm:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return SignatureAlgorithm.ECDSA_SHA512
    return SignatureAlgorithm.RSA_SHA512


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def require_strong(key: object) -> PublicKey:
    """The key, if it is RSA of at least 2048 bits or on a NIST prime curve of at least 256. Raises
    SignatureMalformed.
    """
    match key:
        case rsa.RSAPublicKey() if key.key_size >= MIN_RSA_BITS:
            return key
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key
        case _:
            raise SignatureMalformed("a key of a kind or size that isn't accepted")


def verify_value(algorithm: SignatureAlgorithm, key: PublicKey, value: bytes, data: bytes) -> None:
    """Raises SignatureInvalid unless `value` is `key`'s signature over `data` by exactly this algorithm."""
    try:
        scheme = _ECDSA.get(algorithm)
        if scheme is not None:
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise SignatureInvalid("the algorithm doesn't fit the certificate's key")
            size = (key.curve.key_size + 7) // 8
            # XML Signature 1.1 section 6.4.3: exactly two coordinates, each as long as the curve's order.
            if len(value) != 2 * size:
                raise SignatureInvalid("a signature value of the wrong length")
            r, s = int.from_bytes(value[:size], "big"), int.from_bytes(value[size:], "big")
            key.verify(encode_dss_signature(r, s), data, scheme)
        else:
            if not isinstance(key, rsa.RSAPublicKey):
                raise SignatureInvalid("the algorithm doesn't fit the certificate's key")
            key.verify(value, data, _PADDINGS[algorithm], _HASHES[algorithm])
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        raise SignatureInvalid("the signature value doesn't hold") from None
