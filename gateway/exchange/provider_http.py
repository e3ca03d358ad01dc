"""The peer port: X-Road's message transport over mutual TLS (PR-MESSTRANSP 2.7). Translates; the steps decide.

Whatever goes wrong is answered with status 200 and a SOAP fault, as peers expect it, and with the id that is in our
log.
"""

from __future__ import annotations

import asyncio
import math
import os
from time import perf_counter
from typing import Final

from aiohttp import StreamReader, web

from gateway.exchange import pipeline, provider
from gateway.exchange.deadlines import Deadline
from gateway.exchange.http_parts import loggable_detail, peer_certificate, read_request, unforeseen
from gateway.exchange.ids import random_id
from gateway.exchange.node import Node
from gateway.exchange.peer_profile import require_modern_tls
from gateway.exchange.places import Full, release
from gateway.exchange.rest_kind import REST
from gateway.exchange.soap_kind import SOAP
from gateway.exchange.spool import Bodies
from gateway.exchange.state import ProviderExchange
from gateway.exchange.streaming import read_transport, stream_answer
from gateway.messages import transport
from gateway.messages.content import Pieces
from gateway.messages.faults import Fault, Hop, soap_fault
from gateway.messages.soap import fault_content_type
from gateway.messages.transport import TransportMessage
from gateway.messages.transport_encoder import ORIGINAL_CONTENT_TYPE
from gateway.monitoring.observe import observe_provider

_ROLE: Final = "provider"
_FAULT_TYPE: Final = "text/xml;charset=utf-8"


