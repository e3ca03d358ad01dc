"""Certificate profiles: how an authority writes a member's identifier into a certificate's subject.

Follows X-Road's certificate profile classes, which the global configuration names per authority (UG-CS, certificate
profiles; the attributes as those classes read and write them). Reading takes exactly one value of each attribute: a
subject that repeats one could be read in two ways and is refused. Writing gives the subject of a certificate request.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from trust.errors import CertificateUntrusted, KeyUnavailable
from trust.identifiers import MemberId, SecurityServerId
from trust.parameters import PROFILE_BASIC, PROFILE_EJBCA, PROFILE_FI_VRK

_PACKAGE: Final = "ee.ria.xroad.common.certificateprofile.impl."
PROFILE_FO: Final = f"{_PACKAGE}FoCertificateProfileInfoProvider"
PROFILE_IS: Final = f"{_PACKAGE}IsCertificateProfileInfoProvider"
PROFILE_SK_KLASS3: Final = f"{_PACKAGE}SkKlass3CertificateProfileInfoProvider"
PROFILE_SK_ESTEID: Final = f"{_PACKAGE}SkEsteIdCertificateProfileInfoProvider"
PROFILE_BASIC_ACME: Final = f"{_PACKAGE}BasicACMECertificateProfileInfoProvider"

_MAX_SEGMENT: Final = 255
_PERSON: Final = "PERSON"
_FINLAND: Final = "FI"
# Registers of the Estonian authority's organisation identifiers (ETSI EN 319 412-1 section 5.1.4) and their classes.
_ORGANISATIONS: Final = (("NTREE-", "COM"), ("GO:EE-", "GOV"), ("NP:EE-", "NGO"))
_REGISTER_CODE_DIGITS: Final = 8


def member_of(subject: x509.Name, *, profile: str, instance: str) -> MemberId:
    """The member that a signing certificate of `profile` names, in `instance`.

    Raises CertificateUntrusted (`incorrect_certificate`), also for a member of another instance: an authority speaks
    for the instance that approved it.
    """
    read = _READERS.get(profile)
    if read is None:
        raise CertificateUntrusted(
            "the authority's certificate profile isn't supported",
            code="incorrect_certificate",
            hint="see the certificate profiles in the documentation",
        )
    member = read(subject, instance)
    if not all(0 < len(segment) <= _MAX_SEGMENT for segment in member.segments) or member.instance != instance:
        raise _unreadable()
    return member


def _read_ejbca(subject: x509.Name, _: str) -> MemberId:
    return MemberId(
        _only(subject, NameOID.COUNTRY_NAME),
        _only(subject, NameOID.ORGANIZATION_NAME),
        _only(subject, NameOID.COMMON_NAME),
    )


def _read_fi(subject: x509.Name, instance: str) -> MemberId:
    """serialNumber is INSTANCE/SERVERCODE/CLASS, the common name the member code; two older forms have none.

    As X-Road's reader has it: the country is FI and an organisation is named, but in the oldest form, which is EJBCA's.
    """
    if not _has(subject, NameOID.SERIAL_NUMBER):
        if not _has(subject, NameOID.ORGANIZATIONAL_UNIT_NAME):
            return _read_ejbca(subject, instance)
        _require(subject, NameOID.COUNTRY_NAME, _FINLAND)
        return _read_units(subject, instance)
    _require(subject, NameOID.COUNTRY_NAME, _FINLAND)
    if not _has(subject, NameOID.ORGANIZATION_NAME):
        raise _unreadable()
    segments = _only(subject, NameOID.SERIAL_NUMBER).split("/")
    if len(segments) != 3:
        raise _unreadable()
    return MemberId(segments[0], segments[2], _only(subject, NameOID.COMMON_NAME))


def _read_units(subject: x509.Name, _: str) -> MemberId:
    return MemberId(
        _only(subject, NameOID.ORGANIZATION_NAME),
        _only(subject, NameOID.ORGANIZATIONAL_UNIT_NAME),
        _only(subject, NameOID.COMMON_NAME),
    )


def _read_fo(subject: x509.Name, instance: str) -> MemberId:
    _require(subject, NameOID.COUNTRY_NAME, "FO")
    _only(subject, NameOID.SERIAL_NUMBER)
    return _read_units(subject, instance)


def _read_is(subject: x509.Name, instance: str) -> MemberId:
    if not _has(subject, NameOID.SERIAL_NUMBER) and not _has(subject, NameOID.ORGANIZATIONAL_UNIT_NAME):
        return _read_ejbca(subject, instance)
    _require(subject, NameOID.COUNTRY_NAME, "IS")
    _only(subject, NameOID.SERIAL_NUMBER)
    return _read_units(subject, instance)


def _read_basic(subject: x509.Name, instance: str) -> MemberId:
    return MemberId(instance, _only(subject, NameOID.BUSINESS_CATEGORY), _only(subject, NameOID.SERIAL_NUMBER))


def _read_klass3(subject: x509.Name, instance: str) -> MemberId:
    """By organisation identifier; older certificates by the register code, whose first digit tells the register."""
    if _has(subject, NameOID.ORGANIZATION_IDENTIFIER):
        identifier = _only(subject, NameOID.ORGANIZATION_IDENTIFIER)
        for prefix, member_class in _ORGANISATIONS:
            if identifier.startswith(prefix):
                return MemberId(instance, member_class, identifier.removeprefix(prefix))
        # From abroad: the whole identifier, so that codes of two countries' registers can't meet.
        return MemberId(instance, "NEE", identifier)
    code = _only(subject, NameOID.SERIAL_NUMBER)
    if len(code) != _REGISTER_CODE_DIGITS or not (code.isascii() and code.isdigit()) or code[0] == "0":
        raise _unreadable()
    return MemberId(instance, {"7": "GOV", "8": "NGO", "9": "NGO"}.get(code[0], "COM"), code)


def _read_esteid(subject: x509.Name, instance: str) -> MemberId:
    return MemberId(instance, _PERSON, _only(subject, NameOID.SERIAL_NUMBER))


_READERS: Final[Mapping[str, Callable[[x509.Name, str], MemberId]]] = MappingProxyType(
    {
        PROFILE_FI_VRK: _read_fi,
        PROFILE_EJBCA: _read_ejbca,
        PROFILE_BASIC: _read_basic,
        PROFILE_BASIC_ACME: _read_basic,
        PROFILE_FO: _read_fo,
        PROFILE_IS: _read_is,
        PROFILE_SK_KLASS3: _read_klass3,
        PROFILE_SK_ESTEID: _read_esteid,
    }
)
PROFILES: Final = frozenset(_READERS)


# Requests


@dataclass(frozen=True, slots=True)
class Applicant:
    """Whom a certificate is asked for. `country` is two letters, `name` the member's, `host` the gateway's DNS name."""

    member: MemberId
    server: SecurityServerId
    name: str
    country: str = ""
    host: str = ""


def signing_subject(applicant: Applicant, *, profile: str) -> x509.Name:
    """The subject of a request for a member's signing certificate. Raises KeyUnavailable (`csr_not_found`)."""
    member, server, name = applicant.member, applicant.server, applicant.name
    short = "/".join((*server.owner.segments, server.server_code))
    match profile:
        case _ if profile == PROFILE_FI_VRK:
            return _name(
                (NameOID.COUNTRY_NAME, _FINLAND),
                (NameOID.ORGANIZATION_NAME, name),
                (NameOID.SERIAL_NUMBER, _fi_serial(member, server)),
                (NameOID.COMMON_NAME, member.member_code),
            )
        case _ if profile == PROFILE_EJBCA:
            return _name(
                (NameOID.COUNTRY_NAME, member.instance),
                (NameOID.ORGANIZATION_NAME, member.member_class),
                (NameOID.COMMON_NAME, member.member_code),
            )
        case _ if profile in {PROFILE_FO, PROFILE_IS}:
            return _name(
                (NameOID.COUNTRY_NAME, "FO" if profile == PROFILE_FO else "IS"),
                (NameOID.ORGANIZATION_NAME, member.instance),
                (NameOID.ORGANIZATIONAL_UNIT_NAME, member.member_class),
                (NameOID.COMMON_NAME, member.member_code),
                (NameOID.SERIAL_NUMBER, short),
            )
        case _ if profile in {PROFILE_BASIC, PROFILE_BASIC_ACME}:
            return _name(
                (NameOID.COUNTRY_NAME, applicant.country),
                (NameOID.ORGANIZATION_NAME, name),
                (NameOID.BUSINESS_CATEGORY, member.member_class),
                (NameOID.SERIAL_NUMBER, member.member_code),
                (NameOID.COMMON_NAME, name),
            )
        case _ if profile == PROFILE_SK_KLASS3:
            return _name((NameOID.SERIAL_NUMBER, member.member_code), (NameOID.COMMON_NAME, name))
        case _:
            raise _no_requests()


