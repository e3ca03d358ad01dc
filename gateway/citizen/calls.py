"""A citizen's call of a service: their token, their consent, the declared purpose, over the road.

Used by the pages and the API alike. The provider decides whether data moves; what is checked here only saves the
citizen a refusal (a disabled service, a login of too low a level), but for an account that they have unlinked, whose
provider may not know that yet. A consent that is not valid, or is being withdrawn, is never sent along. What the answer
means for a link, `linking` knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.citizen.catalogue import OfferedService
from gateway.citizen.errors import LevelTooLow, LinkEnding, ServiceDisabled
from gateway.citizen.linking import LINK_PATH, follow_answer
from gateway.citizen.road import RoadAnswer
from gateway.citizen.sessions import Session
from gateway.citizen.web import Citizen
from gateway.messages.headers import IdentityLevel
from gateway.store.model import RequiredIdentityLevel


def missing_level(session: Session, required: RequiredIdentityLevel) -> str:
    """The level to step up to, or an empty text when the login suffices."""
    return "" if session.level >= IdentityLevel.from_word(required.value) else required.value


async def call_service(
    citizen: Citizen,
    session: Session,
    service: OfferedService,
    method: str,
    path: Sequence[str],
    *,
    query: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> RoadAnswer:
    """One exchange for this citizen. Raises ServiceDisabled, LinkEnding, NotLoggedIn, LevelTooLow, RoadDown."""
    if not service.declaration.enabled:
        raise ServiceDisabled(service.key)
    if tuple(path[:1]) != LINK_PATH:
        link = await citizen.links.current(citizen.person(session), service.key)
        if link is not None and link.state == "ending":
            raise LinkEnding(service.key)
    token = session.road_token(now_ms=citizen.context.clock.now_ms())
    if required := missing_level(session, service.declaration.identity_level):
        raise LevelTooLow(required)
    consent = await citizen.consents.usable(session, service.key) if service.declaration.needs_consent else None
    await citizen.consents.introduce(session, service)
    answer = await citizen.road.call(
        method,
        service.purpose.service,
        path,
        query=query,
        body=body,
        token=token,
        consent=None if consent is None else consent.reference,
        purpose=service.key,
        representing=session.representing.reference if session.representing is not None else None,
    )
    await follow_answer(citizen, session, service, answer, method=method, path=path)
    return answer
