"""A message between gateways read piece by piece, for bodies too large to be in memory (PR-MESSTRANSP 3.1).

`transport.Decoder` gives the order and the bounds; here the small parts are collected, while a body or attachments are
handed to the caller, who puts a content in their place. The verdict is that of `transport.decode_small`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gateway.messages.content import Content
from gateway.messages.faults import Hop
from gateway.messages.mime import Part, boundary_of
from gateway.messages.multipart import MalformedMultipart
from gateway.messages.related_reader import ContentData, ContentEnd, PartBegin, RelatedReader
from gateway.messages.transport import (
    DEFAULT_LIMITS,
    Decoder,
    HashChain,
    PartKind,
    PartStart,
    TransportLimits,
    TransportMessage,
    malformed,
    settled,
)

_MESSAGES: Final = (PartKind.REST_REQUEST, PartKind.REST_RESPONSE, PartKind.SOAP)


@dataclass(frozen=True, slots=True)
class ContentBegin:
    """A body begins, or an attachment (`part`): ContentData follow, then ContentEnd, then `place` is to be called."""

    part: Part | None = None


Event = ContentBegin | ContentData | ContentEnd
_BEGIN: Final = ContentBegin()
_CONTENT_END: Final = ContentEnd()


class ContentGuard:
    """Refuses a boundary within a content that is to be sent under it: its reader would see other parts than were
    signed. One guard for each content, all of whose bytes go through it.
    """

    def __init__(self, boundary: str) -> None:
        self._word = b"\n--" + boundary.encode("ascii")
        self._seen = b"\n"

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises MalformedMultipart."""
        if self._word in self._seen + data[: len(self._word)] or self._word in data:
            raise MalformedMultipart("a part holds the boundary")
        self._seen = (self._seen + data)[-len(self._word) + 1 :]


class Assembler:
    """Reads one message. Unusable after it raised Fault.

    `forbidden` is the boundary under which the attachments will be sent on, if any.
    """

    def __init__(
        self,
        content_type: str,
        *,
        reader: Hop = Hop.PROVIDER_GATEWAY,
        limits: TransportLimits = DEFAULT_LIMITS,
        forbidden: str | None = None,
    ) -> None:
        self._decoder = Decoder(content_type, reader=reader, limits=limits)
        self._reader = reader
        self._forbidden = forbidden
        self._start: PartStart | None = None
        self._small: list[bytes] = []
        self._chain_result: bytes | None = None
        self._nested: RelatedReader | None = None
        self._guard: ContentGuard | None = None
        self._attachments: list[Part] = []
        self._ended = False
        self._message = TransportMessage()

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes hold of body and attachments. Raises Fault."""
        return self._events(self._decoder.feed(data))

    def end(self) -> list[Event]:
        """At the end of the input: what was held back. Raises Fault."""
        events = self._events(self._decoder.close())
        self._ended = True
        return events

    def _events(self, decoded: list[PartStart | ContentData | ContentEnd]) -> list[Event]:
        events: list[Event] = []
        try:
            for event in decoded:
                match event:
                    case PartStart():
                        self._begin(event, events)
                    case ContentData(piece):
                        self._take(piece, events)
                    case ContentEnd():
                        self._end(events)
        except MalformedMultipart as error:
            raise malformed(self._reader, "mime_parsing_failed", error.reason) from None
        return events

    def place(self, begin: ContentBegin, content: Content) -> None:
        """The content that began with `begin` is complete. To be called in their order."""
        if begin.part is None:
            self._message = replace(self._message, body=content)
        else:
            self._attachments.append(replace(begin.part, data=content))

    def close(self) -> TransportMessage:
        """The message, once `end` has said what was held back. Raises Fault."""
        assert self._ended, "a message is whole when its end was read"
        message = self._message
        if self._nested is not None:
            message = replace(message, attachments=tuple(self._attachments))
        return settled(message, self._reader)

    def _begin(self, start: PartStart, events: list[Event]) -> None:
        self._start, self._small = start, []
        if start.kind is PartKind.REST_BODY:
            events.append(_BEGIN)
        elif start.kind is PartKind.ATTACHMENTS:
            boundary = boundary_of(start.content_type)
            if boundary is None:
                raise malformed(self._reader, "invalid_content_type", "an attachment has no content type")
            self._nested = RelatedReader(boundary)
            self._message = replace(self._message, attachments_content_type=start.content_type)

    def _take(self, piece: bytes, events: list[Event]) -> None:
        assert self._start is not None
        match self._start.kind:
            case PartKind.REST_BODY:
                events.append(ContentData(piece))
            case PartKind.ATTACHMENTS:
                assert self._nested is not None
                self._nest(self._nested.feed(piece), events)
            case _:
                self._small.append(piece)

    def _nest(self, nested: list[PartBegin | ContentData | ContentEnd], events: list[Event]) -> None:
        for event in nested:
            match event:
                case PartBegin(part):
                    if not part.content_type:
                        raise malformed(self._reader, "invalid_content_type", "an attachment has no content type")
                    self._guard = None if self._forbidden is None else ContentGuard(self._forbidden)
                    events.append(ContentBegin(part))
                case ContentData(data):
                    if self._guard is not None:
                        self._guard.feed(data)
                    events.append(event)
                case ContentEnd():
                    events.append(event)

    def _end(self, events: list[Event]) -> None:
        start = self._start
        assert start is not None
        data = b"".join(self._small)
        match start.kind:
            case PartKind.REST_BODY:
                events.append(_CONTENT_END)
            case PartKind.ATTACHMENTS:
                assert self._nested is not None
                self._nest(self._nested.close(), events)
            case PartKind.OCSP_RESPONSE:
                self._message = replace(self._message, ocsp_responses=(*self._message.ocsp_responses, data))
            case PartKind.HASH_CHAIN_RESULT:
                self._chain_result = data
                self._message = replace(self._message, hash_chain=HashChain(data, b""))
            case PartKind.HASH_CHAIN:
                self._message = replace(self._message, hash_chain=HashChain(self._chain_result or b"", data))
            case PartKind.SIGNATURE:
                self._message = replace(self._message, signature=data)
            case PartKind.FAULT:
                self._message = replace(self._message, fault=data)
            case kind if kind in _MESSAGES:
                self._message = replace(
                    self._message,
                    kind=kind,
                    content_type=start.content_type,
                    message=data,
                    headers=start.headers,
                )
        self._start = None