class PeerPort:
    """Handles the messages of other gateways. One per node; used from one event loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._in_progress = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one message: a signed multipart message, or a fault."""
        node, started = self._node, perf_counter()
        exchange = ProviderExchange(
            request_id_header=request.headers.get(transport.REQUEST_ID_HEADER, ""),
            # No certificate is nobody's: an empty one matches no hash in the configuration.
            peer_certificate=peer_certificate(request) or b"",
            started_ms=node.clock.now_ms(),
            kind=REST if request.headers.get(transport.MESSAGE_TYPE_HEADER, "").upper() == "REST" else SOAP,
            headers={name.lower(): value for name, value in request.headers.items()},
        )
        refused: Fault | None = None
        node.metrics.exchange_started()
        self._in_progress += 1
        try:
            with node.spool.bodies() as exchange.bodies:
                await self._exchange(request, exchange, exchange.bodies)
                answer = await self._answer(request, exchange)
            outcome, hop = "ok", ""
        except Fault as fault:
            fault = fault.identify(exchange.error_id)
            outcome, hop = fault.code, fault.hop.value
            refused = fault
            self._tell(exchange, fault)
            answer = web.Response(body=soap_fault(fault), headers=_fault_headers(fault))
        finally:
            release(exchange.places)
            self._in_progress -= 1
            node.metrics.exchange_ended()
        service = "" if exchange.offer is None else exchange.offer.identifier.encoded
        node.metrics.count_exchange(
            service=service, outcome=outcome, hop=hop, role=_ROLE, seconds=perf_counter() - started
        )
        observe_provider(node, exchange, refused)
        return answer

    def refuse(
        self,
        _request: web.BaseRequest,
        *,
        too_large: bool,  # noqa: ARG002 - the same for both
        asked: tuple[str, str] | None,
    ) -> web.StreamResponse:
        """What is no HTTP request, or was not foreseen."""
        if asked is None:
            fault = Fault("server.serverproxy.invalid_message", "not a valid HTTP request")
        else:
            fault = Fault("server.serverproxy.invalid_http_method")
        fault = fault.identify(random_id())
        self._node.log.warning(
            "exchange refused", exchange=fault.detail, code=fault.code, hop=fault.hop.value, step="", role=_ROLE
        )
        return web.Response(body=soap_fault(fault), headers=_fault_headers(fault))

    async def _answer(self, request: web.BaseRequest, exchange: ProviderExchange) -> web.StreamResponse:
        answer, pieces = _signed(exchange)
        if pieces:
            await stream_answer(request, answer, pieces, self._node.settings.min_body_bytes_per_second)
        return answer

    async def _exchange(self, request: web.BaseRequest, exchange: ProviderExchange, bodies: Bodies) -> None:
        node = self._node
        try:
            if request.method != "POST":
                raise Fault("server.serverproxy.invalid_http_method")
            if self._in_progress > node.settings.concurrency_limit:
                raise Fault("server.serverproxy.overloaded")
            await self._read(request, exchange, bodies)
            await pipeline.run(pipeline.PROVIDER, node, exchange)
        except Fault as fault:
            await self._log_refusal(exchange, fault)
            raise
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the last net
            prefix, step = "server.serverproxy", exchange.step
            told = unforeseen(node.log, error, prefix=prefix, exchange=_exchange_id(exchange), step=step)
            await self._log_refusal(exchange, told)
            raise told from None

    async def _read(self, request: web.BaseRequest, exchange: ProviderExchange, bodies: Bodies) -> None:
        """The message, decoded. A stranger's isn't read: only gateways of the configuration take room."""
        node = self._node
        trusted = node.trust.current(Hop.PROVIDER_GATEWAY)
        server = trusted.configuration.server_with_certificate(exchange.peer_certificate)
        if server is None:
            raise Fault("server.serverproxy.ssl_authentication_failed", "the TLS certificate is not registered")
        if node.settings.peer_tls_minimum == "1.3" and server.id not in node.xroad_servers:
            require_modern_tls(request)
        try:
            node.places_of_asking_peers.take(server.id, exchange.places)
        except Full:
            raise Fault("server.serverproxy.overloaded", f"too many exchanges of {server.id} at once") from None
        limits, headers = node.transport_limits, exchange.headers

        async def read(stream: StreamReader, deadline: Deadline) -> TransportMessage:
            return await read_transport(
                stream,
                headers.get("content-type", ""),
                headers.get(ORIGINAL_CONTENT_TYPE),
                reader=Hop.PROVIDER_GATEWAY,
                limits=limits,
                bodies=bodies,
                deadline=deadline,
            )

        rate = node.settings.min_body_bytes_per_second
        prefix = "server.serverproxy"
        exchange.received = await read_request(request, limits.max_total, read, prefix=prefix, rate=rate)

    async def _log_refusal(self, exchange: ProviderExchange, fault: Fault) -> None:
        """A verified request is logged however it ends. If that fails, the peer gets `logging_failed` instead."""
        if exchange.verified is None or fault.code.endswith((".replayed_message", ".logging_failed", ".overloaded")):
            return
        refused = exchange.step in (provider.verify_request.__name__, provider.authorise_request.__name__)
        log = provider.log_denial if refused else provider.log_failure
        try:
            await log(self._node, exchange, fault)
        except Fault as failure:
            self._tell(exchange, fault)
            raise failure from None

    def _tell(self, exchange: ProviderExchange, fault: Fault) -> None:
        self._node.log.warning(
            "exchange refused",
            exchange=_exchange_id(exchange),
            detail=loggable_detail(fault),
            code=fault.code,
            hop=fault.hop.value,
            step=exchange.step,
            role=_ROLE,
        )


def _fault_headers(fault: Fault) -> dict[str, str]:
    headers = {"Content-Type": _FAULT_TYPE}
    if fault.retry_after_ms:
        # For the other gateway, which tells its client.
        headers["Retry-After"] = str(math.ceil(fault.retry_after_ms / 1000))
    return headers


def _exchange_id(exchange: ProviderExchange) -> str:
    """The verified request's id; before that our own, for what a stranger sends is not for the log."""
    return exchange.error_id if exchange.verified is None else exchange.verified.request.request_id


def _signed(exchange: ProviderExchange) -> tuple[web.StreamResponse, Pieces]:
    """The message that answers, and its body in pieces if that isn't in memory."""
    if (fault := exchange.service_fault) is not None:
        # The service's own: not a byte of it changes, and whoever reads it goes by its declared encoding.
        return web.Response(body=fault.data, headers={"Content-Type": fault_content_type(fault.encoding)}), ()
    response = exchange.response
    assert response is not None
    boundary = transport.boundary_from(os.urandom(30))
    body = exchange.kind.encode_response(response, boundary)
    headers = {"Content-Type": transport.content_type(boundary), "x-hash-algorithm": transport.HASH_ALGORITHM}
    headers |= exchange.kind.response_headers(response)
    if isinstance(body, bytes):
        return web.Response(body=body, headers=headers), ()
    return web.StreamResponse(headers=headers), body
