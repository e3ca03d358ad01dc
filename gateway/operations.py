"""The operations port: `/metrics`, `/healthz`, and the public side of the access log under `/audit`.

Health is what a load balancer asks: may this gateway be sent messages now? Each check says what is wrong in a word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.http import add_routes
from gateway.doctor.http import answer_in_full, asks_in_full
from gateway.exchange.node import Node
from gateway.followers import Follower
from gateway.logs import OwnLogs
from gateway.metrics import CONTENT_TYPE
from gateway.node_keys import NodeKeys
from gateway.witnessing import read_auditor_token
from trust.errors import KeyUnavailable

UNCONFIRMED: Final = "not confirmed yet"
_GOOD: Final = ("ok", "expires soon", "late", UNCONFIRMED)
_WARN_BEFORE: Final = timedelta(minutes=3)
# A checkpoint is published within a second of each growth; this long without one isn't a hiccup.
_UNPUBLISHED_SECONDS: Final = 10.0
# For so long a failed commit counts; after it a balancer may send a message again, which shows whether it goes now.
_UNWRITTEN_SECONDS: Final = 15.0

Check = Callable[[], Awaitable[str]]


def build_operations_app(
    node: Node, engine: AsyncEngine, logs: OwnLogs, keys: NodeKeys, followers: Sequence[Follower]
) -> web.Application:
    """The application of the operations port."""
    health = _Health(node, logs, followers)
    node.metrics.watch_certificate("signing", keys.signing.certificate.not_valid_after_utc)
    node.metrics.watch_certificate("authentication", keys.authentication.certificate.not_valid_after_utc)
    node.metrics.configuration_accepted(expires=node.trust.latest.configuration.expires)
    app = web.Application()

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=node.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def witnesses(_: web.Request) -> web.Response:
        reports = node.log_guard.reports.values()
        return web.json_response([{"name": report.name, "problem": report.problem} for report in reports])

    app.router.add_get("/metrics", metrics)
    app.router.add_get("/witnesses", witnesses)
    app.router.add_get("/healthz", health.answer)
    add_routes(
        app,
        engine,
        logs.publishers,
        auditor_token=read_auditor_token(node.settings.auditor_token_file),
        current=lambda: logs.publisher,
        public_url=node.settings.audit_url,
    )
    return app


class _Health:
    def __init__(self, node: Node, logs: OwnLogs, followers: Sequence[Follower]) -> None:
        self._node = node
        self._logs = logs
        self._followers = followers

    async def answer(self, request: web.Request) -> web.Response:
        """200 when every check is `ok`, else 503; `?full` asks the doctor."""
        if asks_in_full(request):
            return await answer_in_full(request, self._node.server_id.encoded)
        checks: dict[str, Check] = {
            "configuration": self._configuration,
            "certificates": self._certificates,
            "database": self._database,
            "log": self._log,
            "timestamps": self._timestamps,
        }
        results = {name: await check() for name, check in checks.items()}
        for follower in self._followers:
            since = follower.stale_since
            if since is None:
                results.setdefault(follower.name, "ok")
            elif results.get(follower.name, "ok") in _GOOD:
                results[follower.name] = f"not read since {since:%Y-%m-%dT%H:%M:%SZ}: look into the log"
        good = all(result in _GOOD for result in results.values())
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
            self._node.own_certificates.authentication_statuses()
        except KeyUnavailable:
            return "no current OCSP answer: check the authority's responder"
        return "ok"

    async def _database(self) -> str:
        try:
            await self._node.repository.revision()
        except Exception:  # noqa: BLE001 - while it connects, asyncpg raises what it likes: OSError, errors of its own
            return "not reachable: check the database"
        return "ok"

    async def _timestamps(self) -> str:
        stamper = self._node.stamper
        if stamper is not None and stamper.refusing:
            return "messages are refused until one gets a time-stamp: check the time-stamping authorities"
        return "late" if stamper is not None and stamper.alarming else "ok"

    async def _log(self) -> str:
        if not self._node.sequencer.accepting:
            return "takes no steps: check the database, else restart the gateway"
        failing = self._node.sequencer.failing_seconds
        if failing is not None and failing < _UNWRITTEN_SECONDS:
            return "its last step couldn't be written: check the database and its disk"
        behind = self._logs.publisher.behind_seconds
        if behind > _UNPUBLISHED_SECONDS:
            return f"no checkpoint published for {behind:.0f} s: check the lock file and the database"
        # Messages are carried all the same; what can't be shown before a first quorum are the citizens' accesses.
        return "ok" if self._logs.publisher.is_public else UNCONFIRMED
