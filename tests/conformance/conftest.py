"""The stage: one running pair for all cases, and the gateways that do wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_asyncio

from tests.conformance.foreign_town import Town, foreign_town
from tests.conformance.stage import Stage
from tests.gateway.exchange.conftest import pair, peer
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.peer import Peer

__all__ = ["pair", "peer", "stage", "town"]


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
