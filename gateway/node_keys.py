"""A gateway's own keys and secrets on disk.

What exists is read, what is this gateway's alone to make is made at first start.

Signing and authentication keys come from an authority and must be there. The log's key, the keys that lock records and
index persons, the city's pseudonym key and the cookie key are random; losing one of them is final, so they belong in
the backup that `docs/operations.md` describes, apart from the databases.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.settings import GatewaySettings
from trust.errors import KeyUnavailable
from trust.keys import SoftwareKey
from trust.keystore import load_pkcs12, read_secret, write_private

_KEY_BYTES: Final = 32
_PIN_VARIABLE: Final = "DATENWEG_PIN"


@dataclass(frozen=True, slots=True, repr=False)
class NodeKeys:
    """Everything secret that a gateway holds. Never logged, never shown."""

    signing: SoftwareKey
    authentication: SoftwareKey
    log: Ed25519PrivateKey
    record: bytes
    subject_index: bytes
    cookie: bytes
    pseudonym: bytes | None


def load_keys(settings: GatewaySettings) -> NodeKeys:
    """The gateway's keys. Raises KeyUnavailable."""
    has_file = settings.pin_file.exists()
    pin = read_secret(file=settings.pin_file if has_file else None, variable=_PIN_VARIABLE)
    pseudonym_file = settings.pseudonym_key_file
    return NodeKeys(
        signing=load_pkcs12(settings.signing_key_file, pin),
        authentication=load_pkcs12(settings.authentication_key_file, pin),
        log=Ed25519PrivateKey.from_private_bytes(_random_key(settings.log_key_file)),
        record=_random_key(settings.record_key_file),
        subject_index=_random_key(settings.subject_index_key_file),
        cookie=_random_key(settings.citizen_cookie_key_file),
        pseudonym=None if pseudonym_file is None else _random_key(pseudonym_file),
    )


def _random_key(path: Path) -> bytes:
    """32 random bytes, kept as hexadecimal text; made if there is no such file yet."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, secrets.token_hex(_KEY_BYTES).encode() + b"\n")
    return read_random_key(path)


def read_random_key(path: Path) -> bytes:
    """The 32 bytes in a key file; makes none up. Raises KeyUnavailable."""
    try:
        key = bytes.fromhex(read_secret(file=path))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise KeyUnavailable(f"{path} holds no key of {_KEY_BYTES} bytes", hint="restore it from the backup")
    return key
