"""What the steps of the pipeline leave to the kind of a message: REST or SOAP.

The steps, their order and what is verified, logged and signed are the same for both; a kind reads and writes. So there
is one list of steps, and it holds no question of which kind.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from audit.entry import Receipt
from gateway.exchange.node import Node
from gateway.exchange.services import ServiceAnswer
from gateway.exchange.signer import digested_parts
from gateway.exchange.state import (
    ConsumerExchange,
    Outgoing,
    ProviderExchange,
    SignedMessage,
    SOAPAnswer,
    Verified,
    VerifiedResponse,
    VerifiedSOAPResponse,
)
from gateway.messages.content import Sendable, digest_of
from gateway.messages.faults import Hop, from_trust_error
from gateway.messages.http_fields import Header
from gateway.messages.rest import RESTRequest
from gateway.messages.soap_request import SOAPRequest
from gateway.messages.transport import HashChain, PartKind, TransportMessage
from gateway.store.model import Service
from trust.errors import TrustError
from trust.identifiers import MemberId
from trust.parameters import SecurityServer
from trust.xades import SignedPart, VerifiedSignature

Request = RESTRequest | SOAPRequest
Response = VerifiedResponse | VerifiedSOAPResponse
# The receipts in the text that a response has of them, if it has one. Raises Fault.
ReadReceipts = Callable[[str | None], tuple[Receipt, ...]]


class Kind(Protocol):
    """One kind of message at both gateways. Whatever it refuses is a Fault with the code of that place."""

    request_part: PartKind
    response_part: PartKind
    # Whether the message is XML as a whole, so that reading a large one takes its time.
    is_xml: bool = False

    def size_to_read(self, exchange: ConsumerExchange) -> int:  # noqa: ARG002 - other kinds look
        """How many bytes `parse_request` goes through."""
        return 0

    # -- at the consumer gateway

    def parse_request(self, exchange: ConsumerExchange) -> Request:
        """The client's request: well formed, and no more than that."""
        ...

    def complete(self, exchange: ConsumerExchange, generated_message_id: str) -> tuple[Request, Outgoing]:
        """The request as it is to be signed, with what the gateway adds."""
        ...

    def signed_request(self, request: Request, signature: bytes) -> Request:
        """The request when it has been signed."""
        ...

    def encode_request(self, signed: SignedMessage, boundary: str, ocsp_responses: Sequence[bytes]) -> Sendable:
        """The transport message."""
        ...

    def request_headers(self, exchange: ConsumerExchange, boundary: str) -> list[Header]:
        """What travels beside it."""
        ...

    def read_response(
        self,
        exchange: ConsumerExchange,
        content: Outgoing,
        digest: bytes,
        signature: VerifiedSignature,
        receipts: ReadReceipts,
    ) -> Response:
        """The response, once its signature holds: it answers this very request, and its receipts are as `receipts`
        wants them.
        """
        ...

    # -- at both

    def unpack(
        self, received: TransportMessage, message: bytes, original_content_type: str | None, hop: Hop
    ) -> Outgoing:
        """What the signature has to cover. Nothing is verified."""
        ...

    # -- at the provider gateway

    def read_request(self, exchange: ProviderExchange, content: Outgoing) -> Request:
        """The request of a message whose signature is still to be verified."""
        ...

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
        """The request, now that everything about it was verified."""
        ...

    def replay_key(self, verified: Verified) -> bytes:
        """What no two requests have in common."""
        ...

    async def call_built_in(self, node: Node, exchange: ProviderExchange) -> ServiceAnswer | SOAPAnswer:
        """The gateway's own service has answered."""
        ...

    async def call(self, node: Node, exchange: ProviderExchange, service: Service) -> ServiceAnswer | SOAPAnswer:
        """The institution's service has answered."""
        ...

    def build_response(self, exchange: ProviderExchange, receipts: tuple[Receipt, ...]) -> Outgoing:
        """The answer as it is to be signed, bound to the request."""
        ...

    def encode_response(self, signed: SignedMessage, boundary: str) -> Sendable:
        """The transport message."""
        ...

    def response_headers(self, signed: SignedMessage) -> list[Header]:
        """What travels beside it."""
        ...


def parts_of(content: Outgoing) -> list[SignedPart]:
    """What is signed: the message and its body or attachments (PR-MESSTRANSP 2.7)."""
    digests = [digest_of(data) for data in content.contents]
    first = digests[0] if digests else None
    return digested_parts(hashlib.sha512(content.message).digest(), first, *digests[1:])


async def sign_aside(node: Node, content: Outgoing, *, member: MemberId, classic: bool, hop: Hop) -> SignedMessage:
    """As `sign`; while a device signs, the event loop goes on."""
    if node.signer.waits(member):
        return await asyncio.to_thread(sign, node, content, member=member, classic=classic, hop=hop)
    return sign(node, content, member=member, classic=classic, hop=hop)


def sign(node: Node, content: Outgoing, *, member: MemberId, classic: bool, hop: Hop) -> SignedMessage:
    """The message with the signature of `member`. Raises Fault `cannot_create_signature`."""
    parts = parts_of(content)
    try:
        signature, chain = node.signer.sign_for(parts, classic=classic, member=member)
    except TrustError as error:
        raise from_trust_error(hop, error) from None
    body_digest = parts[1].digest if len(parts) > 1 else None
    return SignedMessage(content.message, parts[0].digest, content.body, body_digest, signature, chain, content.parts)
