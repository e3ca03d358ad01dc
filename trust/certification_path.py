"""Certification paths: from a certificate to an authority that the instance approves.

Follows RFC 5280 section 6. `cryptography` builds and validates the path (signatures, validity, name constraints,
critical extensions, strength of algorithms); the extensions that say who may issue and what a certificate is for are
read here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from trust.errors import MalformedInput
from trust.parameters import ApprovedCA

MAX_CERTIFICATE_BYTES: Final = 16 * 1024
_MAX_DEPTH: Final = 4
_MAX_ADDRESSES: Final = 3
# Not the web's rules (no names of hosts here): known extensions may stand, unknown critical ones are refused.
_AUTHORITY_POLICY: Final = ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, Criticality.AGNOSTIC, None
)


@dataclass(frozen=True, slots=True)
class Authority:
    """An approved authority with its certificates read."""

    approved: ApprovedCA
    root: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    responders: tuple[x509.Certificate, ...]
    store: Store


# Whatever the library raises for a certificate that it can't read, some of it no ValueError.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    CryptographyDeprecationWarning,
)


def load_certificate(der: bytes) -> x509.Certificate:
    """A certificate from DER, its extensions readable and unrepeated.

    Raises MalformedInput (`incorrect_certificate`).
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise MalformedInput("the certificate is too large", code="incorrect_certificate")
    try:
        with warnings.catch_warnings():
            # What RFC 5280 forbids and the library only warns of yet, such as a serial number below one, is refused;
            # that a name is longer than X.520 has it, is not.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(der)
            # These are read lazily and raise when they are reached; better here than in the middle of a proof.
            _ = (certificate.extensions, certificate.subject, certificate.issuer, certificate.not_valid_after_utc)
            _ = (certificate.serial_number, certificate.not_valid_before_utc)
        if certificate.public_bytes(Encoding.DER) != der:
            raise MalformedInput("the certificate isn't DER", code="incorrect_certificate")
    except UNREADABLE:
        raise MalformedInput("not a certificate", code="incorrect_certificate") from None
    return certificate


def read_authority(approved: ApprovedCA) -> Authority:
    """The authority with its certificates read. Raises MalformedInput."""
    root = load_certificate(approved.certificate)
    return Authority(
        approved=approved,
        root=root,
        intermediates=tuple(map(load_certificate, approved.intermediates)),
        responders=tuple(map(load_certificate, approved.ocsp_responders)),
        store=Store([root]),
    )


def find_chain(
    certificate: x509.Certificate, authority: Authority, offered: Sequence[x509.Certificate], at: datetime
) -> tuple[x509.Certificate, ...] | None:
    """RFC 5280 section 6 by the library, with the extensions that matter to us checked by us; None without a path."""
    verifier = (
        PolicyBuilder()
        .store(authority.store)
        .time(at.astimezone(UTC))
        .max_chain_depth(_MAX_DEPTH)
        .extension_policies(ca_policy=_AUTHORITY_POLICY, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        chain = verifier.verify(certificate, [*authority.intermediates, *offered]).chain
    except (VerificationError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if len(chain) < 2 or chain[-1] != authority.root:
        return None
    if not all(_may_issue(link, below) for below, link in enumerate(chain[1:])):
        return None
    return tuple(chain)


def _may_issue(certificate: x509.Certificate, authorities_below: int) -> bool:
    """RFC 5280 sections 4.2.1.3 and 4.2.1.9: a CA, allowed to sign certificates, not too far above."""
    constraints = _basic_constraints(certificate)
    if constraints is None or not constraints.ca:
        return False
    if constraints.path_length is not None and authorities_below > constraints.path_length:
        return False
    usage = _key_usage(certificate)
    return usage is None or usage.key_cert_sign


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def is_for_signing(certificate: x509.Certificate) -> bool:
    """Key usage nonRepudiation (PR-MESSTRANSP 2.1)."""
    usage = _key_usage(certificate)
    return usage is not None and usage.content_commitment


def is_for_authentication(certificate: x509.Certificate) -> bool:
    """Extended usage clientAuth, or a usage that serves TLS and isn't nonRepudiation (PR-MESSTRANSP 2.1)."""
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH in extended:
            return True
    except x509.ExtensionNotFound:
        pass
    usage = _key_usage(certificate)
    if usage is None or usage.content_commitment:
        return False
    return usage.digital_signature or usage.key_encipherment or usage.data_encipherment


def status_addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """Where the certificate says that its status is told (RFC 5280 section 4.2.2.1, OCSP over HTTP)."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return ()
    found = (entry.access_location for entry in access if entry.access_method == AuthorityInformationAccessOID.OCSP)
    urls = (name.value for name in found if isinstance(name, x509.UniformResourceIdentifier))
    return tuple(url for url in urls if url.startswith(("http://", "https://")))[:_MAX_ADDRESSES]


def is_authority(certificate: x509.Certificate) -> bool:
    """Basic constraints with cA."""
    constraints = _basic_constraints(certificate)
    return constraints is not None and constraints.ca


def _basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None
