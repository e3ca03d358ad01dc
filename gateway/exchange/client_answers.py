"""What the client's system gets over HTTP: the service's answer, or a refusal, in the form of its protocol.

PR-REST 4.5 to 4.7 for REST. Over SOAP everything is HTTP 200 and text/xml (PR-MESS 2.9, and the proxy); a client that
knows nothing of this road gets the headers that X-Road sends, and no others of ours.
"""

from __future__ import annotations

import math
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.exchange.kinds import Kind
from gateway.exchange.node import Node
from gateway.exchange.rest_kind import REST
from gateway.exchange.soap_kind import SOAP, delivered_parts
from gateway.exchange.state import ConsumerExchange, VerifiedResponse, VerifiedSOAPResponse
from gateway.messages import rest, rest_response
from gateway.messages.content import Pieces
from gateway.messages.faults import Fault, error_header, rest_error_body, soap_fault, spell
from gateway.messages.headers import AUDIT_RECEIPT, NAMESPACE
from gateway.messages.mime import charset_of
from gateway.messages.soap import fault_content_type
from gateway.messages.soap_request import SOAPRequest
from gateway.messages.soap_scan import NotSOAP, encoding_of
from gateway.messages.vocabulary import is_gateways

CONSUMER_RECEIPT: Final = "X-Datenweg-Consumer-Receipt"
_SERVER: Final = "datenweg"
_RETRY_AFTER: Final = "1"
_DIGITS: Final = 5


class _AsSigned(web.StreamResponse):
    """Has a Content-Type only if the service sent one: aiohttp would add one that nobody signed."""

    async def _prepare_headers(self) -> None:
        given = "Content-Type" in self.headers
        await super()._prepare_headers()
        if not given:
            self.headers.popall("Content-Type", None)


class _AsSignedWhole(_AsSigned, web.Response):
    """The same, with the body at hand."""


def kind_of(target: str) -> Kind:
    """REST below `/r1/`; every other path that nobody else claims is SOAP's. The target may be in absolute form."""
    if not target.startswith("/"):
        _, _, rest_of_it = target.partition("://")
        target = rest_of_it[rest_of_it.find("/") :] if "/" in rest_of_it else "/"
    return REST if target.startswith(rest.PATH_PREFIX) else SOAP


def delivered(exchange: ConsumerExchange) -> tuple[web.StreamResponse, Pieces]:
    """The service's answer, and its body in pieces if that isn't in memory."""
    verified = exchange.verified
    assert verified is not None
    if isinstance(verified, VerifiedSOAPResponse):
        return _delivered_soap(exchange, verified)
    return _delivered_rest(exchange, verified)


def refusal(node: Node, exchange: ConsumerExchange, fault: Fault) -> web.Response:
    """The error of the road, or another hop's, passed on."""
    if exchange.incoming.method == hdrs.METH_CONNECT:
        # RFC 9110 section 9.3.6: with the 200 of a SOAP fault, what follows would be taken for a tunnel's.
        response = unreadable(node, fault)
        response.force_close()
        return response
    if exchange.kind is SOAP:
        return _refusal_soap(node, exchange, fault)
    accepted = [value for name, value in exchange.incoming.headers if name.lower() == "accept"]
    content_type, body = rest_error_body(fault, accepted, node.vocabulary)
    headers = [error_header(fault, node.vocabulary), ("Content-Type", content_type), ("Server", _SERVER)]
    headers.append((rest.REQUEST_ID, exchange.request_id))
    if exchange.request is not None and exchange.request.message_id:
        headers.append((rest.MESSAGE_ID, exchange.request.message_id))
    status = fault.status
    if fault.code.endswith(".overloaded"):
        status = 503
        headers.append(("Retry-After", _retry_after(exchange, fault)))
    elif fault.code.endswith(".quota_exceeded"):
        status = 429
        headers.append(("Retry-After", _retry_after(exchange, fault)))
    if exchange.receipts:
        headers.append((CONSUMER_RECEIPT, exchange.receipts[0].encode()))
    return web.Response(status=status, headers=CIMultiDict(headers), body=body)


