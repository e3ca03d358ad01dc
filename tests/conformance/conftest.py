"""The stage: one running pair for all cases, and the gateways that do wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.conformance.foreign_town import Town, foreign_town
from tests.conformance.stage import Stage
from tests.gateway.exchange.conftest import captured_output, peer
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.ports import HOST, free_port

__all__ = ["pair", "peer", "stage", "town"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair whose clients may come over TLS, too."""
    with captured_output() as output:
        tls = {"client_tls_port": free_port(), "client_tls_host": HOST}
        async with gateway_pair(tmp_path_factory.mktemp("pair"), output, consumer=tls) as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(pair: GatewayPair, peer: Peer) -> Stage:
    return Stage(pair, peer)


@pytest.fixture(autouse=True)
def no_scripts(request: pytest.FixtureRequest) -> None:
    """Each case begins with a service that has nothing to say."""
    if "stage" in request.fixturenames:
        request.getfixturevalue("stage").pair.backend.soap = None


@pytest.fixture(scope="package")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A road that runs as a process, for clients that know nothing of it."""
    with foreign_town(tmp_path_factory.mktemp("fremd")) as found:
        yield found
