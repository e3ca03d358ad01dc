"""The stage: one running pair for all cases, and the gateways that do wrong."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.conformance.stage import Stage
from tests.gateway.exchange.conftest import pair, peer
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.peer import Peer

__all__ = ["pair", "peer", "stage"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(pair: GatewayPair, peer: Peer) -> Stage:
    return Stage(pair, peer)


@pytest.fixture(autouse=True)
def no_scripts(request: pytest.FixtureRequest) -> None:
    """Each case begins with a service that has nothing to say."""
    if "stage" in request.fixturenames:
        request.getfixturevalue("stage").pair.backend.soap = None
