"""A burst of exchanges opens a few connections at a time, and no place waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from gateway.exchange import connecting
from gateway.exchange.connecting import TurnConnector
from gateway.serve import Listener, listening
from tests.gateway.exchange.ports import HOST, free_port


class CountingConnector(TurnConnector):
    """Counts connections as they are opened; those to a place that is held don't come to an end."""

    def __init__(self) -> None:
        super().__init__(limit=1000, keepalive_timeout=5)
        self.opening = self.most = self.opened = 0
        self.held: dict[int, asyncio.Event] = {}

    async def _create_connection(self, req, traces, timeout):  # type: ignore[no-untyped-def] # noqa: ASYNC109
        self.opening += 1
        self.most = max(self.most, self.opening)
        self.opened += 1
        try:
            if req.url.port in self.held:
                await self.held[req.url.port].wait()
            await asyncio.sleep(0.005)
            return await super()._create_connection(req, traces, timeout)
        finally:
            self.opening -= 1


@pytest.fixture
async def place() -> AsyncIterator[tuple[aiohttp.ClientSession, CountingConnector, int]]:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="da")

    port = free_port()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening([Listener(web.Server(handle), HOST, port)], shutdown_seconds=1))
        connector = CountingConnector()
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield session, connector, port


async def ask(session: aiohttp.ClientSession, port: int, seconds: float = 5) -> str:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds)
    async with session.get(f"http://{HOST}:{port}/", timeout=timeout) as answer:
        return await answer.text()


async def test_a_burst(place: tuple[aiohttp.ClientSession, CountingConnector, int]) -> None:
    session, connector, port = place
    answers = await asyncio.gather(*(ask(session, port) for _ in range(400)))
    assert answers == ["da"] * 400
    assert connector.most == connecting._AT_ONCE
    # Who waited for a turn found a connection that somebody had finished with.
    assert connector.opened < 200


async def test_a_place_that_does_not_answer_holds_up_nobody_else(
    place: tuple[aiohttp.ClientSession, CountingConnector, int],
) -> None:
    session, connector, port = place
    dead = free_port()
    connector.held[dead] = asyncio.Event()
    waiting = [asyncio.ensure_future(ask(session, dead, 0.2)) for _ in range(40)]
    while connector.opening < connecting._AT_ONCE:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)
    assert await ask(session, port) == "da"
    # Those beyond the turns give up after the time that a connection may take; nothing was sent.
    done, _ = await asyncio.wait(waiting, timeout=2)
    assert {type(task.exception()) for task in done} == {aiohttp.ConnectionTimeoutError}
    assert len(done) == 40 - connecting._AT_ONCE
    connector.held[dead].set()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, aiohttp.ClientConnectionError) for error in ended)
