"""The city of the citizen's tests, on SQLite unless a test asks for both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.citizen.city import City, run_city


@pytest.fixture
async def city(sqlite_url: str, tmp_path: Path) -> AsyncIterator[City]:
    async with run_city(sqlite_url, tmp_path) as running:
        yield running
