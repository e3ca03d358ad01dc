"""A gateway's own configuration as the topology has it: clients, their services, rights and groups, in its store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.admin.errors import AdminError
from gateway.admin.openapi import read_openapi
from gateway.admin.registration import endpoints_of
from gateway.admin.wsdl import SOAPOperation, parse_wsdl
from gateway.exchange.directory import DEFAULT_VERSION
from gateway.instance import topology as parts
from gateway.instance.reading import InvalidTopology, TopologyFile
from gateway.instance.references import subsystem_reference
from gateway.store.model import AccessRight, Client, Endpoint, Group, RightSubject, Service, ServiceType
from gateway.store.repository import Repository
from trust.identifiers import ClientId, LocalGroupId, SubsystemId

CertificateOf = Callable[[ClientId], bytes]

_TYPES: Final = {
    "REST": ServiceType.REST,
    "OPENAPI3": ServiceType.OPENAPI3,
    "WSDL": ServiceType.WSDL,
    "SOAP": ServiceType.WSDL,
}
_YAML: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class OwnConfiguration:
    """What one gateway's store holds."""

    clients: tuple[Client, ...]
    services: tuple[Service, ...]
    endpoints: tuple[Endpoint, ...]
    groups: tuple[Group, ...]
    rights: tuple[AccessRight, ...]


def own_configuration(file: TopologyFile, name: str, generated: CertificateOf) -> OwnConfiguration:
    """The part of the topology that is the named gateway's. `generated` makes a client's certificate (DER).

    Raises InvalidTopology.
    """
    topology = file.topology
    owner = topology.server(name).owner
    clients = [
        _client(file, topology.id_of(member), member, generated)
        for member in topology.members
        if name in member.gateways or topology.id_of(member) == owner
    ]
    services: list[Service] = []
    endpoints: list[Endpoint] = []
    groups: list[Group] = []
    rights: list[AccessRight] = []
    for identifier, subsystem in topology.subsystems:
        if name not in subsystem.gateways:
            continue
        clients.append(_client(file, identifier, subsystem, generated))
        groups += _groups(topology, identifier, subsystem)
        for service in subsystem.services:
            registered, operations = _service(file, identifier, service)
            services.append(registered)
            given = tuple(_rights(topology, registered, service))
            named = [Endpoint(registered.key, e.method, e.path) for e in service.endpoints]
            named += [right.endpoint for right in given]
            endpoints += [
                *operations,
                *(e for e in named if not e.is_base and (e.method, e.path) not in _at(operations)),
            ]
            rights += given
    return OwnConfiguration(tuple(clients), tuple(services), tuple(endpoints), tuple(groups), tuple(rights))


def _at(endpoints: tuple[Endpoint, ...]) -> set[tuple[str, str]]:
    return {(endpoint.method, endpoint.path) for endpoint in endpoints}


def _client(file: TopologyFile, identifier: ClientId, client: parts.Client, generated: CertificateOf) -> Client:
    certificates = file.certificates(client)
    if client.generate_certificate:
        certificates |= {generated(identifier)}
    return Client(identifier, client.connection_type, client.state, certificates)


def _groups(topology: parts.Topology, owner: SubsystemId, subsystem: parts.Subsystem) -> Iterator[Group]:
    for group in subsystem.local_groups:
        members = frozenset(subsystem_reference(topology.instance, member) for member in group.members)
        yield Group(owner, group.code, group.description, members)


def _service(file: TopologyFile, provider: SubsystemId, service: parts.Service) -> tuple[Service, tuple[Endpoint, ...]]:
    """The service and the endpoints of its description."""
    found = file.description(service)
    content, path = found if found is not None else (b"", None)
    declared = {} if service.declaration is None else dict(service.declaration)
    registered = Service(
        provider=provider,
        code=service.code,
        version=version_of(file, service),
        service_type=_TYPES[service.type],
        url=service.url,
        timeout_seconds=service.timeout_seconds,
        verify_tls=service.verify_tls,
        enabled=service.enabled,
        disabled_notice=service.disabled_notice,
        description=content,
        description_source="" if path is None else str(path),
        description_type="" if path is None else _content_type(service, path),
        **declared,
    )
    if service.type == "WSDL":
        _operation(content, service)
    if service.type != "OPENAPI3":
        return registered, ()
    try:
        return registered, endpoints_of(registered, read_openapi(content))
    except AdminError as error:
        raise InvalidTopology(f"the description of {service.code}: {error}") from None


