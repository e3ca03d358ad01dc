"""The assembly of the citizen's application. `gateway.app` mounts it on the citizen port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import jinja2
from aiohttp import web

from gateway.citizen import (
    access_pages,
    api,
    consent_pages,
    link_pages,
    login_pages,
    notice_pages,
    pages,
    personal_pages,
    representation_pages,
    well_known,
)
from gateway.citizen.accounts import add_accounts
from gateway.citizen.background import repeating
from gateway.citizen.bindings import DeviceBindings, Nonces, UsedStatements
from gateway.citizen.catalogue import Catalogues
from gateway.citizen.complaints import Complaints
from gateway.citizen.consents import Consents
from gateway.citizen.context import CitizenContext
from gateway.citizen.devices import Devices
from gateway.citizen.issuer_client import IssuerClient
from gateway.citizen.links import Links
from gateway.citizen.login import Logins
from gateway.citizen.notices import Notices
from gateway.citizen.representation import Relations
from gateway.citizen.road import RoadClient
from gateway.citizen.sessions import Sessions
from gateway.citizen.unlinking import end_due
from gateway.citizen.web import CITIZEN, Citizen, errors_as_answers, security_headers
from gateway.exchange.citizen_tokens import CitizenTokens
from gateway.exchange.vouching import Vouchers
from gateway.rate import RateLimit

_MAX_BODY: Final = 256 * 1024
_STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    "verify.js": "text/javascript",
    "push.js": "text/javascript",
}


def citizen_http_session() -> aiohttp.ClientSession:
    """The pool for calls to the issuer and to our own gateway: no cookies, so that no citizen's state is kept in it."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())


def build_citizen_app(
    context: CitizenContext, http: aiohttp.ClientSession, *, tokens: CitizenTokens | None = None
) -> web.Application:
    """The pages and the API. `http` is the caller's to close, after the application has ended.

    While it runs, unacknowledged consents and withdrawals are pushed again in the background.
    """
    app = web.Application(middlewares=[security_headers, errors_as_answers], client_max_size=_MAX_BODY)
    app[CITIZEN] = _build_citizen(context, http, tokens)
    app.cleanup_ctx.append(_background)
    parts = (pages, access_pages, personal_pages, login_pages, consent_pages, link_pages, notice_pages)
    for part in (*parts, representation_pages, api, well_known):
        app.router.add_routes(part.routes)
    add_accounts(app)
    app.router.add_get("/static/{name}", _static)
    return app


def _build_citizen(context: CitizenContext, http: aiohttp.ClientSession, tokens: CitizenTokens | None) -> Citizen:
    """All that the handlers work with."""
    settings = context.settings
    road = RoadClient(http, settings, Vouchers(context.cookie_key, context.clock))
    issuer = IssuerClient(http, settings, context.clock)
    notices = Notices(context.engine, context.clock)
    devices = Devices(context.engine, context.clock, notices)
    statements = UsedStatements(context.engine, context.clock)
    tokens = tokens or CitizenTokens(
        http,
        issuer=settings.issuer,
        audience=settings.token_audience,
        clock=context.clock,
        bindings=DeviceBindings(statements, devices, context.person),
        levels=settings.acr_levels,
    )
    minute = settings.requests_per_minute
    return Citizen(
        context=context,
        road=road,
        issuer=issuer,
        tokens=tokens,
        logins=Logins(
            engine=context.engine,
            settings=settings,
            clock=context.clock,
            issuer=issuer,
            tokens=tokens,
            statements=statements,
        ),
        sessions=Sessions(context.engine, settings, context.clock, context.cookie_key),
        catalogues=Catalogues(road, settings, context.clock),
        consents=Consents(context, road),
        login_attempts=RateLimit(burst=60, refill_ms=1_000),
        person_requests=RateLimit(burst=minute, refill_ms=max(1, 60_000 // minute)),
        devices=devices,
        notices=notices,
        links=Links(
            context.engine,
            context.clock,
            notices,
            names={one.key: one.provider_name for one in context.settings.purposes},
        ),
        complaints=Complaints(context.engine, context.clock, notices, key=context.pseudonym_key),
        relations=Relations(context.engine, context.clock, key=context.pseudonym_key, member=settings.client.member),
        nonces=Nonces(context.cookie_key, context.clock, required=settings.require_dpop_nonce),
        templates=_templates(),
    )


def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("gateway.citizen"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


async def _background(app: web.Application) -> AsyncIterator[None]:
    citizen = app[CITIZEN]
    interval_ms = citizen.context.settings.push_interval_ms
    unlinking = repeating(partial(end_due, citizen), interval_ms=interval_ms, failure="links not ended")
    async with citizen.consents.running(), unlinking:
        yield


async def _static(request: web.Request) -> web.Response:
    """One of a few known files; a name is looked up, never joined to a path."""
    name = request.match_info["name"]
    if name not in _TYPES:
        raise web.HTTPNotFound
    headers = {"Cache-Control": "public, max-age=3600"}
    return web.Response(body=(_STATIC / name).read_bytes(), content_type=_TYPES[name], headers=headers)
