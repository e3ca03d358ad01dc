"""What an instance consists of, as its file says it: the model behind docs/instance.md and its JSON Schema.

Codes stand in the file as they are; references (`CLASS/MEMBER/SUBSYSTEM`) are percent-encoded as in URLs, because a
code may contain a slash. What a reference must lead to is checked here too, so that a topology that was read can be
built. Leaves reading and error texts to `gateway.instance.reading`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway.exchange.directory import RESERVED_CODES
from gateway.instance.consistency import SUBJECT_ROOM, problems
from gateway.instance.references import check_code, member_reference
from gateway.settings import is_loopback
from gateway.store.model import ClientState, ConnectionType, LegalBasisKind, RequiredIdentityLevel
from trust.errors import TrustError
from trust.identifiers import GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.testca.authority import require_test_instance


def _instance(text: str) -> str:
    try:
        return require_test_instance(check_code(text))
    except TrustError:
        raise ValueError("a test instance's name ends in -TEST, or is TEST, DEMO or DEV") from None


def _unslashed(text: str) -> str:
    if "/" in check_code(text):
        raise ValueError("no slash here: the certificates of the test authority couldn't name it")
    return text


def _loopback(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("an address such as 127.0.0.1") from None
    if not is_loopback(text) or address.version != 4:
        raise ValueError("an instance listens on loopback only: 127.0.0.0/8")
    return text


def _service_code(text: str) -> str:
    if text in RESERVED_CODES:
        raise ValueError("this service code is answered by every gateway itself")
    return check_code(text)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.fragment or " " in text or not text.isprintable():
        raise ValueError("http(s)://HOST[:PORT][/PATH]")
    return text


Code = Annotated[str, AfterValidator(check_code)]
UnslashedCode = Annotated[str, AfterValidator(_unslashed)]
Instance = Annotated[str, AfterValidator(_instance)]
Loopback = Annotated[str, AfterValidator(_loopback)]
ServiceCode = Annotated[str, AfterValidator(_service_code)]
URL = Annotated[str, AfterValidator(_url)]
Port = Annotated[int, Field(ge=1, le=65535)]
Method = Literal["*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ports(_Part):
    """Fixed ports of a gateway. Each that isn't named is chosen."""

    client_http: Port | None = Field(None, description="clients over plain HTTP")
    client_https: Port | None = Field(None, description="clients over TLS")
    message: Port | None = Field(None, description="other gateways, mutual TLS; X-Road's is 5500")
    ocsp: Port | None = Field(None, description="OCSP answers for other gateways: message + 1, or X-Road's 5577")
    operations: Port | None = Field(None, description="health, metrics, the public log")

    @model_validator(mode="after")
    def _addressable(self) -> Self:
        # What other gateways read is `host` (5500 and 5577) or `host:port` (that port, and the next one).
        if self.message is None and self.ocsp is not None:
            raise ValueError("ocsp needs message beside it")
        pairs = ((self.message, None), (self.message, (self.message or 0) + 1), (5500, 5577))
        if (self.message, self.ocsp) not in pairs:
            raise ValueError("ocsp is message + 1; only 5500 and 5577 belong together otherwise")
        if self.message == 65535:
            raise ValueError("message must leave room for ocsp above it")
        return self

    @property
    def fixed(self) -> Iterator[tuple[str, int]]:
        """The names and numbers of those that are given; `ocsp` with the message port that fixes it."""
        for name, number in self:
            if number is not None:
                yield name, number
        if self.message is not None and self.ocsp is None:
            yield "ocsp", self.message + 1


class Gateway(_Part):
    """A gateway (X-Road: security server)."""

    owner: str = Field(description="the member that runs it: CLASS/MEMBER")
    code: UnslashedCode | None = Field(None, description="its server code; default: its name in this file")
    host: Loopback = Field("127.0.0.1", description="its address, 127.0.0.0/8")
    ports: Ports = Ports()
    maintenance: str | None = Field(None, description="a notice: the configuration shows it in maintenance mode")
    settings: dict[str, Any] = Field({}, description="further settings of `datenweg gateway` (docs/operations.md)")


class LocalGroup(_Part):
    """A group that a subsystem keeps for the rights to its services."""

    code: Code
    description: str = ""
    members: tuple[str, ...] = Field((), description="subsystems: CLASS/MEMBER/SUBSYSTEM")


class Right(_Part):
    """Who may use a service: exactly one of `subsystem`, `group`, `local_group`; all of it or one endpoint."""

    subsystem: str | None = Field(None, description="CLASS/MEMBER/SUBSYSTEM")
    instance: Code | None = Field(None, description="of `subsystem`, if that is one of a federated instance")
    group: str | None = Field(None, description="code of a global group")
    local_group: str | None = Field(None, description="code of a local group of the service's subsystem")
    method: Method = Field("*", description="with `path`: the right is to this endpoint alone")
    path: str = Field("**", min_length=1, description="a glob: * stays within a segment, ** doesn't")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if [self.subsystem, self.group, self.local_group].count(None) != 2:
            raise ValueError("exactly one of subsystem, group and local_group")
        if self.instance is not None and self.subsystem is None:
            raise ValueError("instance is for a subsystem")
        return self


class Endpoint(_Part):
    """An endpoint of a REST service, beside those of its OpenAPI description and its rights."""

    method: Method = "*"
    path: str = Field(min_length=1)


class Declaration(_Part):
    """What citizens are told of a service. A service written for X-Road has none."""

    title_de: str
    title_en: str
    purpose_de: str
    purpose_en: str
    legal_basis_kind: LegalBasisKind
    legal_basis: str
    data_categories: tuple[str, ...] = ()
    identity_level: RequiredIdentityLevel = RequiredIdentityLevel.NONE


