"""Connections that stop at the TLS handshake have their place like others, give way like idle ones, and are cut."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from gateway.errors import ListenFailed
from gateway.http_server import Bounds, Room, road_server
from gateway.serve import Listener, listening
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.nodes import ProcessNode
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.streams import open_files
from tests.gateway.exchange.test_connection_bounds import answers, flooded, is_open, port_of, tls_of
from tests.gateway.exchange.test_hostile_http import cut

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 60
# The beginning of a handshake record.
HALF = b"\x16\x03\x01"
TLS_PORTS = ("client_tls", "peer")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair whose connections have time: what is cut here is cut for want of room."""
    with captured_output() as output:
        folder = tmp_path_factory.mktemp("handschlag")
        bounds = {"max_connections": LIMIT, "request_head_seconds": 60}
        async with gateway_pair(folder, output, consumer={"client_tls_port": free_port()}, **bounds) as running:
            yield running


def room_of(pair: GatewayPair) -> Room:
    found = pair.consumer.gateway.listeners[1].app.room  # type: ignore[union-attr]
    assert isinstance(found, Room)
    return found


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake that hasn't been through for no time at all lasts too long."""
    monkeypatch.setattr("gateway.http_server._SHAKING_SECONDS", 0.0)


@pytest.mark.parametrize("name", TLS_PORTS)
async def test_handshakes_that_stop_have_no_more_than_the_room(pair: GatewayPair, name: str) -> None:
    before = cut(pair, "room")
    async with flooded(port_of(pair, name), 4 * LIMIT, HALF) as flood:
        await pair.until(lambda: sum(is_open(reader) for reader, _ in flood) <= LIMIT)
        assert cut(pair, "room") >= before + 3 * LIMIT
        assert 0 < len(room_of(pair).arriving) <= LIMIT
        assert await answers(pair, "client_tls")
        assert (await pair.call("echo")).status == 200
    await pair.until(lambda: not room_of(pair).arriving)
    assert (await pair.call("echo")).status == 200


async def test_they_give_way_before_idle_connections_do(pair: GatewayPair) -> None:
    tls = tls_of("client_tls")
    async with flooded(port_of(pair, "client_tls"), 5, tls=tls) as quiet:
        async with flooded(port_of(pair, "client_tls"), 3 * LIMIT, HALF):
            await pair.until(lambda: 0 < len(room_of(pair).arriving) <= LIMIT)
        assert all(is_open(reader) for reader, _ in quiet)


