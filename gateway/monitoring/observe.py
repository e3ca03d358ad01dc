"""From the state of a finished exchange to an observation, and to a trace: what the two ports hand over.

Only what was established is told: names of a request that was refused unread, or unverified at the provider, aren't.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.exchange.node import Node
from gateway.exchange.state import ConsumerExchange, ProviderExchange, SignedMessage
from gateway.messages.content import Content, total_size
from gateway.messages.faults import Fault
from gateway.messages.paths import PathRefused, normalise_path
from gateway.messages.rest import RESTRequest
from gateway.messages.soap_request import SOAPRequest
from gateway.monitoring.record import Observation, Role, Size
from gateway.store.model import Service, ServiceType
from gateway.tracing import Attribute, TracedExchange
from trust.identifiers import encode_segment

_SUCCEEDED_BELOW: Final = 400


def observe_consumer(node: Node, exchange: ConsumerExchange, fault: Fault | None) -> None:
    """Remembers an exchange at the client's gateway."""
    request, signed, verified = exchange.request, exchange.signed, exchange.verified
    # A client that isn't served here has no name here.
    known = request if exchange.servers else None
    own = None if exchange.trusted is None else exchange.trusted.configuration.server(node.server_id)
    response_size = None
    if verified is not None:
        response_size = _size(verified.message, verified.contents, rest=isinstance(request, RESTRequest))
    observed = _observation(
        Role.CLIENT,
        known,
        exchange,
        fault,
        request_id=exchange.request_id,
        now_ms=node.clock.now_ms(),
        addresses=(None, None) if known is None or own is None else (own.address, exchange.servers[0].address),
        sizes=(None if signed is None else _size_of_signed(signed), response_size),
        status=None if verified is None else verified.status,
    )
    _remember(node, observed)


def observe_provider(node: Node, exchange: ProviderExchange, fault: Fault | None) -> None:
    """Remembers an exchange at the provider's gateway; of a message that wasn't verified nothing is kept."""
    verified, response, offer = exchange.verified, exchange.response, exchange.offer
    if verified is None:
        return
    request = verified.request
    own = None if exchange.trusted is None else exchange.trusted.configuration.server(node.server_id)
    request_size = _size(verified.message, verified.contents, rest=isinstance(request, RESTRequest))
    observed = _observation(
        Role.PRODUCER,
        request,
        exchange,
        fault or _services_own(exchange),
        request_id=request.request_id,
        now_ms=node.clock.now_ms(),
        addresses=(verified.server.address, None if own is None else own.address),
        sizes=(request_size, None if response is None else _size_of_signed(response)),
        status=None if exchange.answer is None else exchange.answer.status,
        registered=None if offer is None else offer.registered,
    )
    _remember(node, observed)


def _observation(
    role: Role,
    request: RESTRequest | SOAPRequest | None,
    exchange: ConsumerExchange | ProviderExchange,
    fault: Fault | None,
    *,
    request_id: str,
    now_ms: int,
    addresses: tuple[str | None, str | None],
    sizes: tuple[Size | None, Size | None],
    status: int | None,
    registered: Service | None = None,
) -> Observation:
    """All of it in one go: this is on every exchange's path."""
    rest = isinstance(request, RESTRequest)
    service = None if request is None else request.service
    party = None if request is None else request.represented_party
    service_type = protocol_version = None
    if isinstance(request, SOAPRequest):
        service_type, protocol_version = ServiceType.WSDL.value, request.message.protocol_version
    elif request is not None:
        service_type, protocol_version = ServiceType.REST.value, "1"
    return Observation(
        role,
        request_id,
        exchange.started_ms,
        now_ms,
        exchange.sent_ms or None,
        exchange.received_ms or None,
        None if request is None else request.client,
        None if service is None else service.provider,
        None if service is None else service.service_code,
        None if service is None else service.service_version,
        service_type if registered is None else registered.service_type.value,
        request.method if request is not None else None,
        _path(request.service_path) if isinstance(request, RESTRequest) and role is Role.PRODUCER else None,
        None if party is None else (party.party_class, party.party_code),
        None if request is None else request.message_id or None,
        None if request is None else request.user_id,
        None if request is None else request.issue,
        protocol_version,
        *addresses,
        *sizes,
        # A service that answers with an error has answered, yet the call didn't succeed.
        fault is None and (status is None or status < _SUCCEEDED_BELOW),
        # SOAP has no status to tell.
        status if rest and fault is None else None,
        None if fault is None else fault.code,
        None if fault is None else fault.message,
    )


def _services_own(exchange: ProviderExchange) -> Fault | None:
    """The fault that a SOAP service answered with, if it did: it went on as it came."""
    own = exchange.service_fault
    return None if own is None else Fault(own.code.strip(), own.string.strip(), relayed=True)


def _path(raw: str) -> str:
    """The path after the service code in the form that rights are decided by; one that has none as it came."""
    if "%" in raw or "//" in raw or "/." in raw:
        try:
            return normalise_path(raw)
        except PathRefused:
            return raw
    return raw or "/"


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


def _size(message: bytes, contents: Sequence[Content], *, rest: bool) -> Size:
    """A REST message counts with its body, which is no attachment; a SOAP message and its attachments apart."""
    whole = len(message) + total_size(contents)
    return Size(whole) if rest else Size(len(message), len(contents), whole)


def _size_of_signed(signed: SignedMessage) -> Size:
    if signed.parts is None:
        return _size(signed.message, (signed.body,), rest=True)
    return _size(signed.message, [part.data for part in signed.parts.attachments], rest=False)
