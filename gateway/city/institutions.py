"""Starts the adapters and sandboxes of the institutions: the one place, with the demo, that knows `adapters`."""

from __future__ import annotations

from aiohttp import web

from adapters.kit import entries
from adapters.kit import settings as kit
from gateway.settings import AdapterSettings, SandboxSettings


def build_adapter_app(settings: AdapterSettings) -> web.Application:
    """The adapter that the settings name."""
    return entries.Entry(entries.Kind(settings.kind)).build_adapter(
        kit.AdapterSettings(
            backend_url=settings.backend_url,
            data_directory=settings.data_directory,
            host=settings.host,
            port=settings.port,
            backend_timeout_seconds=settings.backend_timeout_seconds,
        )
    )


def build_sandbox_app(settings: SandboxSettings) -> web.Application:
    """The sandbox that the settings name."""
    return entries.Entry(entries.Kind(settings.kind)).build_sandbox(
        kit.SandboxSettings(host=settings.host, port=settings.port)
    )
