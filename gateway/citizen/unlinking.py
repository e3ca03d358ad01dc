"""Ends a linked account: at its institution, then the consents for it, then here.

In this order because the institution may need a valid consent to hear us at all; where it has a service for ending
links that needs none (`unlink_service`), that one is asked. What it doesn't confirm is `ending`: the consents are taken
back all the same and nothing is asked for any more, and by that service it is asked again in the background, the
citizen being gone, until it confirms.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from gateway.citizen.calls import call_service
from gateway.citizen.errors import LevelTooLow, RoadDown, ServiceDisabled, UnknownThing
from gateway.citizen.linking import LINK_PATH, is_unlinked
from gateway.citizen.links import Link, Unended
from gateway.citizen.road import RoadAnswer
from gateway.citizen.sessions import Session
from gateway.citizen.web import Citizen
from gateway.logging import get_logger
from trust.identifiers import ServiceId, parse_subsystem_id

_FIRST_WAIT_MS: Final = 5_000
_LONGEST_WAIT_MS: Final = 600_000
_BATCH: Final = 20
_log = get_logger()


async def end_link(citizen: Citizen, session: Session, identifier: str) -> Link:
    """The link, `ended` or `ending`. Raises UnknownThing, NotLoggedIn."""
    person, context = citizen.person(session), citizen.context
    link = await citizen.links.get(person, identifier)
    if link.state == "ended":
        return link
    provider, service = parse_subsystem_id(link.provider), _unlink_service(citizen, link)
    confirmed = False
    with suppress(RoadDown, ServiceDisabled, LevelTooLow, UnknownThing):
        confirmed = is_unlinked(await _ask(citizen, session, link, service))
    await citizen.consents.withdraw_all_for(session, provider)
    if confirmed:
        return await citizen.links.end(person, identifier)
    subject = context.pseudonym_at(provider.member, session.issuer, session.subject)
    due_ms = None if service is None else context.clock.now_ms() + _FIRST_WAIT_MS
    return await citizen.links.begin_end(person, identifier, subject=subject, due_ms=due_ms)


async def end_due(citizen: Citizen) -> int:
    """Asks the institutions again that have not confirmed the end of a link. How many links that were."""
    due = await citizen.links.unended(now_ms=citizen.context.clock.now_ms(), limit=_BATCH)
    await asyncio.gather(*(_ask_again(citizen, one) for one in due))
    return len(due)


async def _ask(citizen: Citizen, session: Session, link: Link, service: ServiceId | None) -> RoadAnswer:
    if service is None:
        offered = (await citizen.catalogues.current()).find(link.service)
        return await call_service(citizen, session, offered, "DELETE", LINK_PATH)
    return await citizen.road.call(
        "DELETE",
        service,
        LINK_PATH,
        token=session.road_token(now_ms=citizen.context.clock.now_ms()),
        purpose=link.service,
        representing=None if session.representing is None else session.representing.reference,
    )


async def _ask_again(citizen: Citizen, unended: Unended) -> None:
    service = _unlink_service(citizen, unended.link)
    wait_ms = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS << min(unended.attempts, 10))
    if not await citizen.links.claim(unended, due_ms=citizen.context.clock.now_ms() + wait_ms) or service is None:
        return
    reason = "road_unavailable"
    with suppress(RoadDown):
        link, subject = unended.link, unended.subject
        answer = await citizen.road.call("DELETE", service, LINK_PATH, subject=subject, purpose=link.service)
        if is_unlinked(answer):
            await citizen.links.end(unended.person, link.id)
            return
        reason = answer.failure.code if answer.failure is not None else f"status {answer.status}"
    attempt = unended.attempts + 1
    _log.warning("the end of a link is not confirmed", service=str(service), attempt=attempt, reason=reason)


def _unlink_service(citizen: Citizen, link: Link) -> ServiceId | None:
    purposes = citizen.context.settings.purposes
    return next((purpose.unlink_service for purpose in purposes if purpose.key == link.service), None)
