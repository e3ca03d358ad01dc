"""Reads and writes a node's configuration.

Each writing method is one transaction: when it returns, the change is durable and the revision has grown, so that every
process of the node sees it at its next poll. All methods may be called at once, from several processes too.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Table, and_, delete, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.dialects import insert_into
from gateway.store import rows, tables
from gateway.store.errors import ConsentConflict, StaleConsent, UnknownEndpoint, UnknownGroup, UnknownService
from gateway.store.model import (
    AccessRight,
    Client,
    ConsentCopy,
    Endpoint,
    Group,
    NodeConfiguration,
    Revision,
    Service,
    format_right_subject,
)
from trust.identifiers import ClientId, LocalGroupId, ServiceId, SubsystemId

_CONFIGURATION = "configuration"
_CONSENTS = "consents"


class Repository:
    """The configuration in one database. Takes an engine that `migrate` has brought up to date."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def revision(self) -> Revision:
        """The state of the store; differs from an earlier one if anything was written in between."""
        async with self._engine.connect() as connection:
            return await _revision(connection)

    async def load(self) -> NodeConfiguration:
        """Everything but the consents, as of one revision.

        The revision is read first: a change that commits in between is then read again at the next poll, never missed.
        """
        async with self._engine.connect() as connection:
            revision = await _revision(connection)
            return NodeConfiguration(
                revision=revision,
                clients=await rows.read_clients(connection),
                services=await rows.read_services(connection),
                rights=await rows.read_rights(connection),
                endpoints=await rows.read_endpoints(connection),
                groups=await rows.read_groups(connection),
            )

    async def clients(self) -> tuple[Client, ...]:
        """The members and subsystems that this gateway serves."""
        async with self._engine.connect() as connection:
            return await rows.read_clients(connection)

    async def services(self) -> tuple[Service, ...]:
        """The services of this gateway's subsystems."""
        async with self._engine.connect() as connection:
            return await rows.read_services(connection)

    async def rights(self) -> tuple[AccessRight, ...]:
        """Who may use which service or endpoint."""
        async with self._engine.connect() as connection:
            return await rows.read_rights(connection)

    async def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints of all services, the base ones excepted."""
        async with self._engine.connect() as connection:
            return await rows.read_endpoints(connection)

    async def groups(self) -> tuple[Group, ...]:
        """The local groups of this gateway's subsystems."""
        async with self._engine.connect() as connection:
            return await rows.read_groups(connection)

    # -- clients -----------------------------------------------------------------------------------------------------

    async def upsert_client(self, *clients: Client) -> None:
        """Adds clients or replaces what is known of them, their certificate pins included; all or none."""
        pins = tables.client_certificate
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            for client in clients:
                encoded = client.identifier.encoded
                await self._upsert(connection, tables.client, rows.client_row(client))
                await connection.execute(delete(pins).where(pins.c.client == encoded))
                if client.certificates:
                    await connection.execute(
                        pins.insert(), [{"client": encoded, "der": pin} for pin in sorted(client.certificates)]
                    )

    async def remove_client(self, identifier: ClientId) -> None:
        """Removes a client; removing an unknown one changes nothing."""
        encoded = identifier.encoded
        pins = tables.client_certificate
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            # SQLite enforces foreign keys only when told to: don't lean on the cascade.
            await connection.execute(delete(pins).where(pins.c.client == encoded))
            await connection.execute(delete(tables.client).where(tables.client.c.identifier == encoded))

    # -- services and their endpoints --------------------------------------------------------------------------------

    async def upsert_service(
        self,
        service: Service,
        *,
        grant_to: Sequence[AccessRight] = (),
        generated: Sequence[Endpoint] | None = None,
    ) -> None:
        """Adds or replaces a service and, in the same transaction, grants the rights given. Rights it has stay.

        `generated`: the endpoints of its description, which replace the ones generated before; a right to one that is
        gone goes with it, unless somebody added the same endpoint by hand. None leaves the endpoints alone.
        """
        await self.upsert_services((service,), grant_to=grant_to, generated=generated)

    async def upsert_services(
        self,
        services: Sequence[Service],
        *,
        removed: Sequence[ServiceId] = (),
        grant_to: Sequence[AccessRight] = (),
        generated: Sequence[Endpoint] | None = None,
    ) -> None:
        """`upsert_service` for the services of one description; `removed` (as `remove_service`) are no longer in it."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            for service in services:
                if digest := rows.description_digest(service.description):
                    row = {"digest": digest, "content": service.description}
                    await connection.execute(
                        self._insert_into(tables.service_description).values(row).on_conflict_do_nothing()
                    )
                await self._upsert(connection, tables.service, rows.service_row(service))
                if generated is not None:
                    own = [endpoint for endpoint in generated if endpoint.service == service.key]
                    await self._replace_generated(connection, service.key, own)
            for identifier in removed:
                await _remove_service(connection, identifier)
            await _remove_unused_descriptions(connection)
            for right in grant_to:
                await self._grant(connection, right)

    async def remove_service(self, service: ServiceId) -> None:
        """Removes a service, with its rights and endpoints if no other version is left.

        Removing an unknown one changes nothing.
        """
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await _remove_service(connection, service)
            await _remove_unused_descriptions(connection)

    async def add_endpoint(self, *endpoints: Endpoint) -> None:
        """Adds endpoints, all or none; one that is there becomes as given. Raises UnknownService."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            for endpoint in endpoints:
                await _require_service(connection, endpoint.service)
                await self._upsert(connection, tables.endpoint, rows.endpoint_row(endpoint))

    async def remove_endpoint(self, endpoint: Endpoint) -> None:
        """Removes an endpoint with the rights to it. Raises UnknownEndpoint."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await _require_endpoint(connection, endpoint)
            await _remove_endpoint(connection, endpoint)

    # -- groups and rights -------------------------------------------------------------------------------------------

    async def upsert_group(self, group: Group) -> None:
        """Adds a local group or replaces its description and members."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            key = {"owner": group.owner.encoded, "code": group.code}
            await self._upsert(connection, tables.local_group, {**key, "description": group.description})
            await connection.execute(delete(tables.local_group_member).where(_matches(tables.local_group_member, key)))
            await self._add_members(connection, key, group.members)

    async def change_group(
        self,
        owner: SubsystemId,
        code: str,
        *,
        add: frozenset[SubsystemId] = frozenset(),
        remove: frozenset[SubsystemId] = frozenset(),
    ) -> None:
        """Adds and removes members of a local group. Raises UnknownGroup."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await _require_group(connection, owner, code)
            key = {"owner": owner.encoded, "code": code}
            for member in remove:
                row = {**key, "member": member.encoded}
                await connection.execute(
                    delete(tables.local_group_member).where(_matches(tables.local_group_member, row))
                )
            await self._add_members(connection, key, add)

    async def remove_group(self, owner: SubsystemId, code: str) -> None:
        """Removes a local group with the rights it has. Raises UnknownGroup."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            await _require_group(connection, owner, code)
            key = {"owner": owner.encoded, "code": code}
            for table in (tables.local_group_member, tables.local_group):
                await connection.execute(delete(table).where(_matches(table, key)))
            subject = format_right_subject(LocalGroupId(code))
            row = {"provider": owner.encoded, "subject": subject}
            await connection.execute(delete(tables.access_right).where(_matches(tables.access_right, row)))

    async def grant(self, *rights: AccessRight) -> None:
        """Gives rights; giving one twice changes nothing. Raises UnknownService, UnknownEndpoint, UnknownGroup."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            for right in rights:
                await self._grant(connection, right)

    async def revoke(self, *rights: AccessRight) -> None:
        """Takes rights away; taking one that wasn't given changes nothing."""
        async with self._engine.begin() as connection:
            await self._raise_revision(connection, _CONFIGURATION)
            for right in rights:
                await connection.execute(
                    delete(tables.access_right).where(_matches(tables.access_right, rows.right_row(right)))
                )

    # -- consents ----------------------------------------------------------------------------------------------------

    async def consent_copies(self) -> tuple[ConsentCopy, ...]:
        """Every consent copy, withdrawn and expired ones too."""
        async with self._engine.connect() as connection:
            found = await connection.execute(select(tables.consent_copy))
            return tuple(rows.consent_copy(row) for row in found)

    async def consent_copy(self, reference: str) -> ConsentCopy | None:
        """The copy with this reference, or None."""
        query = select(tables.consent_copy).where(tables.consent_copy.c.reference == reference)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
            return None if row is None else rows.consent_copy(row)

    @asynccontextmanager
    async def hold_consent_copy(self, reference: str) -> AsyncIterator[ConsentCopy | None]:
        """The copy with this reference, or None; within the block `upsert_consent_copy` of it waits, in all processes.

        PostgreSQL only: of a SQLite database one process has the use. Any number may hold a copy at once.
        """
        query = select(tables.consent_copy).where(tables.consent_copy.c.reference == reference)
        async with self._engine.begin() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock_shared(_lock_number(reference))))
            row = (await connection.execute(query)).one_or_none()
            yield None if row is None else rows.consent_copy(row)

    async def upsert_consent_copy(self, copy: ConsentCopy) -> None:
        """Stores a newer state of a consent; storing the same state again changes nothing.

        Raises StaleConsent for an older state (a replayed push must not undo a withdrawal) and ConsentConflict if the
        reference is another consent's.
        """
        consents = tables.consent_copy
        async with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                # Data that are on their way on this consent are logged before it changes (`hold_consent_copy`).
                await connection.execute(select(func.pg_advisory_xact_lock(_lock_number(copy.reference))))
            # The revision row is the lock: from here on no other process changes a consent until we commit.
            await self._raise_revision(connection, _CONSENTS)
            query = select(consents).where(consents.c.reference == copy.reference)
            row = (await connection.execute(query)).one_or_none()
            if row is not None:
                stored = rows.consent_copy(row)
                if (stored.client, stored.subject, stored.service) != (copy.client, copy.subject, copy.service):
                    raise ConsentConflict("this reference is another consent's")
                if stored == copy:
                    return
                if stored.sequence >= copy.sequence:
                    raise StaleConsent("a newer state of this consent is stored")
            await self._upsert(connection, consents, rows.consent_row(copy))

    async def _replace_generated(
        self, connection: AsyncConnection, service: ServiceId, generated: Sequence[Endpoint]
    ) -> None:
        key = rows.service_key(service)
        kept = {(endpoint.method, endpoint.path) for endpoint in generated}
        stored = await connection.execute(select(tables.endpoint).where(_matches(tables.endpoint, key)))
        for row in stored.all():
            if row.generated and (row.method, row.path) not in kept:
                await _remove_endpoint(connection, Endpoint(service, row.method, row.path))
        for endpoint in generated:
            statement = self._insert_into(tables.endpoint).values(rows.endpoint_row(endpoint))
            await connection.execute(statement.on_conflict_do_nothing())

    async def _add_members(
        self, connection: AsyncConnection, key: Mapping[str, str], members: frozenset[SubsystemId]
    ) -> None:
        for member in members:
            row = {**key, "member": member.encoded}
            await connection.execute(self._insert_into(tables.local_group_member).values(row).on_conflict_do_nothing())

    async def _grant(self, connection: AsyncConnection, right: AccessRight) -> None:
        await _require_service(connection, right.service)
        if not right.endpoint.is_base:
            await _require_endpoint(connection, right.endpoint)
        if isinstance(right.subject, LocalGroupId):
            await _require_group(connection, right.service.provider, right.subject.group_code)
        await connection.execute(
            self._insert_into(tables.access_right).values(rows.right_row(right)).on_conflict_do_nothing()
        )

    def _insert_into(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        return insert_into(table, self._engine.dialect)

    async def _raise_revision(self, connection: AsyncConnection, kind: str) -> None:
        revision = tables.revision
        statement = self._insert_into(revision).values(kind=kind, number=1)
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["kind"], set_={"number": revision.c.number + 1})
        )

    async def _upsert(self, connection: AsyncConnection, table: Table, row: Mapping[str, Any]) -> None:
        keys = [column.name for column in table.primary_key]
        statement = self._insert_into(table).values(row)
        changed = {name: statement.excluded[name] for name in row if name not in keys}
        await connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def _lock_number(reference: str) -> ColumnElement[int]:
    """The number of a consent's advisory lock, 64 bits. That two share one now and then costs a wait."""
    digest = hashlib.sha256(b"datenweg/consent-lock/v1\0" + reference.encode()).digest()
    return literal(int.from_bytes(digest[:8], "big", signed=True), BigInteger)


