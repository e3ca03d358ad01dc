"""A share of the places for each other gateway: one that holds all of its own is told so, the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from gateway.messages.faults import Fault
from gateway.transport_settings import TransportSettings
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.rogue import CallingRogue
from tests.gateway.exchange.town import APP, ROGUE, ROGUE_SERVICE, path_of, service

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 10
# Nine tenths, as there is no setting.
SHARE = 9


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        folder = tmp_path_factory.mktemp("anteil")
        async with gateway_pair(folder, output, concurrency_limit=LIMIT) as running:
            yield running


@pytest.fixture
def broken(pair: GatewayPair) -> CallingRogue:
    """Another member's registered gateway, with its real keys."""
    return CallingRogue(pair.rogue.signing, pair.rogue.authentication, pair.authority)


def in_progress(pair: GatewayPair) -> int:
    """Exchanges under way at the provider's peer port."""
    server = pair.provider.gateway.listeners[1].app
    return int(server.request_handler.__self__._in_progress)  # type: ignore[union-attr]


def url_of(pair: GatewayPair) -> str:
    return f"https://{HOST}:{pair.provider.settings.peer_port}/"


@asynccontextmanager
async def half_sent(pair: GatewayPair, peer: CallingRogue, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Within the block the peer has begun so many messages, and doesn't go on."""
    head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\nContent-Type: multipart/mixed\r\n\r\n"
    opened = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(
                HOST, pair.provider.settings.peer_port, ssl=peer.context(), server_hostname=""
            )
            opened.append((reader, writer))
            writer.write(f"{head}halb".encode())
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await pair.until(lambda: in_progress(pair) == 0)


async def test_one_gateway_doesnt_take_the_others_places(pair: GatewayPair, broken: CallingRogue) -> None:
    async with half_sent(pair, broken, SHARE):
        await pair.until(lambda: in_progress(pair) == SHARE)
        # The city's exchanges go on, one after the other in the place that is left.
        assert [(await pair.call("echo")).status for _ in range(3)] == [200] * 3
        request_id, good = broken.request(service("echo"), client=ROGUE.subsystem)
        answer = await broken.send(url_of(pair), request_id, good.encode())
        assert isinstance(answer, Fault)
        assert answer.code == "server.serverproxy.overloaded"
        assert str(ROGUE.server) in answer.message
        assert in_progress(pair) == SHARE
    # Its places are free again: it is told what it would have been told before.
    request_id, good = broken.request(service("echo"), client=ROGUE.subsystem)
    refused = await broken.send(url_of(pair), request_id, good.encode())
    assert isinstance(refused, Fault)
    assert refused.code == "server.serverproxy.access_denied"


async def test_more_than_its_share_is_refused_before_it_is_read(pair: GatewayPair, broken: CallingRogue) -> None:
    async with half_sent(pair, broken, 3 * LIMIT) as readers:
        await pair.until(lambda: in_progress(pair) == SHARE)

        def refused() -> int:
            return sum(b"overloaded" in bytes(reader._buffer) for reader in readers)  # type: ignore[attr-defined]

        await pair.until(lambda: refused() == 3 * LIMIT - SHARE)
        assert (await pair.call("echo")).status == 200


async def test_one_gateway_that_doesnt_answer_doesnt_take_the_clients_places(pair: GatewayPair) -> None:
    """At the consumer's gateway: exchanges with one provider's gateway have a share of the client port's places."""
    go_on = asyncio.Event()

    async def wait(_arrived):  # type: ignore[no-untyped-def]
        await go_on.wait()
        raise ConnectionAbortedError

    pair.rogue.script = wait
    try:
        waiting = [asyncio.ensure_future(pair.request("GET", path_of(ROGUE_SERVICE, "/x"))) for _ in range(SHARE)]
        await pair.until(lambda: pair.consumer.in_progress == SHARE)
        refused = await pair.request("GET", path_of(ROGUE_SERVICE, "/x"))
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert refused.headers["X-Road-Error"] == "server.clientproxy.overloaded"
        assert str(ROGUE.server) in refused.json["message"]
        assert (await pair.call("echo", client=APP)).status == 200
    finally:
        go_on.set()
        await asyncio.gather(*waiting)
        pair.rogue.script = None
    assert pair.consumer.in_progress == 0


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({}, 900),
        ({"concurrency_limit": 10}, 9),
        ({"concurrency_limit": 3}, 3),
        ({"concurrency_limit": 1}, 1),
        ({"concurrency_limit": 10, "peer_concurrency_limit": 4}, 4),
    ],
)
async def test_the_share(given: dict[str, Any], share: int) -> None:
    assert TransportSettings(**given).peer_share == share
