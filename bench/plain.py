"""What the measure's own servers share: an address, and serving as a gateway does, on the same loop and HTTP server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.logging import configure_logging
from gateway.serve import Listener, listening, run, wait_for_signal

HOST: Final = "127.0.0.1"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def serve(handler: Handler, port: int) -> None:
    """Serves until SIGTERM."""
    configure_logging("warning")
    run(_serve(handler, port))


async def _serve(handler: Handler, port: int) -> None:
    server = web.Server(handler, access_log=None, auto_decompress=False)
    async with listening((Listener(server, HOST, port),), shutdown_seconds=2):
        await wait_for_signal()