async def _revision(connection: AsyncConnection) -> Revision:
    found = await connection.execute(select(tables.revision.c.kind, tables.revision.c.number))
    numbers = {row.kind: row.number for row in found}
    return Revision(configuration=numbers.get(_CONFIGURATION, 0), consents=numbers.get(_CONSENTS, 0))


def _matches(table: Table, values: Mapping[str, Any]) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in values.items()))


async def _exists(connection: AsyncConnection, table: Table, values: Mapping[str, Any]) -> bool:
    return (await connection.execute(select(table).where(_matches(table, values)).limit(1))).first() is not None


async def _require_service(connection: AsyncConnection, service: ServiceId) -> None:
    if not await _exists(connection, tables.service, rows.service_key(service)):
        raise UnknownService(f"no service {service.encoded} at this gateway")


async def _require_endpoint(connection: AsyncConnection, endpoint: Endpoint) -> None:
    key = {**rows.service_key(endpoint.service), "method": endpoint.method, "path": endpoint.path}
    if not await _exists(connection, tables.endpoint, key):
        raise UnknownEndpoint(f"no endpoint {endpoint.method} {endpoint.path} of {endpoint.service.encoded}")


async def _require_group(connection: AsyncConnection, owner: ClientId, code: str) -> None:
    if not await _exists(connection, tables.local_group, {"owner": owner.encoded, "code": code}):
        raise UnknownGroup(f"no group {code} of {owner.encoded}")


async def _remove_endpoint(connection: AsyncConnection, endpoint: Endpoint) -> None:
    key = {**rows.service_key(endpoint.service), "method": endpoint.method, "path": endpoint.path}
    for table in (tables.access_right, tables.endpoint):
        await connection.execute(delete(table).where(_matches(table, key)))


async def _remove_service(connection: AsyncConnection, service: ServiceId) -> None:
    key = rows.service_key(service)
    row = {**key, "version": service.service_version or ""}
    await connection.execute(delete(tables.service).where(_matches(tables.service, row)))
    if not await _exists(connection, tables.service, key):
        for table in (tables.access_right, tables.endpoint):
            await connection.execute(delete(table).where(_matches(table, key)))


async def _remove_unused_descriptions(connection: AsyncConnection) -> None:
    used = select(tables.service.c.description).where(tables.service.c.description.is_not(None))
    await connection.execute(delete(tables.service_description).where(tables.service_description.c.digest.not_in(used)))
