"""The provider gateway's steps: from a peer's message to a signed, logged answer (DESIGN section 4, steps 6-10).

Each step states what holds when it returns. A request that was verified and then refused is logged with the reason
(`log_denial`), with leaves for the persons whose data were asked for: they see the attempt.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final, Literal

from sqlalchemy.exc import SQLAlchemyError

from audit.entry import Receipt
from audit.message_log import MessageRecord
from audit.sequencer import Seal
from gateway.exchange import built_in
from gateway.exchange.directory import keeps_body
from gateway.exchange.logging_step import append, subject_keys
from gateway.exchange.node import Node
from gateway.exchange.recording import Access, Result, build_entries
from gateway.exchange.rights import DENIALS, Demand, Policy, authorise, consent_or_legal_basis
from gateway.exchange.signer import digested_parts
from gateway.exchange.state import ProviderExchange, SignedMessage, VerifiedRequest
from gateway.exchange.trust_state import require_server, serves
from gateway.logging import describe_error
from gateway.messages import rest, transport
from gateway.messages.faults import Fault, Hop, TrustStep, from_trust_error
from gateway.messages.transport import PartKind
from gateway.store.model import ConsentCopy
from trust.errors import TrustError
from trust.xades import verify_signature

_HOP: Final = Hop.PROVIDER_GATEWAY


async def verify_request(node: Node, exchange: ProviderExchange) -> None:
    """The message came from a gateway that may speak for the client, and the client's member signed all of it."""
    trusted = exchange.trusted = node.trust.current(_HOP)
    exchange.directory = node.directory
    received = transport.decode_small(
        exchange.content_type, exchange.content, reader=_HOP, limits=node.transport_limits
    )
    message, document = transport.require_signed(received, PartKind.REST_REQUEST, reader=_HOP)
    request = rest.parse_request_message(message)
    if exchange.request_id_header != request.request_id:
        raise Fault("server.serverproxy.invalid_message", "the transport's request id is not the message's")
    at = node.clock.now()
    # 1. The TLS peer is a gateway that the client is registered with, and its certificate is good now.
    server = require_server(trusted, exchange.peer_certificate, request.client)
    try:
        trusted.certificates.verify_authentication(
            exchange.peer_certificate, ocsp_responses=received.ocsp_responses, at=at
        )
    except TrustError as error:
        raise from_trust_error(_HOP, error, TrustStep.PEER) from None
    # 2. The message was meant for this gateway.
    own = trusted.configuration.server(node.server_id)
    if own is None or not serves(own, request.service.provider):
        raise Fault("server.serverproxy.unknown_member", str(request.service.provider))
    if request.security_server is not None and request.security_server != node.server_id:
        raise Fault("server.serverproxy.invalid_security_server", str(request.security_server))
    # 3. The client's member signed the message and its body, with a certificate that is good now.
    body = received.body or b""
    message_digest = hashlib.sha512(message).digest()
    body_digest = hashlib.sha512(body).digest() if body else None
    try:
        signature = verify_signature(
            document,
            digested_parts(message_digest, body_digest),
            signer=request.client.member,
            certificates=trusted.certificates,
            at=at,
        )
    except TrustError as error:
        raise from_trust_error(_HOP, error) from None
    # 4. That it was not received before, the log decides: its replay keys outlive a restart and are shared by
    # processes.
    exchange.verified = VerifiedRequest(request, body, message, message_digest, body_digest, server, signature)


async def authorise_request(node: Node, exchange: ProviderExchange) -> None:
    """The client may use the service, for this person, now."""
    verified, trusted = _verified(exchange), exchange.trusted
    assert trusted is not None
    assert exchange.directory is not None
    request = verified.request
    exchange.demand = Demand(
        client=request.client,
        client_groups=trusted.configuration.groups_of(request.client),
        service=request.service,
        subjects=request.fields.subjects,
        identity_level=request.fields.identity_level,
        consent=request.fields.consent,
        consent_copy=await _current_consent(node, request.fields.consent),
        at_ms=node.clock.now_ms(),
    )
    exchange.offer = authorise(exchange.demand, _policy(node, exchange))


async def _current_consent(node: Node, reference: str | None) -> ConsentCopy | None:
    if reference is None:
        return None
    try:
        return await node.consents.current(reference)
    except (SQLAlchemyError, OSError) as error:
        node.log.error("consents not readable", **describe_error(error))
        raise Fault("server.serverproxy.database_error") from None


def _policy(node: Node, exchange: ProviderExchange) -> Policy:
    return Policy(exchange.directory or node.directory, node.consent_authorities, node.quotas)


async def log_request(node: Node, exchange: ProviderExchange) -> None:
    """The signed request is durable in the message log, for the first time."""
    record = _request_record(node, exchange, "ok")
    await append(node, (), lambda _: (record,), _HOP)


async def call_service(node: Node, exchange: ProviderExchange) -> None:
    """The institution's service, or the gateway's own, has answered."""
    verified, offer = _verified(exchange), exchange.offer
    assert offer is not None
    request = verified.request
    if offer.registered is None:
        exchange.answer = await built_in.answer(node, verified, offer)
        return
    service = offer.registered
    url = service.url + request.service_path + ("" if request.query is None else f"?{request.query}")
    exchange.answer = await node.services.call(
        request.method,
        url,
        rest.service_headers(request),
        verified.body or None,
        timeout_seconds=service.timeout_seconds or node.settings.service_timeout_seconds,
    )


