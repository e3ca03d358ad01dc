"""The registry over HTTP: publishes the configuration that it signs anew at an interval and after each change.

Follows PR-GCONF 2.12 section 4.1: `?version=N` is answered with 404 when that version is not offered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

from aiohttp import web

from gateway.clock import Clock, SystemClock
from gateway.logging import get_logger
from gateway.registry.node import EXTERNAL_PATH, INTERNAL_PATH, Registry, Version
from gateway.registry.publication import Publication
from gateway.settings import RegistrySettings
from trust.errors import TrustError
from trust.globalconf import VERSIONS

# Whoever has fetched a directory still has time to fetch its files.
_KEPT_GENERATIONS: Final = 12
_LOOK_SECONDS: Final = 0.5


class Publisher:
    """The generations in service. Used from one event loop."""

    def __init__(self, registry: Registry, clock: Clock, interval_seconds: float) -> None:
        self.registry = registry
        self._clock = clock
        self._interval = interval_seconds
        self._generations: OrderedDict[int, Publication] = OrderedDict()
        self._version: Version | None = None
        self._published_ms = 0

    @property
    def latest(self) -> Publication | None:
        """The newest generation, None before the first."""
        return next(reversed(self._generations.values()), None)

    def file(self, path: str) -> bytes | None:
        """A file of one of the generations in service."""
        return next((g.files[path] for g in self._generations.values() if path in g.files), None)

    async def publish(self) -> Publication:
        """Puts a new generation into service. Raises TrustError; the last one then stays."""
        # Looked at before reading: a change in between is then published once more, never missed.
        version = self.registry.version()
        publication = await self.registry.publish()
        self._version, self._published_ms = version, self._clock.now_ms()
        self._generations[publication.sequence] = publication
        while len(self._generations) > _KEPT_GENERATIONS:
            self._generations.popitem(last=False)
        return publication

    async def run(self) -> None:
        """Publishes when the interval has passed, or state or federated anchors have changed, until cancelled."""
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._interval))
            try:
                due = self._clock.now_ms() - self._published_ms >= self._interval * 1000
                if due or self.registry.version() != self._version:
                    await self.publish()
            except (TrustError, OSError) as error:
                get_logger().error("publishing failed", error_type=type(error).__name__)


PUBLISHER: Final = web.AppKey("publisher", Publisher)
_CLOCK: Final = web.AppKey("clock", Clock)


def build_app(settings: RegistrySettings, *, clock: Clock | None = None) -> web.Application:
    """`GET /internalconf`, `/externalconf`, `/V<n>/<generation>/<file>`, `/healthz`. Sets the registry up if needed."""
    used = clock or SystemClock()
    app = web.Application(client_max_size=1 << 16)
    app[_CLOCK] = used
    app[PUBLISHER] = Publisher(Registry(settings, used), used, settings.interval_seconds)
    app.cleanup_ctx.append(_publishing)
    app.router.add_get(INTERNAL_PATH, _internal)
    app.router.add_get(EXTERNAL_PATH, _external)
    app.router.add_get("/V{version}/{generation}/{file}", _file)
    app.router.add_get("/healthz", _health)
    return app


async def _publishing(app: web.Application) -> AsyncIterator[None]:
    # The first generation is there before the first request; a registry that can't sign does not start.
    await app[PUBLISHER].publish()
    task = asyncio.create_task(app[PUBLISHER].run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _internal(request: web.Request) -> web.Response:
    return _directory(_offered(request, lambda publication: publication.internals))


async def _external(request: web.Request) -> web.Response:
    return _directory(_offered(request, lambda publication: publication.externals))


def _offered(request: web.Request, directories: Callable[[Publication], Mapping[int, bytes]]) -> bytes:
    publication = request.app[PUBLISHER].latest
    # PR-GCONF 2.7: 404 for a version that isn't there. Who names none predates the parameter, and gets the oldest.
    wanted = request.query.getall("version", [str(VERSIONS[-1])])
    offered = {} if publication is None else {str(version): d for version, d in directories(publication).items()}
    if len(wanted) != 1 or wanted[0] not in offered:
        raise web.HTTPNotFound
    return offered[wanted[0]]


def _directory(document: bytes) -> web.Response:
    # The document begins with its own Content-Type: HTTP's describes the bytes around it.
    return web.Response(body=document, content_type="application/octet-stream", headers={"Cache-Control": "no-store"})


async def _file(request: web.Request) -> web.Response:
    data = request.app[PUBLISHER].file(request.path)
    if data is None:
        raise web.HTTPNotFound
    return web.Response(body=data, content_type="text/xml", headers={"Cache-Control": "public, max-age=600"})


async def _health(request: web.Request) -> web.Response:
    publication = request.app[PUBLISHER].latest
    healthy = publication is not None and request.app[_CLOCK].now() < publication.expires
    return web.json_response({"status": "ok" if healthy else "expired"}, status=200 if healthy else 503)
