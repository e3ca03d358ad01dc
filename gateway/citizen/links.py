"""Linked accounts: which account at which institution is a person's. The flows of the institutions fill the table.

Unlinking asks the institution first, while the consent that it may need still holds, then takes the consents for that
provider back: no link, no data. Where the institution doesn't answer, the link is `ending`: nothing is asked for on it
any more, and the institution is asked again to end it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.errors import LinkConflict, UnknownThing
from gateway.citizen.notices import NoticeKind, Notices
from gateway.clock import Clock

State = Literal["linked", "ending", "ended"]
# Of a link that isn't `ending`.
_SETTLED: Final[Mapping[str, Any]] = {"subject": "", "attempts": 0, "due_ms": None}


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
    # When an institution that has not ended it is asked again; None if only the citizen may ask.
    due_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Unended:
    """A link that its institution has not ended yet. `subject`: the person there. `attempts`: in vain so far."""

    link: Link
    person: str
    subject: str
    attempts: int
    due_ms: int


class Links:
    """Keeps links. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine, clock: Clock, notices: Notices, *, names: Mapping[str, str]) -> None:
        """`names`: what people call the institution behind each service."""
        self._engine = engine
        self._clock = clock
        self._notices = notices
        self._names = names

    async def add(self, person: str, *, service: str, provider: str, label: str) -> Link:
        """A flow has linked an account. Raises LinkConflict when one is linked for the service."""
        link = Link(str(uuid.uuid4()), service, provider, label, "linked", self._clock.now_ms(), None)
        values = {"id": link.id, "person": person, "service": service, "provider": provider, "label": label}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(
                    insert(tables.link).values(**values, **_SETTLED, state=link.state, created_ms=link.created_ms)
                )
        except IntegrityError:
            raise LinkConflict(service) from None
        await self._tell(person, NoticeKind.LINK_ADDED, link)
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
                .values(state="linked", label=label, ended_ms=None, **_SETTLED)
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

    async def end(self, person: str, identifier: str) -> Link:
        """The institution has ended the link. Raises UnknownThing."""
        row = tables.link
        ended = {"state": "ended", "ended_ms": self._clock.now_ms(), **_SETTLED}
        async with self._engine.begin() as connection:
            mine = (row.c.id == identifier, row.c.person == person, row.c.state != "ended")
            changed = await connection.execute(update(row).where(*mine).values(ended))
        link = await self.get(person, identifier)
        if changed.rowcount == 1:
            await self._tell(person, NoticeKind.LINK_ENDED, link)
        return link

    async def begin_end(self, person: str, identifier: str, *, subject: str, due_ms: int | None) -> Link:
        """The citizen ends the link; its institution doesn't know. Raises UnknownThing.

        At `due_ms` it is asked again, in the background, by the pseudonym (`subject`) that it knows the person by; with
        None only when the citizen wants to.
        """
        row = tables.link
        async with self._engine.begin() as connection:
            await connection.execute(
                update(row)
                .where(row.c.id == identifier, row.c.person == person, row.c.state != "ended")
                .values(state="ending", ended_ms=None, subject=subject, attempts=0, due_ms=due_ms)
            )
        return await self.get(person, identifier)

    async def unended(self, *, now_ms: int, limit: int) -> tuple[Unended, ...]:
        """The links whose institution is to be asked again now, the longest waiting first."""
        row = tables.link
        query = select(row).where(row.c.state == "ending", row.c.due_ms <= now_ms).order_by(row.c.due_ms).limit(limit)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).all()
        return tuple(Unended(_link(one), one.person, one.subject, one.attempts, one.due_ms) for one in found)

    async def claim(self, unended: Unended, *, due_ms: int) -> bool:
        """Whether the caller is the one to ask, before it is due again: no other process was faster."""
        row = tables.link
        still = (row.c.id == unended.link.id, row.c.state == "ending", row.c.due_ms == unended.due_ms)
        async with self._engine.begin() as connection:
            claimed = await connection.execute(
                update(row).where(*still).values(due_ms=due_ms, attempts=unended.attempts + 1)
            )
        return claimed.rowcount == 1

    async def _tell(self, person: str, kind: NoticeKind, link: Link) -> None:
        facts = {"link": link.id, "service": link.service}
        if name := self._names.get(link.service):
            facts["institution"] = name
        await self._notices.add(person, kind, facts)


def _link(row: Row[Any]) -> Link:
    return Link(row.id, row.service, row.provider, row.label, row.state, row.created_ms, row.ended_ms, row.due_ms)
