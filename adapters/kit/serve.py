"""Runs an application on a port: readiness, in-flight requests finished at the end, no access log.

aiohttp's access log writes the request line with its query, which holds process numbers and keys; so it stays off.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

SHUTDOWN_SECONDS: Final = 15.0


@asynccontextmanager
async def serving(app: web.Application, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serves `app` within the block and yields its base URL; port 0 takes a free one.

    When the block ends no new connection is taken, requests under way have 15 seconds to finish, then resources are
    closed.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound_port: int = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound_port}"
    finally:
        await runner.cleanup()
