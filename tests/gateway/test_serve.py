"""Several listeners as one server: how it starts, how it ends, and what it does with requests meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from gateway.errors import ListenFailed
from gateway.serve import Listener, by_itself, listening, serve, wait_for_signal


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class SlowApp:
    """Answers when told to; knows whether a request has arrived."""

    def __init__(self) -> None:
        self.arrived, self.answer = asyncio.Event(), asyncio.Event()
        self.closed: list[str] = []
        self.app = web.Application()
        self.app.router.add_get("/", self._handle)
        self.app.on_cleanup.append(self._cleanup)

    async def _handle(self, _request: web.Request) -> web.Response:
        self.arrived.set()
        await self.answer.wait()
        return web.Response(text="done")

    async def _cleanup(self, _app: web.Application) -> None:
        self.closed.append("cleanup")


@dataclass
class Serving:
    """Apps that are served until `stop`, each on its port."""

    ports: list[int]
    stop: asyncio.Event
    ended: asyncio.Task[None]


@asynccontextmanager
async def serving(*apps: SlowApp, shutdown_seconds: float) -> AsyncIterator[Serving]:
    """The apps, answering; the block has to stop them and to wait for their end."""
    stop, ready = asyncio.Event(), asyncio.Event()
    listeners = [Listener(app.app, "127.0.0.1", free_port()) for app in apps]
    served = serve(listeners, shutdown_seconds=shutdown_seconds, stop=stop, on_ready=ready.set)
    ended = asyncio.create_task(served)
    await asyncio.wait_for(ready.wait(), 5)
    yield Serving([listener.port for listener in listeners], stop, ended)
    assert ended.done()


async def test_a_stop_finishes_what_was_accepted_and_takes_nothing_new() -> None:
    slow = SlowApp()
    async with serving(slow, shutdown_seconds=10) as server, aiohttp.ClientSession() as session:
        accepted = await arrived(session, slow, server.ports[0])
        await stop_while_waiting(server, slow, accepted)
    assert slow.closed == ["cleanup"]


async def test_a_request_that_never_ends_does_not_hold_the_stop() -> None:
    slow = SlowApp()
    async with serving(slow, shutdown_seconds=0.05) as server, aiohttp.ClientSession() as session:
        accepted = await arrived(session, slow, server.ports[0])
        server.stop.set()
        await asyncio.wait_for(server.ended, 5)
        with pytest.raises(aiohttp.ClientError):
            await accepted


async def test_all_doors_close_before_any_request_is_waited_for() -> None:
    quick, slow = SlowApp(), SlowApp()
    async with serving(quick, slow, shutdown_seconds=10) as server, aiohttp.ClientSession() as session:
        accepted = await arrived(session, slow, server.ports[1])
        await stop_while_waiting(server, slow, accepted)


async def test_all_requests_share_one_time_to_end() -> None:
    apps = [SlowApp() for _ in range(3)]
    async with serving(*apps, shutdown_seconds=1) as server, aiohttp.ClientSession() as session:
        accepted = [await arrived(session, app, port) for app, port in zip(apps, server.ports, strict=True)]
        server.stop.set()
        # One after the other, or waited for twice, they would take 2 s at least.
        await asyncio.wait_for(server.ended, 1.8)
        ends = await asyncio.gather(*accepted, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError) for end in ends)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_that_does_not_ask_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.serve.KEEPALIVE_SECONDS", 0.05)
    port = free_port()
    async with listening([Listener(web.Application(), "127.0.0.1", port)], shutdown_seconds=1):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_an_application_by_itself_has_room_for_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.serve._CONNECTIONS", 3)
    app, port = SlowApp(), free_port()
    app.answer.set()
    async with listening([by_itself(app.app, "127.0.0.1", port)], shutdown_seconds=1):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as answer:
            assert await answer.text() == "done"
        assert await asyncio.wait_for(idle[0][0].read(), 5) == b""
        for _, writer in idle:
            writer.close()


async def test_a_port_in_use_closes_what_was_opened() -> None:
    slow, port = SlowApp(), free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listeners = [
            Listener(slow.app, "127.0.0.1", port),
            Listener(web.Application(), "127.0.0.1", taken.getsockname()[1]),
        ]
        with pytest.raises(ListenFailed, match="in use"):
            await serve(listeners, shutdown_seconds=1, stop=asyncio.Event())
    assert slow.closed == ["cleanup"]
    assert await refused(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_stop_the_server(number: signal.Signals) -> None:
    waiting = asyncio.create_task(wait_for_signal())
    await asyncio.sleep(0)
    os.kill(os.getpid(), number)
    await asyncio.wait_for(waiting, 5)


async def arrived(session: aiohttp.ClientSession, app: SlowApp, port: int) -> asyncio.Task[str]:
    """A request that the app has, and doesn't answer yet."""
    accepted = asyncio.create_task(fetch(session, port))
    await asyncio.wait_for(app.arrived.wait(), 5)
    return accepted


async def stop_while_waiting(server: Serving, slow: SlowApp, accepted: asyncio.Task[str]) -> None:
    """The first port closes while the accepted request still waits; it gets its answer, and then all ends."""
    server.stop.set()
    await closed(server.ports[0])
    assert not slow.closed
    slow.answer.set()
    assert await asyncio.wait_for(accepted, 5) == "done"
    await asyncio.wait_for(server.ended, 5)


async def fetch(session: aiohttp.ClientSession, port: int) -> str:
    async with session.get(f"http://127.0.0.1:{port}/") as response:
        return await response.text()


async def closed(port: int) -> None:
    """Waits until nobody listens there."""
    async with asyncio.timeout(5):
        while not await refused(port):  # noqa: ASYNC110 - what is awaited is the operating system
            await asyncio.sleep(0)


async def refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:  # reset: it closed while we connected
        return True
    writer.close()
    return False
