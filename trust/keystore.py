"""Keys in files: PKCS#12 containers under a PIN, and secrets from a file or the environment.

The container (RFC 7292) holds the private key, its certificate and the intermediates, encrypted with AES-256. Files are
written whole or not at all, readable by their owner alone. Errors never say what a secret was.
"""

from __future__ import annotations

import os
import secrets
import ssl
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from trust.durable import write_atomically, write_new
from trust.errors import KeyUnavailable
from trust.keys import PrivateKey, SoftwareKey

_MAX_CONTAINER: Final = 1 << 20
_MAX_SECRET: Final = 64 * 1024


def load_pkcs12(path: Path, pin: str) -> SoftwareKey:
    """The key in the container at `path`, with its certificate. Raises KeyUnavailable."""
    key, certificate, intermediates = open_pkcs12(path, pin)
    if certificate is None:
        raise KeyUnavailable(f"no certificate in {path}", code="key_not_found")
    return SoftwareKey(key, certificate, intermediates)


def open_pkcs12(path: Path, pin: str) -> tuple[PrivateKey, x509.Certificate | None, tuple[bytes, ...]]:
    """What the container holds: the key, its certificate if it has one, intermediates in DER. Raises KeyUnavailable."""
    data = read_private(path, _MAX_CONTAINER)
    try:
        key, certificate, others = pkcs12.load_key_and_certificates(data, pin.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnavailable(
            f"can't open the key container {path}",
            code="pin_incorrect",
            hint="check the PIN and that the file is PKCS#12",
        ) from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise KeyUnavailable(f"no EC or RSA key in {path}", code="key_not_found")
    return key, certificate, tuple(other.public_bytes(serialization.Encoding.DER) for other in others)


def save_pkcs12(
    path: Path, key: PrivateKey, certificate: x509.Certificate, intermediates: Sequence[bytes], pin: str
) -> None:
    """Write the container; when this returns it is durable and readable by its owner alone. Raises KeyUnavailable."""
    if not pin:
        raise KeyUnavailable("a key container needs a PIN", code="token_pin_policy_failure")
    try:
        others = [x509.load_der_x509_certificate(der) for der in intermediates]
        data = pkcs12.serialize_key_and_certificates(
            b"key", key, certificate, others or None, serialization.BestAvailableEncryption(pin.encode())
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnavailable("can't make a key container of this key and these certificates") from None
    write_private(path, data)


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` with `data` at once, mode 0600, on stable storage. Raises KeyUnavailable."""
    try:
        write_atomically(path, data, mode=0o600)
    except OSError as error:
        raise KeyUnavailable(f"can't write {path}: {error.strerror}") from None


def write_private_once(path: Path, data: bytes) -> None:
    """Like `write_private`, but what is already there stays. Raises KeyUnavailable."""
    try:
        write_new(path, data, mode=0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise KeyUnavailable(f"can't write {path}: {error.strerror}") from None


def read_secret(*, file: Path | None = None, variable: str | None = None) -> str:
    """A secret from a file, or from an environment variable when no file is given; without a trailing newline.

    Raises KeyUnavailable.
    """
    if file is not None:
        try:
            secret = read_private(file, _MAX_SECRET).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise KeyUnavailable(f"the secret in {file} isn't text") from None
    else:
        secret = os.environ.get(variable, "") if variable else ""
    if not secret:
        raise KeyUnavailable("a secret is empty or not given", hint=f"set it in {file or variable or 'a file'}")
    return secret


def load_into_tls(context: ssl.SSLContext, key: SoftwareKey) -> None:
    """Make `key` and its chain the TLS identity of `context`. Raises KeyUnavailable.

    OpenSSL's Python door reads files only: the key passes through a private file, encrypted under a password that
    exists for this call.
    """
    password = secrets.token_urlsafe(32)
    encryption = serialization.BestAvailableEncryption(password.encode())
    chain = [key.certificate, *map(x509.load_der_x509_certificate, key.intermediates)]
    pem = key.private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    pem += b"".join(link.public_bytes(serialization.Encoding.PEM) for link in chain)
    try:
        with tempfile.NamedTemporaryFile(prefix="tls-", suffix=".pem") as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name, password=password)
    except (OSError, ssl.SSLError) as error:
        raise KeyUnavailable(f"the key can't serve TLS: {type(error).__name__}") from None


def read_private(path: Path, limit: int) -> bytes:
    """A file that is not open to every user, of at most `limit` bytes. Raises KeyUnavailable."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(limit + 1)
    except OSError as error:
        raise KeyUnavailable(f"can't read {path}: {error.strerror}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise KeyUnavailable(f"{path} is open to every user", hint=f"chmod o-rw {path}")
    if len(data) > limit:
        raise KeyUnavailable(f"{path} is too large")
    return data
