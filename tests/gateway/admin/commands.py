"""A gateway's settings for the tests of its commands, and what the commands left in its store."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.settings import GatewaySettings
from gateway.store.model import NodeConfiguration
from gateway.store.repository import Repository
from tests.databases import migrated


def write_settings(folder: Path) -> Path:
    """The settings file of the bank's gateway."""
    path = folder / "gateway.toml"
    path.write_text(
        'instance = "DE-TEST"\nowner = "DE-TEST/COM/SPARKASSE"\nserver_code = "bank1"\n'
        'data_directory = "node"\nanchor_file = "anchor.xml"\n',
        encoding="utf-8",
    )
    return path


def stored(config: Path) -> NodeConfiguration:
    """The whole configuration of the gateway with these settings."""

    async def load() -> NodeConfiguration:
        async with migrated(GatewaySettings.from_file(config).database_url) as engine:
            return await Repository(engine).load()

    return asyncio.run(load())
