"""For whom a citizen acts: for themselves, or for somebody whom they may represent. Asked anew at each request.

On the API the request names the person, on the pages the citizen chose them once (`representation_pages`). Either way
the relation is checked each time, and the represented person can read in their notices who acted for them on which day
and how often: written before anything of theirs is read. The operator's log has the line, without names.
"""

from __future__ import annotations

from aiohttp import web

from gateway.citizen.errors import IssuerDown, NotLoggedIn, RepresentationEnded, RepresentationRefused
from gateway.citizen.notices import NoticeKind
from gateway.citizen.sessions import Session
from gateway.citizen.web import CITIZEN, Citizen, route_of, session_of
from gateway.exchange.citizen_tokens import CitizenTokenRefused, IssuerUnavailable, Presentation, VerifiedCitizen
from gateway.exchange.representation import NotRepresented
from gateway.logging import get_logger

_log = get_logger()


async def verified_citizen(citizen: Citizen, session: Session) -> VerifiedCitizen:
    """The session's access token, verified once more: what it says of whom the citizen may act for.

    Raises NotLoggedIn, IssuerDown.
    """
    token = session.road_token(now_ms=citizen.context.clock.now_ms())
    try:
        # Its proof was checked when it came; it is not presented anew.
        return await citizen.tokens.verify_presented(token, Presentation("", (), vouched=True))
    except CitizenTokenRefused:
        raise NotLoggedIn("token") from None
    except IssuerUnavailable:
        raise IssuerDown("keys") from None


async def act_for(request: web.Request, session: Session, reference: str) -> Session:
    """The same login for the person that `reference` names to this citizen; written down when it returns.

    Raises RepresentationRefused, NotLoggedIn, IssuerDown.
    """
    citizen = request.app[CITIZEN]
    place = {"path": route_of(request), "method": request.method}
    try:
        represented = await citizen.relations.resolve(await verified_citizen(citizen, session), reference)
    except NotRepresented:
        _log.warning("representation refused", **place)
        raise RepresentationRefused from None
    acting = session.acting_for(represented)
    day = citizen.context.clock.now().date().isoformat()
    facts = {"role": represented.role, "day": day}
    await citizen.notices.notify(
        citizen.person(acting), NoticeKind.REPRESENTED, occasion=f"{represented.reference} {day}", facts=facts
    )
    _log.info("representation checked", usage=represented.role, **place)
    return acting


async def session_for(request: web.Request) -> Session:
    """The page's session: the citizen's own, or that of the person whom they chose to act for.

    Raises NotLoggedIn, TooManyAttempts, IssuerDown, RepresentationEnded: then the choice is undone, durably.
    """
    return await for_chosen(request, await session_of(request))


async def for_chosen(request: web.Request, session: Session) -> Session:
    """The same for a session that is known already."""
    if session.chosen is None:
        return session
    try:
        return await act_for(request, session, session.chosen.reference)
    except RepresentationRefused:
        # Not on as themselves without a word: they believe to see another's page.
        citizen = request.app[CITIZEN]
        await citizen.sessions.choose(request.cookies.get(citizen.session_cookie, ""), None)
        raise RepresentationEnded from None
