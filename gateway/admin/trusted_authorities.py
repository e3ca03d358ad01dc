"""The authorities whose signers' documents count: certificates that an operator put into a file or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from gateway.admin.errors import AdminError
from gateway.admin.verified import read_within
from trust.certification_path import UNREADABLE
from trust.document_verifier import read_authorities
from trust.errors import CertificateUntrusted, MalformedInput
from trust.parameters import ApprovedCA

_SUFFIXES: Final = (".pem", ".crt", ".cer", ".der")
_MAX_FILE: Final = 1 << 20
_MAX_FILES: Final = 500


def load_authorities(path: Path) -> tuple[ApprovedCA, ...]:
    """The authorities in a PEM file (one or several), a DER file, or a folder of such; at least one.

    Raises AdminError.
    """
    files = [path]
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _SUFFIXES)
    if not 0 < len(files) <= _MAX_FILES:
        raise AdminError(f"{path}: no certificates ({', '.join(_SUFFIXES)}), or more than {_MAX_FILES}")
    return tuple(authority for file in files for authority in _in_file(file))


def _in_file(path: Path) -> tuple[ApprovedCA, ...]:
    data = read_within(path, _MAX_FILE)
    ders = [data]
    try:
        if b"-----BEGIN" in data:
            ders = [certificate.public_bytes(Encoding.DER) for certificate in load_pem_x509_certificates(data)]
        return read_authorities(ders)
    except (*UNREADABLE, MalformedInput):
        raise AdminError(f"{path}: no certificate that can be read") from None
    except CertificateUntrusted as error:
        raise AdminError(f"{path}: {error}") from None
