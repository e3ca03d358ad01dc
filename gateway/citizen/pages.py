"""The citizen's pages: overview, services, help. Server-rendered, no script needed.

Handlers only translate between forms and the parts that know. Login and logout are in `login_pages`, consents in
`consent_pages`, the access log in `access_pages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.citizen.access import Access
from gateway.citizen.access_listing import title_of
from gateway.citizen.accesses import REQUIRED_LEVEL, load_accesses, months_before
from gateway.citizen.acting import for_chosen, session_for
from gateway.citizen.calls import call_service, missing_level
from gateway.citizen.catalogue import Catalogue, OfferedService
from gateway.citizen.consent import Consent, ConsentState
from gateway.citizen.errors import InvalidRequest, NotLoggedIn
from gateway.citizen.explain import Entry, explain
from gateway.citizen.journeys import Action, NextForm, actions_of, find_action, next_forms, same_form
from gateway.citizen.linking import with_identity
from gateway.citizen.purposes import Journey
from gateway.citizen.road import RoadAnswer
from gateway.citizen.sessions import Session
from gateway.citizen.texts import fault_text, text
from gateway.citizen.web import CITIZEN, Citizen, form_of, language_of, render, session_of

# How many accesses the overview shows.
_LAST: Final = 5
_TAKEN_BACK: Final = (ConsentState.WITHDRAWING, ConsentState.WITHDRAWN)
routes: Final = web.RouteTableDef()


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What came of an action, for the page."""

    action: Action
    good: bool
    problem: str
    hint: str
    entries: tuple[Entry, ...]
    folded: bool
    next_forms: tuple[NextForm, ...]
    request_id: str
    receipt: str


@routes.get("/")
async def overview(request: web.Request) -> web.Response:
    """The start page: a welcome, or what is there for the citizen."""
    citizen = request.app[CITIZEN]
    try:
        own = await session_of(request)
    except NotLoggedIn:
        return render(request, "welcome.html", session=None)
    session = await for_chosen(request, own)
    consents = await citizen.consents.of(session)
    catalogue = await citizen.catalogues.current()
    waiting = (ConsentState.PENDING, ConsentState.WITHDRAWING)
    person = citizen.context.person(session.issuer, session.subject)
    language = language_of(request)
    return render(
        request,
        "overview.html",
        session=session,
        catalogue=catalogue,
        valid=sum(1 for consent in consents if consent.state is ConsentState.VALID),
        waiting=sum(1 for consent in consents if consent.state in waiting),
        linked=[link for link in await citizen.links.of(person) if link.state == "linked"],
        undecided=_undecided(citizen, consents, catalogue),
        unread=sum(1 for notice in await citizen.notices.of(person) if notice.read_ms is None),
        last=await _last_accesses(citizen, session),
        title_of=lambda access: title_of(access, language),
    )


def _undecided(citizen: Citizen, consents: Sequence[Consent], catalogue: Catalogue) -> list[OfferedService]:
    """The services that wait for the citizen's consent. Whoever took one back has decided, and isn't asked again."""
    own = citizen.context.settings.client.encoded
    last = {one.purpose: one for one in sorted(consents, key=lambda one: one.given_ms) if one.client == own}
    decided = {key for key, one in last.items() if one.in_force or one.state in _TAKEN_BACK}
    asking = (one for one in catalogue.services if one.declaration.needs_consent and one.declaration.enabled)
    return [one for one in asking if one.key not in decided]


async def _last_accesses(citizen: Citizen, session: Session) -> list[tuple[str, Access]] | None:
    """This month's newest accesses, with the month; None when the login is too weak to see them."""
    if session.level < REQUIRED_LEVEL:
        return None
    view = await load_accesses(citizen, session, months_before(citizen.context.clock.now())[0])
    return [(view.month, access) for access in view.accesses if not access.own_look][:_LAST]


@routes.get("/services")
async def services(request: web.Request) -> web.Response:
    """All services, with what each is for and on what basis."""
    session = await session_for(request)
    catalogue = await request.app[CITIZEN].catalogues.current()
    return render(request, "services.html", session=session, catalogue=catalogue)


