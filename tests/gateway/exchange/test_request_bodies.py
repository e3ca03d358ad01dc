"""Reading a request's body: how long the other side may take, and that what is here already takes no time."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from gateway.exchange import http_parts
from gateway.exchange.deadlines import Deadline
from gateway.exchange.http_parts import read_request
from gateway.messages.faults import Fault


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is waited for has no time at all."""
    monkeypatch.setattr(http_parts, "_BODY_SECONDS", 0.0)


async def _read(body: bytes, *, complete: bool) -> bytes:
    content = StreamReader(BaseProtocol(asyncio.get_running_loop()), 1 << 16, loop=asyncio.get_running_loop())
    content.feed_data(body)
    if complete:
        content.feed_eof()
    request = make_mocked_request("POST", "/", payload=content)

    async def read(stream: StreamReader, deadline: Deadline) -> bytes:
        await asyncio.sleep(0)
        deadline.moved(len(body))
        return await stream.read()

    return await read_request(cast("web.BaseRequest", request), 100, read, prefix="client", rate=1)


async def test_a_body_that_is_here_needs_no_time() -> None:
    assert await _read(b"body", complete=True) == b"body"


async def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(Fault) as caught:
        await _read(b"bo", complete=False)
    assert caught.value.code == "client.bad_request"
