"""The access log's pages: the list, one access, the proofs, the files. Server-rendered; only the verifier is a script.

In two steps, as the Datenschutzcockpit: the list first, everything about one exchange only when it is asked for, from
the logs that hold it.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from audit.browser import build_verifier, verifier_module
from gateway.citizen.access_exports import build_csv, build_json
from gateway.citizen.access_listing import (
    ORDERS,
    RESULT_CHOICES,
    SPANS,
    Look,
    basis_of,
    behalf_of,
    build_listing,
    explain_access,
    months_of,
    read_look,
    title_of,
)
from gateway.citizen.access_pdf import build_pdf
from gateway.citizen.accesses import AccessView, Source, is_month, load_accesses, load_months, months_before
from gateway.citizen.acting import session_for
from gateway.citizen.datenschutzcockpit import build_protocol_data
from gateway.citizen.errors import InvalidRequest, UnknownThing
from gateway.citizen.explain import explain
from gateway.citizen.export import build_zip, json_file
from gateway.citizen.sessions import Session
from gateway.citizen.texts import text
from gateway.citizen.timeline import HEIGHT, WIDTH, build_timeline
from gateway.citizen.web import CITIZEN, language_of, render, session_of

_MAX_DIGITS: Final = 16
_MAX_LOGS: Final = 4
_VERIFIER_FILE: Final = "datenweg-verifier.html"
FORMATS: Final = {"csv": "text/csv", "json": "application/json", "pdf": "application/pdf", "xml": "application/xml"}
routes: Final = web.RouteTableDef()


@routes.get("/accesses")
async def accesses(request: web.Request) -> web.Response:
    """A month's accesses, or several months', from every log: filtered, grouped, drawn."""
    session, language = await session_for(request), language_of(request)
    look = read_look(request.query, _months(request))
    views = await _views(request, session, look)
    listing = build_listing(views, look, language)
    return render(
        request,
        "accesses.html",
        session=session,
        look=look,
        listing=listing,
        views=views,
        unreachable=_names(view.unreachable for view in views),
        broken=_names([source for source in view.sources if source.broken] for view in views),
        withheld=[(source, day) for view in views for source in view.withheld for day in source.withheld],
        asked=views[0].logs_asked,
        timeline=build_timeline(views, listing.selected),
        width=WIDTH,
        height=HEIGHT,
        months=_months(request),
        spans=SPANS,
        orders=ORDERS,
        result_choices=RESULT_CHOICES,
        formats=tuple(FORMATS),
        **_words(language),
    )


@routes.get("/accesses/one/{month}/{key}")
async def access(request: web.Request) -> web.Response:
    """Everything that the logs say about one access; `log` names those that hold it."""
    session, language = await session_for(request), language_of(request)
    month, logs = request.match_info["month"], request.query.getall("log", [])[:_MAX_LOGS]
    if not is_month(month):
        raise InvalidRequest("month")
    view = await load_accesses(request.app[CITIZEN], session, month, only=logs)
    found = view.find(request.match_info["key"])
    if found is None:
        raise UnknownThing("access")
    return render(
        request,
        "access.html",
        session=session,
        here=request.path_qs,
        month=month,
        access=found,
        sources=[source for source in view.sources if source.key in found.logs],
        entries=explain(found.record, language),
        **_words(language),
    )


@routes.get("/accesses/export.{format}")
async def export(request: web.Request) -> web.Response:
    """What a look shows, on all its pages, as a file."""
    citizen, session = request.app[CITIZEN], await session_for(request)
    kind = request.match_info["format"]
    if kind not in FORMATS:
        raise UnknownThing("format")
    language, at = language_of(request), citizen.context.clock.now()
    look = read_look(request.query, _months(request))
    views = await _views(request, session, look)
    chosen = build_listing(views, look, language).selected
    person = "" if session.representing is None else session.representing.name
    period = look.month if len(views) == 1 else f"{views[-1].month} – {views[0].month}"
    # In a thread: of many accesses a file takes seconds, and the road is in this process.
    match kind:
        case "csv":
            body = await to_thread(build_csv, chosen, language)
        case "json":
            body = await to_thread(build_json, views, chosen, at=at, person=person)
        case "xml":
            body = await to_thread(build_protocol_data, views, chosen, created=at)
        case _:
            title = text("accesses_title", language)
            title = f"{title} – {person}" if person else title
            body = await to_thread(build_pdf, chosen, language, title=title, period=period, at=at)
    whose = "for-another-" if session.representing is not None else ""
    name = f"accesses-{whose}{views[-1].month}{f'-{look.month}' if len(views) > 1 else ''}.{kind}"
    charset = "utf-8" if kind == "csv" else None
    return web.Response(
        body=body,
        content_type=FORMATS[kind],
        charset=charset,
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Content-Language": language},
    )


@routes.get("/accesses/bundle")
async def access_bundle(request: web.Request) -> web.Response:
    """One log's bundle of the month exactly as it came, for the verifier on the citizen's own device.

    `seen` is the log's size at an earlier visit: the bundle then proves that the log continues it.
    """
    session = await session_for(request)
    seen = request.query.get("seen", "0")
    if not (seen.isascii() and seen.isdigit() and len(seen) <= _MAX_DIGITS):
        raise InvalidRequest("seen")
    source = request.query.get("source", "")
    if not source:
        raise InvalidRequest("source")
    view = await _view(request, session, seen=int(seen), only=(source,))
    if not view.sources or view.sources[0].bundle is None:
        raise UnknownThing("bundle")
    return download(view.sources[0].bundle, f"accesses-{view.month}-{_file_name(source)}.json")


@routes.get("/me/accesses")
async def own_accesses(request: web.Request) -> web.Response:
    """The month's bundles of all logs that answered, as a program wants them."""
    view = await _view(request, await session_for(request))
    bundles = [source.bundle for source in view.sources if source.bundle is not None]
    return web.json_response({"month": view.month, "logs": bundles}, headers={"Cache-Control": "no-store"})


