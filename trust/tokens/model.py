"""What tokens, keys and certificates are, as values, and the one interface of all tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trust.certificates import CertificateUsage
from trust.keys import PrivateKey, PublicKey


class TokenKind(StrEnum):
    """Where a token's keys are."""

    SOFTWARE = "software"
    PKCS11 = "pkcs11"


class KeyKind(StrEnum):
    """The kinds of keys that are made here. P-256 is the road's own choice; RSA is for authorities that want it."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"

    @property
    def rsa_bits(self) -> int | None:
        """The modulus' length; None for an elliptic curve."""
        return int(self.value.partition("-")[2]) if self.value.startswith("rsa") else None


class Token(Protocol):
    """Keeps private keys. Calls may block on a device; several threads may use one token at once.

    Every operation raises KeyUnavailable with X-Road's signer code: `token_not_active` before a login,
    `token_not_available` and `hsm_non_operational` for a device that is gone or broken, `key_not_found`,
    `pin_incorrect`, `cannot_sign`.
    """

    @property
    def name(self) -> str:
        """The token's name, unique in a ring."""
        ...

    @property
    def kind(self) -> TokenKind:
        """Where its keys are."""
        ...

    @property
    def active(self) -> bool:
        """Whether it is logged in."""
        ...

    def login(self, pin: str) -> None:
        """Opens the token; again with another PIN tries that one."""
        ...

    def logout(self) -> None:
        """Closes it: no key of it signs any more."""
        ...

    def key_ids(self) -> frozenset[str]:
        """The ids of its private keys."""
        ...

    def generate(self, key_id: str, kind: KeyKind) -> PublicKey:
        """A new key under this id (hexadecimal); durable on return."""
        ...

    def private_key(self, key_id: str) -> PrivateKey:
        """The key, as `cryptography` uses keys. One of a device signs there, and can't be exported."""
        ...

    def delete(self, key_id: str) -> None:
        """Destroys the private key for good."""
        ...

    def change_pin(self, old: str, new: str) -> None:
        """From now on `new` opens it."""
        ...


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """A certificate of a key here. `active`: the gateway may use it. Times are Unix milliseconds, 0 is unknown."""

    certificate: bytes
    intermediates: tuple[bytes, ...] = ()
    active: bool = False
    activated_ms: int = 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, hexadecimal: what names it, here and in the global configuration."""
        return hashlib.sha256(self.certificate).hexdigest()


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key and what it is for; nothing of it is secret. `public_key` is the SubjectPublicKeyInfo, DER.

    `member` is whom a signing key signs for (INSTANCE/CLASS/CODE); None where only its certificates say so.
    """

    id: str
    token: str
    usage: CertificateUsage
    kind: str
    public_key: bytes
    label: str = ""
    member: str | None = None
    certificates: tuple[CertificateEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token as it is listed. `problem` is the signer code of what keeps it from being used."""

    name: str
    kind: TokenKind
    active: bool
    keys: tuple[KeyEntry, ...]
    problem: str = ""
