"""SOAP messages at both gateways (PR-MESS): what the steps leave to the kind. Forms are `messages.soap`'s.

The client's bytes go as they came, the service's with the request hash. What is ours travels in header entries of our
own namespace, and only between those that know of it (docs/adr/0009-soap-bytes-and-our-fields.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from audit.entry import Receipt
from gateway.exchange import built_in
from gateway.exchange.kinds import Kind, ReadReceipts, Request, Response
from gateway.exchange.node import Node
from gateway.exchange.off_loop import off_loop
from gateway.exchange.services import SOAP_STATUSES
from gateway.exchange.state import (
    ConsumerExchange,
    Outgoing,
    ProviderExchange,
    SignedMessage,
    SOAPAnswer,
    Verified,
    VerifiedSOAPRequest,
    VerifiedSOAPResponse,
)
from gateway.messages import soap, transport
from gateway.messages.content import Sendable, digest_of
from gateway.messages.faults import Fault, Hop
from gateway.messages.headers import CITIZEN, RoadFields
from gateway.messages.http_fields import Header, single_value
from gateway.messages.multipart import MalformedMultipart
from gateway.messages.soap import Reading, SOAPMessage
from gateway.messages.soap_request import SOAPParts, SOAPRequest, parts_of_transport, split_soap
from gateway.messages.transport import HashChain, PartKind, TransportMessage
from gateway.messages.transport_encoder import ORIGINAL_CONTENT_TYPE
from gateway.store.model import Service
from trust.parameters import SecurityServer
from trust.xades import SignedPart, VerifiedSignature

SOAP_ACTION: Final = "SOAPAction"
ORIGINAL_SOAP_ACTION: Final = "x-original-soapaction"
# By which a gateway of this road asks for the receipt entry; an X-Road server asks for none and gets none.
WANTS_RECEIPT: Final = "x-datenweg-receipt"
_MAX_ID: Final = 255
_NONCE: Final = b"datenweg/soap/nonce/1\0"


class SOAPKind(Kind):
    """SOAP."""

    request_part = PartKind.SOAP
    response_part = PartKind.SOAP
    is_xml = True

    def size_to_read(self, exchange: ConsumerExchange) -> int:
        if exchange.parts is not None:
            return len(exchange.parts.message)
        return len(exchange.body) if isinstance(exchange.body, bytes) else 0

    def parse_request(self, exchange: ConsumerExchange) -> Request:
        incoming = exchange.incoming
        if incoming.method != "POST":
            raise Fault("client.invalid_http_method")
        action = soap.check_soap_action(_one(incoming.headers, SOAP_ACTION), Reading.CLIENT_REQUEST)
        content_type = _one(incoming.headers, "Content-Type") or ""
        parts = exchange.parts
        if parts is None:
            assert isinstance(exchange.body, bytes)
            parts = split_soap(exchange.body, content_type, Reading.CLIENT_REQUEST)
        message = soap.parse_soap(parts.message, parts.root.content_type, Reading.CLIENT_REQUEST)
        token = _one(incoming.headers, CITIZEN)
        return SOAPRequest(message, parts, action, exchange.request_id, message.fields, citizen_token=token)

    def complete(self, exchange: ConsumerExchange, generated_message_id: str) -> tuple[Request, Outgoing]:
        request = exchange.request
        assert isinstance(request, SOAPRequest)
        if request.citizen_token is not None and exchange.fields is not None:
            # Only a client that knows of us sends a token: what it says of the citizen is added, and signed.
            request = _with_fields(request, exchange.fields)
        if request.citizen_token is not None:
            request = replace(request, citizen_token=None)
        return request, Outgoing(request.message.data, parts=request.parts)

    def signed_request(self, request: Request, signature: bytes) -> Request:
        assert isinstance(request, SOAPRequest)
        return _with_nonce(request, signature)

    def encode_request(self, signed: SignedMessage, boundary: str, ocsp_responses: Sequence[bytes]) -> Sendable:
        return _encode(signed, boundary, ocsp_responses)

    def request_headers(self, exchange: ConsumerExchange, boundary: str) -> list[Header]:
        request = exchange.request
        assert isinstance(request, SOAPRequest)
        headers = transport.exchange_headers(
            exchange.request_id, boundary, original_content_type=request.parts.content_type, rest=False
        )
        if request.soap_action is not None:
            headers.append((ORIGINAL_SOAP_ACTION, request.soap_action))
        headers.append((WANTS_RECEIPT, "soap"))
        return headers

    def read_response(
        self,
        exchange: ConsumerExchange,
        content: Outgoing,
        digest: bytes,
        signature: VerifiedSignature,
        receipts: ReadReceipts,
    ) -> Response:
        request, signed = exchange.request, exchange.signed
        assert isinstance(request, SOAPRequest)
        assert signed is not None
        assert content.parts is not None
        response = soap.parse_soap(content.message, content.parts.root.content_type, Reading.SIGNED_RESPONSE)
        soap.check_response_consistency(request.message, response, signed.message_digest)
        return VerifiedSOAPResponse(
            response, content.parts, content.message, digest, receipts(response.receipt), signature
        )

    def unpack(
        self, received: TransportMessage, message: bytes, original_content_type: str | None, hop: Hop
    ) -> Outgoing:
        reading = Reading.SIGNED_REQUEST if hop is Hop.PROVIDER_GATEWAY else Reading.SIGNED_RESPONSE
        return Outgoing(message, parts=parts_of_transport(received, message, original_content_type, reading))

    def read_request(self, exchange: ProviderExchange, content: Outgoing) -> Request:
        assert content.parts is not None
        action = soap.check_soap_action(exchange.headers.get(ORIGINAL_SOAP_ACTION), Reading.SIGNED_REQUEST)
        message = soap.parse_soap(content.message, content.parts.root.content_type, Reading.SIGNED_REQUEST)
        request_id = exchange.request_id_header
        if not 0 < len(request_id) <= _MAX_ID or not request_id.isprintable():
            request_id = exchange.error_id  # it isn't signed, and old servers send none
        return SOAPRequest(message, content.parts, action, request_id, message.fields)

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
        assert isinstance(request, SOAPRequest)
        request = _with_nonce(request, signature.document)
        return VerifiedSOAPRequest(request, content.message, parts[0].digest, server, signature, hash_chain=chain)

    def replay_key(self, verified: Verified) -> bytes:
        # Nothing of a SOAP request is new each time but the signature's value: not its unsigned properties, which a
        # replaying gateway could change, nor all of it, since a batch has one for many messages. The first half of an
        # ECDSA value (r) is random; of the second there are always two that hold.
        value = verified.signature.value
        digests = [verified.message_digest, *(digest_of(data) for data in verified.contents)]
        return b"soap\0" + hashlib.sha256(b"".join((value[: len(value) // 2], *digests))).digest()

    async def call_built_in(self, node: Node, exchange: ProviderExchange) -> SOAPAnswer:
        verified, offer = exchange.verified, exchange.offer
        assert isinstance(verified, VerifiedSOAPRequest)
        assert offer is not None
        return _answer(await built_in.answer_soap(node, verified, offer))

    async def call(self, node: Node, exchange: ProviderExchange, service: Service) -> SOAPAnswer:
        verified = exchange.verified
        assert isinstance(verified, VerifiedSOAPRequest)
        request = verified.request
        headers = [("Content-Type", request.parts.content_type)]
        if request.soap_action is not None:
            headers.append((SOAP_ACTION, request.soap_action))
        answer = await node.services.call(
            "POST",
            service.url,
            headers,
            request.parts.join(),
            timeout_seconds=service.timeout_seconds or node.settings.service_timeout_seconds,
            pins=(exchange.directory or node.directory).service_pins(service),
            bodies=exchange.bodies,
            soap=True,
        )
        if answer.status not in SOAP_STATUSES:
            raise Fault("server.serverproxy.service_failed.http_error", f"status {answer.status}")
        content_type = _one(answer.headers, "Content-Type") or ""
        parts = answer.parts
        if parts is None:
            assert isinstance(answer.body, bytes)
            parts = split_soap(answer.body, content_type, Reading.SERVICE_ANSWER)
        return await off_loop(len(parts.message), _answer, parts)

    def build_response(self, exchange: ProviderExchange, receipts: tuple[Receipt, ...]) -> Outgoing:
        verified, answer = exchange.verified, exchange.answer
        assert isinstance(verified, VerifiedSOAPRequest)
        assert isinstance(answer, SOAPAnswer)
        assert isinstance(answer.message, SOAPMessage)
        asked = WANTS_RECEIPT in exchange.headers
        receipt = ",".join(receipt.encode() for receipt in receipts) if asked else None
        message = soap.add_request_hash(answer.message, soap.hash_text(verified.message_digest), receipt)
        parts = answer.parts
        return Outgoing(message, parts=replace(parts, root=replace(parts.root, data=message)))

    def encode_response(self, signed: SignedMessage, boundary: str) -> Sendable:
        return _encode(signed, boundary, ())

    def response_headers(self, signed: SignedMessage) -> list[Header]:
        assert signed.parts is not None
        return [(ORIGINAL_CONTENT_TYPE, signed.parts.content_type)]


SOAP = SOAPKind()


def delivered_parts(verified: VerifiedSOAPResponse) -> SOAPParts:
    """What the client's system gets: the service's answer with the request hash, without what is between gateways."""
    parts = verified.parts
    if verified.response.receipt is None:
        return parts
    return replace(parts, root=replace(parts.root, data=soap.remove_receipt(verified.response)))


def _answer(parts: SOAPParts) -> SOAPAnswer:
    reading = Reading.SERVICE_ANSWER
    try:
        # Whether a client can be given it under this content type is seen before it is signed.
        parts.join()
    except MalformedMultipart as error:
        raise reading.refuse("invalid_content_type", error.reason) from None
    return SOAPAnswer(soap.parse_message(parts.message, parts.root.content_type, reading), parts)


def _with_fields(request: SOAPRequest, fields: RoadFields) -> SOAPRequest:
    data = soap.add_road_fields(request.message, fields)
    parts = replace(request.parts, root=replace(request.parts.root, data=data))
    # Read again as the provider will read it: a message that it refuses isn't signed.
    message = soap.parse_soap(data, parts.root.content_type, Reading.SIGNED_REQUEST)
    return replace(request, message=message, parts=parts, fields=message.fields)


def _with_nonce(request: SOAPRequest, signature: bytes) -> SOAPRequest:
    """Both gateways know the signature and nobody else could: it serves as the nonce of a message that has none."""
    if request.fields.exchange_nonce is not None:
        return request
    nonce = hashlib.sha256(_NONCE + signature).digest()
    return replace(request, fields=replace(request.fields, exchange_nonce=nonce))


def _encode(signed: SignedMessage, boundary: str, ocsp_responses: Sequence[bytes]) -> Sendable:
    parts = signed.parts
    assert parts is not None
    attachments = [
        transport.Attachment((("content-type", part.content_type), *part.headers), part.data)
        for part in parts.attachments
    ]
    return transport.encode_soap_message(
        signed.message,
        signed.signature,
        boundary=boundary,
        headers=(("content-type", parts.root.content_type), *parts.root.headers),
        attachments=attachments,
        ocsp_responses=ocsp_responses,
        hash_chain=signed.hash_chain,
    )


def _one(headers: Sequence[Header], name: str) -> str | None:
    return single_value(tuple(headers), name)
