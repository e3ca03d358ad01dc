"""The citizen's pages: overview, services, consents, accesses, verify. Server-rendered, no script needed.

Handlers only translate between forms and the parts that know. Login and logout are in `login_pages`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from audit.browser import build_verifier
from gateway.citizen.accesses import AccessView, is_month, load_accesses, months_before
from gateway.citizen.calls import call_service, missing_level
from gateway.citizen.consent import ConsentState, build_receipt
from gateway.citizen.errors import InvalidRequest, NotLoggedIn, UnknownThing
from gateway.citizen.explain import Entry, explain
from gateway.citizen.journeys import Action, NextForm, actions_of, find_action, next_forms
from gateway.citizen.road import RoadAnswer
from gateway.citizen.sessions import Session
from gateway.citizen.texts import fault_text, text
from gateway.citizen.web import CITIZEN, form_of, language_of, redirect, render, session_of

_MAX_DIGITS: Final = 16
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
        session = await session_of(request)
    except NotLoggedIn:
        return render(request, "welcome.html", session=None)
    consents = await citizen.consents.of(session)
    waiting = (ConsentState.PENDING, ConsentState.WITHDRAWING)
    return render(
        request,
        "overview.html",
        session=session,
        catalogue=await citizen.catalogues.current(),
        valid=sum(1 for consent in consents if consent.state is ConsentState.VALID),
        waiting=sum(1 for consent in consents if consent.state in waiting),
    )


@routes.get("/services")
async def services(request: web.Request) -> web.Response:
    """All services, with what each is for and on what basis."""
    session = await session_of(request)
    catalogue = await request.app[CITIZEN].catalogues.current()
    return render(request, "services.html", session=session, catalogue=catalogue)


@routes.get("/services/{key}")
async def service(request: web.Request) -> web.Response:
    """One service, with its forms."""
    return await _service_page(request, await session_of(request))


@routes.post("/services/{key}/{action}")
async def act(request: web.Request) -> web.Response:
    """Runs an action and shows its answer on the service's page."""
    citizen = request.app[CITIZEN]
    session = await session_of(request)
    form = await form_of(request, session)
    offered = (await citizen.catalogues.current()).find(request.match_info["key"])
    action = find_action(offered.purpose.journey, request.match_info["action"])
    try:
        call = action.build(form)
    except InvalidRequest as error:
        return await _service_page(request, session, failed_field=error.field, status=400)
    answer = await call_service(citizen, session, offered, call.method, call.path, query=call.query, body=call.body)
    following = next_forms(offered.purpose.journey, action, form, answer.data) if answer.good else ()
    result = _result(action, answer, following, language_of(request))
    return await _service_page(request, session, result=result)


async def _service_page(
    request: web.Request,
    session: Session,
    *,
    result: ActionResult | None = None,
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
        failed_field=failed_field,
        step_up=missing_level(session, offered.declaration.identity_level),
        consent=await citizen.consents.usable(session, offered.key),
        actions=[action for action in actions_of(offered.purpose.journey) if action.entry],
    )


def _result(action: Action, answer: RoadAnswer, following: tuple[NextForm, ...], language: str) -> ActionResult:
    problem = hint = ""
    if answer.failure is not None:
        problem = text("failed_at_road", language, code=answer.failure.code)
        plain = fault_text(answer.failure.code, language)
        problem, hint = (plain, problem) if plain else (problem, answer.failure.message)
    elif not answer.good:
        problem, hint = _service_problem(answer, language)
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


def _service_problem(answer: RoadAnswer, language: str) -> tuple[str, str]:
    """What a service says about its refusal: problem details (RFC 9457), in both languages where our adapters wrote
    them."""
    data: Mapping[str, Any] = answer.data if isinstance(answer.data, dict) else {}
    texts = data.get("texts")
    own = texts.get(language) if isinstance(texts, dict) else None
    source: Mapping[str, Any] = own if isinstance(own, dict) else data
    title, hint = str(source.get("title", ""))[:500], str(source.get("hint", source.get("detail", "")))[:500]
    code = str(data.get("code", f"HTTP {answer.status}"))[:100]
    return title or text("failed_at_service", language, code=code), hint


@routes.get("/consents")
async def consents(request: web.Request) -> web.Response:
    """All of the citizen's decisions."""
    session = await session_of(request)
    decided = await request.app[CITIZEN].consents.of(session)
    return render(request, "consents.html", session=session, consents=decided)


