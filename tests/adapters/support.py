"""What the adapter tests stand on: an adapter and its sandbox on loopback, a clock to set, a backend that misbehaves.

Every answer of an adapter is held against its service description on the way, so each test is a contract test as well.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from openapi_schema_validator import OAS30Validator

from adapters.kit.entries import Entry, Kind
from adapters.kit.serve import serving
from adapters.kit.settings import AdapterSettings, SandboxSettings

ERIKA = "erika-" + "e" * 37
MAX = "max-" + "m" * 39
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


class SettableClock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass(frozen=True)
class Exchange:
    """One request of an adapter to its sandbox, and the answer."""

    method: str
    path: str
    query: Mapping[str, str]
    request_headers: Mapping[str, str]
    request: Any
    status: int
    response_headers: Mapping[str, str]
    response: Any


@dataclass(frozen=True)
class Reply:
    """An adapter's answer."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass
class World:
    """A running adapter, seen from its provider gateway."""

    kind: Kind
    url: str
    session: aiohttp.ClientSession
    clock: SettableClock
    directory: Path
    recorded: list[Exchange] = field(default_factory=list)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        subject: str | None = ERIKA,
        attended: bool = True,
        **headers: str,
    ) -> Reply:
        """One call as the gateway makes it; the answer is validated against the service description."""
        sent = {"X-Road-Client": "DE-TEST/GOV/MUSTERSTADT/APP", "X-Road-Id": "DE-TEST-4711"}
        if subject is not None:
            sent["X-Datenweg-Subject"] = subject
        if attended:
            sent["X-Datenweg-Identity-Level"] = "high"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, json=body, headers=sent) as response:
            text = await response.text()
            reply = Reply(response.status, json.loads(text) if text else None, response.headers)
        require_described(self.kind, method, path, reply)
        return reply


def require_described(kind: Kind, method: str, path: str, reply: Reply) -> None:
    """The answer is one that the service description has for the operation."""
    document = json.loads(Entry(kind).description().document)
    for template, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path.partition("?")[0]) and method.lower() in operations:
            responses = operations[method.lower()]["responses"]
            break
    else:
        responses = {}
    if str(reply.status) in responses:
        content = responses[str(reply.status)].get("content")
        schema = None if content is None else content["application/json"]["schema"]
    else:
        assert reply.headers["Content-Type"].startswith("application/problem+json"), reply
        assert reply.body["status"] == reply.status
        schema = {"$ref": "#/components/schemas/Problem"}
    if schema is None:
        assert reply.body is None
        return
    validate_openapi(document, schema, reply.body)


def validate_openapi(document: Mapping[str, Any], schema: Mapping[str, Any], value: object) -> None:
    """Validates against a schema of an OpenAPI 3.0 document."""
    OAS30Validator({**schema, "components": document["components"]}).validate(value)


@asynccontextmanager
async def world(
    kind: Kind, directory: Path, *, clock: SettableClock | None = None, **settings: Any
) -> AsyncIterator[World]:
    """An adapter with its sandbox; what they say to each other is recorded."""
    clock = clock or SettableClock()
    recorded: list[Exchange] = []
    sandbox = import_module(f"adapters.{kind}.sandbox").build_app(SandboxSettings(), clock=clock)
    sandbox.middlewares.insert(0, _recorder(recorded))
    async with serving(sandbox) as origin:
        backend_url = Entry(kind).backend_url(origin)
        async with adapter_at(kind, directory, backend_url, clock=clock, **settings) as running:
            running.recorded = recorded
            yield running


@asynccontextmanager
async def adapter_at(
    kind: Kind, directory: Path, backend_url: str, *, clock: SettableClock | None = None, **settings: Any
) -> AsyncIterator[World]:
    """An adapter alone, with whatever backend."""
    clock = clock or SettableClock()
    adapter_settings = AdapterSettings(backend_url=backend_url, data_directory=directory, **settings)
    app = import_module(f"adapters.{kind}").build_app(adapter_settings, clock=clock)
    async with serving(app) as url, aiohttp.ClientSession() as session:
        yield World(kind, url, session, clock, directory)


def _recorder(recorded: list[Exchange]) -> Any:
    @web.middleware
    async def record(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        data = await request.read()
        response = await handler(request)
        assert isinstance(response, web.Response)
        body = response.body
        assert body is None or isinstance(body, bytes)
        recorded.append(
            Exchange(
                request.method,
                request.path,
                dict(request.query),
                request.headers.copy(),
                _decoded(request.content_type, data),
                response.status,
                response.headers.copy(),
                _decoded(response.content_type, body or b""),
            )
        )
        return response

    return record


def _decoded(content_type: str, data: bytes) -> Any:
    return json.loads(data) if data and content_type.endswith("json") else data or None


class Misbehaviour:
    """A backend that does what a test tells it to."""

    def __init__(self) -> None:
        self.status = 200
        self.content_type = "application/json"
        self.body = b"{}"
        self.headers: dict[str, str] = {}
        self.hang = asyncio.Event()
        self.hang.set()

    async def handle(self, request: web.Request) -> web.Response:
        await request.read()
        await self.hang.wait()
        return web.Response(status=self.status, body=self.body, content_type=self.content_type, headers=self.headers)

    def build_app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app


@asynccontextmanager
async def interposed(
    origin_of: Callable[[web.Request], str], rules: Mapping[str, Callable[[], web.Response]]
) -> AsyncIterator[str]:
    """A proxy before a sandbox: what ends as a rule says (`METHOD path`) is answered by the rule."""

    async with aiohttp.ClientSession() as session:

        async def forward(request: web.Request) -> web.Response:
            for ending, rule in rules.items():
                if f"{request.method} {request.path}".endswith(ending):
                    return rule()
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            url = origin_of(request) + str(request.rel_url)
            async with session.request(request.method, url, data=await request.read(), headers=headers) as response:
                kept = {k: v for k, v in response.headers.items() if k.lower() in ("content-type", "x-request-id")}
                return web.Response(status=response.status, body=await response.read(), headers=kept)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        async with serving(app) as url:
            yield url
