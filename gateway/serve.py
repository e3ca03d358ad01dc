"""Runs web applications until the process is told to stop, then finishes what was accepted.

SIGTERM and SIGINT stop it: listeners close, idle connections are dropped, requests in progress get `shutdown_seconds`
to end, then the applications' own resources are released in order. A second signal ends the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl as ssl_module
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop
from aiohttp import web

from gateway.logging import get_logger


@dataclass(frozen=True, slots=True)
class Listener:
    """An application, or a bare server, and where it listens; plain HTTP without `ssl`."""

    app: web.Application | web.Server
    host: str
    port: int
    ssl: ssl_module.SSLContext | None = None


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
    shutdown_seconds: float = 20,
) -> None:
    """Serves one application until SIGTERM or SIGINT."""
    run(serve((Listener(app, host, port, ssl),), shutdown_seconds=shutdown_seconds))


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
    """Within the block all listeners are open. At its end each finishes its requests, the last opened first."""
    async with contextlib.AsyncExitStack() as stack:
        runners: dict[web.Application | web.Server, web.BaseRunner] = {}
        for listener in listeners:
            runner = runners.get(listener.app)
            if runner is None:
                runner = _runner(listener.app, shutdown_seconds)
                runners[listener.app] = runner
                stack.push_async_callback(runner.cleanup)
                await runner.setup()
            site = web.TCPSite(runner, listener.host, listener.port, ssl_context=listener.ssl, reuse_address=True)
            await site.start()
            get_logger().info(
                "listening", host=listener.host, port=listener.port, mode="TLS" if listener.ssl else "HTTP"
            )
        yield


def _runner(app: web.Application | web.Server, shutdown_seconds: float) -> web.BaseRunner:
    if isinstance(app, web.Server):
        return web.ServerRunner(app, shutdown_timeout=shutdown_seconds)
    return web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_seconds)


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
