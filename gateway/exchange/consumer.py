"""The consumer gateway's steps.

From a client's request to a verified, logged answer (DESIGN section 4, steps 1-5 and 12).

Each step states what holds when it returns. Everything that can fail raises a Fault; what happens to it is
`consumer_http`'s.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final

from audit.entry import Receipt, parse_receipt
from audit.errors import MalformedInput
from audit.message_log import MessageRecord
from gateway.exchange.deadlines import Deadline
from gateway.exchange.http_client import HTTPAnswer
from gateway.exchange.ids import random_id
from gateway.exchange.kinds import parts_of, sign_aside
from gateway.exchange.logging_step import append, keep_contents, message_record, require_stamping, subject_keys
from gateway.exchange.node import Node
from gateway.exchange.off_loop import off_loop
from gateway.exchange.origins import is_log_of
from gateway.exchange.places import Full
from gateway.exchange.presented import Speaker, speaker_of
from gateway.exchange.pseudonyms import pseudonym
from gateway.exchange.recording import Access, Result, build_entries
from gateway.exchange.rights import DENIALS
from gateway.exchange.state import ConsumerExchange
from gateway.exchange.streaming import read_transport
from gateway.exchange.trust_state import serves
from gateway.exchange.withholding import extension_of, is_withheld
from gateway.messages import transport
from gateway.messages.faults import Fault, Hop, TrustStep, from_trust_error, parse_soap_fault
from gateway.messages.headers import RoadFields, require_receipt
from gateway.messages.mime import charset_of
from gateway.messages.transport import TransportMessage
from gateway.messages.transport_encoder import ORIGINAL_CONTENT_TYPE
from gateway.store.model import Client, ConnectionType
from trust.errors import TrustError
from trust.identifiers import ClientId, ServiceId
from trust.parameters import SecurityServer
from trust.xades import verify_signature

_HOP: Final = Hop.CONSUMER_GATEWAY
_NONCE_BYTES: Final = 32


async def parse_and_resolve(node: Node, exchange: ConsumerExchange) -> None:
    """The request is well formed; client and provider exist, and gateways that serve the provider are known."""
    kind = exchange.kind
    request = exchange.request = await off_loop(kind.size_to_read(exchange), kind.parse_request, exchange)
    exchange.directory = node.directory
    trusted = exchange.trusted = node.trust.current(_HOP)
    configuration = trusted.configuration
    own = configuration.server(node.server_id)
    # Registered here by the operator and in the configuration by the registry: both, or it isn't ours to speak for.
    if exchange.directory.client(request.client) is None or own is None or not serves(own, request.client):
        raise Fault("server.clientproxy.unknown_member", str(request.client))
    servers = configuration.servers_of(request.service.provider)
    if not servers:
        raise Fault("server.clientproxy.unknown_member", str(request.service.provider))
    if request.security_server is not None:
        servers = tuple(server for server in servers if server.id == request.security_server)
        if not servers:
            raise Fault("server.clientproxy.invalid_security_server", str(request.security_server))
    exchange.servers = _not_in_maintenance(servers)


def _not_in_maintenance(servers: tuple[SecurityServer, ...]) -> tuple[SecurityServer, ...]:
    serving = tuple(server for server in servers if server.maintenance is None)
    if not serving:
        raise Fault("server.clientproxy.maintenance_mode", servers[0].maintenance or "")
    return serving


async def recognise_caller(node: Node, exchange: ConsumerExchange) -> None:
    """As `authenticate_caller`, of a request whose body is still to come: the quota is for those that are whole."""
    _require_caller(node, exchange)


async def authenticate_caller(node: Node, exchange: ConsumerExchange) -> None:
    """The connection is of the kind that the client's subsystem was registered with."""
    client, now_ms = _require_caller(node, exchange)
    node.client_quotas.take(client, now_ms)