@routes.get("/accesses/proofs.zip")
async def proofs(request: web.Request) -> web.Response:
    """The month's bundles of all logs, and the verifier that reads them, to keep."""
    view = await _view(request, await session_for(request))
    files = {
        f"accesses-{view.month}-{_file_name(source.key)}.json": json_file(source.bundle)
        for source in view.sources
        if source.bundle is not None
    }
    name = f"accesses-{view.month}.zip"
    return web.Response(
        body=build_zip(files | {_VERIFIER_FILE: _verifier(request, view)}),
        content_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@routes.get("/verify")
async def verify(request: web.Request) -> web.Response:
    """Whether the proofs of a month's accesses hold: checked here, and once more by the script in the browser."""
    session = await session_for(request)
    view = await _view(request, session)
    return render(
        request, "verify.html", session=session, view=view, month=view.month, months=_months(request), scripts=True
    )


@routes.get("/verify/policy.json")
async def policy(request: web.Request) -> web.Response:
    """The log keys and witnesses that the verifier on the page demands.

    Without configured keys it trusts those that it saw first, and says so.
    """
    await session_of(request)
    context = request.app[CITIZEN].context
    return web.json_response({"vkeys": list(context.log_keys), "policy": context.witness_policy})


@routes.get("/verify/verifier.js")
async def verifier_script(_request: web.Request) -> web.Response:
    """The verifier's functions, which the page's script imports."""
    return web.Response(
        body=verifier_module(), content_type="text/javascript", charset="utf-8", headers={"Cache-Control": "no-cache"}
    )


@routes.get("/verify/verifier.html")
async def verifier(request: web.Request) -> web.Response:
    """The verifier as one file to keep. A download, never run on our own origin."""
    session = await session_for(request)
    asked = not request.app[CITIZEN].context.log_keys
    return web.Response(
        body=_verifier(request, await _view(request, session) if asked else None),
        content_type="text/html",
        headers={"Content-Disposition": f'attachment; filename="{_VERIFIER_FILE}"'},
    )


def _verifier(request: web.Request, view: AccessView | None) -> bytes:
    """The page by the operator's keys.

    Where none were set, by those that the logs name themselves, to be kept and compared with those of a later visit.
    """
    context = request.app[CITIZEN].context
    sources = () if context.log_keys or view is None else view.sources
    named = (str(source.bundle["vkey"]) for source in sources if source.bundle and not source.broken)
    return build_verifier(context.log_keys or tuple(dict.fromkeys(named)), policy=context.witness_policy)


def download(document: Mapping[str, Any], name: str, content_type: str = "application/json") -> web.Response:
    """A JSON document as a file to keep."""
    return web.Response(
        body=json_file(document),
        content_type=content_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _views(request: web.Request, session: Session, look: Look) -> list[AccessView]:
    return await load_months(request.app[CITIZEN], session, months_of(look, _months(request)))


async def _view(request: web.Request, session: Session, *, seen: int = 0, only: tuple[str, ...] = ()) -> AccessView:
    month = request.query.get("month", _months(request)[0])
    if not is_month(month):
        raise InvalidRequest("month")
    return await load_accesses(request.app[CITIZEN], session, month, seen=seen, only=only)


def _months(request: web.Request) -> tuple[str, ...]:
    return months_before(request.app[CITIZEN].context.clock.now())


def _names(of_views: Iterable[Iterable[Source]]) -> list[str]:
    return list(dict.fromkeys(source.name for sources in of_views for source in sources))


def _words(language: str) -> dict[str, Any]:
    return {
        "title_of": lambda access: title_of(access, language),
        "basis_of": lambda access: basis_of(access, language),
        "behalf_of": lambda access: behalf_of(access, language),
        "explain_access": lambda access: explain_access(access, language),
    }


def _file_name(source: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in source)[:80]
