"""A large SOAP message of many small elements holds nobody up: other exchanges go on while it is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.exchange.off_loop import LARGE, off_loop
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.soap_messages import Message, answering
from tests.gateway.exchange.test_soap import post

pytestmark = pytest.mark.asyncio(loop_scope="module")
ELEMENTS = 800_000
# What one turn of the loop may take while four parses of such a message go on, on a machine that is busy besides.
LONGEST_TURN = 0.8


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair that takes messages of this size."""
    with captured_output() as output:
        folder = tmp_path_factory.mktemp("pair")
        async with gateway_pair(folder, output, max_body_bytes=8 << 20, peer_timeout_seconds=30) as running:
            yield running


async def longest_turn(done: asyncio.Event) -> float:
    """The longest time that the event loop was away until `done`."""
    longest = 0.0
    while not done.is_set():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before)
    return longest


async def test_many_small_elements(pair: GatewayPair) -> None:
    message = Message(content="<a/>" * ELEMENTS).encoded()
    told = Message().response("<a/>" * ELEMENTS).encode()
    pair.backend.soap = answering(lambda _: told)
    done = asyncio.Event()
    measured = asyncio.create_task(longest_turn(done))
    answer = await post(pair, message)
    done.set()
    assert b"requestHash" in answer.body
    assert answer.body.count(b"<a/>") == ELEMENTS
    longest = await measured
    assert longest < LONGEST_TURN


@pytest.mark.parametrize("size", [LARGE - 1, LARGE])
async def test_what_is_raised_comes_through(size: int) -> None:
    def read(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="nein"):
        await off_loop(size, read, "nein")
