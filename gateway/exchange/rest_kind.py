"""REST messages at both gateways (PR-REST): what the steps leave to the kind. Forms are `messages.rest`'s."""

from __future__ import annotations

from collections.abc import Sequence

from audit.entry import Receipt
from gateway.exchange import built_in
from gateway.exchange.kinds import Kind, ReadReceipts, Request, Response
from gateway.exchange.node import Node
from gateway.exchange.services import ServiceAnswer, join_url
from gateway.exchange.state import (
    ConsumerExchange,
    Outgoing,
    ProviderExchange,
    SignedMessage,
    Verified,
    VerifiedRequest,
    VerifiedResponse,
)
from gateway.messages import rest, rest_response, transport
from gateway.messages.content import Content, Sendable
from gateway.messages.faults import Fault, Hop
from gateway.messages.http_fields import Header
from gateway.messages.rest import RESTRequest
from gateway.messages.transport import HashChain, PartKind, TransportMessage
from gateway.store.model import Service
from trust.parameters import SecurityServer
from trust.xades import SignedPart, VerifiedSignature


class RESTKind(Kind):
    """REST."""

    request_part = PartKind.REST_REQUEST
    response_part = PartKind.REST_RESPONSE

    def parse_request(self, exchange: ConsumerExchange) -> Request:
        incoming = exchange.incoming
        return rest.parse_request(incoming.method, incoming.target, incoming.headers)

    def complete(self, exchange: ConsumerExchange, generated_message_id: str) -> tuple[Request, Outgoing]:
        assert isinstance(exchange.request, RESTRequest)
        request = rest.complete_request(
            exchange.request,
            request_id=exchange.request_id,
            generated_message_id=generated_message_id,
            fields=exchange.fields,
        )
        return request, Outgoing(rest.serialise_request(request), exchange.body)

    def signed_request(self, request: Request, signature: bytes) -> Request:
        return request

    def encode_request(self, signed: SignedMessage, boundary: str, ocsp_responses: Sequence[bytes]) -> Sendable:
        return self._encode(PartKind.REST_REQUEST, signed, boundary, ocsp_responses)

    def request_headers(self, exchange: ConsumerExchange, boundary: str) -> list[Header]:
        return transport.exchange_headers(exchange.request_id, boundary)

    def read_response(
        self,
        exchange: ConsumerExchange,
        content: Outgoing,
        digest: bytes,
        signature: VerifiedSignature,
        receipts: ReadReceipts,
    ) -> Response:
        request, signed = exchange.request, exchange.signed
        assert isinstance(request, RESTRequest)
        assert signed is not None
        response = rest_response.parse_response_message(content.message)
        expected = rest_response.bind_digests(signed.message_digest, signed.body_digest)
        rest_response.check_response_consistency(request, response, expected)
        return VerifiedResponse(response, content.body, content.message, digest, receipts(response.receipt), signature)

    def unpack(
        self, received: TransportMessage, message: bytes, original_content_type: str | None, hop: Hop
    ) -> Outgoing:
        return Outgoing(message, received.body or b"")

    def read_request(self, exchange: ProviderExchange, content: Outgoing) -> Request:
        request = rest.parse_request_message(content.message)
        if exchange.request_id_header != request.request_id:
            raise Fault("server.serverproxy.invalid_message", "the transport's request id is not the message's")
        return request

    def verified_request(
        self,
        request: Request,
        content: Outgoing,
        parts: Sequence[SignedPart],
        *,
        server: SecurityServer,
        signature: VerifiedSignature,
        chain: HashChain | None,
    ) -> Verified:
        assert isinstance(request, RESTRequest)
        body_digest = parts[1].digest if len(parts) > 1 else None
        return VerifiedRequest(
            request, content.body, content.message, parts[0].digest, body_digest, server, signature, hash_chain=chain
        )

    def replay_key(self, verified: Verified) -> bytes:
        # The transport's id is new for each request of a client, and signed; whoever sends one twice is replaying.
        # The id comes first: ids that grow with time keep the log's index small to write (7 % of a commit).
        return f"{verified.request.request_id}\0{verified.request.client.encoded}".encode()

    async def call_built_in(self, node: Node, exchange: ProviderExchange) -> ServiceAnswer:
        assert isinstance(exchange.verified, VerifiedRequest)
        assert exchange.offer is not None
        return await built_in.answer(node, exchange.verified, exchange.offer)

    async def call(self, node: Node, exchange: ProviderExchange, service: Service) -> ServiceAnswer:
        verified = exchange.verified
        assert isinstance(verified, VerifiedRequest)
        request = verified.request
        return await node.services.call(
            request.method,
            join_url(service.url, request.service_path, request.query),
            rest.service_headers(request),
            _one_piece(verified.body),
            timeout_seconds=service.timeout_seconds or node.settings.service_timeout_seconds,
            pins=(exchange.directory or node.directory).service_pins(service),
            bodies=exchange.bodies,
        )

    def build_response(self, exchange: ProviderExchange, receipts: tuple[Receipt, ...]) -> Outgoing:
        verified, answer = exchange.verified, exchange.answer
        assert isinstance(verified, VerifiedRequest)
        assert isinstance(answer, ServiceAnswer)
        response = rest_response.build_response(
            verified.request,
            status=answer.status,
            reason=answer.reason,
            headers=answer.headers,
            request_hash=rest_response.bind_digests(verified.message_digest, verified.body_digest),
            receipt=",".join(receipt.encode() for receipt in receipts),
        )
        return Outgoing(rest_response.serialise_response(response), answer.body)

    def encode_response(self, signed: SignedMessage, boundary: str) -> Sendable:
        return self._encode(PartKind.REST_RESPONSE, signed, boundary, ())

    def response_headers(self, signed: SignedMessage) -> list[Header]:
        return []

    @staticmethod
    def _encode(kind: PartKind, signed: SignedMessage, boundary: str, ocsp_responses: Sequence[bytes]) -> Sendable:
        return transport.encode_message(
            kind,
            signed.message,
            signed.signature,
            boundary=boundary,
            body=signed.body or None,
            ocsp_responses=ocsp_responses,
            hash_chain=signed.hash_chain,
        )


def _one_piece(body: Content) -> Sendable | None:
    if isinstance(body, bytes):
        return body or None
    return (body,)


REST = RESTKind()
