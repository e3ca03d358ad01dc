"""Reads and writes a node's configuration.

Each writing method is one transaction: when it returns, the change is durable and the revision has grown, so that every
process of the node sees it at its next poll. All methods may be called at once, from several processes too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, Table, and_, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.store import tables
from gateway.store.model import (
    AccessRight,
    Client,
    ConnectionType,
    ConsentCopy,
    ConsentStatus,
    LegalBasisKind,
    NodeConfiguration,
    RequiredIdentityLevel,
    Revision,
    Service,
    ServiceType,
    format_right_subject,
    parse_right_subject,
)
from trust.identifiers import ClientId, ServiceId, parse_client_id, parse_service_id, parse_subsystem_id

_CONFIGURATION = "configuration"
_CONSENTS = "consents"


class StoreError(Exception):
    """The change contradicts what is stored."""


class UnknownService(StoreError):
    """No such service is registered at this gateway."""


class StaleConsent(StoreError):
    """A newer state of this consent is already stored."""


class ConsentConflict(StoreError):
    """The reference already belongs to a consent of another client, subject or service."""


class Repository:
    """The configuration in one database. Takes an engine that `migrate` has brought up to date."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    async def revision(self) -> Revision:
        """The state of the store; differs from an earlier one if anything was written in between."""
        async with self._engine.connect() as connection:
            return await _revision(connection)

    async def load(self) -> NodeConfiguration:
        """Clients, services and rights as of one revision.

        The revision is read first: a change that commits in between is then read again at the next poll, never missed.
        """
        async with self._engine.connect() as connection:
            revision = await _revision(connection)
            return NodeConfiguration(
                revision=revision,
                clients=await _clients(connection),
                services=await _services(connection),
                rights=await _rights(connection),
            )

    async def clients(self) -> tuple[Client, ...]:
        """The members and subsystems that this gateway serves."""
        async with self._engine.connect() as connection:
            return await _clients(connection)

    async def services(self) -> tuple[Service, ...]:
        """The services of this gateway's subsystems."""
        async with self._engine.connect() as connection:
            return await _services(connection)

    async def rights(self) -> tuple[AccessRight, ...]:
        """Who may use which service."""
        async with self._engine.connect() as connection:
            return await _rights(connection)

    async def upsert_client(self, client: Client) -> None:
        """Adds a client or replaces what is known of it, its certificate pins included."""
        encoded = client.identifier.encoded
        pins = tables.client_certificate
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await self._upsert(
                connection,
                tables.client,
                {
                    "identifier": encoded,
                    "connection_type": client.connection_type.value,
                    "enabled": client.enabled,
                },
            )
            await connection.execute(delete(pins).where(pins.c.client == encoded))
            if client.certificates:
                rows = [{"client": encoded, "der": pin} for pin in sorted(client.certificates)]
                await connection.execute(pins.insert(), rows)

    async def remove_client(self, identifier: ClientId) -> None:
        """Removes a client; removing an unknown one changes nothing."""
        encoded = identifier.encoded
        pins = tables.client_certificate
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            # SQLite enforces foreign keys only when told to: don't lean on the cascade.
            await connection.execute(delete(pins).where(pins.c.client == encoded))
            await connection.execute(delete(tables.client).where(tables.client.c.identifier == encoded))

    async def upsert_service(self, service: Service, *, grant_to: Sequence[AccessRight] = ()) -> None:
        """Adds or replaces a service and, in the same transaction, grants the rights given. Rights it has stay."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await self._upsert(connection, tables.service, _service_row(service))
            for right in grant_to:
                await self._grant(connection, right)

    async def remove_service(self, service: ServiceId) -> None:
        """Removes a service with all rights to it; removing an unknown one changes nothing."""
        rights, services = tables.access_right.c, tables.service.c
        provider, code = service.provider.encoded, service.service_code
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await connection.execute(
                delete(tables.access_right).where(and_(rights.provider == provider, rights.code == code))
            )
            await connection.execute(
                delete(tables.service).where(and_(services.provider == provider, services.code == code))
            )

    async def grant(self, right: AccessRight) -> None:
        """Gives a right; giving it twice changes nothing. Raises UnknownService."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await self._grant(connection, right)

    async def revoke(self, right: AccessRight) -> None:
        """Takes a right away; taking one that wasn't given changes nothing."""
        row = _right_row(right)
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await connection.execute(
                delete(tables.access_right).where(*(tables.access_right.c[name] == row[name] for name in row))
            )

    async def consent_copies(self) -> tuple[ConsentCopy, ...]:
        """Every consent copy, withdrawn and expired ones too."""
        async with self._engine.connect() as connection:
            rows = await connection.execute(select(tables.consent_copy))
            return tuple(_consent_copy(row) for row in rows)

    async def consent_copy(self, reference: str) -> ConsentCopy | None:
        """The copy with this reference, or None."""
        query = select(tables.consent_copy).where(tables.consent_copy.c.reference == reference)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
            return None if row is None else _consent_copy(row)

    async def upsert_consent_copy(self, copy: ConsentCopy) -> None:
        """Stores a newer state of a consent; storing the same state again changes nothing.

        Raises StaleConsent for an older state (a replayed push must not undo a withdrawal) and ConsentConflict if the
        reference is another consent's.
        """
        consents = tables.consent_copy
        async with self._engine.begin() as connection:
            # The revision row is the lock: from here on no other process changes a consent until we commit.
            await self._raise_revision(connection, _CONSENTS)
            query = select(consents).where(consents.c.reference == copy.reference)
            row = (await connection.execute(query)).one_or_none()
            if row is not None:
                stored = _consent_copy(row)
                if (stored.client, stored.subject, stored.service) != (copy.client, copy.subject, copy.service):
                    raise ConsentConflict("this reference is another consent's")
                if stored == copy:
                    return
                if stored.sequence >= copy.sequence:
                    raise StaleConsent("a newer state of this consent is stored")
            await self._upsert(connection, consents, _consent_row(copy))

    async def _grant(self, connection: AsyncConnection, right: AccessRight) -> None:
        services = tables.service.c
        row = _right_row(right)
        known = select(services.code).where(and_(services.provider == row["provider"], services.code == row["code"]))
        if (await connection.execute(known)).first() is None:
            raise UnknownService(f"no service {right.service.encoded} at this gateway")
        await connection.execute(self._insert(tables.access_right).values(row).on_conflict_do_nothing())

    async def _raise_revision(self, connection: AsyncConnection, kind: str) -> None:
        revision = tables.revision
        statement = self._insert(revision).values(kind=kind, number=1)
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["kind"], set_={"number": revision.c.number + 1})
        )

    async def _upsert(self, connection: AsyncConnection, table: Table, row: Mapping[str, Any]) -> None:
        keys = [column.name for column in table.primary_key]
        statement = self._insert(table).values(row)
        changed = {name: statement.excluded[name] for name in row if name not in keys}
        await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