def _require_caller(node: Node, exchange: ConsumerExchange) -> tuple[ClientId, int]:
    assert exchange.request is not None
    assert exchange.directory is not None
    client = exchange.directory.client(exchange.request.client)
    assert client is not None
    incoming = exchange.incoming
    require_connection(node, client, over_tls=incoming.over_tls, certificate=incoming.client_certificate)
    now_ms = node.clock.now_ms()
    wait_ms = node.client_quotas.wait_ms(client.identifier, now_ms)
    if wait_ms > 0:
        raise Fault("server.clientproxy.quota_exceeded", str(client.identifier), retry_after_ms=wait_ms)
    if not exchange.places:
        # Else it has them since its head was there.
        _take_places(node, exchange, client.identifier)
    return client.identifier, now_ms


def _take_places(node: Node, exchange: ConsumerExchange, client: ClientId) -> None:
    try:
        node.places_of_clients.take(client, exchange.places)
    except Full:
        raise Fault("server.clientproxy.overloaded", f"too many exchanges of {client} at once") from None
    # Whichever of a provider's gateways it will be: those that share providers share the first.
    server = exchange.servers[0].id
    try:
        node.places_of_asked_peers.take(server, exchange.places)
    except Full:
        raise Fault("server.clientproxy.overloaded", f"too many exchanges with {server} at once") from None


def require_connection(node: Node, client: Client, *, over_tls: bool, certificate: bytes | None) -> None:
    """Raises Fault `ssl_authentication_failed` unless the connection is of the client's kind."""
    match client.connection_type:
        case ConnectionType.HTTP:
            # Plain HTTP is for whoever reaches the plain port, which is this machine's alone unless an insecure mode
            # says otherwise; over TLS from anywhere a client without a certificate would be anybody. Where the TLS port
            # is this machine's alone, too, such a client may use either, as in X-Road.
            if not over_tls or node.client_tls_is_local:
                return
        case ConnectionType.HTTPS_NO_AUTH:
            if over_tls:
                return
        case ConnectionType.HTTPS:
            if certificate in client.certificates:
                return
    raise Fault(
        "server.clientproxy.ssl_authentication_failed",
        f"{client.identifier} must connect with {client.connection_type.value}",
    )


async def authenticate_citizen(node: Node, exchange: ConsumerExchange) -> None:
    """If the client sent a citizen's token, it holds.

    The exchange carries the citizen's pseudonym and identity level.
    """
    request = exchange.request
    assert request is not None
    fields, nonce = request.fields, os.urandom(_NONCE_BYTES)
    exchange.own_subjects = fields.subjects
    if request.citizen_token is None:
        exchange.fields = replace(fields, exchange_nonce=nonce)
        return
    speaker = await speaker_of(node, exchange, request.citizen_token)
    exchange.own_subjects, exchange.fields = _speak_for(node, speaker, request.service, fields, nonce)


def _speak_for(
    node: Node, speaker: Speaker, service: ServiceId, fields: RoadFields, nonce: bytes
) -> tuple[tuple[str, ...], RoadFields]:
    """How this gateway's log and how the provider know the citizen."""
    key = node.pseudonym_key
    if key is None:
        raise Fault("server.clientproxy.malformed_server_conf", "no pseudonym key")
    there = pseudonym(key, service.provider.member, speaker.issuer, speaker.subject)
    if fields.subjects and fields.subjects != (there,):
        raise Fault("client.bad_request", "the subject is not the citizen of the token")
    here = pseudonym(key, node.server_id.owner, speaker.issuer, speaker.subject)
    return (here,), replace(
        fields,
        subjects=(there,),
        identity_level=speaker.level,
        representative=speaker.role,
        exchange_nonce=nonce,
    )


