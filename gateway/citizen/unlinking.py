"""Ends a linked account: at its institution, then the consents for it, then here.

In this order because the institution may need a valid consent to hear us at all. What it doesn't confirm is `ending`:
the consents are taken back all the same, so that nothing is asked for, and the citizen may try again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from gateway.citizen.calls import call_service
from gateway.citizen.errors import LevelTooLow, RoadDown, ServiceDisabled, UnknownThing
from gateway.citizen.links import Link
from gateway.citizen.sessions import Session
from gateway.citizen.web import Citizen
from trust.identifiers import parse_subsystem_id

# What an institution's adapter answers when there is no link (any more): as good as one that it ended.
_GONE: Final = (404, 410)


async def end_link(citizen: Citizen, session: Session, identifier: str) -> Link:
    """The link, `ended` or `ending`. Raises UnknownThing, NotLoggedIn."""
    person = citizen.person(session)
    link = await citizen.links.get(person, identifier)
    if link.state == "ended":
        return link
    confirmed = False
    with suppress(RoadDown, ServiceDisabled, LevelTooLow, UnknownThing):
        offered = (await citizen.catalogues.current()).find(link.service)
        answer = await call_service(citizen, session, offered, "DELETE", ["link"])
        confirmed = answer.good or (answer.failure is None and answer.status in _GONE)
    await citizen.consents.withdraw_all_for(session, parse_subsystem_id(link.provider))
    return await citizen.links.end(person, identifier, confirmed=confirmed)