class Service(_Part):
    """A service of a subsystem, registered at all gateways of the subsystem."""

    code: ServiceCode
    version: Code | None = Field(None, description="of a SOAP service, e.g. v1")
    type: Literal["REST", "OPENAPI3", "WSDL", "SOAP"] = Field(
        description="REST: a base URL; OPENAPI3 and WSDL: with a description; SOAP: code and version without one"
    )
    url: URL = Field(description="where the gateway calls it")
    description: str | None = Field(None, description="path of the OpenAPI or WSDL file")
    timeout_seconds: float | None = Field(None, gt=0, description="default: the gateway's service_timeout_seconds")
    verify_tls: bool = Field(True, description="an https service shows one of the subsystem's certificates")
    enabled: bool = True
    disabled_notice: str = Field("", description="what callers are told while `enabled` is false")
    endpoints: tuple[Endpoint, ...] = ()
    rights: tuple[Right, ...] = ()
    declaration: Declaration | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        soap = self.type in ("WSDL", "SOAP")
        if soap and any(not _is_base(right.method, right.path) for right in self.rights):
            raise ValueError("rights to single endpoints are for REST and OPENAPI3")
        if soap and self.endpoints:
            raise ValueError("endpoints are for REST and OPENAPI3")
        if not soap and self.version is not None:
            raise ValueError("a REST service has no version: put it into its code or path")
        if self.type in ("WSDL", "OPENAPI3") and self.description is None:
            raise ValueError(f"{self.type} needs a description; a service without one is SOAP or REST")
        if self.type in ("SOAP", "REST") and self.description is not None:
            raise ValueError(f"{self.type} has no description: say WSDL or OPENAPI3")
        return self


def _is_base(method: str, path: str) -> bool:
    return method == "*" and path == "**"


class Client(_Part):
    """What a subsystem and a member itself have as a gateway's client."""

    gateways: tuple[str, ...] = Field((), description="names of the gateways that it is registered at")
    connection_type: ConnectionType = Field(ConnectionType.HTTP, description="how its systems connect")
    state: ClientState = ClientState.REGISTERED
    certificates: tuple[str, ...] = Field(
        (), description="of its systems, clients and services: paths of PEM files, or PEM texts"
    )
    generate_certificate: bool = Field(
        False, description="makes a certificate and key for its systems in the instance's folder"
    )


class Subsystem(Client):
    """A subsystem of a member."""

    code: Code
    name: str | None = None
    local_groups: tuple[LocalGroup, ...] = ()
    services: tuple[Service, ...] = ()


class Member(Client):
    """A member. It is a client itself at the gateways that it owns, and at those that it names."""

    member_class: UnslashedCode = Field(alias="class")
    code: Annotated[Code, Field(max_length=SUBJECT_ROOM)]
    name: str | None = None
    subsystems: tuple[Subsystem, ...] = ()

    @property
    def reference(self) -> str:
        """As other parts of the file name it."""
        return MemberId("-", self.member_class, self.code).encoded.partition("/")[2]


class MemberClass(_Part):
    """A class of members. Classes that members name needn't be listed."""

    code: UnslashedCode
    description: str


class GlobalGroup(_Part):
    """A group that the registry keeps."""

    code: Code
    description: str = ""
    members: tuple[str, ...] = Field((), description="CLASS/MEMBER/SUBSYSTEM or CLASS/MEMBER")


class Topology(_Part):
    """A whole instance."""

    instance: Instance
    certificate_profile: Literal["basic", "fi-vrk"] = Field(
        "basic", description="how the test authority's certificates name members: X-Road's Basic or FI-VRK profile"
    )
    member_classes: tuple[MemberClass, ...] = ()
    gateways: dict[str, Gateway] = Field(min_length=1, description="by name: letters, digits, - and _")
    members: tuple[Member, ...] = Field(min_length=1)
    global_groups: tuple[GlobalGroup, ...] = ()
    monitoring_client: str | None = Field(
        None, description="CLASS/MEMBER/SUBSYSTEM that every gateway gives all its operational data"
    )

    # -- identifiers

    def member(self, reference: str) -> MemberId:
        """The member that `CLASS/MEMBER` names. Raises ValueError."""
        return member_reference(self.instance, reference)

    def id_of(self, member: Member) -> MemberId:
        """A member's identifier."""
        return MemberId(self.instance, member.member_class, member.code)

    def subsystem_id(self, member: Member, subsystem: Subsystem) -> SubsystemId:
        """A subsystem's identifier."""
        return SubsystemId(self.instance, member.member_class, member.code, subsystem.code)

    def server(self, name: str) -> SecurityServerId:
        """A gateway's identifier."""
        gateway = self.gateways[name]
        return SecurityServerId(self.member(gateway.owner), gateway.code or name)

    def group(self, code: str) -> GlobalGroupId:
        """A global group's identifier."""
        return GlobalGroupId(self.instance, code)

    def member_name(self, member: MemberId) -> str:
        """A member's name; its code if it has none."""
        known = next(part for part in self.members if self.id_of(part) == member)
        return known.name or known.code

    @property
    def subsystems(self) -> Iterator[tuple[SubsystemId, Subsystem]]:
        """All subsystems."""
        for member in self.members:
            for subsystem in member.subsystems:
                yield self.subsystem_id(member, subsystem), subsystem

    @property
    def classes(self) -> dict[str, str]:
        """The classes of members with their descriptions."""
        named = {known.code: known.description for known in self.member_classes}
        return named | {m.member_class: m.member_class for m in self.members if m.member_class not in named}

    # -- what belongs together

    @model_validator(mode="after")
    def _whole(self) -> Self:
        found = tuple(problems(self))
        if found:
            raise ValueError("; ".join(found))
        return self
