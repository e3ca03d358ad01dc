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
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.instance.plan import HOST
from trust.identifiers import ClientId
from trust.keystore import write_private

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
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, client.segments[-1][:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