async def bind_sign_and_log_response(node: Node, exchange: ProviderExchange) -> None:
    """The answer, bound to the request and carrying the receipts of its leaves, is signed and durable with them.

    A consent that was withdrawn or expired while the service worked holds the data back: it is looked at again before
    the log's transaction, and once more within it.
    """
    verified, answer = _verified(exchange), exchange.answer
    assert answer is not None
    assert exchange.trusted is not None
    request = verified.request
    demand = exchange.demand
    assert demand is not None
    demand = replace(demand, consent_copy=await _current_consent(node, demand.consent), at_ms=node.clock.now_ms())
    _require_consent(node, exchange, demand)
    bound = rest.bind_digests(verified.message_digest, verified.body_digest)
    body = answer.body
    body_digest = hashlib.sha512(body).digest() if body else None
    now_ms = node.clock.now_ms()

    def seal(receipts: tuple[Receipt, ...]) -> tuple[MessageRecord, ...]:
        # Within the log's transaction: the receipts are known, and under the signature, before anything is committed.
        if demand.consent is not None:
            known = node.consents.known(demand.consent, demand.consent_copy)
            _require_consent(node, exchange, replace(demand, consent_copy=known))
        response = rest.build_response(
            request,
            status=answer.status,
            reason=answer.reason,
            headers=answer.headers,
            request_hash=bound,
            receipt=",".join(receipt.encode() for receipt in receipts),
        )
        message = rest.serialise_response(response)
        message_digest = hashlib.sha512(message).digest()
        try:
            signature = node.signer.sign(digested_parts(message_digest, body_digest))
        except TrustError as error:
            raise from_trust_error(_HOP, error) from None
        exchange.response = SignedMessage(message, message_digest, body, body_digest, signature)
        record = _record(exchange, "response", "ok", time_ms=now_ms, message=message, signature=signature, body=body)
        return (record,)

    delivered = Result.DELIVERED if answer.status < 400 else Result.FAILED
    access = replace(_access(exchange, delivered, now_ms), status=answer.status)
    exchange.receipts = await _append_access(node, exchange, access, seal)


def _require_consent(node: Node, exchange: ProviderExchange, demand: Demand) -> None:
    assert exchange.offer is not None
    consent_or_legal_basis(demand, exchange.offer, _policy(node, exchange))


async def log_denial(node: Node, exchange: ProviderExchange, fault: Fault) -> None:
    """A verified request that was refused before it was logged: durable with the reason and the persons' leaves.

    Refusing must cost the sender more than us: the body isn't kept, and persons that this gateway doesn't know get no
    keys, so that a client without any right can't fill the log with inventions.
    """
    record = replace(_request_record(node, exchange, fault.code), attachments=())
    access = replace(_access(exchange, Result.DENIED, node.clock.now_ms()), reason=fault.code)
    exchange.receipts = await _append_access(node, exchange, access, lambda _: (record,), known_only=True)


async def log_failure(node: Node, exchange: ProviderExchange, fault: Fault) -> None:
    """A request that was logged and then failed: durable with the reason and the persons' leaves."""
    now_ms = node.clock.now_ms()
    record = _record(exchange, "response", fault.code, time_ms=now_ms, message=b"", signature=b"", body=b"")
    # A consent may have ended while the service worked: then it is the road that refused.
    result = Result.DENIED if fault.code in DENIALS else Result.FAILED
    access = replace(_access(exchange, result, now_ms), reason=fault.code)
    exchange.receipts = await _append_access(node, exchange, access, lambda _: (record,))


async def _append_access(
    node: Node, exchange: ProviderExchange, access: Access, seal: Seal, *, known_only: bool = False
) -> tuple[Receipt, ...]:
    assert exchange.trusted is not None
    keys = await subject_keys(node, access.fields.subjects, _HOP, known_only=known_only)
    configuration, days = exchange.trusted.configuration, node.settings.record_retention_days
    return await append(node, build_entries(access, keys, configuration, days), seal, _HOP)


def _verified(exchange: ProviderExchange) -> VerifiedRequest:
    assert exchange.verified is not None
    return exchange.verified


def _access(exchange: ProviderExchange, result: Result, time_ms: int) -> Access:
    verified = _verified(exchange)
    request = verified.request
    offer = exchange.offer or (exchange.directory.offer(request.service) if exchange.directory else None)
    return Access(
        role="provider",
        client=request.client,
        service=request.service,
        fields=request.fields,
        message_id=request.message_id,
        request_id=request.request_id,
        request_digest=verified.message_digest,
        result=result,
        time_ms=time_ms,
        registered=None if offer is None else offer.registered,
    )


def _request_record(node: Node, exchange: ProviderExchange, outcome: str) -> MessageRecord:
    verified = _verified(exchange)
    record = _record(
        exchange,
        "request",
        outcome,
        time_ms=node.clock.now_ms(),
        message=verified.message,
        signature=verified.signature.document,
        body=verified.body,
    )
    # The transport's id is new for each request of a client; whoever sends one twice is replaying.
    # The id comes first: ids that grow with time keep the log's index small to write (7 % of a commit).
    return replace(record, unique=f"{record.request_id}\0{record.client}".encode())


def _record(
    exchange: ProviderExchange,
    direction: Literal["request", "response"],
    outcome: str,
    *,
    time_ms: int,
    message: bytes,
    signature: bytes,
    body: bytes,
) -> MessageRecord:
    request = _verified(exchange).request
    return MessageRecord(
        request_id=request.request_id,
        message_id=request.message_id,
        role="provider",
        direction=direction,
        client=request.client.encoded,
        service=request.service.encoded,
        outcome=outcome,
        time_ms=time_ms,
        message=message,
        signature=signature,
        attachments=(body,) if body and keeps_body(request.service) else (),
    )