def unreadable(node: Node, fault: Fault) -> web.Response:
    """The answer to what was no HTTP request: as an error over REST, in JSON."""
    content_type, body = rest_error_body(fault, (), node.vocabulary)
    headers = [error_header(fault, node.vocabulary), ("Content-Type", content_type), ("Server", _SERVER)]
    headers.append((rest.REQUEST_ID, fault.detail))
    return web.Response(status=fault.status, headers=CIMultiDict(headers), body=body)


def _retry_after(exchange: ConsumerExchange, fault: Fault) -> str:
    """In how many seconds it is worth trying again: as we know it, or as the provider's gateway says."""
    if fault.retry_after_ms:
        return str(math.ceil(fault.retry_after_ms / 1000))
    said = exchange.retry_after
    return said if said is not None and said.isascii() and said.isdigit() and len(said) <= _DIGITS else _RETRY_AFTER


def _delivered_rest(exchange: ConsumerExchange, verified: VerifiedResponse) -> tuple[web.StreamResponse, Pieces]:
    response = verified.response
    headers = CIMultiDict(rest_response.delivered_headers(response))
    if "Date" in headers:
        # PR-REST 4.3: exactly one, whatever the service sent.
        headers["Date"] = headers["Date"]
    headers.add(CONSUMER_RECEIPT, exchange.receipts[0].encode())
    headers["Server"] = _SERVER
    body, reason = verified.body, response.reason or None
    if isinstance(body, bytes):
        return _AsSignedWhole(status=response.status, reason=reason, headers=headers, body=body or None), ()
    return _AsSigned(status=response.status, reason=reason, headers=headers), (body,)


def _delivered_soap(exchange: ConsumerExchange, verified: VerifiedSOAPResponse) -> tuple[web.StreamResponse, Pieces]:
    parts = delivered_parts(verified)
    headers = {"Content-Type": parts.content_type, "Server": _SERVER, **_receipts(exchange)}
    if verified.response.receipt is not None and _knows_us(exchange):
        headers[AUDIT_RECEIPT] = verified.response.receipt
    body = parts.join()
    if isinstance(body, bytes):
        return web.Response(body=body, headers=headers), ()
    return web.StreamResponse(headers=headers), body


def _refusal_soap(node: Node, exchange: ConsumerExchange, fault: Fault) -> web.Response:
    headers = {"Content-Type": fault_content_type("utf-8"), "Server": _SERVER, **_receipts(exchange)}
    received = None if exchange.received is None else exchange.received.fault
    # PR-MESS 2.9: a fault of another hop goes on as it came, unless this gateway spells the gateways' codes otherwise.
    spelled = not is_gateways(fault.sent_code) or spell(fault.code, node.vocabulary) == fault.sent_code
    if received is not None and fault.relayed and spelled:
        headers["Content-Type"] = fault_content_type(_encoding(received, exchange.original_content_type))
        return web.Response(body=received, headers=headers)
    return web.Response(body=soap_fault(fault, node.vocabulary), headers=headers)


def _encoding(data: bytes, content_type: str | None) -> str:
    try:
        return encoding_of(data, charset_of(content_type or ""))
    except NotSOAP:
        return "utf-8"


def _receipts(exchange: ConsumerExchange) -> dict[str, str]:
    if not exchange.receipts or not _knows_us(exchange):
        return {}
    return {CONSUMER_RECEIPT: exchange.receipts[0].encode()}


def _knows_us(exchange: ConsumerExchange) -> bool:
    """Whether the client used anything of ours: X-Road's clients must not be able to tell gateways apart."""
    if any(name.lower().startswith(NAMESPACE) for name, _ in exchange.incoming.headers):
        return True
    return isinstance(exchange.request, SOAPRequest) and exchange.request.message.knows_us
