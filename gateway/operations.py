"""The operations port: `/metrics`, `/healthz`, and the public side of the access log under `/audit`.

Health is what a load balancer asks: may this gateway be sent messages now? Each check says what is wrong in a word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.errors import AuditError
from audit.http import add_routes
from audit.publisher import Publisher
from gateway.exchange.node import Node
from gateway.metrics import CONTENT_TYPE
from gateway.node_keys import NodeKeys
from trust.errors import KeyUnavailable

_WARN_BEFORE: Final = timedelta(minutes=3)

Check = Callable[[], Awaitable[str]]


def build_operations_app(node: Node, engine: AsyncEngine, publisher: Publisher, keys: NodeKeys) -> web.Application:
    """The application of the operations port."""
    health = _Health(node, publisher)
    node.metrics.watch_certificate("signing", keys.signing.certificate.not_valid_after_utc)
    node.metrics.watch_certificate("authentication", keys.authentication.certificate.not_valid_after_utc)
    node.metrics.configuration_accepted(expires=node.trust.latest.configuration.expires)
    app = web.Application()

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=node.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", health.answer)
    add_routes(app, engine, {publisher.origin.rpartition("/")[2]: publisher})
    return app


class _Health:
    def __init__(self, node: Node, publisher: Publisher) -> None:
        self._node = node
        self._publisher = publisher

    async def answer(self, _: web.Request) -> web.Response:
        """200 when every check is `ok`, else 503."""
        checks: dict[str, Check] = {
            "configuration": self._configuration,
            "certificates": self._certificates,
            "database": self._database,
            "log": self._log,
        }
        results = {name: await check() for name, check in checks.items()}
        good = all(result in ("ok", "expires soon") for result in results.values())
        body = {"status": "ok" if good else "failing", "server": self._node.server_id.encoded, "checks": results}
        return web.json_response(body, status=200 if good else 503)

    async def _configuration(self) -> str:
        left = self._node.trust.latest.configuration.expires - self._node.clock.now()
        if left <= timedelta(0):
            return "expired: check the registry's reach"
        return "expires soon" if left < _WARN_BEFORE else "ok"

    async def _certificates(self) -> str:
        try:
            self._node.signer.status()
            self._node.own_certificates.authentication_status()
        except KeyUnavailable:
            return "no current OCSP answer: check the authority's responder"
        return "ok"

    async def _database(self) -> str:
        try:
            await self._node.repository.revision()
        except SQLAlchemyError:
            return "not reachable: check the database"
        return "ok"

    async def _log(self) -> str:
        try:
            await self._publisher.latest()
        except AuditError:
            return "no checkpoint published: check the lock file and the database"
        return "ok"
