"""From the state of a finished exchange to an observation, and to a trace: what the two ports hand over.

Only what was established is told: names of a request that was refused unread, or unverified at the provider, aren't.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.exchange.node import Node
from gateway.exchange.state import ConsumerExchange, ProviderExchange, SignedMessage
from gateway.messages.faults import Fault
from gateway.messages.rest import RESTRequest
from gateway.messages.soap_request import SOAPRequest
from gateway.monitoring.record import Observation, Role, Size
from gateway.store.model import ServiceType
from gateway.tracing import Attribute, TracedExchange
from trust.identifiers import encode_segment

_SUCCEEDED_BELOW: Final = 400


def observe_consumer(node: Node, exchange: ConsumerExchange, fault: Fault | None) -> None:
    """Remembers an exchange at the client's gateway."""
    request, signed, verified = exchange.request, exchange.signed, exchange.verified
    common = Observation(
        Role.CLIENT,
        exchange.request_id,
        request_in_ms=exchange.started_ms,
        response_out_ms=node.clock.now_ms(),
        request_out_ms=exchange.sent_ms or None,
        response_in_ms=exchange.received_ms or None,
    )
    # A client that isn't served here has no name here.
    if request is None or not exchange.servers:
        _remember(node, _ended(common, fault, None))
        return
    own = None if exchange.trusted is None else exchange.trusted.configuration.server(node.server_id)
    rest = isinstance(request, RESTRequest)
    observed = _named(common, request)._replace(
        client_address=None if own is None else own.address,
        provider_address=exchange.servers[0].address,
        request_size=None if signed is None else _size_of_signed(signed),
        response_size=None if verified is None else _size(verified.message, verified.contents, rest=rest),
    )
    _remember(node, _ended(observed, fault, None if verified is None else verified.status))


def observe_provider(node: Node, exchange: ProviderExchange, fault: Fault | None) -> None:
    """Remembers an exchange at the provider's gateway; of a message that wasn't verified nothing is kept."""
    verified, response, offer = exchange.verified, exchange.response, exchange.offer
    if verified is None:
        return
    request = verified.request
    own = None if exchange.trusted is None else exchange.trusted.configuration.server(node.server_id)
    registered = None if offer is None else offer.registered
    common = Observation(
        Role.PRODUCER,
        request.request_id,
        request_in_ms=exchange.started_ms,
        response_out_ms=node.clock.now_ms(),
        request_out_ms=exchange.sent_ms or None,
        response_in_ms=exchange.received_ms or None,
        request_size=_size(verified.message, verified.contents, rest=isinstance(request, RESTRequest)),
        response_size=None if response is None else _size_of_signed(response),
        client_address=verified.server.address,
        provider_address=None if own is None else own.address,
    )
    observed = _named(common, request)
    if isinstance(request, RESTRequest):
        observed = observed._replace(rest_path=request.service_path or "/")
    if registered is not None:
        observed = observed._replace(service_type=registered.service_type.value)
    _remember(node, _ended(observed, fault, None if exchange.answer is None else exchange.answer.status))


def _remember(node: Node, observed: Observation) -> None:
    node.monitoring.add(observed)
    if node.tracing is None:
        return
    attributes: dict[str, Attribute] = {"xroad.server": node.server_id.encoded, "xroad.succeeded": observed.succeeded}
    if observed.client is not None:
        attributes["xroad.client"] = observed.client.encoded
    if observed.provider is not None and observed.service_code is not None:
        attributes["xroad.service"] = f"{observed.provider.encoded}/{encode_segment(observed.service_code)}"
    if observed.status is not None:
        attributes["http.response.status_code"] = observed.status
    waiting = None
    if observed.request_out_ms is not None and observed.response_in_ms is not None:
        waiting = (observed.request_out_ms, observed.response_in_ms)
    node.tracing.exchange(
        TracedExchange(
            "consumer" if observed.role is Role.CLIENT else "provider",
            observed.request_id,
            observed.request_in_ms,
            observed.response_out_ms,
            waiting,
            observed.fault_code,
            attributes,
        )
    )


def _size(message: bytes, contents: Sequence[bytes], *, rest: bool) -> Size:
    """A REST message counts with its body, which is no attachment; a SOAP message and its attachments apart."""
    whole = len(message) + sum(map(len, contents))
    return Size(whole) if rest else Size(len(message), len(contents), whole)


def _size_of_signed(signed: SignedMessage) -> Size:
    if signed.parts is None:
        return _size(signed.message, (signed.body,), rest=True)
    return _size(signed.message, [part.data for part in signed.parts.attachments], rest=False)


def _named(observed: Observation, request: RESTRequest | SOAPRequest) -> Observation:
    party = request.represented_party
    named = observed._replace(
        client=request.client,
        provider=request.service.provider,
        service_code=request.service.service_code,
        service_version=request.service.service_version,
        represented_party=None if party is None else (party.party_class, party.party_code),
        message_id=request.message_id or None,
        user_id=request.user_id,
        issue=request.issue,
    )
    if isinstance(request, SOAPRequest):
        version = request.message.protocol_version
        return named._replace(service_type=ServiceType.WSDL.value, protocol_version=version)
    return named._replace(service_type=ServiceType.REST.value, protocol_version="1", rest_method=request.method)


def _ended(observed: Observation, fault: Fault | None, status: int | None) -> Observation:
    if fault is not None:
        return observed._replace(succeeded=False, fault_code=fault.code, fault_string=fault.message)
    # A service that answers with an error has answered, yet the call didn't succeed; SOAP has no status to tell.
    failed = status is not None and status >= _SUCCEEDED_BELOW
    return observed._replace(succeeded=not failed, status=status if observed.rest_method is not None else None)