@routes.get("/services/{key}")
async def service(request: web.Request) -> web.Response:
    """One service, with its forms."""
    return await _service_page(request, await session_for(request))


@routes.post("/services/{key}/{action}")
async def act(request: web.Request) -> web.Response:
    """Runs an action and shows its answer on the service's page."""
    citizen = request.app[CITIZEN]
    session = await session_for(request)
    form = await form_of(request, session)
    offered = (await citizen.catalogues.current()).find(request.match_info["key"])
    action = find_action(offered.purpose.journey, request.match_info["action"])
    try:
        call = action.build(form)
    except InvalidRequest as error:
        again = same_form(action, form, error.status)
        return await _service_page(request, session, again=again, failed_field=error.field, status=error.status)
    answer = await call_service(citizen, session, offered, call.method, call.path, query=call.query, body=call.body)
    following = forms_after(offered.purpose.journey, action, form, answer)
    following = await with_identity(citizen, session, offered, following) if answer.good else following
    result = result_of(action, answer, following, language_of(request))
    return await _service_page(request, session, result=result)


async def _service_page(
    request: web.Request,
    session: Session,
    *,
    result: ActionResult | None = None,
    again: tuple[NextForm, ...] = (),
    failed_field: str = "",
    status: int = 200,
) -> web.Response:
    citizen = request.app[CITIZEN]
    offered = (await citizen.catalogues.current()).find(request.match_info["key"])
    return render(
        request,
        "service.html",
        session=session,
        status=status,
        here=f"/services/{offered.key}",
        service=offered,
        result=result,
        again=again,
        failed_field=failed_field,
        step_up=missing_level(session, offered.declaration.identity_level),
        consent=await citizen.consents.usable(session, offered.key),
        actions=[action for action in actions_of(offered.purpose.journey) if action.entry],
    )


def forms_after(journey: Journey, action: Action, form: Mapping[str, str], answer: RoadAnswer) -> tuple[NextForm, ...]:
    """What there is to fill in after an answer: the next step, or the same one once more."""
    if answer.good:
        return next_forms(journey, action, form, answer.data)
    return same_form(action, form, answer.status) if answer.failure is None else ()


def result_of(action: Action, answer: RoadAnswer, following: tuple[NextForm, ...], language: str) -> ActionResult:
    """What came of an action, in the citizen's words."""
    problem = hint = ""
    if answer.failure is not None:
        problem = text("failed_at_road", language, code=answer.failure.code)
        plain = fault_text(answer.failure.code, language)
        problem, hint = (plain, problem) if plain else (problem, answer.failure.message)
    elif not answer.good:
        problem, hint = _service_problem(action, answer, language)
    return ActionResult(
        action=action,
        good=answer.good,
        problem=problem,
        hint=hint,
        entries=explain(answer.data, language) if answer.good and answer.data is not None else (),
        # A long list stands in the next form too, to choose from.
        folded=any(len(choices) > 10 for form in following for choices in form.choices.values()),
        next_forms=following,
        request_id=answer.request_id,
        receipt=answer.receipt,
    )


def _service_problem(action: Action, answer: RoadAnswer, language: str) -> tuple[str, str]:
    """What a service says about its refusal: problem details (RFC 9457), in both languages where our adapters wrote
    them. Fields of our own form that it names are named as they are in the form."""
    data: Mapping[str, Any] = answer.data if isinstance(answer.data, dict) else {}
    stated = data.get("fields")
    wrong = [item for item in action.fields if isinstance(stated, list) and item.name in stated and not item.chosen]
    if wrong:
        return text("error_invalid_request", language, field=", ".join(text(one.label, language) for one in wrong)), ""
    texts = data.get("texts")
    own = texts.get(language) if isinstance(texts, dict) else None
    source: Mapping[str, Any] = own if isinstance(own, dict) else data
    title, hint = str(source.get("title", ""))[:500], str(source.get("hint", source.get("detail", "")))[:500]
    code = str(data.get("code", f"HTTP {answer.status}"))[:100]
    return title or text("failed_at_service", language, code=code), hint
