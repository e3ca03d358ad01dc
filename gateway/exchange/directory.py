"""What this gateway serves, as one immutable snapshot: its clients, its services, who may use them.

Built from the store at start and again whenever the store's revision grows; an exchange keeps the snapshot that it
began with. Built-in services, which the gateway answers itself, stand beside the registered ones for every subsystem
it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.store.model import Client, LegalBasisKind, NodeConfiguration, RequiredIdentityLevel, RightSubject, Service
from gateway.store.model import ServiceType as StoredType
from trust.identifiers import ClientId, ServiceId, SubsystemId


class BuiltIn(StrEnum):
    """Services of the gateway itself, at every subsystem that it serves."""

    CONSENT = "datenwegConsent"
    ACCESSES = "datenwegAccesses"
    SERVICES = "datenwegServices"


# The metaservices' codes (PR-META, reserved since X-Road 7.7) and ours: no institution may register one of these.
RESERVED_CODES: Final = frozenset(
    {
        *(code.value for code in BuiltIn),
        "listClients",
        "listMethods",
        "allowedMethods",
        "getWsdl",
        "getOpenAPI",
        "getSecurityServerMetrics",
        "getSecurityServerOperationalData",
        "getSecurityServerHealthData",
    }
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A service as the pipeline meets it.

    The registered one, or a built-in, and the subjects that have a right to it.
    """

    identifier: ServiceId
    registered: Service | None
    built_in: BuiltIn | None
    granted: frozenset[RightSubject]

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

    @property
    def client_certificates(self) -> frozenset[bytes]:
        """The certificates (DER) of all clients' systems."""
        return frozenset(der for client in self.clients.values() for der in client.certificates)

    def client(self, identifier: ClientId) -> Client | None:
        """The client if this gateway serves it and it is enabled."""
        client = self.clients.get(identifier)
        return client if client is not None and client.enabled else None

    def offer(self, identifier: ServiceId) -> Offer | None:
        """What stands under the identifier here, if anything."""
        return self.offers.get(identifier)

    def services_of(self, provider: SubsystemId) -> tuple[Offer, ...]:
        """The registered services of one subsystem."""
        return tuple(o for o in self.offers.values() if o.identifier.provider == provider and o.registered is not None)


def build_directory(configuration: NodeConfiguration) -> Directory:
    """The snapshot of what the store holds. A registered service with a reserved code is left out."""
    clients = {client.identifier: client for client in configuration.clients}
    granted: dict[ServiceId, set[RightSubject]] = {}
    for right in configuration.rights:
        granted.setdefault(right.service, set()).add(right.subject)
    offers: dict[ServiceId, Offer] = {}
    for service in configuration.services:
        if service.code not in RESERVED_CODES:
            rights = frozenset(granted.get(service.identifier, ()))
            offers[service.identifier] = Offer(service.identifier, service, None, rights)
    for identifier in clients:
        if isinstance(identifier, SubsystemId):
            for built_in in BuiltIn:
                service_id = ServiceId(identifier, built_in.value)
                offers[service_id] = Offer(service_id, None, built_in, frozenset())
    return Directory(clients, offers, configuration.revision.configuration)


def keeps_body(service: ServiceId) -> bool:
    """Whether the message log keeps the bodies of a service's messages; their digests stay under the signatures.

    Reading one's accesses brings a person's key of the month and their opened records: in the message log they would
    outlive the person's erasure.
    """
    return service.service_code != BuiltIn.ACCESSES.value