def version_of(file: TopologyFile, service: parts.Service) -> str | None:
    """The service's version: what the topology says, else its WSDL. Raises InvalidTopology."""
    found = file.description(service)
    if found is None or service.type != "WSDL" or service.version is not None:
        return service.version
    return _operation(found[0], service).version


def _operation(content: bytes, service: parts.Service) -> SOAPOperation:
    """The WSDL's operation that the service is (PR-MESS 4.2: its code is the operation's name). Raises
    InvalidTopology."""
    try:
        operations = parse_wsdl(content)
    except AdminError as error:
        raise InvalidTopology(f"the description of {service.code}: {error}") from None
    named = [operation for operation in operations if operation.name == service.code]
    for operation in named:
        if service.version in {None, operation.version, *([DEFAULT_VERSION] if operation.version is None else [])}:
            return operation
    if named:
        raise InvalidTopology(f"the description of {service.code}: the operation's version is {named[0].version}")
    names = ", ".join(operation.name for operation in operations)
    raise InvalidTopology(f"the description of {service.code}: there is no operation of that name, but {names}")


def _content_type(service: parts.Service, path: Path) -> str:
    if service.type == "WSDL":
        return "text/xml"
    return "application/yaml" if path.suffix in _YAML else "application/json"


def _rights(topology: parts.Topology, registered: Service, service: parts.Service) -> Iterator[AccessRight]:
    for right in service.rights:
        yield AccessRight(registered.key, _subject(topology, right), right.method, right.path)


def _subject(topology: parts.Topology, right: parts.Right) -> RightSubject:
    if right.subsystem is not None:
        return subsystem_reference(right.instance or topology.instance, right.subsystem)
    if right.group is not None:
        return topology.group(right.group)
    assert right.local_group is not None
    return LocalGroupId(right.local_group)


async def write_configuration(repository: Repository, own: OwnConfiguration, *, exact: bool) -> None:
    """Makes the store hold it; `exact`: and nothing else. Durable when it returns."""
    if exact:
        await _remove_others(repository, own)
    if own.clients:
        await repository.upsert_client(*own.clients)
    for group in own.groups:
        await repository.upsert_group(group)
    generated = [endpoint for endpoint in own.endpoints if endpoint.generated]
    if own.services:
        await repository.upsert_services(own.services, generated=generated)
    if by_hand := [endpoint for endpoint in own.endpoints if not endpoint.generated]:
        await repository.add_endpoint(*by_hand)
    if own.rights:
        await repository.grant(*own.rights)


async def _remove_others(repository: Repository, own: OwnConfiguration) -> None:
    kept_services = {service.identifier for service in own.services}
    for service in await repository.services():
        if service.identifier not in kept_services:
            await repository.remove_service(service.identifier)
    kept_rights = set(own.rights)
    revoked = [right for right in await repository.rights() if right not in kept_rights]
    if revoked:
        await repository.revoke(*revoked)
    kept_endpoints = {(endpoint.service, endpoint.method, endpoint.path) for endpoint in own.endpoints}
    for endpoint in await repository.endpoints():
        if (endpoint.service, endpoint.method, endpoint.path) not in kept_endpoints:
            await repository.remove_endpoint(endpoint)
    kept_groups = {(group.owner, group.code) for group in own.groups}
    for group in await repository.groups():
        if (group.owner, group.code) not in kept_groups:
            await repository.remove_group(group.owner, group.code)
    kept_clients = {client.identifier for client in own.clients}
    for client in await repository.clients():
        if client.identifier not in kept_clients:
            await repository.remove_client(client.identifier)
