"""The HTTP server of a gateway's ports: aiohttp's, with bounds on connections and with our answers to broken requests.

- At most so many connections, of all ports together that share a room. When there are more, idle ones are closed for
  them, those that never sent a request first, and before them those that are at their TLS handshake for long; only when
  every one is at work is a new one cut.
- A request's head has to be complete soon after it began; an idle connection is closed after a while; one whose other
  end takes nothing any more is cut after that.
- What is no HTTP request, or one that two readers could read in two ways, is answered by a port of the road in its own
  form, and the connection is closed (RFC 9112 section 11.2); an application's port leaves that to aiohttp.
"""

from __future__ import annotations

import asyncio
import re
import resource
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Refuse(Protocol):
    """Answers a request that can't be read, or whose handler failed."""

    def __call__(
        self, request: web.BaseRequest, /, *, too_large: bool, asked: tuple[str, str] | None
    ) -> web.StreamResponse:
        """`too_large`: its head is. `asked`: its verb and target, where it can't be read for a verb of nobody's."""
        ...


# How many idle connections go at once when room is needed: each look for them passes over all.
_ROOM: Final = 64
# What the process needs besides connections of clients and peers: databases, peers it calls, services, spooled bodies.
_OWN_FILES: Final = 1024
# How long a closed connection may take to hand over what was answered.
_FLUSH_SECONDS: Final = 10.0
_MAX_LINE: Final = 16 * 1024
# RFC 9110 section 9.1: a verb is a token, of any letters.
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) ([!-~]+) HTTP/1\.[01]\r\n")
# A TLS handshake takes three ways between the two ends at most; from then on it only counts as one if there is room.
_SHAKING_SECONDS: Final = 2.0


class Arriving(Protocol):
    """A connection that has its place, and isn't one of a port's yet: its TLS handshake is under way."""

    @property
    def began(self) -> float:
        """When it was accepted, in the event loop's time."""
        ...

    def cut(self, why: str) -> None:
        """Ends it at once; its place is free."""
        ...


