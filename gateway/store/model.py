"""What a node keeps about its clients, services, rights and consents, as values.

Identifiers are `trust.identifiers` values here and their encoded text in the tables. Leaves the decision whether an
exchange may pass to `gateway.exchange`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from trust.identifiers import (
    ClientId,
    GlobalGroupId,
    InvalidIdentifier,
    LocalGroupId,
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


class ClientState(StrEnum):
    """How far a client's registration has come (X-Road's states). Only a registered client exchanges messages."""

    SAVED = "saved"
    REGISTRATION_IN_PROGRESS = "registration in progress"
    REGISTERED = "registered"
    DELETION_IN_PROGRESS = "deletion in progress"
    GLOBAL_ERROR = "global error"
    DISABLING_IN_PROGRESS = "disabling in progress"
    DISABLED = "disabled"
    ENABLING_IN_PROGRESS = "enabling in progress"


class ServiceType(StrEnum):
    """What kind of description a service has."""

    REST = "REST"
    OPENAPI3 = "OPENAPI3"
    WSDL = "WSDL"


class LegalBasisKind(StrEnum):
    """Why a service may be used: the citizen's consent, a law, or a contract; or its provider doesn't say."""

    CONSENT = "consent"
    LAW = "law"
    CONTRACT = "contract"
    NOT_DECLARED = "not_declared"


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


# A member without subsystem can't be the subject of a right: the type has none.
RightSubject = SubsystemId | GlobalGroupId | LocalGroupId

# The base endpoint, which every service has: any method, any path.
ANY_METHOD: Final = "*"
ANY_PATH: Final = "**"


@dataclass(frozen=True, slots=True)
class Client:
    """A member or subsystem that this gateway serves.

    `certificates` (DER): those of its information systems. Where the connection type is HTTPS a caller presents one of
    them; a service of the subsystem whose certificate is verified presents one of them too.
    """

    identifier: ClientId
    connection_type: ConnectionType = ConnectionType.HTTP
    state: ClientState = ClientState.REGISTERED
    certificates: frozenset[bytes] = frozenset()

    @property
    def may_exchange(self) -> bool:
        """Whether messages of and to the client pass."""
        return self.state is ClientState.REGISTERED


@dataclass(frozen=True, slots=True)
class Service:
    """A service of one of this gateway's subsystems, with what the citizen is told about it.

    Only SOAP services have a `version`. A service written for X-Road declares nothing to citizens: its texts are empty
    and its legal basis is NOT_DECLARED. `description` is the WSDL or OpenAPI document as it was last read from
    `description_source` (a URL or a file's absolute path), with the content type it came with.
    `verify_tls`: an https `url` must present one of the subsystem's certificates.
    """

    provider: SubsystemId
    code: str
    service_type: ServiceType
    url: str
    title_de: str = ""
    title_en: str = ""
    purpose_de: str = ""
    purpose_en: str = ""
    legal_basis_kind: LegalBasisKind = LegalBasisKind.NOT_DECLARED
    legal_basis: str = ""
    data_categories: tuple[str, ...] = ()
    identity_level: RequiredIdentityLevel = RequiredIdentityLevel.NONE
    timeout_seconds: float | None = None
    enabled: bool = True
    disabled_notice: str = ""
    description: bytes = b""
    version: str | None = None
    verify_tls: bool = True
    description_source: str = ""
    description_type: str = ""

    @property
    def identifier(self) -> ServiceId:
        """The service's identifier on the road."""
        return ServiceId(self.provider, self.code, self.version)

    @property
    def key(self) -> ServiceId:
        """What rights and endpoints belong to: the service code, whatever the version."""
        return ServiceId(self.provider, self.code)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and a path glob of a REST service, to which rights of their own can be given.

    `generated`: it came with the OpenAPI description and goes with it. The base endpoint is never listed: each service
    has it.
    """

    service: ServiceId
    method: str
    path: str
    generated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "service", replace(self.service, service_version=None))

    @property
    def is_base(self) -> bool:
        """Whether it stands for the whole service."""
        return self.method == ANY_METHOD and self.path == ANY_PATH


@dataclass(frozen=True, slots=True)
class Group:
    """A local group: subsystems, of any instance, that `owner` gives rights to its services together."""

    owner: SubsystemId
    code: str
    description: str = ""
    members: frozenset[SubsystemId] = frozenset()

    @property
    def identifier(self) -> LocalGroupId:
        """The group as the subject of a right to a service of its owner."""
        return LocalGroupId(self.code)


@dataclass(frozen=True, slots=True)
class AccessRight:
    """A subject may use a service, in all its versions, or one endpoint of it."""

    service: ServiceId
    subject: RightSubject
    method: str = ANY_METHOD
    path: str = ANY_PATH

    def __post_init__(self) -> None:
        object.__setattr__(self, "service", replace(self.service, service_version=None))

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that the right opens; the base endpoint for the whole service."""
        return Endpoint(self.service, self.method, self.path)


@dataclass(frozen=True, slots=True)
class ConsentCopy:
    """A provider's copy of a citizen's signed consent. `subject` is the provider's own pseudonym, never a name.

    `identity_level`: how surely whoever gave it was identified, where that was told. `authority`: the subsystem that
    sent the copy, whose consent service wants to know of what is handed over on it.
    """

    reference: str
    client: ClientId
    subject: str
    service: ServiceId
    expires_ms: int
    status: ConsentStatus
    sequence: int
    jws: str
    identity_level: RequiredIdentityLevel = RequiredIdentityLevel.NONE
    authority: SubsystemId | None = None

    @property
    def is_for_third_party(self) -> bool:
        """Whether it was given to somebody else than the application in which the citizen decides."""
        return self.authority is not None and self.authority != self.client


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
    endpoints: tuple[Endpoint, ...] = ()
    groups: tuple[Group, ...] = ()


def format_right_subject(subject: RightSubject) -> str:
    """The stored form: `SUBSYSTEM:I/C/M/S`, `GLOBALGROUP:I/G` or `LOCALGROUP:G`, segments percent-encoded."""
    match subject:
        case SubsystemId():
            return "SUBSYSTEM:" + subject.encoded
        case GlobalGroupId(instance=instance, group_code=code):
            return f"GLOBALGROUP:{encode_segment(instance)}/{encode_segment(code)}"
        case LocalGroupId(group_code=code):
            return f"LOCALGROUP:{encode_segment(code)}"


def parse_right_subject(text: str) -> RightSubject:
    """The subject in `text`; without a prefix a subsystem is meant. Raises InvalidIdentifier."""
    kind, colon, encoded = text.partition(":")
    if not colon:
        return parse_subsystem_id(text)
    if kind == "SUBSYSTEM":
        return parse_subsystem_id(encoded)
    segments = [decode_segment(part) for part in encoded.split("/")]
    if kind == "LOCALGROUP" and len(segments) == 1:
        return LocalGroupId(*segments)
    if kind == "GLOBALGROUP" and len(segments) == 2:
        return GlobalGroupId(*segments)
    raise InvalidIdentifier("an access right is given to SUBSYSTEM:I/C/M/S, GLOBALGROUP:I/G or LOCALGROUP:G")
