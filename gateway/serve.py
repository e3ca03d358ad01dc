"""Runs web applications until the process is told to stop, then finishes what was accepted.

SIGTERM and SIGINT stop it: all listeners close, idle connections are dropped, all requests in progress get
`shutdown_seconds` to end, then the applications' own resources are released in order. A second signal ends the process
at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import ssl as ssl_module
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import uvloop
from aiohttp import web

from gateway.errors import ListenFailed
from gateway.http_server import BoundedRunner, Bounds, RoadServer, Room, most_connections
from gateway.logging import get_logger
from gateway.tls_door import TLSDoor

# How long a connection may be idle, or take to send the head of a request. Longer than clients keep theirs, so that
# they close first and no request meets a closing connection.
KEEPALIVE_SECONDS: Final = 75.0
# Connections that wait to be accepted: a burst of clients must not be turned away by the system.
_BACKLOG: Final = 1024
# How long a request's head, or a TLS handshake, may take where no setting says it.
_HEAD_SECONDS: Final = 20.0
# How many connections an application takes that runs by itself: it serves a few nodes and people, who ask and go.
_CONNECTIONS: Final = 1000
# What a request whose time is up gets to clean up after itself.
_GRACE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Listener:
    """An application, or a bare server, and where it listens; plain HTTP without `ssl`.

    `bounds` are those of an application's connections; a bare server has its own.
    """

    app: web.Application | web.Server
    host: str
    port: int
    ssl: ssl_module.SSLContext | None = None
    bounds: Bounds | None = None


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine on uvloop until it returns."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def run_app(
    app: web.Application,
    host: str,
    port: int,
    ssl: ssl_module.SSLContext | None = None,
    *,
    shutdown_seconds: float,
) -> None:
    """Serves one application until SIGTERM or SIGINT. Raises ListenFailed."""
    run(serve((by_itself(app, host, port, ssl),), shutdown_seconds=shutdown_seconds))


def by_itself(app: web.Application, host: str, port: int, ssl: ssl_module.SSLContext | None = None) -> Listener:
    """A listener for an application that has the process for itself: its connections are bounded."""
    room = Room(most_connections(_CONNECTIONS))
    return Listener(app, host, port, ssl, Bounds(room, _HEAD_SECONDS, KEEPALIVE_SECONDS))


async def serve(
    listeners: Sequence[Listener],
    *,
    shutdown_seconds: float,
    stop: asyncio.Event | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serves until `stop` is set (default: until SIGTERM or SIGINT). `on_ready` is called when all listen."""
    async with listening(listeners, shutdown_seconds=shutdown_seconds):
        if on_ready is not None:
            on_ready()
        await (wait_for_signal() if stop is None else stop.wait())
        get_logger().info("stopping", action="finish accepted requests")


@contextlib.asynccontextmanager
async def listening(listeners: Sequence[Listener], *, shutdown_seconds: float) -> AsyncIterator[None]:
    """Within the block all listeners are open. Raises ListenFailed if one can't be.

    At its end all close at once, so that no door stays open while another one is waited for; then all finish their
    requests within the same `shutdown_seconds`; then the applications are cleaned up, the last opened first.
    """
    runners: dict[web.Application | web.Server, web.BaseRunner] = {}
    async with contextlib.AsyncExitStack() as stack:
        try:
            for listener in listeners:
                runner = runners.get(listener.app)
                if runner is None:
                    runner = _runner(listener)
                    runners[listener.app] = runner
                    stack.push_async_callback(runner.cleanup)
                    await runner.setup()
                await _open(listener, runner)
            yield
        finally:
            await _drain(runners.values(), shutdown_seconds)


class _Site(web.BaseSite):
    """Where a runner listens. aiohttp's own leaves a TLS handshake asyncio's minute, whoever begins it."""

    __slots__ = ("_door", "_place")

    def __init__(self, runner: web.BaseRunner, listener: Listener) -> None:
        super().__init__(runner, ssl_context=listener.ssl, backlog=_BACKLOG)
        self._place = (listener.host, listener.port)
        self._door: TLSDoor | None = None

    @property
    def name(self) -> str:
        """The address, for people."""
        host, port = self._place
        return f"{host}:{port}"

    async def start(self) -> None:
        """Opens the port. Raises OSError."""
        await super().start()
        server = self._runner.server
        assert server is not None
        if isinstance(server, RoadServer) and self._ssl_context is not None:
            self._door = TLSDoor(server, self._ssl_context)
            await self._door.open(*self._place, self._backlog)
            return
        self._server = await asyncio.get_running_loop().create_server(
            server,
            *self._place,
            ssl=self._ssl_context,
            ssl_handshake_timeout=None if self._ssl_context is None else _HEAD_SECONDS,
            backlog=self._backlog,
            reuse_address=True,
        )

    async def stop(self) -> None:
        """Closes the port."""
        await super().stop()
        if self._door is not None:
            await self._door.close()


async def _open(listener: Listener, runner: web.BaseRunner) -> None:
    site = _Site(runner, listener)
    try:
        await site.start()
    except OSError as error:
        # asyncio puts a sentence of its own around the reason.
        code = error.errno or 0
        reason = os.strerror(code).lower() if code in errno.errorcode else error.strerror
        place = f"{listener.host}, port {listener.port}: {reason}"
        raise ListenFailed(error.errno, place) from error
    get_logger().info("listening", host=listener.host, port=listener.port, mode="TLS" if listener.ssl else "HTTP")


async def _drain(runners: Collection[web.BaseRunner], seconds: float) -> None:
    for runner in runners:
        for site in runner.sites:
            await site.stop()
    # What had arrived before may begin; only what is idle then is dropped.
    await asyncio.sleep(0)
    servers = [runner.server for runner in runners if runner.server is not None]
    for server in servers:
        server.pre_shutdown()
    await asyncio.gather(*(_finish(server, seconds) for server in servers))


async def _finish(server: web.Server, seconds: float) -> None:
    """Waits for the requests in progress; ends those whose time is up."""
    try:
        async with asyncio.timeout(seconds):
            # Left alone, aiohttp waits for this time twice: before it cancels a request, and after.
            await server.shutdown(seconds * 2)
    except TimeoutError:
        await server.shutdown(_GRACE_SECONDS)


def _runner(listener: Listener) -> web.BaseRunner:
    app = listener.app
    if isinstance(app, web.Server):
        return web.ServerRunner(app)
    if listener.bounds is not None:
        return BoundedRunner(app, listener.bounds)
    return web.AppRunner(app, access_log=None, keepalive_timeout=KEEPALIVE_SECONDS)


async def wait_for_signal() -> None:
    """Returns at the first SIGTERM or SIGINT; the next one then acts as usual and ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
