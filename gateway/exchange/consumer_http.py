"""The client port: X-Road's REST and SOAP interfaces over HTTP (PR-REST 1.0, PR-MESS 4.0). The steps decide.

Every request gets an answer and a log line with the same id. A Fault becomes X-Road's error body or SOAP fault;
whatever we did not foresee becomes `internal_error` with nothing of the exception in it.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from time import perf_counter
from typing import Final

from aiohttp import web

from gateway.bounded import ByteShare
from gateway.exchange import consumer, pipeline
from gateway.exchange.client_answers import CONSUMER_RECEIPT, delivered, kind_of, refusal
from gateway.exchange.client_routes import ClientRoutes
from gateway.exchange.http_parts import loggable_detail, peer_certificate, read_body, text_of
from gateway.exchange.node import Node
from gateway.exchange.state import ConsumerExchange, Incoming
from gateway.logging import describe_error
from gateway.messages.faults import ERRORS, Fault
from gateway.messages.http_fields import Header
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
        self._routes = ClientRoutes(node, _request_id)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one HTTP request."""
        if (own := await self._routes.answer(request)) is not None:
            return own
        node, started = self._node, perf_counter()
        exchange = ConsumerExchange(
            Incoming(request.method, request.raw_path, _headers(request), request.secure, peer_certificate(request)),
            request_id=_request_id(node.clock.now_ms()),
            started_ms=node.clock.now_ms(),
            kind=kind_of(request.raw_path),
        )
        refused: Fault | None = None
        node.metrics.exchange_started()
        self._in_progress += 1
        try:
            with node.bodies.share() as share:
                await self._exchange(request, exchange, share)
            answer, outcome, hop = delivered(exchange), "ok", ""
        except Fault as fault:
            fault = fault.identify(exchange.request_id)
            answer, outcome, hop = self._refusal(request, exchange, fault), fault.code, fault.hop.value
            refused = fault
        finally:
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

    def _label(self, exchange: ConsumerExchange, outcome: str) -> str:
        """The service for the metrics: one that has answered before, else its provider; nothing a client made up."""
        if exchange.request is None or not exchange.servers:
            return ""
        service = exchange.request.service
        if outcome == "ok" and len(self._answered) < _MAX_SERVICES:
            self._answered.add(service)
        return service.encoded if service in self._answered else service.provider.encoded

    async def _exchange(self, request: web.BaseRequest, exchange: ConsumerExchange, share: ByteShare) -> None:
        node = self._node
        try:
            if self._in_progress > node.settings.concurrency_limit:
                raise Fault("server.clientproxy.overloaded")
            exchange.body = await read_body(request, node.settings.max_body_bytes, share, prefix="client")
            await pipeline.run(pipeline.CONSUMER, node, exchange)
        except Fault as fault:
            await self._log_refusal(exchange, fault)
            raise
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the last net: logged by type and place, answered as internal_error
            node.log.error(
                "unforeseen failure", exchange=exchange.request_id, step=exchange.step, **describe_error(error)
            )
            unforeseen = Fault("server.clientproxy.internal_error")
            await self._log_refusal(exchange, unforeseen)
            raise unforeseen from None

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

    def _refusal(self, request: web.BaseRequest, exchange: ConsumerExchange, fault: Fault) -> web.Response:
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
        return refusal(node, request, exchange, fault)


def _headers(request: web.BaseRequest) -> tuple[Header, ...]:
    return tuple((text_of(name), text_of(value)) for name, value in request.raw_headers)


def _request_id(at_ms: int) -> str:
    """A UUID of version 7 (RFC 9562 section 5.7): grows with time, so that the logs' indexes grow at one end."""
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        (at_ms & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    )
    return str(uuid.UUID(int=value))
