"""What is known of an exchange, as it goes its way. Each step sets its own fields; a later one relies on them.

What came from outside and what was verified have different types: `VerifiedRequest` and `VerifiedResponse` are made by
the verifying steps alone, and whatever acts on a message takes one of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from audit.entry import Receipt
from gateway.exchange.directory import Directory, Offer
from gateway.exchange.ids import random_id
from gateway.exchange.places import Held
from gateway.exchange.rights import Demand
from gateway.exchange.services import ServiceAnswer
from gateway.exchange.spool import Bodies
from gateway.exchange.trust_state import Trusted
from gateway.messages.content import Content
from gateway.messages.headers import RoadFields
from gateway.messages.http_fields import Header
from gateway.messages.rest import RESTRequest
from gateway.messages.rest_response import RESTResponse
from gateway.messages.soap import SOAPFault, SOAPMessage
from gateway.messages.soap_request import SOAPParts, SOAPRequest
from gateway.messages.transport import HashChain, TransportMessage
from trust.parameters import SecurityServer
from trust.xades import VerifiedSignature

if TYPE_CHECKING:
    from gateway.exchange.kinds import Kind


@dataclass(frozen=True, slots=True)
class Incoming:
    """A client's HTTP request as it came."""

    method: str
    target: str
    headers: tuple[Header, ...]
    over_tls: bool
    client_certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of ours before it is signed: a REST message with its body, or SOAP with its `parts`."""

    message: bytes
    body: Content = b""
    parts: SOAPParts | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """What is signed and kept besides the message: its body or its attachments."""
        if self.parts is not None:
            return tuple(part.data for part in self.parts.attachments)
        return (self.body,) if self.body else ()


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message of ours with its signature."""

    message: bytes
    message_digest: bytes
    body: Content
    body_digest: bytes | None
    signature: bytes
    hash_chain: HashChain | None = None
    parts: SOAPParts | None = None


@dataclass(frozen=True, slots=True)
class VerifiedResponse:
    """A response that its provider signed, that answers our request, with the receipts of its log."""

    response: RESTResponse
    body: Content
    message: bytes
    message_digest: bytes
    receipts: tuple[Receipt, ...]
    signature: VerifiedSignature

    @property
    def status(self) -> int:
        """The service's HTTP status."""
        return self.response.status

    @property
    def contents(self) -> tuple[Content, ...]:
        """What is kept besides the message."""
        return (self.body,) if self.body else ()


@dataclass(frozen=True, slots=True)
class VerifiedSOAPResponse:
    """As VerifiedResponse, over SOAP: of a service that succeeded, for its fault isn't signed (PR-MESS 2.9)."""

    response: SOAPMessage
    parts: SOAPParts
    message: bytes
    message_digest: bytes
    receipts: tuple[Receipt, ...]
    signature: VerifiedSignature

    @property
    def status(self) -> int:
        """The HTTP status of an answer that is no fault."""
        return 200

    @property
    def contents(self) -> tuple[Content, ...]:
        """What is kept besides the message."""
        return tuple(part.data for part in self.parts.attachments)


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request that its client's member signed and that its client's gateway brought."""

    request: RESTRequest
    body: Content
    message: bytes
    message_digest: bytes
    body_digest: bytes | None
    server: SecurityServer
    signature: VerifiedSignature
    hash_chain: HashChain | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """What is kept besides the message."""
        return (self.body,) if self.body else ()


@dataclass(frozen=True, slots=True)
class VerifiedSOAPRequest:
    """As VerifiedRequest, over SOAP."""

    request: SOAPRequest
    message: bytes
    message_digest: bytes
    server: SecurityServer
    signature: VerifiedSignature
    hash_chain: HashChain | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """What is kept besides the message."""
        return tuple(part.data for part in self.request.parts.attachments)


@dataclass(frozen=True, slots=True)
class SOAPAnswer:
    """What a SOAP service answered, or the gateway in its place: a message, or a fault to be passed on as it is."""

    message: SOAPMessage | SOAPFault
    parts: SOAPParts

    @property
    def status(self) -> int:
        """SOAP 1.1 section 6.2: a fault is 500."""
        return 500 if isinstance(self.message, SOAPFault) else 200

    @property
    def contents(self) -> tuple[Content, ...]:
        """What is kept besides the message."""
        return tuple(part.data for part in self.parts.attachments)


Verified = VerifiedRequest | VerifiedSOAPRequest


@dataclass(slots=True)
class ConsumerExchange:
    """An exchange at the consumer gateway."""

    incoming: Incoming
    request_id: str
    started_ms: int
    kind: Kind
    step: str = ""
    sent_ms: int = 0
    received_ms: int = 0
    # Where the bodies of this exchange lie, until its answer has been given.
    bodies: Bodies | None = None
    places: Held = field(default_factory=list)
    retry_after: str | None = None
    body: Content = b""
    # Of a SOAP request that was too large to be in memory as a whole.
    parts: SOAPParts | None = None
    directory: Directory | None = None
    trusted: Trusted | None = None
    servers: tuple[SecurityServer, ...] = ()
    request: RESTRequest | SOAPRequest | None = None
    fields: RoadFields | None = None
    own_subjects: tuple[str, ...] = ()
    signed: SignedMessage | None = None
    received: TransportMessage | None = None
    original_content_type: str | None = None
    verified: VerifiedResponse | VerifiedSOAPResponse | None = None
    receipts: tuple[Receipt, ...] = ()


@dataclass(slots=True)
class ProviderExchange:
    """An exchange at the provider gateway."""

    request_id_header: str
    peer_certificate: bytes
    started_ms: int
    kind: Kind
    step: str = ""
    sent_ms: int = 0
    received_ms: int = 0
    bodies: Bodies | None = None
    places: Held = field(default_factory=list)
    received: TransportMessage | None = None
    trusted: Trusted | None = None
    directory: Directory | None = None
    verified: Verified | None = None
    demand: Demand | None = None
    offer: Offer | None = None
    answer: ServiceAnswer | SOAPAnswer | None = None
    response: SignedMessage | None = None
    receipts: tuple[Receipt, ...] = field(default=())
    # What travels beside the message, unsigned (PR-MESSTRANSP 3.1).
    headers: Mapping[str, str] = field(default_factory=dict)
    service_fault: SOAPFault | None = None
    _error_id: str = ""

    @property
    def error_id(self) -> str:
        """Our own id, for where the request's isn't known or isn't to be believed: made when it is asked for."""
        if not self._error_id:
            self._error_id = random_id()
        return self._error_id
