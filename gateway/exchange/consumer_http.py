"""The client port: X-Road's REST and SOAP interfaces over HTTP (PR-REST 1.0, PR-MESS 4.0). The steps decide.

Every request gets an answer and a log line with the same id. A Fault becomes X-Road's error body or SOAP fault;
whatever we did not foresee becomes `internal_error` with nothing of the exception in it.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Final

from aiohttp import StreamReader, web

from gateway.exchange import consumer, pipeline
from gateway.exchange.client_answers import CONSUMER_RECEIPT, delivered, kind_of, refusal, unreadable
from gateway.exchange.client_routes import ClientRoutes
from gateway.exchange.deadlines import Deadline
from gateway.exchange.http_parts import loggable_detail, peer_certificate, read_request, text_of, unforeseen
from gateway.exchange.ids import growing_id
from gateway.exchange.node import Node
from gateway.exchange.places import Full, Held, release
from gateway.exchange.soap_kind import SOAP
from gateway.exchange.spool import Bodies
from gateway.exchange.state import ConsumerExchange, Incoming
from gateway.exchange.streaming import read_content, read_soap, stream_answer
from gateway.messages.content import Content
from gateway.messages.faults import ERRORS, Fault
from gateway.messages.http_fields import Header
from gateway.messages.soap import Reading
from gateway.messages.soap_request import SOAPParts
from gateway.monitoring.observe import observe_consumer
from trust.identifiers import ServiceId

__all__ = ["CONSUMER_RECEIPT", "ClientPort"]

_ROLE: Final = "consumer"
_MAX_SERVICES: Final = 1000


class ClientPort:
    """Handles the requests of clients. One per node; used from one event loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._in_progress = 0
        self._answered: set[ServiceId] = set()
        self._routes = ClientRoutes(node, growing_id)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one HTTP request."""
        if (path := self._routes.path_of(request)) is not None:
            return await self._own(request, path)
        node, started = self._node, perf_counter()
        exchange = ConsumerExchange(
            Incoming(request.method, request.raw_path, _headers(request), request.secure, peer_certificate(request)),
            request_id=growing_id(node.clock.now_ms()),
            started_ms=node.clock.now_ms(),
            kind=kind_of(request.raw_path),
        )
        refused: Fault | None = None
        node.metrics.exchange_started()
        self._in_progress += 1
        try:
            with node.spool.bodies() as exchange.bodies:
                await self._exchange(request, exchange, exchange.bodies)
                answer = await self._deliver(request, exchange)
            outcome, hop = "ok", ""
        except Fault as fault:
            fault = fault.identify(exchange.request_id)
            answer, outcome, hop = self._refusal(exchange, fault), fault.code, fault.hop.value
            refused = fault
        finally:
            release(exchange.places)
            self._in_progress -= 1
            node.metrics.exchange_ended()
        node.metrics.count_exchange(
            service=self._label(exchange, outcome),
            outcome=outcome if outcome == "ok" or outcome in ERRORS else "other",
            hop=hop,
            role=_ROLE,
            seconds=perf_counter() - started,
        )
        observe_consumer(node, exchange, refused)
        return answer

    async def _own(self, request: web.BaseRequest, path: str) -> web.Response:
        """What this gateway answers by itself takes a place like an exchange."""
        metrics = self._node.metrics
        self._in_progress += 1
        try:
            if self._in_progress > self._node.settings.concurrency_limit:
                answer = self._routes.refuse(path, Fault("server.clientproxy.overloaded"))
            else:
                answer = await self._routes.answer(request, path)
        finally:
            self._in_progress -= 1
        metrics.count_client_request(path, answer.status)
        return answer

    def _label(self, exchange: ConsumerExchange, outcome: str) -> str:
        """The service for the metrics: one that has answered before, else its provider; nothing a client made up."""
        if exchange.request is None or not exchange.servers:
            return ""
        service = exchange.request.service
        if outcome == "ok" and len(self._answered) < _MAX_SERVICES:
            self._answered.add(service)
        return service.encoded if service in self._answered else service.provider.encoded

    def refuse(
        self, _request: web.BaseRequest, *, too_large: bool, asked: tuple[str, str] | None
    ) -> web.StreamResponse:
        """What is no HTTP request, or one that could be read in two ways: nobody knows whose or of which kind."""
        if asked is not None:
            return self._refuse_verb(*asked)
        node, request_id = self._node, growing_id(self._node.clock.now_ms())
        reason = "the head of the HTTP request is too large" if too_large else "not a valid HTTP request"
        fault = Fault("client.bad_request", reason).identify(request_id)
        node.log.warning(
            "exchange refused", exchange=request_id, code=fault.code, hop=fault.hop.value, step="", role=_ROLE
        )
        node.metrics.count_exchange(service="", outcome=fault.code, hop=fault.hop.value, role=_ROLE, seconds=0)
        return unreadable(node, fault)

    def _refuse_verb(self, verb: str, target: str) -> web.StreamResponse:
        """A verb that HTTP's register doesn't have: told as X-Road tells whatever it has no use for."""
        now_ms = self._node.clock.now_ms()
        kind = kind_of(target)
        exchange = ConsumerExchange(Incoming(verb, target, (), over_tls=False), growing_id(now_ms), now_ms, kind)
        try:
            kind.parse_request(exchange)
        except Fault as refused:
            fault = refused.identify(exchange.request_id)
            self._node.metrics.count_exchange(
                service="", outcome=fault.code, hop=fault.hop.value, role=_ROLE, seconds=0
            )
            return self._refusal(exchange, fault)
        raise AssertionError(verb)

    async def _deliver(self, request: web.BaseRequest, exchange: ConsumerExchange) -> web.StreamResponse:
        answer, pieces = delivered(exchange)
        if pieces:
            settings = self._node.settings
            await stream_answer(request, answer, pieces, settings.min_body_bytes_per_second)
        return answer

    async def _read(self, request: web.BaseRequest, exchange: ConsumerExchange, bodies: Bodies) -> None:
        if not request.can_read_body:
            return
        node, limits = self._node, self._node.transport_limits
        rate = node.settings.min_body_bytes_per_second
        if exchange.kind is not SOAP:

            async def read(stream: StreamReader, deadline: Deadline) -> Content:
                return await read_content(stream, limits.max_body, bodies, deadline)

            exchange.body = await read_request(request, limits.max_body, read, prefix="client", rate=rate)
            return

        async def read_parts(stream: StreamReader, deadline: Deadline) -> bytes | SOAPParts:
            content_type = text_of(request.headers.get("Content-Type", "").encode("utf-8", "surrogateescape"))
            return await read_soap(
                stream, content_type, limits=limits, bodies=bodies, deadline=deadline, reading=Reading.CLIENT_REQUEST
            )

        limit = limits.max_body + limits.max_soap
        found = await read_request(request, limit, read_parts, prefix="client", rate=rate)
        if isinstance(found, bytes):
            exchange.body = found
        else:
            exchange.parts = found

    async def _read_slowly(self, request: web.BaseRequest, exchange: ConsumerExchange, bodies: Bodies) -> None:
        """A body that isn't there yet is read for those who may send one. REST's clients are in the head (PR-REST 4.3).

        Whoever they are, one address doesn't take all places by messages that don't come to their end.
        """
        if exchange.kind is not SOAP:
            await pipeline.run(pipeline.BEFORE_BODY, self._node, exchange)
            exchange.step = ""
        held: Held = []
        try:
            self._node.places_of_bodies.take(request.remote, held)
            await self._read(request, exchange, bodies)
        except Full:
            raise Fault("server.clientproxy.overloaded", "too many requests that aren't whole at once") from None
        finally:
            release(held)

    async def _exchange(self, request: web.BaseRequest, exchange: ConsumerExchange, bodies: Bodies) -> None:
        node = self._node
        try:
            if self._in_progress > node.settings.concurrency_limit:
                raise Fault("server.clientproxy.overloaded")
            if request.content.is_eof():
                await self._read(request, exchange, bodies)
            else:
                await self._read_slowly(request, exchange, bodies)
            await pipeline.run(pipeline.CONSUMER, node, exchange)
        except Fault as fault:
            await self._log_refusal(exchange, fault)
            raise
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the last net
            prefix, step = "server.clientproxy", exchange.step
            told = unforeseen(node.log, error, prefix=prefix, exchange=exchange.request_id, step=step)
            await self._log_refusal(exchange, told)
            raise told from None

    async def _log_refusal(self, exchange: ConsumerExchange, fault: Fault) -> None:
        """A signed request is in the log; so is how it ended.

        If even that fails, the client learns no more than it would.
        """
        if exchange.signed is None or exchange.receipts:
            return
        try:
            await consumer.log_refusal(self._node, exchange, fault)
        except Fault as failure:
            self._node.log.error("refusal not logged", exchange=exchange.request_id, code=failure.code)

    def _refusal(self, exchange: ConsumerExchange, fault: Fault) -> web.Response:
        node = self._node
        node.log.warning(
            "exchange refused",
            exchange=exchange.request_id,
            detail=loggable_detail(fault),
            code=fault.loggable_code,
            hop=fault.hop.value,
            step=exchange.step,
            role=_ROLE,
        )
        return refusal(node, exchange, fault)


def _headers(request: web.BaseRequest) -> tuple[Header, ...]:
    return tuple((text_of(name), text_of(value)) for name, value in request.raw_headers)
