"""The peer port: X-Road's message transport over mutual TLS (PR-MESSTRANSP 2.7). Translates; the steps decide.

Whatever goes wrong is answered with status 200 and a SOAP fault, as peers expect it, and with the id that is in our
log.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from time import perf_counter
from typing import Final

from aiohttp import web

from gateway.bounded import ByteShare
from gateway.exchange import pipeline, provider
from gateway.exchange.http_parts import loggable_detail, peer_certificate, read_body
from gateway.exchange.node import Node
from gateway.exchange.rest_kind import REST
from gateway.exchange.soap_kind import SOAP
from gateway.exchange.state import ProviderExchange
from gateway.logging import describe_error
from gateway.messages import transport
from gateway.messages.faults import Fault, Hop, soap_fault
from gateway.messages.soap import fault_content_type
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
            content_type=request.headers.get("Content-Type", ""),
            content=b"",
            request_id_header=request.headers.get(transport.REQUEST_ID_HEADER, ""),
            # No certificate is nobody's: an empty one matches no hash in the configuration.
            peer_certificate=peer_certificate(request) or b"",
            error_id=str(uuid.uuid4()),
            started_ms=node.clock.now_ms(),
            kind=REST if request.headers.get(transport.MESSAGE_TYPE_HEADER, "").upper() == "REST" else SOAP,
            headers={name.lower(): value for name, value in request.headers.items()},
        )
        refused: Fault | None = None
        node.metrics.exchange_started()
        self._in_progress += 1
        try:
            with node.bodies.share() as share:
                await self._exchange(request, exchange, share)
            answer, outcome, hop = _signed(exchange), "ok", ""
        except Fault as fault:
            fault = fault.identify(exchange.error_id)
            outcome, hop = fault.code, fault.hop.value
            refused = fault
            self._tell(exchange, fault)
            answer = web.Response(body=soap_fault(fault), headers={"Content-Type": _FAULT_TYPE})
        finally:
            self._in_progress -= 1
            node.metrics.exchange_ended()
        service = "" if exchange.offer is None else exchange.offer.identifier.encoded
        node.metrics.count_exchange(
            service=service, outcome=outcome, hop=hop, role=_ROLE, seconds=perf_counter() - started
        )
        observe_provider(node, exchange, refused)
        return answer

    async def _exchange(self, request: web.BaseRequest, exchange: ProviderExchange, share: ByteShare) -> None:
        node = self._node
        try:
            if request.method != "POST":
                raise Fault("server.serverproxy.invalid_http_method")
            if self._in_progress > node.settings.concurrency_limit:
                raise Fault("server.serverproxy.overloaded")
            await self._read(request, exchange, share)
            await pipeline.run(pipeline.PROVIDER, node, exchange)
        except Fault as fault:
            await self._log_refusal(exchange, fault)
            raise
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the last net: logged by type and place, answered as internal_error
            node.log.error(
                "unforeseen failure", exchange=_exchange_id(exchange), step=exchange.step, **describe_error(error)
            )
            unforeseen = Fault("server.serverproxy.internal_error")
            await self._log_refusal(exchange, unforeseen)
            raise unforeseen from None

    async def _read(self, request: web.BaseRequest, exchange: ProviderExchange, share: ByteShare) -> None:
        """The message in memory. A stranger's isn't read: only gateways of the configuration take room."""
        node = self._node
        trusted = node.trust.current(Hop.PROVIDER_GATEWAY)
        if trusted.configuration.server_with_certificate(exchange.peer_certificate) is None:
            raise Fault("server.serverproxy.ssl_authentication_failed", "the TLS certificate is not registered")
        limit = node.transport_limits.multipart.max_total
        exchange.content = await read_body(request, limit, share, prefix="server.serverproxy")

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


def _exchange_id(exchange: ProviderExchange) -> str:
    """The verified request's id; before that our own, for what a stranger sends is not for the log."""
    return exchange.error_id if exchange.verified is None else exchange.verified.request.request_id


def _signed(exchange: ProviderExchange) -> web.Response:
    if (fault := exchange.service_fault) is not None:
        # The service's own: not a byte of it changes, and whoever reads it goes by its declared encoding.
        return web.Response(body=fault.data, headers={"Content-Type": fault_content_type(fault.encoding)})
    response = exchange.response
    assert response is not None
    boundary = transport.boundary_from(os.urandom(30))
    body = exchange.kind.encode_response(response, boundary)
    headers = {"Content-Type": transport.content_type(boundary), "x-hash-algorithm": transport.HASH_ALGORITHM}
    headers |= exchange.kind.response_headers(response)
    return web.Response(body=body, headers=headers)
