"""A SOAP request as it goes the way of a message, and how bodies with attachments become parts and bodies again.

PR-MESS 2.4 and 2.8 for clients and services, PR-MESSTRANSP 3.1 for gateways: the SOAP message and its attachments are
signed one by one, and the Content-Type that says how they were joined travels beside them, as does SOAPAction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.messages.content import Sendable
from gateway.messages.headers import RoadFields
from gateway.messages.http_fields import Refused, field_value
from gateway.messages.mime import RELATED, Part, boundary_of, join_related, media_type_of, split_related
from gateway.messages.multipart import MalformedMultipart
from gateway.messages.rest_form import RepresentedParty
from gateway.messages.soap import SOAP_TYPES, Reading, SOAPMessage
from gateway.messages.transport import TransportMessage
from trust.identifiers import ClientId, SecurityServerId, ServiceId

_MAX_CONTENT_TYPE: Final = 1024


@dataclass(frozen=True, slots=True)
class SOAPParts:
    """A SOAP message and its attachments, apart. `content_type` is that of the whole, `root` the message's part."""

    content_type: str
    root: Part
    attachments: tuple[Part, ...] = ()

    def join(self) -> Sendable:
        """The body of the whole, as `content_type` says. Raises MalformedMultipart."""
        if not self.is_multipart:
            return self.message
        boundary = boundary_of(self.content_type)
        if boundary is None:
            raise MalformedMultipart("the content type has no boundary")
        return join_related((self.root, *self.attachments), boundary)

    @property
    def message(self) -> bytes:
        """The message's own bytes, which are always in memory."""
        assert isinstance(self.root.data, bytes)
        return self.root.data

    @property
    def is_multipart(self) -> bool:
        """Whether it was sent as multipart, even if without attachments."""
        return media_type_of(self.content_type) == RELATED


@dataclass(frozen=True, slots=True)
class SOAPRequest:
    """A SOAP request with what the road knows of it; the names are those of a REST request.

    `fields` are the road's own. `method` and `service_path` are None: rights to endpoints are for REST.
    """

    message: SOAPMessage
    parts: SOAPParts
    soap_action: str | None
    request_id: str
    fields: RoadFields
    citizen_token: str | None = field(default=None, repr=False)
    method: None = None
    service_path: None = None

    @property
    def client(self) -> ClientId:
        """Who asks."""
        return self.message.client

    @property
    def service(self) -> ServiceId:
        """What is asked."""
        return self.message.service

    @property
    def message_id(self) -> str:
        """The client's id of the request."""
        return self.message.message_id

    @property
    def user_id(self) -> str | None:
        """Who asks, within the client's organisation."""
        return self.message.user_id

    @property
    def issue(self) -> str | None:
        """The matter that the request belongs to."""
        return self.message.issue

    @property
    def security_server(self) -> SecurityServerId | None:
        """The gateway that the client wants it to go to."""
        return self.message.security_server

    @property
    def represented_party(self) -> RepresentedParty | None:
        """On whose behalf the client asks."""
        return self.message.represented_party


def split_soap(data: bytes, content_type: str, reading: Reading) -> SOAPParts:
    """The parts of a SOAP message as a client or service sent it; the message is the first.

    Raises Fault: `invalid_content_type`, `mime_parsing_failed`, and `missing_soap` (a service's answer:
    `invalid_message`) for a multipart body without parts.
    """
    content_type, boundary = require_soap_type(content_type, reading)
    if boundary is None:
        return SOAPParts(content_type, Part(content_type, (), data))
    try:
        parts = split_related(data, boundary)
    except MalformedMultipart as error:
        raise reading.refuse("mime_parsing_failed", error.reason) from None
    if not parts:
        # As X-Road's proxies answer: at the consumer the SOAP is missing, of a service no message came.
        leaf = "missing_soap" if reading is Reading.CLIENT_REQUEST else "invalid_message"
        raise reading.refuse(leaf, "the multipart message has no parts")
    if not all(part.content_type for part in parts):
        raise reading.refuse("invalid_content_type", "a part has no content type")
    return SOAPParts(content_type, parts[0], tuple(parts[1:]))


def require_soap_type(content_type: str, reading: Reading) -> tuple[str, str | None]:
    """The content type, and the boundary of a multipart one. Raises Fault `invalid_content_type`."""
    try:
        content_type = field_value(content_type)
    except Refused:
        content_type = ""
    media_type = media_type_of(content_type)
    if media_type in SOAP_TYPES and len(content_type) <= _MAX_CONTENT_TYPE:
        return content_type, None
    if media_type != RELATED:
        raise reading.refuse("invalid_content_type", "SOAP is text/xml, application/xop+xml or multipart/related")
    try:
        boundary = boundary_of(content_type)
    except MalformedMultipart as error:
        raise reading.refuse("invalid_content_type", error.reason) from None
    if boundary is None:
        raise reading.refuse("invalid_content_type", "the content type has no boundary")
    return content_type, boundary


def parts_of_transport(
    received: TransportMessage, message: bytes, original_content_type: str | None, reading: Reading
) -> SOAPParts:
    """The parts of a SOAP message between gateways. `original_content_type` says how the whole is to be joined again.

    Raises Fault: `mime_parsing_failed`, `invalid_content_type`, `invalid_message`.
    """
    content_type = received.content_type
    root = Part(content_type, tuple(h for h in received.headers if h[0].lower() != "content-type"), message)
    parts: list[Part] = []
    if received.body is not None or received.attachments is not None:
        try:
            boundary = boundary_of(received.attachments_content_type)
            if received.attachments is not None:
                parts = list(received.attachments)
            elif boundary is not None and isinstance(received.body, bytes):
                parts = split_related(received.body, boundary)
        except MalformedMultipart as error:
            raise reading.refuse("mime_parsing_failed", error.reason) from None
        if not parts or not all(part.content_type for part in parts):
            raise reading.refuse("invalid_content_type", "an attachment has no content type")
    original = original_content_type or ""
    if media_type_of(original) != RELATED:
        if parts:
            raise reading.refuse("invalid_message", "attachments of a message that was not multipart")
        # The charset that the message's own part names is the signed part's; the other header is anybody's.
        return SOAPParts(content_type, root)
    whole = SOAPParts(original, root, tuple(parts))
    try:
        if len(original) > _MAX_CONTENT_TYPE or field_value(original) != original:
            raise reading.refuse("invalid_content_type", "the original content type is not valid")
        # Whether it can be joined again is seen now, before anything is logged or called.
        whole.join()
    except Refused:
        raise reading.refuse("invalid_content_type", "the original content type is not valid") from None
    except MalformedMultipart as error:
        raise reading.refuse("invalid_message", error.reason) from None
    return whole