def authentication_subject(applicant: Applicant, *, profile: str) -> x509.Name:
    """The subject of a request for a gateway's authentication certificate. Raises KeyUnavailable (`csr_not_found`)."""
    owner, server, name = applicant.server.owner, applicant.server, applicant.name
    short = "/".join((*owner.segments, server.server_code))
    match profile:
        case _ if profile == PROFILE_FI_VRK:
            return _name(
                (NameOID.COUNTRY_NAME, _FINLAND),
                (NameOID.ORGANIZATION_NAME, name),
                (NameOID.SERIAL_NUMBER, _fi_serial(owner, server)),
                (NameOID.COMMON_NAME, applicant.host),
            )
        case _ if profile == PROFILE_EJBCA:
            return _name((NameOID.COUNTRY_NAME, owner.instance), (NameOID.COMMON_NAME, server.server_code))
        case _ if profile == PROFILE_FO:
            return _name(
                (NameOID.COUNTRY_NAME, "FO"),
                (NameOID.ORGANIZATION_NAME, owner.instance),
                (NameOID.COMMON_NAME, short),
            )
        case _ if profile == PROFILE_IS:
            return _name(
                (NameOID.COUNTRY_NAME, "IS"), (NameOID.COMMON_NAME, applicant.host), (NameOID.SERIAL_NUMBER, short)
            )
        case _ if profile in {PROFILE_BASIC, PROFILE_BASIC_ACME}:
            return _name(
                (NameOID.COUNTRY_NAME, applicant.country),
                (NameOID.ORGANIZATION_NAME, name),
                (NameOID.SERIAL_NUMBER, owner.member_code),
                (NameOID.COMMON_NAME, applicant.host),
            )
        case _ if profile == PROFILE_SK_KLASS3:
            return _name((NameOID.SERIAL_NUMBER, owner.member_code), (NameOID.COMMON_NAME, name))
        case _:
            raise _no_requests()


