"""The shared parameters of an instance, as values: members, who serves them, and the approved authorities.

Follows PR-GCONF 2.12 section 3 (shared parameters, versions 2 to 6: what a version lacks stands at its default). Only
the values stand here; reading and writing their XML is `trust.globalconf_xml`'s, authenticity is `trust.globalconf`'s.
A SharedParameters found in a VerifiedConfiguration is authentic; one built by hand is whatever its builder says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId, SubsystemId

# The certificate profiles' names are the class names that X-Road instances have in their configurations.
PROFILE_FI_VRK: Final = "ee.ria.xroad.common.certificateprofile.impl.FiVRKCertificateProfileInfoProvider"
PROFILE_EJBCA: Final = "ee.ria.xroad.common.certificateprofile.impl.EjbcaCertificateProfileInfoProvider"
PROFILE_BASIC: Final = "ee.ria.xroad.common.certificateprofile.impl.BasicCertificateProfileInfoProvider"

DEFAULT_OCSP_FRESHNESS_SECONDS: Final = 3600


class CostType(StrEnum):
    """Whether a trust service is paid for by use (since version 6)."""

    FREE = "FREE"
    PAID = "PAID"
    UNDEFINED = "UNDEFINED"


class CSRFormat(StrEnum):
    """The form in which an authority wants certificate requests (since version 6)."""

    PEM = "PEM"
    DER = "DER"


@dataclass(frozen=True, slots=True)
class ACMEServer:
    """Where an authority issues certificates by RFC 8555 (since version 3; the profile ids since version 4).

    `ip_address` may list several, with commas.
    """

    directory_url: str
    ip_address: str | None = None
    authentication_profile_id: str | None = None
    signing_profile_id: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigurationSource:
    """An address that publishes this configuration, and the certificates (DER) to check its signatures with."""

    address: str
    internal_certificates: tuple[bytes, ...] = ()
    external_certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovedCA:
    """A certification authority whose certificates count. Certificates are DER.

    `ocsp_responders` are certificates that may sign its OCSP answers besides those RFC 6960 section 4.2.2.2 allows
    anyway. `ocsp_costs` has the URLs whose cost is stated.
    """

    name: str
    certificate: bytes
    intermediates: tuple[bytes, ...] = ()
    ocsp_urls: tuple[str, ...] = ()
    ocsp_responders: tuple[bytes, ...] = ()
    profile: str = PROFILE_FI_VRK
    authentication_only: bool = False
    ocsp_costs: tuple[tuple[str, CostType], ...] = ()
    default_csr_format: CSRFormat | None = None
    acme: ACMEServer | None = None


@dataclass(frozen=True, slots=True)
class ApprovedTSA:
    """A time-stamping authority whose tokens count, named by the very certificate (DER) that signs them."""

    name: str
    url: str
    certificate: bytes
    cost_type: CostType | None = None


@dataclass(frozen=True, slots=True)
class Subsystem:
    """An information system of a member; `name` is for people."""

    id: SubsystemId
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """A legal person on the road; `name` is for people."""

    id: MemberId
    name: str
    subsystems: tuple[Subsystem, ...] = ()


@dataclass(frozen=True, slots=True)
class SecurityServer:
    """A gateway: where it listens, which authentication certificates are its own, whom it serves.

    `address` is a host (ports 5500 and 5577 as X-Road has them) or `host:port`, our extension for several gateways on
    one machine. `authentication_hashes` are SHA-256 of the certificates' DER; `authentication_sha1` are their SHA-1,
    which version 2 alone has. `maintenance` is None when the gateway serves, otherwise the notice (possibly empty).
    """

    id: SecurityServerId
    address: str
    authentication_hashes: frozenset[bytes] = frozenset()
    clients: frozenset[ClientId] = frozenset()
    maintenance: str | None = None
    authentication_sha1: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class GlobalGroup:
    """A group of clients that the registry keeps, to which providers grant access as one."""

    id: GlobalGroupId
    description: str = ""
    members: frozenset[ClientId] = frozenset()


@dataclass(frozen=True, slots=True)
class MemberClass:
    """A class of members, such as GOV or COM."""

    code: str
    description: str


@dataclass(frozen=True, slots=True)
class SharedParameters:
    """What every gateway of the instance agrees on."""

    instance: str
    sources: tuple[ConfigurationSource, ...] = ()
    approved_cas: tuple[ApprovedCA, ...] = ()
    approved_tsas: tuple[ApprovedTSA, ...] = ()
    members: tuple[Member, ...] = ()
    security_servers: tuple[SecurityServer, ...] = ()
    groups: tuple[GlobalGroup, ...] = ()
    member_classes: tuple[MemberClass, ...] = ()
    ocsp_freshness_seconds: int = DEFAULT_OCSP_FRESHNESS_SECONDS