async def sign_and_log_request(node: Node, exchange: ConsumerExchange) -> None:
    """The request is signed for the client's member, and the signed request is durable in the message log."""
    assert exchange.request is not None
    require_stamping(node, _HOP)
    request, content = exchange.kind.complete(exchange, f"{node.settings.instance}-{random_id()}")
    exchange.request = request
    if not node.signer.serves(request.client.member):
        raise Fault("server.clientproxy.cannot_create_signature", f"no signing key for {request.client.member}")
    classic = not node.hash_chain_servers.isdisjoint(server.id for server in exchange.servers)
    signed = await sign_aside(node, content, member=request.client.member, classic=classic, hop=_HOP)
    exchange.signed = signed
    exchange.request = exchange.kind.signed_request(request, signed.signature)
    logged = await keep_contents(node, exchange.bodies, request.service, content.message, content.contents, hop=_HOP)
    record = message_record(
        exchange.request,
        "consumer",
        "request",
        "ok",
        time_ms=node.clock.now_ms(),
        message=signed.message,
        signature=signed.signature,
        logged=logged,
        chain=signed.hash_chain,
    )
    await append(node, (), lambda _: (record,), _HOP)


async def send_to_provider(node: Node, exchange: ConsumerExchange) -> None:
    """A whole message came back from a gateway of the provider. Nothing in it is verified."""
    signed = exchange.signed
    assert signed is not None
    boundary = transport.boundary_from(os.urandom(30))
    try:
        own_statuses = node.own_certificates.authentication_statuses()
    except TrustError as error:
        raise from_trust_error(_HOP, error, TrustStep.PEER) from None
    content = exchange.kind.encode_request(signed, boundary, own_statuses)
    exchange.sent_ms = node.clock.now_ms()

    async def read(answer: HTTPAnswer, deadline: Deadline) -> TransportMessage:
        if answer.status != 200:
            raise Fault("server.clientproxy.http_error", f"status {answer.status}")
        exchange.retry_after = answer.headers.get("Retry-After")
        content_type = answer.headers.get("Content-Type", "")
        original = answer.headers.get(ORIGINAL_CONTENT_TYPE)
        exchange.original_content_type = original or content_type
        assert exchange.bodies is not None
        return await read_transport(
            answer.content,
            content_type,
            original,
            reader=_HOP,
            limits=node.transport_limits,
            bodies=exchange.bodies,
            deadline=deadline,
        )

    headers = exchange.kind.request_headers(exchange, boundary)
    exchange.received = await node.peers.send(exchange.servers, headers, content, read)
    exchange.received_ms = node.clock.now_ms()


async def verify_response(node: Node, exchange: ConsumerExchange) -> None:
    """The answer is signed by the provider's member, answers this very request, and carries its log's receipts."""
    received, request, trusted = exchange.received, exchange.request, exchange.trusted
    assert received is not None
    assert request is not None
    assert trusted is not None
    if received.fault is not None:
        raise parse_soap_fault(received.fault, reader=_HOP, charset=charset_of(exchange.original_content_type or ""))
    message, document = transport.require_signed(received, exchange.kind.response_part, reader=_HOP)
    content = exchange.kind.unpack(received, message, exchange.original_content_type, _HOP)
    parts = parts_of(content)
    chain = received.hash_chain
    try:
        signature = verify_signature(
            document,
            parts,
            signer=request.service.provider.member,
            certificates=trusted.certificates_of(request.service.provider.instance),
            at=node.clock.now(),
            hash_chain_result=None if chain is None else chain.result,
            hash_chain=None if chain is None else chain.chain,
        )
    except TrustError as error:
        raise from_trust_error(_HOP, error) from None
    size = len(message) if exchange.kind.is_xml else 0
    year = node.clock.now().year

    def receipts(value: str | None) -> tuple[Receipt, ...]:
        if value is None and node.receiptless_servers.issuperset(server.id for server in exchange.servers):
            return ()
        return _receipts(value, exchange, year)

    read = exchange.kind.read_response
    exchange.verified = await off_loop(size, read, exchange, content, parts[0].digest, signature, receipts)


