from __future__ import annotations

import asyncio
import os
import signal
import socket

import aiohttp
import pytest
from aiohttp import web

from gateway.errors import ListenFailed
from gateway.serve import Listener, listening, serve, wait_for_signal


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


async def test_a_stop_finishes_what_was_accepted_and_takes_nothing_new() -> None:
    slow, port, stop, ready = SlowApp(), free_port(), asyncio.Event(), asyncio.Event()
    listener = Listener(slow.app, "127.0.0.1", port)
    server = asyncio.create_task(serve([listener], shutdown_seconds=10, stop=stop, on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 5)
    async with aiohttp.ClientSession() as session:
        accepted = asyncio.create_task(fetch(session, port))
        await asyncio.wait_for(slow.arrived.wait(), 5)
        stop.set()
        async with asyncio.timeout(5):
            while not await refused(port):  # noqa: ASYNC110 - what is awaited is the operating system
                await asyncio.sleep(0)
        assert not slow.closed
        slow.answer.set()
        assert await asyncio.wait_for(accepted, 5) == "done"
    await asyncio.wait_for(server, 5)
    assert slow.closed == ["cleanup"]


async def test_a_request_that_never_ends_does_not_hold_the_stop() -> None:
    slow, port, stop, ready = SlowApp(), free_port(), asyncio.Event(), asyncio.Event()
    listener = Listener(slow.app, "127.0.0.1", port)
    server = asyncio.create_task(serve([listener], shutdown_seconds=0.05, stop=stop, on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 5)
    async with aiohttp.ClientSession() as session:
        accepted = asyncio.create_task(fetch(session, port))
        await asyncio.wait_for(slow.arrived.wait(), 5)
        stop.set()
        await asyncio.wait_for(server, 5)
        with pytest.raises(aiohttp.ClientError):
            await accepted


async def test_all_doors_close_before_any_request_is_waited_for() -> None:
    quick, slow, stop, ready = SlowApp(), SlowApp(), asyncio.Event(), asyncio.Event()
    listeners = [Listener(app.app, "127.0.0.1", free_port()) for app in (quick, slow)]
    server = asyncio.create_task(serve(listeners, shutdown_seconds=10, stop=stop, on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 5)
    async with aiohttp.ClientSession() as session:
        accepted = asyncio.create_task(fetch(session, listeners[1].port))
        await asyncio.wait_for(slow.arrived.wait(), 5)
        stop.set()
        async with asyncio.timeout(5):
            while not await refused(listeners[0].port):  # noqa: ASYNC110 - what is awaited is the operating system
                await asyncio.sleep(0)
        assert not slow.closed
        slow.answer.set()
        assert await asyncio.wait_for(accepted, 5) == "done"
    await asyncio.wait_for(server, 5)


async def test_all_requests_share_one_time_to_end() -> None:
    apps, stop, ready = [SlowApp() for _ in range(3)], asyncio.Event(), asyncio.Event()
    listeners = [Listener(app.app, "127.0.0.1", free_port()) for app in apps]
    server = asyncio.create_task(serve(listeners, shutdown_seconds=1, stop=stop, on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), 5)
    async with aiohttp.ClientSession() as session:
        accepted = [asyncio.create_task(fetch(session, listener.port)) for listener in listeners]
        for app in apps:
            await asyncio.wait_for(app.arrived.wait(), 5)
        stop.set()
        # One after the other, or waited for twice, they would take 2 s at least.
        await asyncio.wait_for(server, 1.8)
        ended = await asyncio.gather(*accepted, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError) for end in ended)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_that_does_not_ask_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.serve.KEEPALIVE_SECONDS", 0.05)
    port = free_port()
    async with listening([Listener(web.Application(), "127.0.0.1", port)], shutdown_seconds=1):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 5) == b""
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


async def fetch(session: aiohttp.ClientSession, port: int) -> str:
    async with session.get(f"http://127.0.0.1:{port}/") as response:
        return await response.text()


async def refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:  # reset: it closed while we connected
        return True
    writer.close()
    return False
