"""What the sandboxes' JSON servers share: an application with /healthz, and bodies parsed strictly."""

from __future__ import annotations

from aiohttp import web

from adapters.kit.fields import parse_json
from adapters.kit.settings import SandboxSettings


def build_sandbox_app(settings: SandboxSettings) -> web.Application:
    """An empty sandbox."""
    app = web.Application(client_max_size=settings.max_request_bytes)
    app.router.add_get("/healthz", _healthz)
    return app


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def json_body(request: web.Request) -> object:
    """The request's JSON body, an empty object where there is none. Raises MalformedJSON."""
    data = await request.read()
    return parse_json(data) if data else {}
