"""A message log on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.message_log.rig import Rig, open_rig
from tests.trust.containers import making


@pytest.fixture
async def rig(database_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(database_url, tmp_path, making()) as opened:
        yield opened
