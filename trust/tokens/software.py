"""The software token: private keys in PKCS#12 files under one PIN.

Each key is a file of its own, `<id>.p12`, in the token's folder. Containers that a gateway was set up with before
there was a ring (`signing.p12`, `authentication.p12`, key and certificate in one) count as keys of the token, too.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from trust.errors import KeyUnavailable
from trust.keys import PrivateKey, PublicKey
from trust.keystore import open_pkcs12, write_private
from trust.tokens.model import KeyKind, TokenKind

_KEY_FILE: Final = re.compile(r"([0-9a-f]{32})\.p12")
_CURVES: Final[dict[KeyKind, Callable[[], ec.EllipticCurve]]] = {
    KeyKind.EC_P256: ec.SECP256R1,
    KeyKind.EC_P384: ec.SECP384R1,
}


class SoftwareToken:
    """A folder of PKCS#12 files. A Token."""

    kind: Final = TokenKind.SOFTWARE

    def __init__(self, folder: Path, containers: Mapping[str, Path] | None = None, *, name: str = "software") -> None:
        """`containers` are single files elsewhere, by the id that their keys have here."""
        self.name = name
        self._folder = folder
        self._containers = dict(containers or {})
        self._pin: str | None = None
        self._open: dict[str, tuple[tuple[int, int], PrivateKey, x509.Certificate | None, tuple[bytes, ...]]] = {}
        self._lock = threading.Lock()

    @property
    def active(self) -> bool:
        """See Token."""
        return self._pin is not None

    def login(self, pin: str) -> None:
        """See Token. The PIN must open every key that is there."""
        for path in self._paths().values():
            open_pkcs12(path, pin)
        with self._lock:
            self._pin = pin
            self._open.clear()

    def logout(self) -> None:
        """See Token."""
        with self._lock:
            self._pin = None
            self._open.clear()

    def key_ids(self) -> frozenset[str]:
        """See Token."""
        return frozenset(self._paths())

    def generate(self, key_id: str, kind: KeyKind) -> PublicKey:
        """See Token."""
        pin = self._require_pin()
        if not _KEY_FILE.fullmatch(f"{key_id}.p12"):
            raise KeyUnavailable("a key's id is 32 hexadecimal digits", code="key_not_found")
        bits = kind.rsa_bits
        key: PrivateKey = (
            ec.generate_private_key(_CURVES[kind]()) if bits is None else rsa.generate_private_key(65537, bits)
        )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(self._folder / f"{key_id}.p12", key, None, (), pin)
        return key.public_key()

    def private_key(self, key_id: str) -> PrivateKey:
        """See Token."""
        return self._opened(key_id)[1]

    def contained(self, key_id: str) -> tuple[x509.Certificate, tuple[bytes, ...]] | None:
        """The certificate, and the intermediates (DER), that lie in the key's own container, if any."""
        _, _, certificate, others = self._opened(key_id)
        return None if certificate is None else (certificate, others)

    def delete(self, key_id: str) -> None:
        """See Token."""
        path = self._path(key_id)
        try:
            path.unlink()
        except OSError as error:
            raise KeyUnavailable(f"can't remove {path}: {error.strerror}") from None
        with self._lock:
            self._open.pop(key_id, None)

    def change_pin(self, old: str, new: str) -> None:
        """See Token. A change that was cut short is finished by doing it again: what has the new PIN keeps it."""
        opened = [(path, *_read_any(path, new, old)) for path in self._paths().values()]
        for path, key, certificate, others in opened:
            _write(path, key, certificate, others, new)
        with self._lock:
            self._pin = new
            self._open.clear()

    def _opened(self, key_id: str) -> tuple[tuple[int, int], PrivateKey, x509.Certificate | None, tuple[bytes, ...]]:
        path, pin = self._path(key_id), self._require_pin()
        with self._lock:
            try:
                stat = path.stat()
            except OSError as error:
                raise KeyUnavailable(f"can't read {path}: {error.strerror}", code="key_not_found") from None
            # Files are always replaced as a whole: a new one has another inode or time.
            version = (stat.st_ino, stat.st_mtime_ns)
            known = self._open.get(key_id)
            if known is None or known[0] != version:
                known = self._open[key_id] = (version, *open_pkcs12(path, pin))
            return known

    def _paths(self) -> dict[str, Path]:
        found = {key_id: path for key_id, path in self._containers.items() if path.exists()}
        if self._folder.is_dir():
            for path in sorted(self._folder.iterdir()):
                if match := _KEY_FILE.fullmatch(path.name):
                    found[match.group(1)] = path
        return found

    def _path(self, key_id: str) -> Path:
        path = self._paths().get(key_id)
        if path is None:
            raise KeyUnavailable("the token has no such key", code="key_not_found")
        return path

    def _require_pin(self) -> str:
        if self._pin is None:
            raise KeyUnavailable("the software token is not logged in", code="token_not_active", hint="enter the PIN")
        return self._pin


def _read_any(path: Path, *pins: str) -> tuple[PrivateKey, x509.Certificate | None, tuple[bytes, ...]]:
    for pin in pins[:-1]:
        try:
            return open_pkcs12(path, pin)
        except KeyUnavailable:
            continue
    return open_pkcs12(path, pins[-1])


def _write(
    path: Path, key: PrivateKey, certificate: x509.Certificate | None, others: tuple[bytes, ...], pin: str
) -> None:
    chain = [x509.load_der_x509_certificate(der) for der in others]
    encryption = serialization.BestAvailableEncryption(pin.encode())
    write_private(path, pkcs12.serialize_key_and_certificates(b"key", key, certificate, chain or None, encryption))
