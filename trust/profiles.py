"""Certificate profiles: how an authority writes a member's identifier into a certificate's subject.

Follows X-Road's certificate profile classes (FI-VRK, EJBCA, Basic), which the global configuration names per
authority. A profile reads exactly one value of each attribute; a subject that repeats one could be read in two ways
and is refused.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from trust.errors import CertificateUntrusted
from trust.identifiers import MemberId
from trust.parameters import PROFILE_BASIC, PROFILE_EJBCA, PROFILE_FI_VRK

_MAX_SEGMENT: Final = 255


def member_of(subject: x509.Name, *, profile: str, instance: str) -> MemberId:
    """The member that a signing certificate of `profile` names, in `instance`.

    Raises CertificateUntrusted (`incorrect_certificate`), also for a member of another instance: an authority speaks
    for the instance that approved it.
    """
    match profile:
        case _ if profile == PROFILE_FI_VRK:
            # serialNumber is INSTANCE/SERVERCODE/CLASS, the common name is the member code.
            segments = _only(subject, NameOID.SERIAL_NUMBER).split("/")
            if len(segments) != 3:
                raise _unreadable()
            member = MemberId(segments[0], segments[2], _only(subject, NameOID.COMMON_NAME))
        case _ if profile == PROFILE_EJBCA:
            member = MemberId(
                _only(subject, NameOID.COUNTRY_NAME),
                _only(subject, NameOID.ORGANIZATION_NAME),
                _only(subject, NameOID.COMMON_NAME),
            )
        case _ if profile == PROFILE_BASIC:
            member = MemberId(
                instance, _only(subject, NameOID.BUSINESS_CATEGORY), _only(subject, NameOID.SERIAL_NUMBER)
            )
        case _:
            raise CertificateUntrusted(
                "the authority's certificate profile isn't supported",
                code="incorrect_certificate",
                hint="see the certificate profiles in the documentation",
            )
    if not all(0 < len(segment) <= _MAX_SEGMENT for segment in member.segments) or member.instance != instance:
        raise _unreadable()
    return member


def _only(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = subject.get_attributes_for_oid(oid)
    if len(found) != 1 or not isinstance(found[0].value, str):
        raise _unreadable()
    return found[0].value


def _unreadable() -> CertificateUntrusted:
    return CertificateUntrusted("the subject names no member of this instance", code="incorrect_certificate")