async def _revision(connection: AsyncConnection) -> Revision:
    rows = await connection.execute(select(tables.revision.c.kind, tables.revision.c.number))
    numbers = {row.kind: row.number for row in rows}
    return Revision(configuration=numbers.get(_CONFIGURATION, 0), consents=numbers.get(_CONSENTS, 0))


async def _clients(connection: AsyncConnection) -> tuple[Client, ...]:
    pins: dict[str, set[bytes]] = {}
    for owner, pin in await connection.execute(select(tables.client_certificate)):
        pins.setdefault(owner, set()).add(pin)
    return tuple(
        Client(
            identifier=parse_client_id(row.identifier),
            connection_type=ConnectionType(row.connection_type),
            enabled=row.enabled,
            certificates=frozenset(pins.get(row.identifier, ())),
        )
        for row in await connection.execute(select(tables.client).order_by(tables.client.c.identifier))
    )


async def _services(connection: AsyncConnection) -> tuple[Service, ...]:
    query: Select[Any] = select(tables.service).order_by(tables.service.c.provider, tables.service.c.code)
    return tuple(_service(row) for row in await connection.execute(query))


async def _rights(connection: AsyncConnection) -> tuple[AccessRight, ...]:
    return tuple(
        AccessRight(ServiceId(parse_subsystem_id(row.provider), row.code), parse_right_subject(row.subject))
        for row in await connection.execute(select(tables.access_right))
    )


def _right_row(right: AccessRight) -> dict[str, str]:
    return {
        "provider": right.service.provider.encoded,
        "code": right.service.service_code,
        "subject": format_right_subject(right.subject),
    }


def _service_row(service: Service) -> dict[str, Any]:
    return {
        "provider": service.provider.encoded,
        "code": service.code,
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
        "description": service.description,
    }


def _service(row: Row[Any]) -> Service:
    return Service(
        provider=parse_subsystem_id(row.provider),
        code=row.code,
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
        description=row.description,
    )


def _consent_row(copy: ConsentCopy) -> dict[str, Any]:
    return {
        "reference": copy.reference,
        "client": copy.client.encoded,
        "subject": copy.subject,
        "service": copy.service.encoded,
        "expires_ms": copy.expires_ms,
        "status": copy.status.value,
        "sequence": copy.sequence,
        "jws": copy.jws,
    }


def _consent_copy(row: Row[Any]) -> ConsentCopy:
    return ConsentCopy(
        reference=row.reference,
        client=parse_client_id(row.client),
        subject=row.subject,
        service=parse_service_id(row.service),
        expires_ms=row.expires_ms,
        status=ConsentStatus(row.status),
        sequence=row.sequence,
        jws=row.jws,
    )
