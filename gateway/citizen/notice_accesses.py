"""Tells of what the access logs show: an institution that is new, an attempt that was refused.

Seen when the citizen's logs are read; the logs are their holders', nothing of them is kept here but the notice. One
notice for each institution, one a day for each that was refused a service. The citizen's own clicks are no news.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import select

from gateway.citizen import tables
from gateway.citizen.access import Access
from gateway.citizen.notices import NoticeKind
from gateway.citizen.web import Citizen

_KINDS: Final = (NoticeKind.NEW_INSTITUTION, NoticeKind.ACCESS_REFUSED)


async def tell_of_accesses(citizen: Citizen, person: str, accesses: Iterable[Access]) -> None:
    """Notices for what is news among verified accesses; durable when it returns."""
    own = citizen.context.settings.client.encoded
    found: dict[tuple[NoticeKind, str], Access] = {}
    for access in accesses:
        client = _client_id(access)
        if access.built_in or not client:
            continue
        attended = client == own and access.identity_level
        if access.denied and not attended:
            occasion = f"{client} {access.service} {access.time[:10]}"
            found.setdefault((NoticeKind.ACCESS_REFUSED, occasion), access)
        elif not access.denied and client != own:
            found.setdefault((NoticeKind.NEW_INSTITUTION, client), access)
    if not found:
        return
    told = await _told(citizen, person)
    for (kind, occasion), access in found.items():
        if (kind.value, occasion) not in told:
            facts = {"institution": access.client, "title": access.title("de"), "service": access.service}
            await citizen.notices.notify(person, kind, occasion=occasion, facts=facts)


async def _told(citizen: Citizen, person: str) -> set[tuple[str, str]]:
    row = tables.notice.c
    query = select(row.kind, row.occasion).where(row.person == person, row.kind.in_([kind.value for kind in _KINDS]))
    async with citizen.context.engine.connect() as connection:
        return {(found.kind, found.occasion) for found in (await connection.execute(query)).all()}


def _client_id(access: Access) -> str:
    client = access.record.get("client")
    identifier = client.get("id") if isinstance(client, dict) else None
    return identifier[:300] if isinstance(identifier, str) else ""
