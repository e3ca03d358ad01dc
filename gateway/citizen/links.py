"""Linked accounts: which account at which institution is a person's. The flows of the institutions fill the table.

Unlinking asks the institution first, while the consent that it may need still holds, then takes the consents for that
provider back: no link, no data. Where the institution doesn't answer, the link is `ending` and nothing is asked for
on it any more.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.errors import LinkConflict, UnknownThing
from gateway.citizen.notices import NoticeKind, Notices
from gateway.clock import Clock

State = Literal["linked", "ending", "ended"]


@dataclass(frozen=True, slots=True)
class Link:
    """One linked account. `service` is the purpose's key, `label` what the citizen knows the account by."""

    id: str
    service: str
    provider: str
    label: str
    state: State
    created_ms: int
    ended_ms: int | None


class Links:
    """Keeps links. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine, clock: Clock, notices: Notices) -> None:
        self._engine = engine
        self._clock = clock
        self._notices = notices

    async def add(self, person: str, *, service: str, provider: str, label: str) -> Link:
        """A flow has linked an account. Raises LinkConflict when one is linked for the service."""
        link = Link(str(uuid.uuid4()), service, provider, label, "linked", self._clock.now_ms(), None)
        values = {"id": link.id, "person": person, "service": service, "provider": provider, "label": label}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(
                    insert(tables.link).values(**values, state=link.state, created_ms=link.created_ms)
                )
        except IntegrityError:
            raise LinkConflict(service) from None
        await self._notices.add(person, NoticeKind.LINK_ADDED, {"link": link.id, "service": service})
        return link

    async def keep(self, person: str, *, service: str, provider: str, label: str) -> Link:
        """The institution says that the account is linked: as it was, again, or anew."""
        current = await self.current(person, service)
        if current is None:
            try:
                return await self.add(person, service=service, provider=provider, label=label)
            except LinkConflict:
                # Another window of the same citizen was first.
                current = await self.current(person, service)
                if current is None:
                    raise
        row = tables.link
        async with self._engine.begin() as connection:
            await connection.execute(
                update(row)
                .where(row.c.id == current.id, row.c.state != "ended")
                .values(state="linked", label=label, ended_ms=None)
            )
        return await self.get(person, current.id)

    async def current(self, person: str, service: str) -> Link | None:
        """The link in force for a service, `ending` ones too."""
        return next((one for one in await self.of(person) if one.service == service and one.state != "ended"), None)

    async def of(self, person: str) -> tuple[Link, ...]:
        """All of a person's links, newest first; ended ones too."""
        row = tables.link
        query = select(row).where(row.c.person == person).order_by(row.c.created_ms.desc(), row.c.id)
        async with self._engine.connect() as connection:
            return tuple(_link(found) for found in (await connection.execute(query)).all())

    async def get(self, person: str, identifier: str) -> Link:
        """One link of this person. Raises UnknownThing, for another's too."""
        row = tables.link
        query = select(row).where(row.c.id == identifier, row.c.person == person)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None:
            raise UnknownThing(identifier)
        return _link(found)

    async def end(self, person: str, identifier: str, *, confirmed: bool) -> Link:
        """The link is over, `confirmed` by the institution or not yet. Raises UnknownThing."""
        row, now_ms = tables.link, self._clock.now_ms()
        state: State = "ended" if confirmed else "ending"
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                update(row)
                .where(row.c.id == identifier, row.c.person == person, row.c.state != "ended")
                .values(state=state, ended_ms=now_ms if confirmed else None)
            )
        if changed.rowcount == 1 and confirmed:
            await self._notices.add(person, NoticeKind.LINK_ENDED, {"link": identifier})
        return await self.get(person, identifier)


def _link(row: Row[Any]) -> Link:
    return Link(row.id, row.service, row.provider, row.label, row.state, row.created_ms, row.ended_ms)