class Room:
    """How many connections several ports may have together. For one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._servers: list[RoadServer] = []
        # Those that aren't among the ports' yet, oldest first.
        self.arriving: dict[Arriving, None] = {}
        # How many were cut and aren't gone yet.
        self.leaving = 0

    def share(self, server: RoadServer) -> None:
        """This port's connections count as well."""
        self._servers.append(server)

    def admits(self) -> bool:
        """Whether there is room for one more. If there isn't, it is made where nothing is lost by it."""
        taken = sum(len(server.open_connections) for server in self._servers) + len(self.arriving) - self.leaving
        if taken < self._limit:
            return True
        since = asyncio.get_running_loop().time() - _SHAKING_SECONDS
        lasting = [one for one in islice(self.arriving, _ROOM) if one.began <= since]
        for arriving in lasting:
            arriving.cut("room")
        if lasting:
            return True
        idle = [one for server in self._servers for one in server.open_connections if one.idle]
        # Stable: among those that sent requests, and among those that didn't, the oldest come first.
        idle.sort(key=lambda one: one.used)
        for one in idle[:_ROOM]:
            one.cut("room")
        return bool(idle)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the connections of a port may take. `on_cut` is told why one was cut: `room`, `head` or `stuck`."""

    room: Room
    head_seconds: float
    idle_seconds: float
    on_cut: Callable[[str], None] = lambda _: None


class RoadServer(web.Server):
    """Serves one port. For one event loop."""

    def __init__(self, handler: Handler, refuse: Refuse | None, bounds: Bounds, **options: Any) -> None:
        """Without `refuse`, what can't be read is answered by aiohttp. `options` are aiohttp's."""
        super().__init__(handler, access_log=None, keepalive_timeout=bounds.idle_seconds, **options)
        self.refuse = refuse
        self.head_seconds = bounds.head_seconds
        self.on_cut = bounds.on_cut
        self.room = bounds.room
        bounds.room.share(self)

    @property
    def open_connections(self) -> Collection[RoadConnection]:
        """Those that are open now."""
        return cast("Collection[RoadConnection]", self._connections)

    def __call__(self) -> RoadConnection:
        """The protocol of a new connection."""
        return RoadConnection(self, loop=self._loop, **self._kwargs)

    def admitted(self, arrived: Callable[[], None]) -> RoadConnection:
        """The protocol of a connection that has its place already; `arrived` is called when it takes it."""
        connection = self()
        connection.arrived = arrived
        return connection


class RoadConnection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_body", "_gone", "_head_timer", "_leaving", "_road", "_unread", "arrived")

    def __init__(self, server: RoadServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._road = server
        self.arrived: Callable[[], None] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._leaving = self._gone = False
        # Of the request that came last.
        self._body: StreamReader | None = None
        # What it began with, if it couldn't be read.
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection is there; room is made for it, or it is cut."""
        if self.arrived is None:
            admitted = self._road.room.admits()
        else:
            admitted = True
            self.arrived()
        super().connection_made(transport)
        if not admitted:
            # Only now: aiohttp's task for it has to begin before it can end.
            self._road.on_cut("room")
            cast("asyncio.Transport", transport).abort()

    @property
    def idle(self) -> bool:
        """Whether nothing is to be lost if it is closed: no request on it, and none begun."""
        waiting = self._waiter is not None and not self._waiter.done()
        return waiting and self._head_timer is None and not self._leaving

    @property
    def used(self) -> bool:
        """Whether there ever was a request on it."""
        return self._request_count > 0

    def data_received(self, data: bytes) -> None:
        """Takes bytes; a head that has begun and isn't complete has to be soon."""
        super().data_received(data)
        if self._messages:
            message, self._body = self._messages[-1]
            if not hasattr(message, "method"):
                self._unread = data[:_MAX_LINE]
        waiter = self._waiter
        if waiter is not None and not waiter.done() and data:
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(self._road.head_seconds, self.cut, "head")
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's own, which aiohttp narrows
        """The other end sends no more. If its request is whole it gets its answer, then the connection is closed.

        Over TLS it is closed at once: there the end of one direction is the end of both.
        """
        if self.transport is None or self.transport.get_extra_info("sslcontext") is not None:
            return None
        if self.idle or self._body is None or not self._body.is_eof():
            return None
        self.close()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection has ended."""
        # From here on its transport answers no questions.
        self._gone = True
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._leaving:
            self._leaving = False
            self._road.room.leaving -= 1
        super().connection_lost(exc)

    def force_close(self) -> None:
        """Closes; what the other side doesn't take in a while is thrown away."""
        transport = self.transport
        # Asked before it is closed: a TLS transport of asyncio that was closed twice has no buffer to ask any more.
        open_still = not self._gone and transport is not None and not transport.is_closing()
        waiting = open_still and transport is not None and transport.get_write_buffer_size() > 0
        super().force_close()
        if waiting and transport is not None:
            self._loop.call_later(_FLUSH_SECONDS, self._abort_stuck, transport)

    def _abort_stuck(self, transport: asyncio.Transport) -> None:
        if not self._gone:
            self._road.on_cut("stuck")
            transport.abort()

    def cut(self, why: str) -> None:
        """Ends the connection at once."""
        if self.transport is not None and not self._leaving:
            self._leaving = True
            self._road.room.leaving += 1
            self._road.on_cut(why)
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The port's own answer to what can't be read, or wasn't foreseen."""
        if self._road.refuse is None:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            # Part of an answer has gone out: the other side must not take it for the whole.
            raise ConnectionError
        asked = _asked(self._unread) if isinstance(exc, BadHttpMethod) else None
        answer = self._road.refuse(request, too_large=isinstance(exc, LineTooLong), asked=asked)
        answer.force_close()
        # Said in so many words: to aiohttp this is a request of HTTP/1.0, which needn't be told.
        answer.headers["Connection"] = "close"
        return answer


def _asked(unread: bytes) -> tuple[str, str] | None:
    """Verb and target of a request whose verb the parser doesn't know (RFC 9112 section 3), if that is all."""
    found = _REQUEST_LINE.match(unread)
    return None if found is None else (found[1].decode("ascii"), found[2].decode("ascii"))


def road_server(handler: Handler, refuse: Refuse, bounds: Bounds) -> RoadServer:
    """The server of a port of the road: bodies go on as they came, and access lines are ours, one per exchange."""
    return RoadServer(handler, refuse, bounds, auto_decompress=False, max_line_size=_MAX_LINE, max_field_size=_MAX_LINE)


class BoundedRunner(web.AppRunner):
    """Runs an application whose connections have bounds."""

    def __init__(self, app: web.Application, bounds: Bounds) -> None:
        super().__init__(app)
        self._bounds = bounds

    async def _make_server(self) -> web.Server:
        served = await super()._make_server()
        return RoadServer(served.request_handler, None, self._bounds, request_factory=served.request_factory)


def most_connections(wanted: int) -> int:
    """How many connections there may be: as wanted, within the files that the process may open.

    Raises the process's own limit as far as the system lets it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OWN_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft - min(_OWN_FILES, soft // 2))
