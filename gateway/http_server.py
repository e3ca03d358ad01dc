"""The HTTP server of the road's ports: aiohttp's, with bounds on connections and with our answers to broken requests.

- At most so many connections. When there are more, idle ones are closed for them, those that never sent a request
  first; only when every one is at work is a new one cut.
- A request's head has to be complete soon after it began; an idle connection is closed after a while; one whose other
  end takes nothing any more is cut after that.
- What is no HTTP request, or one that two readers could read in two ways, is answered by the port in its own form, and
  the connection is closed (RFC 9112 section 11.2).
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

if TYPE_CHECKING:
    from aiohttp.web_protocol import RequestHandler

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Refuse(Protocol):
    """Answers a request that can't be read, or whose handler failed."""

    def __call__(self, request: web.BaseRequest, /, *, too_large: bool) -> web.StreamResponse:
        """`too_large`: its head is."""
        ...



# How many idle connections go at once when room is needed: each look for them passes over all.
_ROOM: Final = 64
# What the process needs besides connections of clients and peers: databases, peers it calls, services, spooled bodies.
_OWN_FILES: Final = 1024
# How long a closed connection may take to hand over what was answered.
_FLUSH_SECONDS: Final = 10.0
_MAX_LINE: Final = 16 * 1024


class RoadServer(web.Server):
    """Serves one port. For one event loop."""

    def __init__(
        self,
        handler: Handler,
        refuse: Refuse,
        *,
        max_connections: int,
        head_seconds: float,
        idle_seconds: float,
        on_cut: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_cut` is told why a connection was cut: `room`, `head` or `stuck`."""
        # Bodies go on as they came (no decompression); access lines are ours, one per exchange.
        super().__init__(
            handler,
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=idle_seconds,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )
        self.refuse = refuse
        self.head_seconds = head_seconds
        self.on_cut = on_cut
        self._max_connections = max_connections

    def __call__(self) -> RoadConnection:
        """The protocol of a new connection."""
        return RoadConnection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """A connection is there; room is made for it, or it is cut."""
        if len(self._connections) >= self._max_connections and not self._make_room():
            self.on_cut("room")
            transport.abort()
        super().connection_made(handler, transport)

    def _make_room(self) -> bool:
        idle = [one for one in self._connections if isinstance(one, RoadConnection) and one.idle]
        # Stable: among those that sent requests, and among those that didn't, the oldest come first.
        idle.sort(key=lambda one: one.used)
        for one in idle[:_ROOM]:
            self.on_cut("room")
            one.abort()
        return bool(idle)


class RoadConnection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_head_timer", "_road")

    def __init__(self, server: RoadServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._road = server
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is to be lost if it is closed: no request on it, and none begun."""
        return self._waiter is not None and not self._waiter.done() and self._head_timer is None

    @property
    def used(self) -> bool:
        """Whether there ever was a request on it."""
        return self._request_count > 0

    def data_received(self, data: bytes) -> None:
        """Takes bytes; a head that has begun and isn't complete has to be soon."""
        super().data_received(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done() and data:
            if self._head_timer is None:
                self._head_timer = self._loop.call_later(self._road.head_seconds, self._cut, "head")
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection has ended."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)

    def force_close(self) -> None:
        """Closes; what the other side doesn't take in a while is thrown away."""
        transport = self.transport
        super().force_close()
        if transport is not None and transport.get_write_buffer_size() > 0:
            self._loop.call_later(_FLUSH_SECONDS, self._abort_stuck, transport)

    def _abort_stuck(self, transport: asyncio.Transport) -> None:
        if transport.get_write_buffer_size() > 0:
            self._road.on_cut("stuck")
            transport.abort()

    def abort(self) -> None:
        """Cuts the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def _cut(self, why: str) -> None:
        self._head_timer = None
        self._road.on_cut(why)
        self.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002 - the overridden method's
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the overridden method's
    ) -> web.StreamResponse:
        """The port's own answer to what can't be read, or wasn't foreseen."""
        if request.writer.output_size > 0:
            # Part of an answer has gone out: the other side must not take it for the whole.
            raise ConnectionError
        answer = self._road.refuse(request, too_large=isinstance(exc, LineTooLong))
        answer.force_close()
        # Said in so many words: to aiohttp this is a request of HTTP/1.0, which needn't be told.
        answer.headers["Connection"] = "close"
        return answer


def room_for_connections(wanted: int, ports: int) -> int:
    """How many connections each of so many ports may have: as wanted, within the files that the process may open.

    Raises the process's own limit as far as the system lets it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * ports + _OWN_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, min(wanted, (soft - min(_OWN_FILES, soft // 2)) // ports))
