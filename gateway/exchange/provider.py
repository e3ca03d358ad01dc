"""The provider gateway's steps: from a peer's message to a signed, logged answer (DESIGN section 4, steps 6-10).

Each step states what holds when it returns. A request that was verified and then refused is logged with the reason
(`log_denial`), with leaves for the persons whose data were asked for: they see the attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from audit.entry import Receipt
from audit.message_log import MessageRecord
from audit.sequencer import Beside, Seal
from gateway.exchange.directory import Offer
from gateway.exchange.kinds import parts_of, sign
from gateway.exchange.logging_step import (
    WHOLE,
    Logged,
    append,
    keep_contents,
    message_record,
    require_stamping,
    subject_keys,
)
from gateway.exchange.node import Node
from gateway.exchange.off_loop import off_loop
from gateway.exchange.peer_profile import PROXY_VERSION_HEADER, require_version
from gateway.exchange.places import Full
from gateway.exchange.recording import Access, Result, build_entries
from gateway.exchange.rights import DENIALS, Demand, Policy, authorise, require_consent
from gateway.exchange.state import ProviderExchange, SOAPAnswer, Verified
from gateway.exchange.transmissions import transmission_of
from gateway.exchange.trust_state import require_server, serves
from gateway.exchange.withholding import extension_of, is_withheld
from gateway.logging import describe_error
from gateway.messages import transport
from gateway.messages.faults import Fault, Hop, TrustStep, from_trust_error
from gateway.messages.soap import SOAPFault
from gateway.messages.transport_encoder import ORIGINAL_CONTENT_TYPE
from gateway.store.model import ConsentCopy
from trust.errors import TrustError
from trust.xades import verify_signature

_HOP: Final = Hop.PROVIDER_GATEWAY


async def verify_request(node: Node, exchange: ProviderExchange) -> None:
    """The message came from a gateway that may speak for the client, and the client's member signed all of it."""
    require_version(exchange.headers.get(PROXY_VERSION_HEADER), node.settings.min_peer_version)
    require_stamping(node, _HOP)
    trusted = exchange.trusted = node.trust.current(_HOP)
    exchange.directory = node.directory
    received = exchange.received
    assert received is not None
    message, document = transport.require_signed(received, exchange.kind.request_part, reader=_HOP)
    content = exchange.kind.unpack(received, message, exchange.headers.get(ORIGINAL_CONTENT_TYPE), _HOP)
    size = len(message) if exchange.kind.is_xml else 0
    request = await off_loop(size, exchange.kind.read_request, exchange, content)
    at = node.clock.now()
    # 1. The TLS peer is a gateway that the client is registered with, and its certificate is good now.
    server = require_server(trusted, exchange.peer_certificate, request.client)
    try:
        trusted.certificates_of(server.id.owner.instance).verify_authentication(
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
    parts = parts_of(content)
    chain = received.hash_chain
    try:
        signature = verify_signature(
            document,
            parts,
            signer=request.client.member,
            certificates=trusted.certificates_of(request.client.instance),
            at=at,
            hash_chain_result=None if chain is None else chain.result,
            hash_chain=None if chain is None else chain.chain,
        )
    except TrustError as error:
        raise from_trust_error(_HOP, error) from None
    # 4. That it was not received before, the log decides: its replay keys outlive a restart and are shared by
    # processes.
    exchange.verified = exchange.kind.verified_request(
        request, content, parts, server=server, signature=signature, chain=chain
    )


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
        method=request.method,
        path=request.service_path,
    )
    exchange.offer = authorise(exchange.demand, _policy(node, exchange))
    try:
        node.places_of_callers.take(request.client, exchange.places)
        node.places_of_services.take(request.service, exchange.places)
    except Full:
        raise Fault("server.serverproxy.overloaded", f"too many exchanges of {request.service} at once") from None


async def _current_consent(node: Node, reference: str | None) -> ConsentCopy | None:
    if reference is None:
        return None
    try:
        return await node.consents.current(reference)
    except (SQLAlchemyError, OSError) as error:
        node.log.error("consents not readable", **describe_error(error))
        raise Fault("server.serverproxy.database_error") from None


def _policy(node: Node, exchange: ProviderExchange) -> Policy:
    return Policy(
        exchange.directory or node.directory, node.consent_authorities, node.quotas, node.data_tracker_clients
    )


async def log_request(node: Node, exchange: ProviderExchange) -> None:
    """The signed request is durable in the message log, for the first time."""
    record = await _request_record(node, exchange, "ok")
    await append(node, (), lambda _: (record,), _HOP)


async def call_service(node: Node, exchange: ProviderExchange) -> None:
    """The institution's service, or the gateway's own, has answered."""
    offer = exchange.offer
    assert offer is not None
    if offer.registered is None:
        exchange.answer = await exchange.kind.call_built_in(node, exchange)
    else:
        exchange.sent_ms = node.clock.now_ms()
        exchange.answer = await exchange.kind.call(node, exchange, offer.registered)
        exchange.received_ms = node.clock.now_ms()


async def bind_sign_and_log_response(node: Node, exchange: ProviderExchange) -> None:
    """The answer, bound to the request and carrying the receipts of its leaves, is signed and durable with them.

    A consent that was withdrawn or expired while the service worked holds the data back: it is looked at again before
    the log's transaction, and once more within it. Until that is committed, no withdrawal is acknowledged.
    """
    demand, offer = exchange.demand, exchange.offer
    assert demand is not None
    assert offer is not None
    if not offer.needs_consent or demand.consent is None:
        await _sign_and_log(node, exchange, demand, offer, demand.consent_copy)
        return
    try:
        async with node.consents.holding(demand.consent) as copy:
            require_consent(demand, offer, copy, node.clock.now_ms())
            await _sign_and_log(node, exchange, demand, offer, copy)
    except (SQLAlchemyError, OSError) as error:
        node.log.error("consents not readable", **describe_error(error))
        raise Fault("server.serverproxy.database_error") from None


