"""Rows of a node's configuration as values, and back. What is written, and when, is `repository`'s.

Reads whole tables: a node keeps them as one snapshot.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.store import tables
from gateway.store.model import (
    AccessRight,
    Client,
    ClientState,
    ConnectionType,
    ConsentCopy,
    ConsentStatus,
    Endpoint,
    Group,
    LegalBasisKind,
    RequiredIdentityLevel,
    Service,
    ServiceType,
    format_right_subject,
    parse_right_subject,
)
from trust.identifiers import ServiceId, SubsystemId, parse_client_id, parse_service_id, parse_subsystem_id


async def read_clients(connection: AsyncConnection) -> tuple[Client, ...]:
    """All clients, by identifier."""
    pins: dict[str, set[bytes]] = {}
    for owner, pin in await connection.execute(select(tables.client_certificate)):
        pins.setdefault(owner, set()).add(pin)
    return tuple(
        Client(
            identifier=parse_client_id(row.identifier),
            connection_type=ConnectionType(row.connection_type),
            state=ClientState(row.state),
            certificates=frozenset(pins.get(row.identifier, ())),
        )
        for row in await connection.execute(select(tables.client).order_by(tables.client.c.identifier))
    )


async def read_services(connection: AsyncConnection) -> tuple[Service, ...]:
    """All services, by provider, code and version. Services of one description share its bytes."""
    contents = {row.digest: row.content for row in await connection.execute(select(tables.service_description))}
    columns = tables.service.c
    query: Select[Any] = select(tables.service).order_by(columns.provider, columns.code, columns.version)
    return tuple(_service(row, contents) for row in await connection.execute(query))


async def read_endpoints(connection: AsyncConnection) -> tuple[Endpoint, ...]:
    """All endpoints but the base ones, by service, path and method."""
    columns = tables.endpoint.c
    query = select(tables.endpoint).order_by(columns.provider, columns.code, columns.path, columns.method)
    return tuple(
        Endpoint(ServiceId(parse_subsystem_id(row.provider), row.code), row.method, row.path, row.generated)
        for row in await connection.execute(query)
    )


async def read_rights(connection: AsyncConnection) -> tuple[AccessRight, ...]:
    """All rights, in no order."""
    return tuple(
        AccessRight(
            ServiceId(parse_subsystem_id(row.provider), row.code),
            parse_right_subject(row.subject),
            row.method,
            row.path,
        )
        for row in await connection.execute(select(tables.access_right))
    )


async def read_groups(connection: AsyncConnection) -> tuple[Group, ...]:
    """All local groups with their members, by owner and code."""
    members: dict[tuple[str, str], set[SubsystemId]] = {}
    for row in await connection.execute(select(tables.local_group_member)):
        members.setdefault((row.owner, row.code), set()).add(parse_subsystem_id(row.member))
    columns = tables.local_group.c
    return tuple(
        Group(
            parse_subsystem_id(row.owner),
            row.code,
            row.description,
            frozenset(members.get((row.owner, row.code), ())),
        )
        for row in await connection.execute(select(tables.local_group).order_by(columns.owner, columns.code))
    )


def client_row(client: Client) -> dict[str, Any]:
    """The client without its certificates, which have a table of their own."""
    return {
        "identifier": client.identifier.encoded,
        "connection_type": client.connection_type.value,
        "state": client.state.value,
    }


def right_row(right: AccessRight) -> dict[str, str]:
    """A right; the whole row is its key."""
    return {
        **service_key(right.service),
        **_endpoint_key(right.endpoint),
        "subject": format_right_subject(right.subject),
    }


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint."""
    return {**service_key(endpoint.service), **_endpoint_key(endpoint), "generated": endpoint.generated}


def service_key(service: ServiceId) -> dict[str, str]:
    """What endpoints and rights belong to."""
    return {"provider": service.provider.encoded, "code": service.service_code}


def _endpoint_key(endpoint: Endpoint) -> dict[str, str]:
    return {"method": endpoint.method, "path": endpoint.path}


def description_digest(content: bytes) -> bytes | None:
    """The key of a description's bytes; None for a service without one."""
    return hashlib.sha256(content).digest() if content else None


def service_row(service: Service) -> dict[str, Any]:
    """A service; its description is only referred to."""
    return {
        **service_key(service.identifier),
        "version": service.version or "",
        "service_type": service.service_type.value,
        "url": service.url,
        "timeout_seconds": service.timeout_seconds,
        "enabled": service.enabled,
        "disabled_notice": service.disabled_notice,
        "title_de": service.title_de,
        "title_en": service.title_en,
        "purpose_de": service.purpose_de,
        "purpose_en": service.purpose_en,
        "legal_basis_kind": service.legal_basis_kind.value,
        "legal_basis": service.legal_basis,
        "data_categories": list(service.data_categories),
        "identity_level": service.identity_level.value,
        "verify_tls": service.verify_tls,
        "description": description_digest(service.description),
        "description_source": service.description_source,
        "description_type": service.description_type,
    }


def _service(row: Row[Any], contents: dict[bytes, bytes]) -> Service:
    return Service(
        provider=parse_subsystem_id(row.provider),
        code=row.code,
        version=row.version or None,
        service_type=ServiceType(row.service_type),
        url=row.url,
        timeout_seconds=row.timeout_seconds,
        enabled=row.enabled,
        disabled_notice=row.disabled_notice,
        title_de=row.title_de,
        title_en=row.title_en,
        purpose_de=row.purpose_de,
        purpose_en=row.purpose_en,
        legal_basis_kind=LegalBasisKind(row.legal_basis_kind),
        legal_basis=row.legal_basis,
        data_categories=tuple(row.data_categories),
        identity_level=RequiredIdentityLevel(row.identity_level),
        verify_tls=row.verify_tls,
        description=contents.get(row.description, b""),
        description_source=row.description_source,
        description_type=row.description_type,
    )


def consent_row(copy: ConsentCopy) -> dict[str, Any]:
    """A consent copy."""
    return {
        "reference": copy.reference,
        "client": copy.client.encoded,
        "subject": copy.subject,
        "service": copy.service.encoded,
        "expires_ms": copy.expires_ms,
        "status": copy.status.value,
        "sequence": copy.sequence,
        "jws": copy.jws,
        "identity_level": copy.identity_level.value,
        "authority": "" if copy.authority is None else copy.authority.encoded,
    }


def consent_copy(row: Row[Any]) -> ConsentCopy:
    """The consent copy in a row."""
    return ConsentCopy(
        reference=row.reference,
        client=parse_client_id(row.client),
        subject=row.subject,
        service=parse_service_id(row.service),
        expires_ms=row.expires_ms,
        status=ConsentStatus(row.status),
        sequence=row.sequence,
        jws=row.jws,
        identity_level=RequiredIdentityLevel(row.identity_level),
        authority=parse_subsystem_id(row.authority) if row.authority else None,
    )
