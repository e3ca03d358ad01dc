"""How members know the persons who use this application: pseudonyms, remembered, since none can be turned back.

An institution that asks for a consent names the person by the pseudonym that it got when they used its service or
linked their account. Whoever never did is nobody there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.dialects import insert_into
from gateway.citizen import tables
from trust.identifiers import MemberId

_REMEMBERED: Final = 10_000


class Acquaintances:
    """Keeps who is who at which member. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._written: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def introduce(self, person: str, member: MemberId, subject: str) -> None:
        """`member` will know `person` as `subject`; durable when it returns. Written once for each."""
        key = (member.encoded, subject)
        if key in self._written:
            self._written.move_to_end(key)
            return
        async with self._engine.begin() as connection:
            await connection.execute(
                insert_into(tables.acquaintance, self._engine.dialect)
                .values(member=member.encoded, subject=subject, person=person)
                .on_conflict_do_nothing()
            )
        self._written[key] = None
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    async def person(self, member: MemberId, subject: str) -> str | None:
        """Whom the member knows as `subject`: a pseudonym at the city, or nobody."""
        row = tables.acquaintance.c
        query = select(row.person).where(row.member == member.encoded, row.subject == subject)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).scalar_one_or_none()
        return None if found is None else str(found)
