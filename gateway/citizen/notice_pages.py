"""The page of notices: what there is, and by which ways the citizen wants to be told. Web push alone needs a script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from gateway.citizen.accounts import ACCOUNTS
from gateway.citizen.acting import session_for
from gateway.citizen.errors import InvalidRequest
from gateway.citizen.json_texts import NotJSON, parse_json
from gateway.citizen.notice_channels import Channel
from gateway.citizen.notice_texts import kind_text, notice_text
from gateway.citizen.notices import NoticeKind
from gateway.citizen.web import (
    CITIZEN,
    form_of,
    language_of,
    redirect,
    render,
    require_csrf,
    require_same_site,
    session_of,
)

_MAX_CODE: Final = 20
_STATIC: Final = Path(__file__).with_name("static")
routes: Final = web.RouteTableDef()


@routes.get("/notices")
async def notices(request: web.Request) -> web.Response:
    """Everything that the citizen was told, newest first. Seen here, it is read.

    A represented person's too; but the ways out of the page are the citizen's own, since an address would stay when the
    relation ends.
    """
    citizen, session = request.app[CITIZEN], await session_for(request)
    accounts, language = request.app[ACCOUNTS], language_of(request)
    person = citizen.person(session)
    found = await citizen.notices.of(person)
    settings = citizen.context.settings.notices
    page = render(
        request,
        "notices.html",
        session=session,
        notices=found,
        sentence=lambda notice: notice_text(notice, language, citizen.context.settings.time_zone),
        kind=lambda kind: kind_text(kind, language),
        kinds=tuple(NoticeKind),
        choices={channel.value: choice for channel, choice in (await accounts.channels.of(person)).items()},
        by_mail=settings.by_mail,
        push_key=accounts.delivery.push_key,
        browsers=await accounts.channels.count_subscriptions(person),
        minutes=round(settings.digest_ms / 60_000),
        scripts=settings.by_push,
    )
    if session.representing is None:
        # What a representative sees is still news to the person.
        await citizen.notices.mark_all_read(person)
    return page


@routes.post("/notices/mail")
async def set_mail(request: web.Request) -> web.Response:
    """A new address: a code is sent there."""
    citizen, session = request.app[CITIZEN], await session_of(request)
    form, person = await form_of(request, session), citizen.person(session)
    address = form.get("email", "").strip()
    await request.app[ACCOUNTS].ask_for_mail(person, address, language=language_of(request))
    return redirect("/notices#mail")


@routes.post("/notices/mail/confirm")
async def confirm_mail(request: web.Request) -> web.Response:
    """The code from the mail."""
    citizen, session = request.app[CITIZEN], await session_of(request)
    form = await form_of(request, session)
    code = form.get("code", "").strip()[:_MAX_CODE]
    await request.app[ACCOUNTS].channels.confirm_mail(citizen.person(session), code)
    return redirect("/notices#mail")


@routes.post("/notices/{channel}/choice")
async def choose(request: web.Request) -> web.Response:
    """Which kinds go this way, and in how much detail."""
    citizen, session = request.app[CITIZEN], await session_of(request)
    form = await form_of(request, session)
    kinds = [kind for kind in NoticeKind if form.get(f"kind-{kind.value}") == "on"]
    await request.app[ACCOUNTS].channels.choose(
        citizen.person(session),
        _channel(request),
        kinds=kinds,
        detailed=form.get("detailed") == "on",
        language=language_of(request),
    )
    return redirect(f"/notices#{_channel(request).value}")


@routes.post("/notices/{channel}/remove")
async def remove(request: web.Request) -> web.Response:
    """No longer this way."""
    citizen, session = request.app[CITIZEN], await session_of(request)
    await form_of(request, session)
    await request.app[ACCOUNTS].channels.remove(citizen.person(session), _channel(request))
    return redirect("/notices")


@routes.post("/notices/push/subscriptions")
async def subscribe(request: web.Request) -> web.Response:
    """A browser's subscription, as the page's script sends it: JSON, with the session's CSRF token in a header."""
    citizen, session = request.app[CITIZEN], await session_of(request)
    require_same_site(request)
    require_csrf(session, request.headers.get("X-CSRF-Token", ""))
    document, person = _object(await request.read()), citizen.person(session)
    identifier = await request.app[ACCOUNTS].subscribe(person, document, language=language_of(request))
    return web.json_response({"id": identifier}, status=201)


@routes.get("/push-worker.js")
async def worker(_: web.Request) -> web.Response:
    """The service worker: at the root, because its place is what it may act for."""
    return web.Response(body=(_STATIC / "push-worker.js").read_bytes(), content_type="text/javascript")


def _channel(request: web.Request) -> Channel:
    try:
        return Channel(request.match_info["channel"])
    except ValueError:
        raise web.HTTPNotFound from None


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        document = parse_json(body)
    except NotJSON:
        raise InvalidRequest("body") from None
    if not isinstance(document, dict):
        raise InvalidRequest("body")
    return document
