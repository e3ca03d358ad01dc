"""The certificates that the test authority issues: subjects and extensions for each use.

Signing and authentication certificates follow one of two certificate profiles of X-Road, which `trust.profiles` reads.
Basic: `C, O=member name, businessCategory=class, serialNumber=member code, CN=member name`. FI-VRK: `C=FI, O=member
name, serialNumber=INSTANCE/SERVERCODE/CLASS, CN=member code`; its readers want that country, which an instance
elsewhere hasn't. Signing keys have nonRepudiation alone. OCSP: RFC 6960 section 4.2.2.2; time-stamping: RFC 3161
section 2.3.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from trust.errors import TrustError
from trust.identifiers import MemberId
from trust.parameters import PROFILE_BASIC, PROFILE_FI_VRK

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

# By the names that settings and topologies have for them.
PROFILES: Final = MappingProxyType({"basic": PROFILE_BASIC, "fi-vrk": PROFILE_FI_VRK})
_COUNTRY: Final = "DE"
_MAX_NAME: Final = 64
_PRINTABLE: Final = re.compile(r"[A-Za-z0-9 '()+,./:=?-]+")


class CertificateRefused(TrustError):
    """The test authority can't certify what it was asked to."""

    default_code = "invalid_distinguished_name"


@dataclass(frozen=True, slots=True)
class Template:
    """What a certificate says besides key, issuer, serial number and validity. Extensions: (value, critical)."""

    subject: x509.Name
    extensions: tuple[tuple[x509.ExtensionType, bool], ...]


def root_template(name: str) -> Template:
    """The authority itself: certifies end entities only."""
    return Template(
        _name((NameOID.ORGANIZATION_NAME, "Datenweg Test"), (NameOID.COMMON_NAME, name)),
        ((x509.BasicConstraints(ca=True, path_length=0), True), (key_usage("key_cert_sign", "crl_sign"), True)),
    )


def signing_template(member: MemberId, member_name: str, server_code: str, *, profile: str) -> Template:
    """A member's signing certificate. Raises CertificateRefused when the codes can't stand in its subject."""
    if profile == PROFILE_FI_VRK:
        subject = _fi_subject(member, member_name, server_code, member.member_code)
    else:
        _require_room(member.member_class, member.member_code)
        subject = _name(
            (NameOID.ORGANIZATION_NAME, member_name[:_MAX_NAME]),
            (NameOID.BUSINESS_CATEGORY, member.member_class),
            (NameOID.SERIAL_NUMBER, member.member_code),
            (NameOID.COMMON_NAME, member_name[:_MAX_NAME]),
        )
    return Template(subject, (_END_ENTITY, (key_usage("content_commitment"), True)))


def authentication_template(
    member: MemberId, member_name: str, server_code: str, common_name: str, names: Sequence[str], *, profile: str
) -> Template:
    """A gateway's authentication certificate, for both sides of TLS. Raises CertificateRefused."""
    if profile == PROFILE_FI_VRK:
        subject = _fi_subject(member, member_name, server_code, common_name)
    else:
        _require_room(member.member_code, common_name)
        subject = _name(
            (NameOID.ORGANIZATION_NAME, member_name[:_MAX_NAME]),
            (NameOID.SERIAL_NUMBER, member.member_code),
            (NameOID.COMMON_NAME, common_name),
        )
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    return Template(
        subject,
        (
            _END_ENTITY,
            (key_usage("digital_signature", "key_encipherment"), True),
            (usages, False),
            (_alternative_names(names), False),
        ),
    )


def ocsp_responder_template(name: str) -> Template:
    """The OCSP responder. `nocheck`: its own status is not asked for, or the question would have no end."""
    return Template(
        _name((NameOID.ORGANIZATION_NAME, "Datenweg Test"), (NameOID.COMMON_NAME, name)),
        (
            _END_ENTITY,
            (key_usage("digital_signature"), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),
            (x509.OCSPNoCheck(), False),
        ),
    )


def time_stamping_template(name: str) -> Template:
    """The time-stamping authority. RFC 3161 2.3: time-stamping is its key's only use, and that is critical."""
    return Template(
        _name((NameOID.ORGANIZATION_NAME, "Datenweg Test"), (NameOID.COMMON_NAME, name)),
        (
            _END_ENTITY,
            (key_usage("digital_signature"), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True),
        ),
    )


def _fi_subject(member: MemberId, member_name: str, server_code: str, common_name: str) -> x509.Name:
    serial_number = f"{member.instance}/{server_code}/{member.member_class}"
    if serial_number.count("/") != 2:
        # Three codes without a slash, or nobody could tell them apart.
        raise CertificateRefused("the codes do not fit into a certificate's subject")
    _require_room(serial_number, common_name)
    return _name(
        (NameOID.ORGANIZATION_NAME, member_name[:_MAX_NAME]),
        (NameOID.SERIAL_NUMBER, serial_number),
        (NameOID.COMMON_NAME, common_name),
        country="FI",
    )


def _require_room(*texts: str) -> None:
    """Raises CertificateRefused unless each fits an attribute: the upper bounds are those of RFC 5280 appendix A.1."""
    if not all(0 < len(text) <= _MAX_NAME for text in texts):
        raise CertificateRefused("the codes do not fit into a certificate's subject")


def build_certificate(
    template: Template,
    *,
    public_key: PublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    serial_number: int,
    validity: tuple[datetime, datetime],
    ocsp_urls: Iterable[str] = (),
) -> x509.Certificate:
    """The signed certificate; `validity` is its first and last moment."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(template.subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial_number)
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    for extension, critical in template.extensions:
        builder = builder.add_extension(extension, critical=critical)
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
        for url in ocsp_urls
    ]
    if access:
        builder = builder.add_extension(x509.AuthorityInformationAccess(access), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(*attributes: tuple[x509.ObjectIdentifier, str], country: str = _COUNTRY) -> x509.Name:
    return x509.Name([_attribute(oid, text) for oid, text in ((NameOID.COUNTRY_NAME, country), *attributes)])


def _attribute(oid: x509.ObjectIdentifier, text: str) -> x509.NameAttribute[str]:
    # X.520 6.2.9: serialNumber is a PrintableString. X-Road's codes may have letters that one has no place for, and its
    # reader takes any string.
    if oid == NameOID.SERIAL_NUMBER and not _PRINTABLE.fullmatch(text):
        return x509.NameAttribute(oid, text, _ASN1Type.UTF8String)
    return x509.NameAttribute(oid, text)


def _alternative_names(names: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in dict.fromkeys(names)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def key_usage(*uses: str) -> x509.KeyUsage:
    """The extension with these bits, named as in `x509.KeyUsage`."""
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in uses for name in names})


_END_ENTITY: Final = (x509.BasicConstraints(ca=False, path_length=None), True)