async def test_a_handshake_that_has_just_begun_is_at_work(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections go for it, and it doesn't go for the next."""
    monkeypatch.setattr("gateway.http_server._SHAKING_SECONDS", 3600.0)
    await pair.until(lambda: not room_of(pair).arriving)
    tls = tls_of("client_tls")
    async with (
        flooded(port_of(pair, "client_tls"), 5, tls=tls) as quiet,
        flooded(port_of(pair, "client_tls"), LIMIT, HALF) as begun,
    ):
        await pair.until(lambda: not any(is_open(reader) for reader, _ in quiet))
        async with flooded(port_of(pair, "peer"), 3, HALF) as late:
            await pair.until(lambda: not any(is_open(reader) for reader, _ in late))
            assert sum(is_open(reader) for reader, _ in begun) >= LIMIT - 5
            # At the plain port there is no room either: all are at work.
            with pytest.raises(aiohttp.ClientError):
                await answers(pair, "ocsp")
    await pair.until(lambda: not room_of(pair).arriving)
    assert await answers(pair, "ocsp")


async def test_what_is_no_tls_has_no_place(pair: GatewayPair) -> None:
    async with flooded(port_of(pair, "client_tls"), 3, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as flood:
        await pair.until(lambda: not any(is_open(reader) for reader, _ in flood) and not room_of(pair).arriving)
    assert await answers(pair, "client_tls")


@pytest_asyncio.fixture(loop_scope="module")
async def listener(pair: GatewayPair) -> Listener:
    """A port of its own, with room for five."""

    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    def refuse(_request: web.BaseRequest, *, too_large: bool, asked: tuple[str, str] | None) -> web.StreamResponse:
        raise AssertionError(too_large, asked)

    server = road_server(handle, refuse, Bounds(Room(5), 60, 60))
    return Listener(server, HOST, free_port(), pair.consumer.gateway.listeners[1].ssl)


async def test_a_port_that_closes_leaves_handshakes(pair: GatewayPair, listener: Listener) -> None:
    """Whoever had only begun is cut, and the port is free."""
    room = listener.app.room  # type: ignore[union-attr]
    async with listening([listener], shutdown_seconds=1):
        reader, writer = await asyncio.open_connection(HOST, listener.port)
        writer.write(HALF)
        await pair.until(lambda: bool(room.arriving))
    async with asyncio.timeout(5):
        with suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert not room.arriving
    with socket.create_server((HOST, listener.port)):
        pass


async def test_a_failure_of_ours_doesnt_close_the_port(
    pair: GatewayPair, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, failed = listener.app.room, []  # type: ignore[union-attr]
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: failed.append(context))
    try:
        async with listening([listener], shutdown_seconds=1):
            with monkeypatch.context() as broken:
                broken.setattr(room, "admits", lambda: 1 // 0)
                async with flooded(listener.port, 1, HALF) as [(reader, _)]:
                    await pair.until(lambda: not is_open(reader))
            async with flooded(listener.port, 1, HALF):
                await pair.until(lambda: len(room.arriving) == 1)
    finally:
        loop.set_exception_handler(before)
    assert [type(context["exception"]) for context in failed] == [ZeroDivisionError]


@pytest.mark.parametrize("problem", [errno.EMFILE, errno.ENOMEM, errno.ECONNABORTED])
async def test_the_port_stays_open_when_the_system_has_nothing_left(
    pair: GatewayPair, listener: Listener, monkeypatch: pytest.MonkeyPatch, problem: int
) -> None:
    monkeypatch.setattr("gateway.tls_door._PAUSE_SECONDS", 0.01)
    loop, problems = asyncio.get_running_loop(), [problem] * 3
    accept = loop.sock_accept

    async def failing(listening: socket.socket) -> tuple[socket.socket, object]:
        if problems:
            raise OSError(problems.pop(), "")
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", failing)
    async with listening([listener], shutdown_seconds=1), flooded(listener.port, 1, HALF):
        await pair.until(lambda: len(listener.app.room.arriving) == 1)  # type: ignore[union-attr]
    assert problems == []


async def test_a_port_that_is_taken(listener: Listener) -> None:
    taken = pytest.raises(ListenFailed, match=f"port {listener.port}: address already in use")
    with socket.create_server((HOST, listener.port)), taken:
        async with listening([listener], shutdown_seconds=1):
            pass


async def test_at_a_gateway_in_a_process_of_its_own(tmp_path: Path) -> None:
    """On the event loop that gateways run on, as many handshakes as files that it has."""
    port = free_port()
    with captured_output() as output:
        bounds = {"max_connections": LIMIT, "request_head_seconds": 60, "consumer": {"client_tls_port": port}}
        async with gateway_pair(tmp_path, output, node_type=ProcessNode, **bounds) as pair:
            node = pair.consumer
            assert isinstance(node, ProcessNode)
            files = open_files(node.pid)
            async with flooded(port, 5 * LIMIT, HALF) as flood:
                await pair.until(lambda: sum(is_open(reader) for reader, _ in flood) <= LIMIT)
                assert open_files(node.pid) <= files + LIMIT + 20
                async with asyncio.timeout(20):
                    while not await let_in(pair):  # noqa: ASYNC110 - a process of its own tells nobody
                        # Until the first of them have been at it for too long.
                        await asyncio.sleep(0.05)
            await pair.until(lambda: open_files(node.pid) <= files + 20)
            assert await answers(pair, "client_tls")


async def let_in(pair: GatewayPair) -> bool:
    try:
        return await answers(pair, "client_tls")
    except (aiohttp.ClientError, ConnectionError):
        return False
