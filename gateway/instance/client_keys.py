"""Certificates and keys that an instance makes for its clients' systems, as PEM files in its folder.

Self-signed: a client's certificate is pinned, no authority is asked (UG-SS, connection types).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.instance.plan import HOST
from trust.identifiers import ClientId
from trust.keystore import write_private
from trust.self_signed import build_self_signed

_FOLDER: Final = "clients"
_VALIDITY: Final = timedelta(days=3650)
# For a system that is called: it runs on this machine.
_NAMES: Final = (x509.DNSName("localhost"), x509.IPAddress(ip_address(HOST)))


def client_files(directory: Path, client: ClientId) -> tuple[Path, Path]:
    """Where a client's certificate and key are, whether they exist or not."""
    # Joined by what quoting leaves of no code, so that two clients never share a file and none leaves the folder.
    name = "+".join(quote(segment, safe="") for segment in client.segments[1:])
    return directory / _FOLDER / f"{name}.crt", directory / _FOLDER / f"{name}.key"


def generated_certificate(directory: Path, client: ClientId, now: datetime) -> bytes:
    """The certificate (DER) of a client's system, made with its key if there is none."""
    certificate_file, key_file = client_files(directory, client)
    if not (certificate_file.exists() and key_file.exists()):
        _make(certificate_file, key_file, client, now)
    return x509.load_pem_x509_certificate(certificate_file.read_bytes()).public_bytes(Encoding.DER)


def _make(certificate_file: Path, key_file: Path, client: ClientId, now: datetime) -> None:
    certificate_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    since, until = now - timedelta(days=1), now + _VALIDITY
    certificate = build_self_signed(key, client.segments[-1], since=since, until=until, names=_NAMES)
    write_private(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
