"""10,000 connections that ask for nothing, at a gateway in a process of its own: the others go on."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from statistics import median
from time import perf_counter

import pytest
import pytest_asyncio

from tests.gateway.exchange import streams
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.nodes import ProcessNode
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST

pytestmark = pytest.mark.asyncio(loop_scope="module")

WANTED = 10_000
# Memory of one idle connection, generously.
EACH = 48 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        folder = tmp_path_factory.mktemp("ruhig")
        async with gateway_pair(folder, output, node_type=ProcessNode, max_connections=WANTED + 100) as running:
            yield running


async def latency(pair: GatewayPair) -> float:
    """The median of some exchanges, in seconds."""
    taken = []
    for _ in range(30):
        began = perf_counter()
        answer = await pair.call("echo", "/binary", "POST", body=b"ich auch")
        assert answer.body == b"ich auch"
        taken.append(perf_counter() - began)
    return median(taken)


async def test_ten_thousand(pair: GatewayPair) -> None:
    node = pair.consumer
    assert isinstance(node, ProcessNode)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Where a process may open fewer files, fewer connections: the gateway keeps some for itself then.
    count = min(WANTED, hard - 2048)
    assert count >= 1000, "the system's limit on open files is too low for this test"
    port, writers = node.settings.client_port, []
    quiet, before = await latency(pair), streams.resident_bytes(node.pid, "VmRSS")
    try:
        for _ in range(count // 100):
            opened = await asyncio.gather(*(asyncio.open_connection(HOST, port) for _ in range(100)))
            writers += [writer for _, writer in opened]
        crowded, after = await latency(pair), streams.resident_bytes(node.pid, "VmRSS")
        assert streams.open_files(node.pid) > count
        assert not any(writer.transport.is_closing() for writer in writers)
    finally:
        for writer in writers:
            writer.transport.abort()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert crowded < 4 * quiet + 0.05
    assert after - before < count * EACH
    assert await latency(pair) < 4 * quiet + 0.05
