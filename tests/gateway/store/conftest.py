"""A node's store for its tests: each runs once on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.store.repository import Repository
from tests.databases import migrated


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with migrated(database_url) as opened:
        yield opened


@pytest.fixture
def repository(engine: AsyncEngine) -> Repository:
    return Repository(engine)
