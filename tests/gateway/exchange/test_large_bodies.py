"""Bodies far larger than a gateway may have in memory, through two gateways in processes of their own.

256 MiB here, 1 GiB and more with `make soak`, which sets DATENWEG_SOAK_BYTES.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from time import perf_counter

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from tests.gateway.exchange import streams
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.nodes import ProcessNode
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.town import APP, path_of, service

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = int(os.environ.get("DATENWEG_SOAK_BYTES", "0")) or 256 << 20
# What a gateway may need more than it did before: chunks on their way, buffers, what the allocator keeps.
GROWTH = 32 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        async with gateway_pair(
            tmp_path_factory.mktemp("gross"),
            output,
            node_type=ProcessNode,
            max_body_bytes=SIZE + 1,
            max_bodies_bytes=64 << 20,
            max_spooled_bytes=4 * SIZE,
            body_digest_allowed=True,
            peer_timeout_seconds=75,
        ) as running:
            running.backend.answer = streams.handle
            # Both have made their connections, and whatever is made once.
            for _ in range(3):
                await running.call("echo", "/make/100000")
                await running.call("echo", "/take", "POST", body=bytes(100_000))
            yield running


def processes(pair: GatewayPair) -> list[ProcessNode]:
    nodes = [pair.consumer, pair.provider]
    assert all(isinstance(node, ProcessNode) for node in nodes)
    return nodes  # type: ignore[return-value]


def peaks(pair: GatewayPair) -> list[int]:
    return [streams.resident_bytes(node.pid) for node in processes(pair)]


def require_bounded(pair: GatewayPair, before: list[int]) -> None:
    for node, was, now in zip(processes(pair), before, peaks(pair), strict=True):
        assert now - was < GROWTH, f"{node.settings.owner}: {(now - was) >> 20} MiB more"
        assert streams.spooled_files(node.pid, node.settings.spool_directory) == []


def url(pair: GatewayPair, rest: str) -> URL:
    target = path_of(service("echo"), rest)
    return URL(f"http://{HOST}:{pair.consumer.settings.client_port}{target}", encoded=True)


async def test_a_request(pair: GatewayPair) -> None:
    before, expected = peaks(pair), await streams.digest(SIZE)
    async with pair.http.post(
        url(pair, "/take"),
        data=streams.make(SIZE),
        headers={"X-Road-Client": APP.encoded},
        timeout=aiohttp.ClientTimeout(total=600),
    ) as answer:
        assert answer.status == 200, await answer.text()
        assert await answer.json() == {"size": SIZE, "digest": expected}
    require_bounded(pair, before)


async def test_an_answer(pair: GatewayPair) -> None:
    before, expected = peaks(pair), await streams.digest(SIZE)
    async with pair.http.get(
        url(pair, f"/make/{SIZE}"),
        headers={"X-Road-Client": APP.encoded},
        timeout=aiohttp.ClientTimeout(total=600),
    ) as answer:
        assert answer.status == 200, await answer.text()
        assert await streams.take(answer.content) == (SIZE, expected)
    require_bounded(pair, before)


async def test_others_go_on_meanwhile(pair: GatewayPair) -> None:
    """Small exchanges while a large body passes: each has its answer in reasonable time."""

    async def large() -> None:
        headers = {"X-Road-Client": APP.encoded}
        async with pair.http.get(url(pair, f"/make/{SIZE}"), headers=headers) as answer:
            assert (await streams.take(answer.content))[0] == SIZE

    task = asyncio.ensure_future(large())
    slowest, count = 0.0, 0
    while not task.done():
        began = perf_counter()
        answer = await pair.call("echo", "/make/1000")
        assert len(answer.body) == 1000
        slowest, count = max(slowest, perf_counter() - began), count + 1
    await task
    assert count > 5
    # The load, both gateways and the service share two cores here.
    assert slowest < 2.0
