"""What this gateway serves, as one immutable snapshot: its clients, its services, who may use them.

Built from the store at start and again whenever the store's revision grows; an exchange keeps the snapshot that it
began with. Built-in services, which the gateway answers itself, stand beside the registered ones for every subsystem
it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from gateway.exchange.recording import Declared, declare
from gateway.exchange.service_tls import Pins
from gateway.messages.paths import matches_glob
from gateway.store.model import (
    ANY_METHOD,
    ANY_PATH,
    AccessRight,
    Client,
    ConnectionType,
    Endpoint,
    Group,
    LegalBasisKind,
    NodeConfiguration,
    RequiredIdentityLevel,
    RightSubject,
    Service,
)
from gateway.store.model import ServiceType as StoredType
from trust.identifiers import ClientId, GlobalGroupId, MemberId, ServiceId, SubsystemId

DEFAULT_VERSION: Final = "v1"


class BuiltIn(StrEnum):
    """Services of the gateway itself, at every subsystem that it serves."""

    CONSENT = "datenwegConsent"
    ACCESSES = "datenwegAccesses"
    SERVICES = "datenwegServices"
    # The Data Tracker's; an institution may have one of its own instead.
    FIND_USAGE = "findUsage"
    LIST_METHODS = "listMethods"
    ALLOWED_METHODS = "allowedMethods"
    GET_OPENAPI = "getOpenAPI"
    GET_WSDL = "getWsdl"
    # The consent service, of the subsystem that citizens use (`citizen_client`) and of no other.
    CONSENT_SERVICE = "consent"
    REPORTING = "reporting"
    # Of the gateway's owner, not of its subsystems (PR-OPMON, PR-ENVMONMES).
    OPERATIONAL_DATA = "getSecurityServerOperationalData"
    HEALTH_DATA = "getSecurityServerHealthData"
    METRICS = "getSecurityServerMetrics"


# What tells of the gateway itself: services of the member that owns it.
MONITORING: Final = (BuiltIn.OPERATIONAL_DATA, BuiltIn.HEALTH_DATA, BuiltIn.METRICS)

# What institutions ask the citizens' own subsystem for; elsewhere an institution may use these codes.
OF_CITIZENS: Final = (BuiltIn.CONSENT_SERVICE, BuiltIn.REPORTING)

# The metaservices' codes (PR-META, reserved since X-Road 7.7) and ours: no institution may register one of these.
RESERVED_CODES: Final = frozenset(
    {
        *(code.value for code in BuiltIn),
        "listClients",
    }
) - {BuiltIn.FIND_USAGE.value, *(code.value for code in OF_CITIZENS)}
_IN_ANY_VERSION: Final = frozenset(
    (BuiltIn.LIST_METHODS.value, BuiltIn.ALLOWED_METHODS.value, BuiltIn.GET_WSDL.value, *(m.value for m in MONITORING))
)
_OF_MEMBERS: Final = (BuiltIn.LIST_METHODS, BuiltIn.ALLOWED_METHODS, BuiltIn.GET_WSDL)


@dataclass(frozen=True, slots=True)
class Offer:
    """A service as the pipeline meets it.

    The registered one, or a built-in; the subjects that have a right to all of it, its endpoints, and the rights to
    single ones of them.
    """

    identifier: ServiceId
    registered: Service | None
    built_in: BuiltIn | None
    granted: frozenset[RightSubject]
    endpoints: tuple[Endpoint, ...] = ()
    endpoint_rights: tuple[AccessRight, ...] = ()
    # What each record says of the service: encoded once instead of for each exchange.
    declared: Declared | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "declared", None if self.registered is None else declare(self.registered))

    def opened_to(self, subjects: frozenset[RightSubject]) -> tuple[Endpoint, ...]:
        """The endpoints that one of the subjects has been given; the base endpoint alone if the whole service was."""
        if not self.granted.isdisjoint(subjects):
            return (Endpoint(self.identifier, ANY_METHOD, ANY_PATH),)
        return tuple(right.endpoint for right in self.endpoint_rights if right.subject in subjects)

    def may_be_used(self, subjects: frozenset[RightSubject], method: str | None, path: str | None) -> bool:
        """Whether one of the subjects has a right to the base endpoint or to any endpoint that matches.

        `method` and `path` (normalised) of a REST request; None for SOAP, which has the base endpoint only.
        """
        if not self.granted.isdisjoint(subjects):
            return True
        return any(matches_endpoint(endpoint, method, path) for endpoint in self.opened_to(subjects))

    @property
    def is_rest(self) -> bool:
        return self.registered is None or self.registered.service_type is not StoredType.WSDL

    @property
    def identity_level(self) -> RequiredIdentityLevel:
        if self.registered is not None:
            return self.registered.identity_level
        # The list of one's accesses says as much about a person as the data: a login of low assurance doesn't open it.
        return RequiredIdentityLevel.SUBSTANTIAL if self.built_in is BuiltIn.ACCESSES else RequiredIdentityLevel.NONE

    @property
    def needs_consent(self) -> bool:
        return self.registered is not None and self.registered.legal_basis_kind is LegalBasisKind.CONSENT


@dataclass(frozen=True, slots=True)
class Directory:
    """A snapshot. Look-ups are by identifier and constant in time."""

    clients: Mapping[ClientId, Client]
    offers: Mapping[ServiceId, Offer]
    configuration_revision: int
    groups: Mapping[SubsystemId, tuple[Group, ...]] = field(default_factory=dict)

    def subjects_of(
        self, client: ClientId, global_groups: frozenset[GlobalGroupId], provider: ClientId
    ) -> frozenset[RightSubject]:
        """As whom a client may have rights to a provider's services: itself, and the groups that it is in.

        Local groups are the provider's own. A member without subsystem is in global groups at most.
        """
        subjects: set[RightSubject] = set(global_groups)
        if isinstance(client, SubsystemId):
            subjects.add(client)
            own = self.groups.get(provider, ()) if isinstance(provider, SubsystemId) else ()
            subjects |= {group.identifier for group in own if client in group.members}
        return frozenset(subjects)

    @property
    def client_certificates(self) -> frozenset[bytes]:
        """The certificates (DER) of all clients' systems."""
        return frozenset(der for client in self.clients.values() for der in client.certificates)

    def client(self, identifier: ClientId) -> Client | None:
        """The client if this gateway serves it and its registration is complete."""
        client = self.clients.get(identifier)
        return client if client is not None and client.may_exchange else None

    def service_pins(self, service: Service) -> Pins:
        """The certificates that a service may show over TLS: its subsystem's, or any if none is verified."""
        if not service.verify_tls:
            return None
        provider = self.clients.get(service.provider)
        return frozenset() if provider is None else provider.certificates

    def offer(self, identifier: ServiceId) -> Offer | None:
        """What stands under the identifier here, if anything.

        PR-MESS 4.2: an operation whose description names no version has version v1. What X-Road's gateways answer
        themselves they answer in any version.
        """
        offer = self.offers.get(identifier)
        if offer is None and identifier.service_code in _IN_ANY_VERSION:
            return self.offers.get(replace(identifier, service_version=None))
        if offer is None and identifier.service_version == DEFAULT_VERSION:
            offer = self.offers.get(replace(identifier, service_version=None))
            # Over SOAP the Data Tracker's service has a version.
            if offer is not None and offer.is_rest and offer.built_in is not BuiltIn.FIND_USAGE:
                return None
        return offer

    def has_code(self, identifier: ServiceId, *, rest: bool) -> bool:
        """Whether a REST (or SOAP) service with this code is registered, in any version."""
        offers = self.services_of(identifier.provider)
        return any(o.is_rest is rest and o.identifier.service_code == identifier.service_code for o in offers)

    def services_of(self, provider: ClientId) -> tuple[Offer, ...]:
        """The registered services of one subsystem; a member without subsystem has none."""
        return tuple(o for o in self.offers.values() if o.identifier.provider == provider and o.registered is not None)


