"""`max_connections` at every port: the road's, the OCSP port, the citizens' pages, and the operators' apart."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from gateway.ports import _OPERATORS_CONNECTIONS
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.test_consent_service import PURPOSES
from tests.gateway.exchange.test_hostile_http import cut, post
from tests.gateway.exchange.town import APP

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 60
HEAD_SECONDS = 0.5
Flood = list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair whose city has all ports that a gateway can have."""
    folder: Path = tmp_path_factory.mktemp("tueren")
    port = free_port()
    (folder / "purposes.toml").write_text(PURPOSES, "utf-8")
    city = {
        "client_tls_port": free_port(),
        "citizen_port": port,
        "citizen_url": f"http://{HOST}:{port}",
        "citizen_client": APP.encoded,
        "citizen_purposes_file": folder / "purposes.toml",
    }
    with captured_output() as output:
        bounds = {"max_connections": LIMIT, "request_head_seconds": HEAD_SECONDS}
        async with gateway_pair(folder, output, consumer=city, **bounds) as running:
            yield running


def port_of(pair: GatewayPair, name: str) -> int:
    found = getattr(pair.consumer.settings, f"{name}_port")
    assert isinstance(found, int)
    return found


def is_open(reader: asyncio.StreamReader) -> bool:
    return not reader.at_eof() and reader.exception() is None


@asynccontextmanager
async def flooded(
    port: int, count: int, sent: bytes = b"", *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Flood]:
    """Within the block so many connections were opened that send only this."""
    flood: Flood = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
            flood.append((reader, writer))
            writer.write(sent)
        yield flood
    finally:
        for _, writer in flood:
            writer.transport.abort()


def tls_of(name: str) -> ssl.SSLContext | None:
    if name != "client_tls":
        return None
    context = ssl.create_default_context()
    # The gateway's own certificate, which a client would pin.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def answers(pair: GatewayPair, name: str) -> bool:
    """Whether whoever asks at the port gets an answer of any kind."""
    tls = tls_of(name)
    url = f"{'https' if tls else 'http'}://{HOST}:{port_of(pair, name)}/"
    async with aiohttp.ClientSession() as http, http.get(url, ssl=tls or True, allow_redirects=False) as answer:
        return answer.status in {200, 302, 303, 400, 404}


@pytest.mark.parametrize("name", ["client", "client_tls", "ocsp", "citizen", "operations"])
async def test_idle_connections_give_way_at_each_port(pair: GatewayPair, name: str) -> None:
    limit = _OPERATORS_CONNECTIONS if name == "operations" else LIMIT
    before = cut(pair, "room")
    async with flooded(port_of(pair, name), 2 * limit, tls=tls_of(name)) as flood:
        await pair.until(lambda: sum(is_open(reader) for reader, _ in flood) <= limit)
        assert cut(pair, "room") >= before + limit
        assert await answers(pair, name)


@pytest.mark.parametrize("name", ["ocsp", "citizen", "operations"])
async def test_a_head_that_doesnt_come_to_its_end_is_cut_there_too(pair: GatewayPair, name: str) -> None:
    before = cut(pair, "head")
    async with flooded(port_of(pair, name), 1, b"GET / HTTP/1.1\r\n") as [(reader, _)]:
        async with asyncio.timeout(20):
            assert await reader.read() == b""
    assert cut(pair, "head") == before + 1


@pytest.mark.parametrize("name", ["client_tls", "peer"])
async def test_a_tls_handshake_that_doesnt_come_to_its_end_is_cut(pair: GatewayPair, name: str) -> None:
    async with flooded(port_of(pair, name), 1, b"\x16\x03\x01") as [(reader, _)], asyncio.timeout(20):
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_a_gateway_that_is_full_of_work_leaves_room_for_operators_only(pair: GatewayPair) -> None:
    before = cut(pair, "room")
    async with flooded(port_of(pair, "client"), LIMIT, post("Content-Length: 10\r\n", "halb")):
        await pair.until(lambda: pair.consumer.in_progress == LIMIT)
        for name in ("ocsp", "citizen"):
            with pytest.raises(aiohttp.ClientError):
                await answers(pair, name)
        assert cut(pair, "room") >= before + 2
        assert await answers(pair, "operations")
    await pair.until(lambda: pair.consumer.in_progress == 0)
    assert (await pair.call("echo")).status == 200