async def _sign_and_log(
    node: Node, exchange: ProviderExchange, demand: Demand, offer: Offer, copy: ConsentCopy | None
) -> None:
    verified, answer = _verified(exchange), exchange.answer
    assert answer is not None
    assert exchange.trusted is not None
    now_ms = node.clock.now_ms()
    logged = await keep_contents(node, exchange.bodies, verified.request.service, b"", answer.contents, hop=_HOP)

    def seal(receipts: tuple[Receipt, ...]) -> tuple[MessageRecord, ...]:
        # Within the log's transaction: the receipts are known, and under the signature, before anything is committed.
        if demand.consent is not None:
            require_consent(demand, offer, node.consents.known(demand.consent, copy), now_ms)
        if isinstance(answer, SOAPAnswer) and isinstance(answer.message, SOAPFault):
            # PR-MESS 2.9: a service's fault is passed on as it is, unsigned; that it was given is logged all the same.
            exchange.service_fault = answer.message
            fault = answer.message.data
            return (_response_record(exchange, "service_fault", now_ms, fault),)
        content = exchange.kind.build_response(exchange, receipts)
        member = verified.request.service.provider.member
        signed = exchange.response = sign(
            node, content, member=member, classic=_needs_classic(node, verified), hop=_HOP
        )
        record = message_record(
            verified.request,
            "provider",
            "response",
            "ok",
            time_ms=now_ms,
            message=signed.message,
            signature=signed.signature,
            logged=logged,
            chain=signed.hash_chain,
        )
        return (record,)

    delivered = Result.DELIVERED if answer.status < 400 else Result.FAILED
    access = _access(node, exchange, delivered, now_ms, status=answer.status)
    beside = transmission_of(copy, offer, access)
    waits = node.signer.waits(verified.request.service.provider.member)
    exchange.receipts = await _append_access(node, exchange, access, seal, beside=beside, waits=waits)


def _needs_classic(node: Node, verified: Verified) -> bool:
    """Whoever signs in the form of X-Road 7 gets the answer in it: each of its releases reads that."""
    return verified.signature.is_classic or verified.server.id in node.hash_chain_servers


async def log_denial(node: Node, exchange: ProviderExchange, fault: Fault) -> None:
    """A verified request that was refused before it was logged: durable with the reason and the persons' leaves.

    Refusing must cost the sender more than us: the body isn't kept, and persons that this gateway doesn't know get no
    keys, so that a client without any right can't fill the log with inventions.
    """
    record = await _request_record(node, exchange, fault.code, keep=False)
    access = _access(node, exchange, Result.DENIED, node.clock.now_ms(), reason=fault.code)
    exchange.receipts = await _append_access(node, exchange, access, lambda _: (record,), known_only=True)


async def log_failure(node: Node, exchange: ProviderExchange, fault: Fault) -> None:
    """A request that was logged and then failed: durable with the reason and the persons' leaves."""
    now_ms = node.clock.now_ms()
    record = _response_record(exchange, fault.code, now_ms, b"")
    # A consent may have ended while the service worked: then it is the road that refused.
    result = Result.DENIED if fault.code in DENIALS else Result.FAILED
    access = _access(node, exchange, result, now_ms, reason=fault.code)
    exchange.receipts = await _append_access(node, exchange, access, lambda _: (record,))


async def _append_access(
    node: Node,
    exchange: ProviderExchange,
    access: Access,
    seal: Seal,
    *,
    known_only: bool = False,
    beside: Sequence[Beside] = (),
    waits: bool = False,
) -> tuple[Receipt, ...]:
    assert exchange.trusted is not None
    subjects = access.fields.subjects
    keys = await subject_keys(node, subjects, _HOP, known_only=known_only, withhold=access.withheld)
    configuration, days = exchange.trusted.configuration, node.settings.record_retention_days
    return await append(node, build_entries(access, keys, configuration, days), seal, _HOP, beside=beside, waits=waits)


def _verified(exchange: ProviderExchange) -> Verified:
    assert exchange.verified is not None
    return exchange.verified


def _access(
    node: Node,
    exchange: ProviderExchange,
    result: Result,
    time_ms: int,
    *,
    reason: str | None = None,
    status: int | None = None,
) -> Access:
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
        reason=reason,
        status=status,
        declared=None if offer is None else offer.declared,
        extension=extension_of(request),
        withheld=is_withheld(node.settings, request),
    )


async def _request_record(node: Node, exchange: ProviderExchange, outcome: str, *, keep: bool = True) -> MessageRecord:
    verified = _verified(exchange)
    logged = Logged((), "reduced") if verified.contents else WHOLE
    if keep:
        service = verified.request.service
        logged = await keep_contents(node, exchange.bodies, service, verified.message, verified.contents, hop=_HOP)
    return message_record(
        verified.request,
        "provider",
        "request",
        outcome,
        time_ms=node.clock.now_ms(),
        message=verified.message,
        signature=verified.signature.document,
        logged=logged,
        chain=verified.hash_chain,
        # Whoever sends what was received before is replaying.
        unique=exchange.kind.replay_key(verified),
    )


def _response_record(exchange: ProviderExchange, outcome: str, time_ms: int, message: bytes) -> MessageRecord:
    """Of a response that isn't signed."""
    request = _verified(exchange).request
    return message_record(request, "provider", "response", outcome, time_ms=time_ms, message=message, signature=b"")