def build_directory(
    configuration: NodeConfiguration, owner: MemberId | None = None, citizens: SubsystemId | None = None
) -> Directory:
    """The snapshot of what the store holds. A registered service with a reserved code is left out.

    `owner`: the member that runs the gateway. `citizens`: the subsystem with the consent service, if it runs here.
    """
    clients = {client.identifier: client for client in configuration.clients}
    rights: dict[ServiceId, list[AccessRight]] = {}
    for right in configuration.rights:
        rights.setdefault(right.service, []).append(right)
    endpoints: dict[ServiceId, list[Endpoint]] = {}
    for endpoint in configuration.endpoints:
        endpoints.setdefault(endpoint.service, []).append(endpoint)
    offers: dict[ServiceId, Offer] = {}
    for service in configuration.services:
        if service.code not in RESERVED_CODES:
            # Rights and endpoints belong to the code, whatever the version.
            given = rights.get(service.key, ())
            offers[service.identifier] = Offer(
                service.identifier,
                service,
                None,
                frozenset(right.subject for right in given if right.endpoint.is_base),
                tuple(endpoints.get(service.key, ())),
                tuple(right for right in given if not right.endpoint.is_base),
            )
    for identifier in clients:
        # A member without subsystem has no services, and says so when asked over SOAP.
        for built_in in BuiltIn if isinstance(identifier, SubsystemId) else _OF_MEMBERS:
            if built_in not in MONITORING and (built_in not in OF_CITIZENS or identifier == citizens):
                service_id = ServiceId(identifier, built_in.value)
                offers.setdefault(service_id, Offer(service_id, None, built_in, frozenset()))
    if owner is not None:
        # PR-GCONF: the owner is a client of its gateway, whether anybody wrote it down or not; until somebody says how
        # its systems connect, none does.
        clients.setdefault(owner, Client(owner, ConnectionType.HTTPS))
        for built_in in MONITORING:
            service_id = ServiceId(owner, built_in.value)
            offers[service_id] = Offer(service_id, None, built_in, frozenset())
    groups: dict[SubsystemId, list[Group]] = {}
    for group in configuration.groups:
        groups.setdefault(group.owner, []).append(group)
    kept = {owner: tuple(own) for owner, own in groups.items()}
    return Directory(clients, offers, configuration.revision.configuration, kept)


def matches_endpoint(endpoint: Endpoint, method: str | None, path: str | None) -> bool:
    """Whether a request's method and normalised path are the endpoint's; without them only the base endpoint is."""
    if endpoint.is_base:
        return True
    if method is None or path is None:
        return False
    if endpoint.method not in {ANY_METHOD, method.upper()}:
        return False
    return endpoint.path == ANY_PATH or matches_glob(endpoint.path, path)


def keeps_body(service: ServiceId) -> bool:
    """Whether the message log keeps the bodies of a service's messages; their digests stay under the signatures.

    Reading a person's accesses brings their key of the month and their opened records: in the message log they would
    outlive the person's erasure.
    """
    return service.service_code not in (BuiltIn.ACCESSES.value, BuiltIn.FIND_USAGE.value)
