"""Keeps declarations of the consent service: nothing of one changes but its status (`declarations` has the rules)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.declarations import (
    INVALID,
    VALID,
    DeclarationInvalid,
    Declared,
    DeclaredPurpose,
    DeclaredService,
    PurposeTexts,
    ServiceTexts,
)
from trust.identifiers import SubsystemId, parse_service_id, parse_subsystem_id


class DeclarationTaken(Exception):
    """The identifier is another declaration's already; a withdrawn one's, too."""


class Declarations:
    """Keeps declarations. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def declare_service(self, declared: DeclaredService, *, now_ms: int) -> None:
        """A service declaration is in force; durable when it returns. The same again changes nothing.

        Raises DeclarationTaken.
        """
        row = {
            "id": declared.id,
            "provider": declared.provider.encoded,
            "service": declared.service.encoded,
            "content": asdict(declared.texts),
            "max_days": declared.max_days,
            "extension_allowed": declared.extension_allowed,
            "expires_ms": declared.expires_ms,
            "status": VALID,
            "declared_ms": now_ms,
        }
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(tables.service_declaration).values(row))
        except IntegrityError:
            if await self.service(declared.id) != declared:
                raise DeclarationTaken(declared.id) from None

    async def declare_purpose(self, declared: DeclaredPurpose, *, now_ms: int) -> None:
        """As `declare_service`. Raises DeclarationInvalid without a service declaration in force, DeclarationTaken."""
        service = await self.service(declared.service_declaration)
        if service is None or not service.holds(now_ms):
            raise DeclarationInvalid("serviceDeclaration")
        row = {
            "id": declared.id,
            "client": declared.client.encoded,
            "service_declaration": declared.service_declaration,
            "content": asdict(declared.texts),
            "expires_ms": declared.expires_ms,
            "status": VALID,
            "declared_ms": now_ms,
        }
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(tables.purpose_declaration).values(row))
        except IntegrityError:
            if await self.purpose(declared.id) != declared:
                raise DeclarationTaken(declared.id) from None

    async def withdraw_service(self, id_: str, *, provider: SubsystemId) -> bool:
        """The declaration and all purposes on it are INVALID; durable when it returns. False if it isn't theirs."""
        service, purpose = tables.service_declaration, tables.purpose_declaration
        mine = (service.c.id == id_, service.c.provider == provider.encoded)
        async with self._engine.begin() as connection:
            if (await connection.execute(update(service).where(*mine).values(status=INVALID))).rowcount != 1:
                return False
            await connection.execute(update(purpose).where(purpose.c.service_declaration == id_).values(status=INVALID))
        return True

    async def withdraw_purpose(self, id_: str, *, client: SubsystemId) -> bool:
        """As `withdraw_service`, for a recipient's own."""
        purpose = tables.purpose_declaration
        mine = (purpose.c.id == id_, purpose.c.client == client.encoded)
        async with self._engine.begin() as connection:
            return (await connection.execute(update(purpose).where(*mine).values(status=INVALID))).rowcount == 1

    async def service(self, id_: str) -> DeclaredService | None:
        """One service declaration, whatever its status."""
        table = tables.service_declaration
        async with self._engine.connect() as connection:
            found = (await connection.execute(select(table).where(table.c.id == id_))).one_or_none()
        return None if found is None else _service(found)

    async def purpose(self, id_: str) -> DeclaredPurpose | None:
        """One purpose declaration, whatever its status."""
        table = tables.purpose_declaration
        async with self._engine.connect() as connection:
            found = (await connection.execute(select(table).where(table.c.id == id_))).one_or_none()
        return None if found is None else _purpose(found)

    async def of_client(self, client: SubsystemId, purposes: Sequence[str]) -> dict[str, Declared]:
        """Those of the purposes that the client declared, whatever their status, with their services."""
        found = {}
        for id_ in dict.fromkeys(purposes):
            purpose = await self.purpose(id_)
            if purpose is not None and purpose.client == client:
                service = await self.service(purpose.service_declaration)
                assert service is not None
                found[id_] = Declared(purpose, service)
        return found

    async def declared(self, purpose: str) -> Declared | None:
        """A purpose with its service."""
        found = await self.purpose(purpose)
        service = None if found is None else await self.service(found.service_declaration)
        return None if found is None or service is None else Declared(found, service)


def _service(row: Row[Any]) -> DeclaredService:
    content = dict(row.content)
    content["data_categories"] = tuple(content["data_categories"])
    service = parse_service_id(row.service)
    assert isinstance(service.provider, SubsystemId)
    return DeclaredService(
        row.id, service.provider, service, ServiceTexts(**content), row.max_days, row.extension_allowed,
        row.expires_ms, row.status,
    )  # fmt: skip


def _purpose(row: Row[Any]) -> DeclaredPurpose:
    texts = PurposeTexts(**row.content)
    return DeclaredPurpose(
        row.id, parse_subsystem_id(row.client), row.service_declaration, texts, row.expires_ms, row.status
    )
