"""The message between two gateways: a multipart body whose parts come in one fixed order (PR-MESSTRANSP 3.1).

OCSP answers, then the message, then its body or attachments, then the hash chain of a batch signature, then the
signature; a SOAP fault may stand instead of what is still missing. Reading only (and `transport_encoder` writes):
digests, signatures and what the parts say are for the caller, who sees every byte of a part as it comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, assert_never

from gateway.messages.content import Content
from gateway.messages.faults import Fault, Hop
from gateway.messages.http_fields import Header
from gateway.messages.mime import Part, charset_of, media_type_of, split_related
from gateway.messages.multipart import MalformedMultipart, media_type_and_boundary
from gateway.messages.related_reader import ContentData, ContentEnd, PartBegin, RelatedReader
from gateway.messages.soap import Reading, parse_message
from gateway.messages.soap_scan import HeaderReader, NotSOAP, scan
from gateway.messages.transport_encoder import (
    HASH_ALGORITHM,
    MESSAGE_TYPE_HEADER,
    PROXY_VERSION,
    REQUEST_ID_HEADER,
    Attachment,
    HashChain,
    PartKind,
    boundary_from,
    content_type,
    encode_fault,
    encode_head,
    encode_message,
    encode_segments,
    encode_soap_message,
    encode_tail,
    exchange_headers,
)
from trust.errors import TrustError
from trust.ocsp import require_readable

__all__ = [
    "DEFAULT_LIMITS",
    "HASH_ALGORITHM",
    "MESSAGE_TYPE_HEADER",
    "PROXY_VERSION",
    "REQUEST_ID_HEADER",
    "Attachment",
    "ContentData",
    "ContentEnd",
    "Decoder",
    "Event",
    "HashChain",
    "PartKind",
    "PartStart",
    "TransportLimits",
    "TransportMessage",
    "boundary_from",
    "content_type",
    "decode_small",
    "encode_fault",
    "encode_head",
    "encode_message",
    "encode_segments",
    "encode_soap_message",
    "encode_tail",
    "exchange_headers",
    "require_signed",
    "settled",
]


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of one message between gateways, in bytes."""

    max_body: int = 10 * 1024 * 1024
    max_message: int = 64 * 1024
    max_soap: int = 10 * 1024 * 1024
    max_signature: int = 256 * 1024
    max_ocsp_response: int = 64 * 1024
    max_parts: int = 16
    max_total: int = field(init=False, repr=False, compare=False)
    _of_kind: dict[PartKind, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        total = (
            self.max_body + max(self.max_message, self.max_soap) + 4 * self.max_signature + 8 * self.max_ocsp_response
        )
        of_kind = dict.fromkeys(PartKind, self.max_signature)
        of_kind |= dict.fromkeys((PartKind.REST_BODY, PartKind.ATTACHMENTS), self.max_body)
        of_kind |= dict.fromkeys((PartKind.REST_REQUEST, PartKind.REST_RESPONSE), self.max_message)
        of_kind |= dict.fromkeys((PartKind.SOAP, PartKind.FAULT), self.max_soap)
        # Between gateways the attachments' boundary may be longer than their sender's.
        of_kind[PartKind.ATTACHMENTS] = self.max_body + self.max_message
        of_kind[PartKind.OCSP_RESPONSE] = self.max_ocsp_response
        object.__setattr__(self, "_of_kind", of_kind)
        object.__setattr__(self, "max_total", total)

    def of(self, kind: PartKind) -> int:
        """The bound of one part."""
        return self._of_kind[kind]


DEFAULT_LIMITS: Final = TransportLimits()


@dataclass(frozen=True, slots=True)
class TransportMessage:
    """A whole message between gateways. Unverified. `body` is b"" for an empty part and None for none.

    `headers` are those of the message's own part besides its content type, names as they were sent.
    """

    ocsp_responses: tuple[bytes, ...] = ()
    kind: PartKind | None = None
    content_type: str = ""
    message: bytes | None = None
    body: Content | None = None
    attachments_content_type: str = ""
    hash_chain: HashChain | None = None
    signature: bytes | None = None
    fault: bytes | None = None
    headers: tuple[Header, ...] = field(default=(), compare=False)
    # Of a message that was read piece by piece: its attachments apart, instead of `body`.
    attachments: tuple[Part, ...] | None = None


# -- order --


class _Place(Enum):
    BEGIN = "the message"
    REST = "the body or signature"
    SOAP = "the attachments or signature"
    CONTENT = "the signature"
    CHAIN_RESULT = "the hash chain"
    CHAIN = "the signature after a hash chain"
    COMPLETE = "nothing"


# (Place, media type) -> what the part is and the next place (PR-MESSTRANSP 3.1). The order is the security property:
# nothing that follows the signature could be covered by it.
_Steps = dict[str, tuple[PartKind, _Place]]
_CLOSING: Final[_Steps] = {
    "signature/bdoc-1.0/ts": (PartKind.SIGNATURE, _Place.COMPLETE),
    "text/xml": (PartKind.FAULT, _Place.COMPLETE),
}
_AFTER_CONTENT: Final[_Steps] = {
    "application/hash-chain-result": (PartKind.HASH_CHAIN_RESULT, _Place.CHAIN_RESULT),
    **_CLOSING,
}
_ORDER: Final[dict[_Place, _Steps]] = {
    _Place.BEGIN: {
        "application/ocsp-response": (PartKind.OCSP_RESPONSE, _Place.BEGIN),
        "application/x-road-rest-request": (PartKind.REST_REQUEST, _Place.REST),
        "application/x-road-rest-response": (PartKind.REST_RESPONSE, _Place.REST),
        "text/xml": (PartKind.SOAP, _Place.SOAP),
        "application/xop+xml": (PartKind.SOAP, _Place.SOAP),
    },
    _Place.REST: {"application/x-road-rest-body": (PartKind.REST_BODY, _Place.CONTENT), **_AFTER_CONTENT},
    _Place.SOAP: {"multipart/mixed": (PartKind.ATTACHMENTS, _Place.CONTENT), **_AFTER_CONTENT},
    _Place.CONTENT: _AFTER_CONTENT,
    _Place.CHAIN_RESULT: {"application/hash-chain": (PartKind.HASH_CHAIN, _Place.CHAIN)},
    _Place.CHAIN: _CLOSING,
    _Place.COMPLETE: {},
}


def _next(place: _Place, media_type: str, prefix: str) -> tuple[PartKind, _Place]:
    step = _ORDER[place].get(media_type)
    if step is not None:
        return step
    if place is _Place.COMPLETE:
        raise _malformed(prefix, "invalid_message", "a part follows the signature")
    raise _malformed(prefix, "invalid_content_type", f"a part of another type stands where {place.value} was due")


_AT_PROVIDER: Final = "server.serverproxy.service_failed"
_AT_CONSUMER: Final = "server.clientproxy.service_failed"


def _prefix(reader: Hop) -> str:
    # What a gateway can't read of another is the other's failure (fact of both proxies: service_failed).
    return _AT_CONSUMER if reader is Hop.CONSUMER_GATEWAY else _AT_PROVIDER


def malformed(reader: Hop, leaf: str, reason: str) -> Fault:
    """What the gateway `reader` says of another's message that it can't read."""
    return _malformed(_prefix(reader), leaf, reason)


def _malformed(prefix: str, leaf: str, reason: str) -> Fault:
    return Fault(f"{prefix}.{leaf}", reason, hop=Hop.CONSUMER_GATEWAY if prefix == _AT_PROVIDER else None)


def _boundary(content_type_value: str, prefix: str) -> str:
    try:
        media_type, boundary = media_type_and_boundary(content_type_value)
    except MalformedMultipart as error:
        raise _malformed(prefix, "invalid_content_type", error.reason) from None
    if media_type != "multipart/mixed":
        raise _malformed(prefix, "invalid_content_type", "the message is not multipart/mixed")
    if boundary is None:
        raise _malformed(prefix, "invalid_content_type", "the content type has no boundary")
    return boundary


# -- reading --


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins, in its right place. `headers` are the others than its content type, as they were sent."""

    kind: PartKind
    content_type: str
    headers: tuple[Header, ...]


Event = PartStart | ContentData | ContentEnd


class Decoder:
    """Reads one message piece by piece: order enforced, every size bounded. Unusable after it raised.

    `reader` is the gateway that reads, and decides the code of a refusal. Raises Fault only.
    """

    def __init__(
        self, content_type: str, *, reader: Hop = Hop.PROVIDER_GATEWAY, limits: TransportLimits = DEFAULT_LIMITS
    ) -> None:
        self._prefix = _prefix(reader)
        self._limits = limits
        self._reader = RelatedReader(_boundary(content_type, self._prefix), limits.max_parts)
        self._place = _Place.BEGIN
        self._total = 0
        self._room = 0
        self._kind = PartKind.OCSP_RESPONSE

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes complete."""
        self._total += len(data)
        if self._total > self._limits.max_total:
            raise _malformed(self._prefix, "mime_parsing_failed", "the message is too large")
        try:
            return self._placed(self._reader.feed(data))
        except MalformedMultipart as error:
            raise _malformed(self._prefix, "mime_parsing_failed", error.reason) from None

    def close(self) -> list[Event]:
        """Call at the end of the input for what was held back: a message that was cut is refused."""
        try:
            return self._placed(self._reader.close())
        except MalformedMultipart as error:
            raise _malformed(self._prefix, "mime_parsing_failed", error.reason) from None

    def _placed(self, events: list[PartBegin | ContentData | ContentEnd]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case PartBegin(part):
                    self._kind, self._place = _next(self._place, media_type_of(part.content_type), self._prefix)
                    self._room = self._limits.of(self._kind)
                    out.append(PartStart(self._kind, part.content_type, part.headers))
                case ContentData(piece):
                    self._room -= len(piece)
                    if self._room < 0:
                        raise _too_large(self._kind, self._prefix)
                    out.append(event)
                case ContentEnd():
                    out.append(event)
        return out


def decode_small(
    content_type: str, data: bytes, *, reader: Hop = Hop.PROVIDER_GATEWAY, limits: TransportLimits = DEFAULT_LIMITS
) -> TransportMessage:
    """A message that is there as a whole; the same verdict as Decoder. Raises Fault.

    A peer that fails before it signs answers `text/xml` with a fault; only a consumer gateway takes that.
    """
    prefix = _prefix(reader)
    if reader is Hop.CONSUMER_GATEWAY and content_type[:8].lower() == "text/xml":
        if len(data) > limits.of(PartKind.FAULT):
            raise _too_large(PartKind.FAULT, prefix)
        return TransportMessage(fault=data)
    boundary = _boundary(content_type, prefix)
    if len(data) > limits.max_total:
        raise _malformed(prefix, "mime_parsing_failed", "the message is too large")
    try:
        parts = split_related(data, boundary, limits.max_parts)
    except MalformedMultipart as error:
        raise _malformed(prefix, "mime_parsing_failed", error.reason) from None
    return _collect(parts, prefix, limits)


def _collect(parts: list[Part], prefix: str, limits: TransportLimits) -> TransportMessage:
    place = _Place.BEGIN
    ocsp: list[bytes] = []
    kind: PartKind | None = None
    message_type = attachments_type = ""
    message: bytes | None = None
    headers: tuple[Header, ...] = ()
    body: bytes | None = None
    result: bytes | None = None
    chain: bytes = b""
    signature: bytes | None = None
    fault: bytes | None = None
    for part in parts:
        found, place = _next(place, media_type_of(part.content_type), prefix)
        data = part.data
        assert isinstance(data, bytes)
        if len(data) > limits.of(found):
            raise _too_large(found, prefix)
        match found:
            case PartKind.OCSP_RESPONSE:
                ocsp.append(data)
            case PartKind.REST_REQUEST | PartKind.REST_RESPONSE | PartKind.SOAP:
                kind, message_type, message, headers = found, part.content_type, data, part.headers
            case PartKind.REST_BODY:
                body = data
            case PartKind.ATTACHMENTS:
                body, attachments_type = data, part.content_type
            case PartKind.HASH_CHAIN_RESULT:
                result = data
            case PartKind.HASH_CHAIN:
                chain = data
            case PartKind.SIGNATURE:
                signature = data
            case PartKind.FAULT:
                fault = data
            case _:
                assert_never(found)
    hash_chain = None if result is None else HashChain(result, chain)
    whole = TransportMessage(
        tuple(ocsp), kind, message_type, message, body, attachments_type, hash_chain, signature, fault, headers
    )
    return whole if prefix == _AT_PROVIDER else settled(whole, Hop.CONSUMER_GATEWAY)


def settled(message: TransportMessage, reader: Hop) -> TransportMessage:
    """The whole message, once it is known that no other part follows.

    XML and nothing else, to a consumer gateway, is the fault of a peer that failed before it had a message; unless it
    is a message, which lacks its signature.
    """
    others = (message.body, message.attachments, message.hash_chain, message.signature, message.fault)
    if reader is not Hop.CONSUMER_GATEWAY or message.kind is not PartKind.SOAP or any(o is not None for o in others):
        return message
    assert message.message is not None
    try:
        if scan(message.message, charset_of(message.content_type), HeaderReader()).fault is None:
            return message
    except NotSOAP:
        pass
    return TransportMessage(message.ocsp_responses, fault=message.message)


def _too_large(kind: PartKind, prefix: str) -> Fault:
    if kind in (PartKind.REST_BODY, PartKind.ATTACHMENTS, PartKind.SOAP):
        return Fault("server.serverproxy.body_too_large" if prefix == _AT_PROVIDER else f"{prefix}.body_too_large")
    return _malformed(prefix, "invalid_message", f"a part of type {kind.value} is too large")


def require_signed(message: TransportMessage, kind: PartKind, *, reader: Hop) -> tuple[bytes, bytes]:
    """The message and its signature, of a transport message without a fault.

    Raises Fault `missing_rest`, `missing_soap` or `missing_signature` under the reading gateway's own prefix. Of SOAP
    that isn't signed X-Road's proxies say first what else is wrong with it: they read it as it comes. A part that
    claims to be an OCSP answer and isn't is `service_failed.io_error`; what a readable one says is the certificate
    check's.
    """
    try:
        for status in message.ocsp_responses:
            require_readable(status)
    except TrustError:
        raise malformed(reader, "io_error", "a part is no OCSP answer") from None
    own = "server.clientproxy" if reader is Hop.CONSUMER_GATEWAY else "server.serverproxy"
    if message.message is None or message.kind is not kind:
        raise Fault(f"{own}.missing_soap" if kind is PartKind.SOAP else f"{own}.missing_rest")
    if message.signature is None:
        if kind is PartKind.SOAP:
            reading = Reading.SIGNED_RESPONSE if reader is Hop.CONSUMER_GATEWAY else Reading.SIGNED_REQUEST
            parse_message(message.message, message.content_type, reading)
        raise Fault(f"{own}.missing_signature")
    return message.message, message.signature
