"""Certificates that sign themselves: they carry a key that is pinned or anchored, and no authority vouches for them.

What such a certificate says about itself proves nothing; whoever trusts its key got it another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from trust.keys import PrivateKey

# X.520: ub-common-name.
_MAX_COMMON_NAME = 64


def build_self_signed(
    key: PrivateKey, common_name: str, *, since: datetime, until: datetime, names: Sequence[x509.GeneralName] = ()
) -> x509.Certificate:
    """A certificate for the key, signed by it with SHA-256, for the machines `names`; a long name is cut."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_MAX_COMMON_NAME])])
    builder = x509.CertificateBuilder(
        subject_name=name,
        issuer_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=since,
        not_valid_after=until,
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())
