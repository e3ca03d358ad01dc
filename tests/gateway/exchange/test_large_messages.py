"""A large SOAP message of many small elements holds nobody up: other exchanges go on while it is read."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.exchange.off_loop import LARGE, off_loop
from gateway.messages import soap
from gateway.messages.soap import Reading
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.soap_messages import Message, answering
from tests.gateway.exchange.test_soap import post

pytestmark = pytest.mark.asyncio(loop_scope="module")
ELEMENTS = 800_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair that takes messages of this size."""
    with captured_output() as output:
        folder = tmp_path_factory.mktemp("pair")
        async with gateway_pair(folder, output, max_body_bytes=8 << 20, peer_timeout_seconds=30) as running:
            yield running


async def test_many_small_elements(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the four readings of such a message goes on beside the event loop, not on it."""
    readers: list[threading.Thread] = []
    parse = soap.parse_message

    def watched(data: bytes, content_type: str, reading: Reading) -> soap.SOAPMessage | soap.SOAPFault:
        readers.append(threading.current_thread())
        return parse(data, content_type, reading)

    monkeypatch.setattr(soap, "parse_message", watched)
    message = Message(content="<a/>" * ELEMENTS).encoded()
    told = Message().response("<a/>" * ELEMENTS).encode()
    pair.backend.soap = answering(lambda _: told)
    answer = await post(pair, message)
    assert b"requestHash" in answer.body
    assert answer.body.count(b"<a/>") == ELEMENTS
    assert len(readers) == 4
    assert threading.current_thread() not in readers


@pytest.mark.parametrize("size", [LARGE - 1, LARGE])
async def test_what_is_raised_comes_through(size: int) -> None:
    def read(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="nein"):
        await off_loop(size, read, "nein")
