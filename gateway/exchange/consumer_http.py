"""The client port: X-Road's REST interface over HTTP (PR-REST 1.0). Translates; the steps decide.

Every request gets an answer and a log line with the same id. A Fault becomes X-Road's error body; whatever we did not
foresee becomes `internal_error` with nothing of the exception in it.
"""

from __future__ import annotations

import asyncio
import uuid
from time import perf_counter
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from gateway.bounded import TooLarge, read_bounded
from gateway.exchange import consumer, pipeline
from gateway.exchange.node import Node
from gateway.exchange.state import ConsumerExchange, Incoming
from gateway.logging import describe_error
from gateway.messages import rest
from gateway.messages.faults import Fault, error_header, rest_error_body
from gateway.messages.http_fields import Header

CONSUMER_RECEIPT: Final = "X-Datenweg-Consumer-Receipt"
_SERVER: Final = "datenweg"
_BODY_SECONDS: Final = 60.0
_RETRY_AFTER: Final = "1"
_ROLE: Final = "consumer"


class ClientPort:
    """Handles the requests of clients. One per node; used from one event loop."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one HTTP request."""
        node, started = self._node, perf_counter()
        exchange = ConsumerExchange(
            Incoming(request.method, request.raw_path, _headers(request), b"", request.secure, _certificate(request)),
            request_id=str(uuid.uuid4()),
            started_ms=node.clock.now_ms(),
        )
        node.metrics.exchange_started()
        node.in_progress += 1
        try:
            await self._exchange(request, exchange)
            answer, outcome, hop = _delivered(exchange), "ok", ""
        except Fault as fault:
            fault = fault.identify(exchange.request_id)
            answer, outcome, hop = self._refusal(request, exchange, fault), fault.code, fault.hop.value
        finally:
            node.in_progress -= 1
            node.metrics.exchange_ended()
        seconds = perf_counter() - started
        known = exchange.servers and exchange.request is not None
        service = exchange.request.service.encoded if known and exchange.request is not None else ""
        node.metrics.count_exchange(service=service, outcome=outcome, hop=hop, role=_ROLE, seconds=seconds)
        return answer

    async def _exchange(self, request: web.BaseRequest, exchange: ConsumerExchange) -> None:
        node = self._node
        try:
            if node.in_progress > node.settings.concurrency_limit:
                raise Fault("server.clientproxy.overloaded")
            await self._read_body(request, exchange)
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

    async def _read_body(self, request: web.BaseRequest, exchange: ConsumerExchange) -> None:
        if not request.can_read_body:
            return
        limit = self._node.settings.max_body_bytes
        if (request.content_length or 0) > limit:
            raise Fault("client.body_too_large", f"at most {limit} bytes")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await read_bounded(request.content, limit)
        except TooLarge:
            raise Fault("client.body_too_large", f"at most {limit} bytes") from None
        except TimeoutError:
            raise Fault("client.bad_request", f"the body did not arrive within {_BODY_SECONDS:g} s") from None
        except (OSError, web.HTTPException, web.RequestPayloadError):
            raise Fault("client.bad_request", "the body broke off") from None
        incoming = exchange.incoming
        exchange.incoming = Incoming(
            incoming.method, incoming.target, incoming.headers, body, incoming.over_tls, incoming.client_certificate
        )

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
            detail=fault.detail,
            code=fault.code,
            hop=fault.hop.value,
            step=exchange.step,
            role=_ROLE,
        )
        content_type, body = rest_error_body(fault, request.headers.getall("Accept", ()), node.vocabulary)
        headers = [error_header(fault, node.vocabulary), ("Content-Type", content_type), ("Server", _SERVER)]
        headers.append((rest.REQUEST_ID, exchange.request_id))
        if exchange.request is not None and exchange.request.message_id:
            headers.append((rest.MESSAGE_ID, exchange.request.message_id))
        status = fault.status
        if fault.code.endswith(".overloaded"):
            status = 503
            headers.append(("Retry-After", _RETRY_AFTER))
        elif fault.code.endswith(".quota_exceeded"):
            status = 429
            headers.append(("Retry-After", _RETRY_AFTER))
        if exchange.receipts:
            headers.append((CONSUMER_RECEIPT, exchange.receipts[0].encode()))
        return web.Response(status=status, headers=CIMultiDict(headers), body=body)


def _delivered(exchange: ConsumerExchange) -> web.Response:
    verified = exchange.verified
    assert verified is not None
    response = verified.response
    headers = CIMultiDict(rest.delivered_headers(response))
    headers.add(CONSUMER_RECEIPT, exchange.receipts[0].encode())
    headers["Server"] = _SERVER
    return web.Response(
        status=response.status, reason=response.reason or None, headers=headers, body=verified.body or None
    )


def _headers(request: web.BaseRequest) -> tuple[Header, ...]:
    return tuple((_text(name), _text(value)) for name, value in request.raw_headers)


def _text(raw: bytes) -> str:
    """A header's bytes as text.

    UTF-8 if they are, else ISO 8859-1, which RFC 9110 section 5.5 leaves to old senders.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _certificate(request: web.BaseRequest) -> bytes | None:
    if not request.secure or request.transport is None:
        return None
    tls = request.transport.get_extra_info("ssl_object")
    certificate: bytes | None = None if tls is None else tls.getpeercert(binary_form=True)
    return certificate
