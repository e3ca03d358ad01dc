"""Reads this gateway's own access log for one person: for the built-in service, and for the citizen's pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from audit.access import accesses
from audit.person_records import PersonRecord, first_entry_ms, records_of
from audit.release import KIND as RELEASE
from audit.subject_keys import SubjectKeys
from gateway.logs import OwnLogs


class OwnAccesses:
    """The accesses to a person's data that this gateway recorded, with their proofs."""

    def __init__(self, engine: AsyncEngine, keys: SubjectKeys, logs: OwnLogs) -> None:
        self._engine = engine
        self._keys = keys
        self._logs = logs

    async def read(self, subject_ref: str, month: str, *, seen: int = 0) -> bytes:
        """One month's bundle as JSON; an empty one for a person that the log doesn't know. Raises AuditError.

        `seen`: the log's size at an earlier visit, from which the bundle then proves that the log only grew.
        """
        return json.dumps(await self.bundle(subject_ref, month, seen=seen), separators=(",", ":")).encode()

    async def bundle(self, subject_ref: str, month: str, *, seen: int = 0) -> dict[str, Any]:
        """One month's bundle as plain values. Raises AuditError."""
        publisher = self._logs.publisher_of(month)
        others = tuple(other for other in self._logs.publishers.values() if other is not publisher)
        found = await accesses(
            self._engine, self._keys, subject_ref, month, publisher=publisher, seen=seen, others=others
        )
        return found.as_json()

    async def records(self, subject_ref: str) -> list[tuple[int, Mapping[str, Any]]]:
        """Every record of the person that can be opened, with its time (ms, UTC), oldest first. Raises AuditError.

        What was withheld and released counts from when it happened.
        """
        found: list[tuple[int, Mapping[str, Any]]] = []
        for entry in await records_of(self._engine, self._keys, subject_ref):
            content = json.loads(entry.content)
            if isinstance(content, dict):
                found.append((_happened_ms(entry, content), content))
        return sorted(found, key=lambda pair: pair[0])

    async def first_ms(self) -> int | None:
        """Since when (ms, UTC) there are records; None without any."""
        return await first_entry_ms(self._engine)


def _happened_ms(entry: PersonRecord, content: Mapping[str, Any]) -> int:
    if entry.kind != RELEASE:
        return entry.time_ms
    return int(datetime.fromisoformat(str(content["time"])).timestamp() * 1000)


class CitizenAccesses:
    """The same for the citizen's application, which asks for values and takes None for an empty month."""

    def __init__(self, own: OwnAccesses) -> None:
        self._own = own

    async def read(self, subject_ref: str, month: str, *, seen: int = 0) -> Mapping[str, Any] | None:
        """One month's bundle. Raises AuditError."""
        bundle = await self._own.bundle(subject_ref, month, seen=seen)
        return bundle if bundle["accesses"] else None
