"""What is known of an exchange, as it goes its way. Each step sets its own fields; a later one relies on them.

What came from outside and what was verified have different types: `VerifiedRequest` and `VerifiedResponse` are made by
the verifying steps alone, and whatever acts on a message takes one of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from audit.entry import Receipt
from gateway.exchange.directory import Directory, Offer
from gateway.exchange.rights import Demand
from gateway.exchange.services import ServiceAnswer
from gateway.exchange.trust_state import Trusted
from gateway.messages.headers import RoadFields
from gateway.messages.http_fields import Header
from gateway.messages.rest import RESTRequest, RESTResponse
from gateway.messages.transport import TransportMessage
from trust.parameters import SecurityServer
from trust.xades import VerifiedSignature


@dataclass(frozen=True, slots=True)
class Incoming:
    """A client's HTTP request as it came."""

    method: str
    target: str
    headers: tuple[Header, ...]
    over_tls: bool
    client_certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message of ours with its signature."""

    message: bytes
    message_digest: bytes
    body: bytes
    body_digest: bytes | None
    signature: bytes


@dataclass(frozen=True, slots=True)
class VerifiedResponse:
    """A response that its provider signed, that answers our request, with the receipts of its log."""

    response: RESTResponse
    body: bytes
    message: bytes
    message_digest: bytes
    receipts: tuple[Receipt, ...]
    signature: VerifiedSignature


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request that its client's member signed and that its client's gateway brought."""

    request: RESTRequest
    body: bytes
    message: bytes
    message_digest: bytes
    body_digest: bytes | None
    server: SecurityServer
    signature: VerifiedSignature


@dataclass(slots=True)
class ConsumerExchange:
    """An exchange at the consumer gateway."""

    incoming: Incoming
    request_id: str
    started_ms: int
    step: str = ""
    body: bytes = b""
    directory: Directory | None = None
    trusted: Trusted | None = None
    servers: tuple[SecurityServer, ...] = ()
    request: RESTRequest | None = None
    fields: RoadFields | None = None
    own_subjects: tuple[str, ...] = ()
    signed: SignedMessage | None = None
    received: TransportMessage | None = None
    verified: VerifiedResponse | None = None
    receipts: tuple[Receipt, ...] = ()


@dataclass(slots=True)
class ProviderExchange:
    """An exchange at the provider gateway."""

    content_type: str
    content: bytes
    request_id_header: str
    peer_certificate: bytes
    error_id: str
    started_ms: int
    step: str = ""
    trusted: Trusted | None = None
    directory: Directory | None = None
    verified: VerifiedRequest | None = None
    demand: Demand | None = None
    offer: Offer | None = None
    answer: ServiceAnswer | None = None
    response: SignedMessage | None = None
    receipts: tuple[Receipt, ...] = field(default=())
