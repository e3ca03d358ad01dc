"""What a node keeps about its clients, services, rights and consents, as values.

Identifiers are `trust.identifiers` values here and their encoded text in the tables. Leaves the decision whether an
exchange may pass to `gateway.exchange`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trust.identifiers import (
    ClientId,
    GlobalGroupId,
    InvalidIdentifier,
    ServiceId,
    SubsystemId,
    decode_segment,
    encode_segment,
    parse_subsystem_id,
)


class ConnectionType(StrEnum):
    """How a client's information system proves to its gateway who it is (X-Road's names)."""

    HTTP = "HTTP"
    HTTPS_NO_AUTH = "HTTPS_NO_AUTH"
    HTTPS = "HTTPS"


class ServiceType(StrEnum):
    """What kind of description a service has."""

    REST = "REST"
    OPENAPI3 = "OPENAPI3"
    WSDL = "WSDL"


class LegalBasisKind(StrEnum):
    """Why a service may be used: the citizen's consent, a law, or a contract."""

    CONSENT = "consent"
    LAW = "law"
    CONTRACT = "contract"


class RequiredIdentityLevel(StrEnum):
    """The lowest eIDAS level of the citizen's login that a service accepts; `none` needs no citizen at all."""

    NONE = "none"
    LOW = "low"
    SUBSTANTIAL = "substantial"
    HIGH = "high"


class ConsentStatus(StrEnum):
    """A consent is valid until it is withdrawn; that it expires is a matter of its `expires_ms`."""

    VALID = "valid"
    WITHDRAWN = "withdrawn"


RightSubject = SubsystemId | GlobalGroupId


@dataclass(frozen=True, slots=True)
class Client:
    """A member or subsystem that this gateway serves. `certificates`: those of its systems (DER; HTTPS only)."""

    identifier: ClientId
    connection_type: ConnectionType = ConnectionType.HTTP
    enabled: bool = True
    certificates: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Service:
    """A service of one of this gateway's subsystems, with what the citizen is told about it."""

    provider: SubsystemId
    code: str
    service_type: ServiceType
    url: str
    title_de: str
    title_en: str
    purpose_de: str
    purpose_en: str
    legal_basis_kind: LegalBasisKind
    legal_basis: str
    data_categories: tuple[str, ...] = ()
    identity_level: RequiredIdentityLevel = RequiredIdentityLevel.NONE
    timeout_seconds: float | None = None
    enabled: bool = True
    disabled_notice: str = ""
    description: bytes = b""

    @property
    def identifier(self) -> ServiceId:
        """The service's identifier on the road."""
        return ServiceId(self.provider, self.code)


@dataclass(frozen=True, slots=True)
class AccessRight:
    """A subsystem or global group may use a service."""

    service: ServiceId
    subject: RightSubject


@dataclass(frozen=True, slots=True)
class ConsentCopy:
    """A provider's copy of a citizen's signed consent. `subject` is the provider's own pseudonym, never a name."""

    reference: str
    client: ClientId
    subject: str
    service: ServiceId
    expires_ms: int
    status: ConsentStatus
    sequence: int
    jws: str


@dataclass(frozen=True, slots=True)
class Revision:
    """Which state of the store one has seen; every write raises one of the two numbers."""

    configuration: int
    consents: int


@dataclass(frozen=True, slots=True)
class NodeConfiguration:
    """Everything of a node's configuration but its consents, read in one transaction."""

    revision: Revision
    clients: tuple[Client, ...]
    services: tuple[Service, ...]
    rights: tuple[AccessRight, ...]


def format_right_subject(subject: RightSubject) -> str:
    """The stored form: `SUBSYSTEM:I/C/M/S` or `GLOBALGROUP:I/G`, segments percent-encoded."""
    match subject:
        case SubsystemId():
            return "SUBSYSTEM:" + subject.encoded
        case GlobalGroupId(instance=instance, group_code=code):
            return f"GLOBALGROUP:{encode_segment(instance)}/{encode_segment(code)}"


def parse_right_subject(text: str) -> RightSubject:
    """The subject in `text`; without a prefix a subsystem is meant. Raises InvalidIdentifier."""
    kind, colon, encoded = text.partition(":")
    if not colon:
        return parse_subsystem_id(text)
    if kind == "SUBSYSTEM":
        return parse_subsystem_id(encoded)
    segments = [decode_segment(part) for part in encoded.split("/")]
    if kind != "GLOBALGROUP" or len(segments) != 2:
        raise InvalidIdentifier("an access right is given to SUBSYSTEM:I/C/M/S or GLOBALGROUP:I/G")
    return GlobalGroupId(*segments)