def _fi_serial(member: MemberId, server: SecurityServerId) -> str:
    return f"{member.instance}/{server.server_code}/{member.member_class}"


def _name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    if not all(text for _, text in attributes):
        raise KeyUnavailable(
            "the certificate profile needs more of the subject",
            code="csr_not_found",
            hint="give the country, the member's name and the host name",
        )
    try:
        with warnings.catch_warnings():
            # EJBCA's profile has the instance for the country: not two letters, yet what its authorities expect.
            warnings.simplefilter("ignore", UserWarning)
            return x509.Name(
                [x509.NameAttribute(oid, text, _validate=oid != NameOID.COUNTRY_NAME) for oid, text in attributes]
            )
    except ValueError:
        raise KeyUnavailable("the identifiers don't fit into a certificate's subject", code="csr_not_found") from None


def _no_requests() -> KeyUnavailable:
    return KeyUnavailable(
        "the certificate profile has no form for requests",
        code="csr_not_found",
        hint="ask the authority for its own procedure, or give the subject by hand",
    )


def _has(subject: x509.Name, oid: x509.ObjectIdentifier) -> bool:
    return bool(subject.get_attributes_for_oid(oid))


def _require(subject: x509.Name, oid: x509.ObjectIdentifier, value: str) -> None:
    if _only(subject, oid) != value:
        raise _unreadable()


def _only(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = subject.get_attributes_for_oid(oid)
    if len(found) != 1 or not isinstance(found[0].value, str):
        raise _unreadable()
    return found[0].value


def _unreadable() -> CertificateUntrusted:
    return CertificateUntrusted("the subject names no member of this instance", code="incorrect_certificate")
