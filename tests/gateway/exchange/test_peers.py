"""Which of a provider's gateways is used, and what happens when one can't be."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway.bounded import read_bounded
from gateway.exchange import tls
from gateway.exchange.addresses import Endpoint
from gateway.exchange.deadlines import Deadline
from gateway.exchange.peers import PeerConnector, Peers, PeerUntrusted
from gateway.messages.faults import Fault
from gateway.serve import Listener, listening
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.town import CITY, INSTANCE, UTILITY, issue_keys
from trust.identifiers import SecurityServerId
from trust.keys import SoftwareKey
from trust.parameters import SecurityServer
from trust.testca.authority import CertificateAuthority

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Neighbourhood:
    """Gateways of one provider, by name, and who has been asked."""

    peers: Peers
    stack: AsyncExitStack
    authority: CertificateAuthority
    key: SoftwareKey
    asked: list[str] = field(default_factory=list)
    distrusted: set[int] = field(default_factory=set)

    def _server(self, name: str, port: int) -> SecurityServer:
        return SecurityServer(SecurityServerId(UTILITY.member, name), f"{HOST}:{port}")

    async def up(
        self, name: str, handler: Handler | None = None, context: ssl.SSLContext | None = None
    ) -> SecurityServer:
        """A gateway that answers with its name."""
        port = free_port()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            await request.read()
            self.asked.append(name)
            return web.Response(text=name) if handler is None else await handler(request)

        context = context or tls.server_context(self.key, [self.authority.root.certificate_der])
        listener = Listener(web.Server(handle), HOST, port, context)
        await self.stack.enter_async_context(listening([listener], shutdown_seconds=1))
        return self._server(name, port)

    def down(self, name: str) -> SecurityServer:
        """A gateway that does not listen."""
        return self._server(name, free_port())

    async def untrusted(self, name: str) -> SecurityServer:
        """A gateway whose certificate does not hold."""
        server = await self.up(name)
        self.distrusted.add(int(server.address.rpartition(":")[2]))
        return server

    async def send(self, *servers: SecurityServer) -> str:
        return await self.peers.send(servers, [], b"nachricht", _name)


async def _name(answer: aiohttp.ClientResponse, _: Deadline) -> str:
    return (await read_bounded(answer.content, 1000)).decode()


@pytest.fixture
async def road(tmp_path: Path) -> AsyncIterator[Neighbourhood]:
    authority = CertificateAuthority.load_or_create(tmp_path / "ca", INSTANCE)
    _, ours = issue_keys(tmp_path / "city", CITY, authority)
    _, theirs = issue_keys(tmp_path / "utility", UTILITY, authority)
    distrusted: set[int] = set()

    async def verify(_der: bytes, endpoint: Endpoint) -> None:
        if endpoint.message_port in distrusted:
            raise PeerUntrusted

    connector = PeerConnector(tls.client_context(ours), verify, limit=10)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        peers = Peers(session, timeout_seconds=1, connect_seconds=1, rate=1 << 20)
        yield Neighbourhood(peers, stack, authority, theirs, distrusted=distrusted)


async def _refused(road: Neighbourhood, *servers: SecurityServer) -> str:
    with pytest.raises(Fault) as caught:
        await road.send(*servers)
    return caught.value.code.removeprefix("server.clientproxy.")


async def test_one_gateway(road: Neighbourhood) -> None:
    assert await road.send(await road.up("a")) == "a"


async def test_whoever_is_down_is_passed_over(road: Neighbourhood) -> None:
    servers = road.down("a"), await road.up("b"), road.down("c")
    for _ in range(5):
        assert await road.send(*servers) == "b"


async def test_the_fastest_is_remembered_until_it_fails(road: Neighbourhood) -> None:
    first, second = await road.up("a"), await road.up("b")
    chosen = {await road.send(first, second) for _ in range(10)}
    assert len(chosen) == 1
    (name,) = chosen
    remembered, other = (first, second) if name == "a" else (second, first)
    road.distrusted.add(int(remembered.address.rpartition(":")[2]))
    assert await road.send(first, second) == other.id.server_code


async def test_a_certificate_that_does_not_hold_is_passed_over(road: Neighbourhood) -> None:
    bad, good = await road.untrusted("a"), await road.up("b")
    for _ in range(5):
        assert await road.send(bad, good) == "b"
    assert "a" not in road.asked


async def test_nobody_can_be_reached(road: Neighbourhood) -> None:
    assert await _refused(road, road.down("a"), road.down("b")) == "network_error"
    assert await _refused(road, road.down("a")) == "network_error"


async def test_nobody_who_can_be_reached_is_trusted(road: Neighbourhood) -> None:
    assert await _refused(road, road.down("a"), await road.untrusted("b")) == "ssl_authentication_failed"
    assert road.asked == []


async def test_whoever_breaks_off_the_handshake_does_not_know_us(road: Neighbourhood, tmp_path: Path) -> None:
    """As X-Road's proxy has it: the connection was there, so it is no matter of the network."""
    stranger = CertificateAuthority.load_or_create(tmp_path / "other", INSTANCE)
    context = tls.server_context(road.key, [stranger.root.certificate_der])
    # With TLS 1.3 a server speaks last: that it refuses is seen after the handshake, if at all.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    refusing = await road.up("a", context=context)
    assert await _refused(road, refusing) == "ssl_authentication_failed"
    assert await _refused(road, road.down("b"), refusing) == "ssl_authentication_failed"
    assert await road.send(refusing, await road.up("c")) == "c"
    assert road.asked == ["c"]


async def test_addresses_that_are_none(road: Neighbourhood) -> None:
    nowhere = SecurityServer(SecurityServerId(UTILITY.member, "a"), "http://nirgends/")
    assert await _refused(road, nowhere) == "network_error"
    assert await road.send(nowhere, await road.up("b")) == "b"


async def _break_off(request: web.BaseRequest) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _silent(_: web.BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


@pytest.mark.parametrize(("handler", "code"), [(_break_off, "network_error"), (_silent, "io_error")])
async def test_nothing_is_tried_again_once_it_has_arrived(road: Neighbourhood, handler: Handler, code: str) -> None:
    servers = await road.up("a", handler), await road.up("b", handler)
    assert await _refused(road, *servers) == code
    assert len(road.asked) == 1


async def test_a_warm_connection_that_breaks_is_not_tried_again(road: Neighbourhood) -> None:
    calls = 0

    async def once(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        return web.Response(text="a") if calls == 1 else await _break_off(request)

    server = await road.up("a", once)
    assert await road.send(server) == "a"
    assert await _refused(road, server) == "network_error"
    assert road.asked == ["a", "a"]


async def test_an_answer_over_the_limit(road: Neighbourhood) -> None:
    async def much(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(1001))

    assert await _refused(road, await road.up("a", much)) == "service_failed.body_too_large"


async def test_a_race_leaves_nothing_behind(road: Neighbourhood) -> None:
    """Dials that fail beside the winner are nobody's lost exceptions."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    servers = [road.down(f"down{number}") for number in range(5)] + [await road.up("a")]
    for _ in range(20):
        road.peers._fastest.clear()
        assert await road.send(*servers) == "a"
    gc.collect()
    assert reported == []
