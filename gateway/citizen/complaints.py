"""Complaints: what a citizen objects to, and what the city answered. Sealed in the database under the city's key."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.errors import ComplaintLimit, UnknownThing
from gateway.citizen.notices import NoticeKind, Notices
from gateway.citizen.sealing import Sealer
from gateway.clock import Clock

_USE: Final = "complaint"
_OPEN_AT_ONCE: Final = 20
_TWICE_MS: Final = 60_000

State = Literal["received", "answered"]


@dataclass(frozen=True, slots=True)
class Complaint:
    """One complaint. `about` names an access, a consent, a service or a provider, as the citizen gave it."""

    id: str
    text: str
    about: Mapping[str, str]
    answer: str
    state: State
    at_ms: int
    answered_ms: int | None


class Complaints:
    """Takes, lists and answers complaints. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine, clock: Clock, notices: Notices, *, key: bytes) -> None:
        self._engine = engine
        self._clock = clock
        self._notices = notices
        self._sealer = Sealer(key, _USE)
        self._taking = asyncio.Lock()

    async def add(self, person: str, *, text: str, about: Mapping[str, str]) -> Complaint:
        """Takes a complaint; durable when it returns. Raises ComplaintLimit when too many wait for an answer.

        The same words again within a minute are the same complaint: a button that was pressed twice.
        """
        async with self._taking:
            return await self._take(person, text, dict(about))

    async def _take(self, person: str, text: str, about: dict[str, str]) -> Complaint:
        waiting = [one for one in await self.of(person) if one.state == "received"]
        identifier, now_ms = str(uuid.uuid4()), self._clock.now_ms()
        for one in waiting:
            if (one.text, one.about) == (text, about) and now_ms - one.at_ms < _TWICE_MS:
                return one
        if len(waiting) >= _OPEN_AT_ONCE:
            raise ComplaintLimit
        sealed = self._sealer.seal({"text": text, "about": dict(about), "answer": ""}, row=identifier)
        async with self._engine.begin() as connection:
            await connection.execute(
                insert(tables.complaint).values(
                    id=identifier, person=person, sealed=sealed, state="received", at_ms=now_ms
                )
            )
        return Complaint(identifier, text, dict(about), "", "received", now_ms, None)

    async def of(self, person: str) -> tuple[Complaint, ...]:
        """All of a person's complaints, newest first."""
        row = tables.complaint
        query = select(row).where(row.c.person == person).order_by(row.c.at_ms.desc(), row.c.id)
        async with self._engine.connect() as connection:
            return tuple(self._complaint(found) for found in (await connection.execute(query)).all())

    async def get(self, person: str, identifier: str) -> Complaint:
        """One complaint of this person. Raises UnknownThing, for another's too."""
        row = tables.complaint
        query = select(row).where(row.c.id == identifier, row.c.person == person)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None:
            raise UnknownThing(identifier)
        return self._complaint(found)

    async def all(self) -> tuple[Complaint, ...]:
        """Everybody's complaints, for the city's officer: the oldest unanswered first."""
        row = tables.complaint
        query = select(row).order_by(row.c.state.desc(), row.c.at_ms, row.c.id)
        async with self._engine.connect() as connection:
            return tuple(self._complaint(found) for found in (await connection.execute(query)).all())

    async def answer(self, identifier: str, text: str) -> Complaint:
        """The city's answer, which the person is told of. Raises UnknownThing."""
        row = tables.complaint
        async with self._engine.begin() as connection:
            found = (await connection.execute(select(row).where(row.c.id == identifier))).one_or_none()
            if found is None:
                raise UnknownThing(identifier)
            content = self._sealer.open(found.sealed, row=identifier) | {"answer": text}
            values = {
                "sealed": self._sealer.seal(content, row=identifier),
                "state": "answered",
                "answered_ms": self._clock.now_ms(),
            }
            await connection.execute(update(row).where(row.c.id == identifier).values(**values))
        await self._notices.add(found.person, NoticeKind.COMPLAINT_ANSWERED, {"complaint": identifier})
        return await self.get(found.person, identifier)

    def _complaint(self, row: Row[Any]) -> Complaint:
        content = self._sealer.open(row.sealed, row=row.id)
        texts = (content["text"], content["about"], content["answer"])
        return Complaint(row.id, *texts, row.state, row.at_ms, row.answered_ms)
