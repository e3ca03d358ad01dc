"""The global configuration that a command goes by: what a source has now, or what the gateway has accepted before."""

from __future__ import annotations

import asyncio

import aiohttp

from gateway.clock import SystemClock
from gateway.settings import GatewaySettings
from trust.configuration_client import ConfigurationClient
from trust.configuration_store import ConfigurationStore
from trust.errors import FetchFailed, TrustError
from trust.globalconf import VerifiedConfiguration, parse_anchor


def current_configuration(settings: GatewaySettings) -> VerifiedConfiguration:
    """The configuration as a source has it now, else the one that the gateway has kept. Raises TrustError."""
    return asyncio.run(_fetch(settings))


def kept_configuration(settings: GatewaySettings) -> VerifiedConfiguration | None:
    """The configuration that the gateway has accepted last, if there is one."""
    try:
        anchor = parse_anchor(settings.anchor_file.read_bytes())
        stored = ConfigurationStore(settings.data_directory / "configuration", anchor).load()
    except (TrustError, OSError):
        return None
    return None if stored is None else stored.configuration


async def _fetch(settings: GatewaySettings) -> VerifiedConfiguration:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        client = ConfigurationClient(
            session,
            parse_anchor(settings.anchor_file.read_bytes()),
            settings.data_directory / "configuration",
            SystemClock().now,
        )
        try:
            return await client.refresh()
        except FetchFailed:
            kept = client.current
            if kept is None:
                raise
            return kept
