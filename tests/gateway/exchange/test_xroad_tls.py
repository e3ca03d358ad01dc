"""A gateway with the TLS of an X-Road security server, and ours: whole exchanges over real sockets, either way.

The utility's gateway has RSA keys and speaks TLS 1.2 and X-Road's suites only, on both sides (PR-MESSTRANSP 2.1); the
city's demands TLS 1.3 of everybody else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from gateway.exchange import tls
from gateway.node_keys import load_keys
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.records import require_sound
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, answering
from tests.gateway.exchange.test_peer_profiles import as_xroad
from tests.gateway.exchange.town import APP, CITY, UTILITY

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECDSA_SUITE, *RSA_SUITES = tls.XROAD_CIPHERS.split(":")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["RSA here too", "ECDSA here"])
async def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        async with gateway_pair(
            tmp_path_factory.mktemp("alt"),
            output,
            with_rsa=[UTILITY] if request.param == "ECDSA here" else [UTILITY, CITY],
            consumer={"xroad_servers": (UTILITY.server.encoded,), "peer_tls_minimum": "1.3"},
            provider={"xroad_servers": (CITY.server.encoded,)},
        ) as running:
            yield running


@pytest.fixture(params=RSA_SUITES)
def suite(pair: GatewayPair, request: pytest.FixtureRequest) -> str:
    """The only suite for RSA that the utility speaks."""
    contexts = pair.provider.gateway.contexts
    for context in (contexts.peer_server, contexts._server, contexts.peer_client, contexts.peer_xroad):
        as_xroad(context, f"{ECDSA_SUITE}:{request.param}")
    return str(request.param)


@contextmanager
def connections_to(node: RunningNode) -> Iterator[list[tuple[str, str, str]]]:
    """TLS version, suite and `Connection` of each message that comes to the gateway."""
    server = node.gateway.listeners[1].app
    assert isinstance(server, web.Server)
    seen: list[tuple[str, str, str]] = []
    handler = server.request_handler

    async def watched(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        connection = request.transport.get_extra_info("ssl_object")
        seen.append((connection.version(), connection.cipher()[0], request.headers.get("Connection", "")))
        return await handler(request)

    server.request_handler = watched
    try:
        yield seen
    finally:
        server.request_handler = handler


async def test_a_client_here_calls_a_service_there(pair: GatewayPair, suite: str) -> None:
    keys = load_keys(pair.provider.settings)
    assert all(isinstance(key.private_key, RSAPrivateKey) for key in (keys.signing, keys.authentication))
    pair.backend.soap = answering()
    with connections_to(pair.provider) as seen:
        answer = await pair.call("echo", "/binary", "POST", body=b"hin")
        assert (answer.status, answer.body) == (200, b"hin")
        asked = await pair.request(
            "POST", "/", client=None, headers={"Content-Type": TEXT_XML}, body=Message().encoded()
        )
        assert b"requestHash" in asked.body
    assert seen == [("TLSv1.2", suite, "close")] * 2
    await require_sound(pair.consumer.gateway)


async def test_a_client_there_calls_a_service_here(pair: GatewayPair, suite: str) -> None:
    url = f"http://{HOST}:{pair.provider.settings.client_port}/r1/{APP.encoded}/listMethods"
    with connections_to(pair.consumer) as seen:
        async with pair.http.get(url, headers={"X-Road-Client": UTILITY.subsystem.encoded}) as answer:
            assert answer.status == 200, await answer.text()
            assert await answer.json() == {"service": []}
    # The suite goes by the certificate of whoever is called.
    is_rsa = isinstance(load_keys(pair.consumer.settings).authentication.private_key, RSAPrivateKey)
    assert seen == [("TLSv1.2", suite if is_rsa else ECDSA_SUITE, "close")]