@routes.get("/consents/new")
async def consent_question(request: web.Request) -> web.Response:
    """The decision: who gets what, what for, for how long."""
    session = await session_of(request)
    offered = (await request.app[CITIZEN].catalogues.current()).find(request.query.get("service", ""))
    return render(request, "consent_new.html", session=session, service=offered, here=request.path_qs)


@routes.post("/consents")
async def consent_decision(request: web.Request) -> web.Response:
    """The citizen's answer: consent, or not."""
    citizen = request.app[CITIZEN]
    session = await session_of(request)
    form = await form_of(request, session)
    offered = (await citizen.catalogues.current()).find(form.get("service", ""))
    match form.get("decision"):
        case "give":
            consent = await citizen.consents.give(session, offered, language=language_of(request))
            return redirect(f"/consents#c-{consent.reference}")
        case "refuse":
            return redirect(f"/services/{offered.key}")
        case _:
            raise InvalidRequest("decision")


@routes.post("/consents/{reference}/withdraw")
async def consent_withdrawal(request: web.Request) -> web.Response:
    """The citizen takes a consent back."""
    session = await session_of(request)
    await form_of(request, session)
    consent = await request.app[CITIZEN].consents.withdraw(session, request.match_info["reference"])
    return redirect(f"/consents#c-{consent.reference}")


@routes.get("/consents/{reference}/receipt")
async def consent_receipt(request: web.Request) -> web.Response:
    """The receipt of a decision, as a file to keep."""
    citizen = request.app[CITIZEN]
    session = await session_of(request)
    consent = await citizen.consents.get(session, request.match_info["reference"])
    receipt = build_receipt(consent, controller=citizen.context.settings.city_name)
    return _download(receipt, f"consent-{consent.reference}.json", "application/ld+json")


@routes.get("/accesses")
async def accesses(request: web.Request) -> web.Response:
    """A month's accesses, from every log."""
    session = await session_of(request)
    view = await _view(request, session)
    return render(request, "accesses.html", session=session, view=view, month=view.month, months=_months(request))


@routes.get("/accesses/bundle")
async def access_bundle(request: web.Request) -> web.Response:
    """One log's bundle of the month exactly as it came, for the verifier on the citizen's own device."""
    seen = request.query.get("seen", "0")
    if not (seen.isascii() and seen.isdigit() and len(seen) <= _MAX_DIGITS):
        raise InvalidRequest("seen")
    view = await _view(request, await session_of(request), seen=int(seen))
    number = request.query.get("source", "")
    if not number.isascii() or not number.isdigit() or int(number[:3]) >= len(view.sources):
        raise InvalidRequest("source")
    bundle = view.sources[int(number[:3])].bundle
    if bundle is None:
        raise UnknownThing("bundle")
    return _download(bundle, f"accesses-{view.month}-{int(number[:3])}.json", "application/json")


@routes.get("/verify")
async def verify(request: web.Request) -> web.Response:
    """Whether the proofs of a month's accesses hold."""
    session = await session_of(request)
    view = await _view(request, session)
    return render(request, "verify.html", session=session, view=view, month=view.month, months=_months(request))


@routes.get("/verify/verifier.html")
async def verifier(request: web.Request) -> web.Response:
    """The verifier as one file to keep. A download, never run on our own origin."""
    session = await session_of(request)
    keys = request.app[CITIZEN].context.log_keys
    if not keys:
        # No policy was set: the keys that the logs name themselves, to be kept and compared with those of a later
        # visit.
        sources = (await _view(request, session)).sources
        named = (str(source.bundle["vkey"]) for source in sources if source.bundle and not source.broken)
        keys = tuple(dict.fromkeys(named))
    return web.Response(
        body=build_verifier(keys, policy=request.app[CITIZEN].context.witness_policy),
        content_type="text/html",
        headers={"Content-Disposition": 'attachment; filename="datenweg-verifier.html"'},
    )


async def _view(request: web.Request, session: Session, *, seen: int = 0) -> AccessView:
    citizen = request.app[CITIZEN]
    month = request.query.get("month", _months(request)[0])
    if not is_month(month):
        raise InvalidRequest("month")
    return await load_accesses(citizen, session, month, seen=seen)


def _months(request: web.Request) -> tuple[str, ...]:
    return months_before(request.app[CITIZEN].context.clock.now())


def _download(document: Mapping[str, Any], name: str, content_type: str) -> web.Response:
    return web.Response(
        body=json.dumps(document, ensure_ascii=False, indent=1).encode(),
        content_type=content_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
