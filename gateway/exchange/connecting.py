"""Opening connections in turn: a burst of exchanges must not become a burst of handshakes.

A thousand handshakes at once take longer, each of them, than anybody waits; a few at a time are done soon, and those
who wait for their turn find connections that others have finished with. One place's delay is nobody else's.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import aiohttp

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

_AT_ONCE: Final = 32
_PLACES: Final = 1000


class TurnConnector(aiohttp.TCPConnector):
    """Opens at most so many connections to one place at the same time. A pooled connection is given out in the same
    turn.
    """

    def __init__(self, *, limit: int, keepalive_timeout: float, ssl: ssl.SSLContext | bool = True) -> None:
        super().__init__(ssl=ssl, limit=limit, limit_per_host=0, keepalive_timeout=keepalive_timeout)
        self._turns_of: dict[tuple[str | None, int | None], asyncio.Semaphore] = {}

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:  # noqa: ASYNC109 - the overridden method's
        """As the connector does; who has waited for a turn as long as for a connection gets ConnectionTimeoutError."""
        turns = self._turns(req)
        if turns.locked():
            try:
                async with asyncio.timeout(timeout.sock_connect):
                    await turns.acquire()
            except TimeoutError:
                raise aiohttp.ConnectionTimeoutError from None
        else:
            await turns.acquire()
        try:
            return await super().connect(req, traces, timeout)
        finally:
            turns.release()

    def _turns(self, request: ClientRequest) -> asyncio.Semaphore:
        place = (request.url.host, request.url.port)
        turns = self._turns_of.get(place)
        if turns is None:
            if len(self._turns_of) >= _PLACES:
                # Whoever waits holds on to the semaphore that it has.
                self._turns_of.clear()
            turns = self._turns_of[place] = asyncio.Semaphore(_AT_ONCE)
        return turns
