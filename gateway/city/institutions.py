"""Starts the adapters and sandboxes of the institutions: the one place, with the demo, that knows `adapters`."""

from __future__ import annotations

from aiohttp import web

from adapters.kit import entries
from adapters.kit import settings as kit
from adapters.kit.documents import DocumentVerifier, NoDocuments
from gateway.admin.trusted_authorities import load_authorities
from gateway.city.documents import TrustedDocuments
from gateway.clock import SystemClock
from gateway.settings import AdapterSettings, SandboxSettings


def build_adapter_app(settings: AdapterSettings) -> web.Application:
    """The adapter that the settings name. Raises AdminError when the authorities for documents can't be read."""
    return entries.Entry(entries.Kind(settings.kind)).build_adapter(
        kit.AdapterSettings(
            backend_url=settings.backend_url,
            data_directory=settings.data_directory,
            host=settings.host,
            port=settings.port,
            backend_timeout_seconds=settings.backend_timeout_seconds,
            documents=_documents(settings),
        )
    )


def _documents(settings: AdapterSettings) -> DocumentVerifier:
    if settings.document_authorities is None:
        return NoDocuments()
    return TrustedDocuments(load_authorities(settings.document_authorities), SystemClock().now)


def build_sandbox_app(settings: SandboxSettings) -> web.Application:
    """The sandbox that the settings name."""
    return entries.Entry(entries.Kind(settings.kind)).build_sandbox(
        kit.SandboxSettings(host=settings.host, port=settings.port)
    )
