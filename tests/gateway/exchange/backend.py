"""An institution's service for the tests: tells what reached it, and breaks in every way when asked to."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict

from gateway.bounded import read_bounded

MAX_BODY = 8 << 20
# What the service says about itself that must not reach the client, and what must.
SERVICE_HEADERS = (
    ("X-Eigenes", "bleibt"),
    ("X-Eigenes", "auch das zweite"),
    ("Set-Cookie", "sitzung=1"),
    ("Date", "Tue, 01 Sep 2026 08:00:00 GMT"),
    ("Server", "musterserver/1.0"),
    ("Keep-Alive", "timeout=5"),
    ("Trailer", "X-Spaeter"),
    ("X-Road-Error", "server.serverproxy.access_denied"),
    ("X-Road-Client", "DE-TEST/GOV/FALSCH/app"),
    ("X-Road-Id", "falsch"),
    ("X-Road-Request-Id", "falsch"),
    ("X-Road-Request-Hash", "falsch"),
    ("X-Road-Service", "DE-TEST/COM/FALSCH/dienst/x"),
    ("X-Datenweg-Audit-Receipt", "falsch 0 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ("X-Datenweg-Erfunden", "falsch"),
)


@dataclass(frozen=True)
class Call:
    """A request as it reached the service."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass
class Backend:
    """The service. What it does is the first segment of the path below its base."""

    calls: list[Call] = field(default_factory=list)
    soap: Callable[[Call], web.Response] | None = None
    # Answers in place of all that is described here.
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None
    release: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request."""
        return await (self._handle(request) if self.answer is None else self.answer(request))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await read_bounded(request.content, MAX_BODY)
        headers = CIMultiDict((name.decode(), value.decode()) for name, value in request.raw_headers)
        call = Call(request.method, request.raw_path, headers, body)
        self.calls.append(call)
        self.reached.set()
        what, _, argument = request.raw_path.partition("?")[0].removeprefix("/dienst").lstrip("/").partition("/")
        match what:
            case "binary":
                return web.Response(body=body, content_type="application/octet-stream")
            case "status":
                return web.Response(
                    status=int(argument), body=b'{"fehler":"vom Dienst"}', content_type="application/problem+json"
                )
            case "empty":
                return web.Response(status=204)
            case "redirect":
                return web.Response(status=302, headers={"Location": "https://anderswo.example/neu?x=1"})
            case "headers":
                return web.Response(body=b"{}", headers=CIMultiDict(SERVICE_HEADERS), content_type="application/json")
            case "many-headers":
                return web.Response(headers={f"X-Viel-{n}": "v" * 4000 for n in range(int(argument))})
            case "large":
                return web.Response(body=b"x" * int(argument))
            case "endless":
                return await self._endless(request)
            case "slow":
                await self.release.wait()
                return web.Response(body=b"spaet")
            case "soap":
                assert self.soap is not None
                return self.soap(call)
            case "garbage" | "cut" | "silent":
                return self._broken(request, what)
            case _:
                return _echo(call)

    async def _endless(self, request: web.BaseRequest) -> web.StreamResponse:
        """Without a length, more than anybody takes."""
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1 << 16))
        except ConnectionError:
            return response

    @staticmethod
    def _broken(request: web.BaseRequest, how: str) -> web.StreamResponse:
        assert request.transport is not None
        if how == "garbage":
            request.transport.write(b"\x00\x01 das ist kein HTTP\r\n\r\n")
        elif how == "cut":
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalb")
        request.transport.close()
        return web.Response()


def _echo(call: Call) -> web.Response:
    seen = {
        "method": call.method,
        "target": call.target,
        "headers": list(call.headers.items()),
        "body": base64.b64encode(call.body).decode(),
    }
    return web.Response(
        body=json.dumps(seen).encode(), content_type="application/json", headers={"X-Laenge": str(len(call.body))}
    )