def _receipts(value: str | None, exchange: ConsumerExchange, year: int) -> tuple[Receipt, ...]:
    """One receipt for each leaf that the provider owes, each of another leaf, of a log that its gateway keeps."""
    try:
        receipts = tuple(parse_receipt(text.strip()) for text in require_receipt(value).split(","))
    except MalformedInput:
        raise Fault("server.clientproxy.receipt_invalid") from None
    if not all(is_log_of(receipt.origin, exchange.servers, year=year) for receipt in receipts):
        raise Fault("server.clientproxy.receipt_invalid", "the receipt is of another gateway's log")
    assert exchange.request is not None
    owed = max(1, len(exchange.request.fields.subjects))
    if len(receipts) != owed or len({(receipt.origin, receipt.index) for receipt in receipts}) != owed:
        raise Fault("server.clientproxy.receipt_invalid", f"{owed} receipts are owed, one for each leaf")
    return receipts


async def log_response(node: Node, exchange: ConsumerExchange) -> None:
    """The signed response and this gateway's own access-log leaves are durable."""
    verified = exchange.verified
    assert verified is not None
    assert exchange.request is not None
    assert exchange.received is not None
    assert exchange.received.signature is not None
    now_ms = node.clock.now_ms()
    # A service that declined was asked, so the citizen sees it, but no data were delivered.
    result = Result.DELIVERED if verified.status < 400 else Result.FAILED
    access = _access(node, exchange, result, now_ms, status=verified.status, response_digest=verified.message_digest)
    logged = await keep_contents(
        node, exchange.bodies, exchange.request.service, verified.message, verified.contents, hop=_HOP
    )
    record = message_record(
        exchange.request,
        "consumer",
        "response",
        "ok",
        time_ms=now_ms,
        message=verified.message,
        signature=exchange.received.signature,
        logged=logged,
        chain=exchange.received.hash_chain,
    )
    exchange.receipts = await _log_access(node, exchange, access, record)


async def log_refusal(node: Node, exchange: ConsumerExchange, fault: Fault) -> None:
    """A signed request that brought no data: why, and whose data were asked for, is durable in both logs."""
    now_ms = node.clock.now_ms()
    denied = fault.relayed and fault.code in DENIALS
    result = Result.DENIED if denied else Result.FAILED
    access = _access(node, exchange, result, now_ms, reason=fault.loggable_code)
    received = exchange.received
    content = b"" if received is None else received.fault or received.message or b""
    document = b"" if received is None else received.signature or b""
    assert exchange.request is not None
    record = message_record(
        exchange.request,
        "consumer",
        "response",
        fault.loggable_code,
        time_ms=now_ms,
        message=content,
        signature=document,
    )
    exchange.receipts = await _log_access(node, exchange, access, record)


async def _log_access(
    node: Node, exchange: ConsumerExchange, access: Access, record: MessageRecord
) -> tuple[Receipt, ...]:
    assert exchange.trusted is not None
    keys = await subject_keys(node, exchange.own_subjects, _HOP, withhold=access.withheld)
    configuration, days = exchange.trusted.configuration, node.settings.record_retention_days
    return await append(node, build_entries(access, keys, configuration, days), lambda _: (record,), _HOP)


def _access(
    node: Node,
    exchange: ConsumerExchange,
    result: Result,
    time_ms: int,
    *,
    reason: str | None = None,
    status: int | None = None,
    response_digest: bytes | None = None,
) -> Access:
    request, signed = exchange.request, exchange.signed
    assert request is not None
    assert signed is not None
    return Access(
        role="consumer",
        client=request.client,
        service=request.service,
        fields=request.fields,
        message_id=request.message_id,
        request_id=request.request_id,
        request_digest=signed.message_digest,
        result=result,
        time_ms=time_ms,
        reason=reason,
        status=status,
        response_digest=response_digest,
        extension=extension_of(request),
        withheld=is_withheld(node.settings, request),
    )
