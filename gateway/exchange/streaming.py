"""Bodies on their way in and out: whole where they are small, in pieces through the spool where they aren't.

Small is the hot path and costs nothing extra: what ends below the threshold is read, decoded and sent as bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from gateway.bounded import TooLarge
from gateway.exchange.deadlines import Deadline
from gateway.exchange.spool import Bodies, BodyWriter
from gateway.messages import transport
from gateway.messages.content import Content, Pieces, Sendable, total_size
from gateway.messages.faults import Hop
from gateway.messages.mime import RELATED, Part, boundary_of, media_type_of
from gateway.messages.multipart import MalformedMultipart
from gateway.messages.related_reader import ContentData, ContentEnd, PartBegin, RelatedReader
from gateway.messages.related_reader import Event as RelatedEvent
from gateway.messages.soap import Reading
from gateway.messages.soap_request import SOAPParts
from gateway.messages.transport import TransportLimits, TransportMessage
from gateway.messages.transport_assembly import Assembler, ContentBegin, ContentGuard

# Beside its body a small message has its own part, a signature and OCSP answers.
_OVERHEAD: Final = 128 * 1024
_ANSWER_SECONDS: Final = 60.0
_ONE_WRITE: Final = 512 * 1024


async def read_small(
    stream: StreamReader, most: int, limit: int, bodies: Bodies, deadline: Deadline
) -> tuple[bytes, bool]:
    """The whole stream, and True; or, if it is longer than `most`, what came of it so far, and False.

    Counted as memory. Raises TooLarge beyond `limit`, BudgetSpent.
    """
    chunks: list[bytes] = []
    total = 0
    while True:
        chunk = await stream.readany()
        if not chunk:
            # An empty read is the end: readany() waits for data before that.
            return b"".join(chunks), True
        total += len(chunk)
        if total > limit:
            raise TooLarge
        bodies.memory.take(len(chunk))
        deadline.moved(len(chunk))
        if not chunks and stream.at_eof():
            return chunk, True
        chunks.append(chunk)
        if total > most:
            return b"".join(chunks), False


async def read_content(stream: StreamReader, limit: int, bodies: Bodies, deadline: Deadline) -> Content:
    """A body. Raises TooLarge, BudgetSpent, SpoolUnwritable."""
    begin, whole = await read_small(stream, bodies.spool.threshold, limit, bodies, deadline)
    if whole:
        return begin
    bodies.memory.give_back(len(begin))
    writer = bodies.writer()
    await writer.write(begin)
    while chunk := await stream.readany():
        if writer.size + len(chunk) > limit:
            raise TooLarge
        deadline.moved(len(chunk))
        await writer.write(chunk)
    return await writer.end()


async def read_transport(
    stream: StreamReader,
    content_type: str,
    original_content_type: str | None,
    *,
    reader: Hop,
    limits: TransportLimits,
    bodies: Bodies,
    deadline: Deadline,
) -> TransportMessage:
    """A message of another gateway. Raises Fault, and as `read_content`."""
    most = bodies.spool.threshold + _OVERHEAD
    begin, whole = await read_small(stream, most, limits.max_total, bodies, deadline)
    if whole:
        return transport.decode_small(content_type, begin, reader=reader, limits=limits)
    if reader is Hop.CONSUMER_GATEWAY and media_type_of(content_type) == "text/xml":
        # A fault alone is small.
        raise TooLarge
    assembler = Assembler(content_type, reader=reader, limits=limits, forbidden=_boundary(original_content_type))
    bodies.memory.give_back(len(begin))
    placing = _Placing(assembler, bodies)
    chunk = begin
    while chunk:
        deadline.moved(len(chunk))
        await placing.take(assembler.feed(chunk))
        chunk = await stream.readany()
    await placing.take(assembler.end())
    return assembler.close()


class _Placing:
    """Puts the contents that an assembler finds where it wants them."""

    def __init__(self, assembler: Assembler, bodies: Bodies) -> None:
        self._assembler = assembler
        self._bodies = bodies
        self._begin = ContentBegin()
        self._writer: BodyWriter | None = None

    async def take(self, events: Sequence[ContentBegin | ContentData | ContentEnd]) -> None:
        for event in events:
            match event:
                case ContentBegin():
                    self._begin, self._writer = event, self._bodies.writer()
                case ContentData(data):
                    assert self._writer is not None
                    await self._writer.write(data)
                case ContentEnd():
                    assert self._writer is not None
                    self._assembler.place(self._begin, await self._writer.end())


async def read_soap(
    stream: StreamReader,
    content_type: str,
    *,
    limits: TransportLimits,
    bodies: Bodies,
    deadline: Deadline,
    reading: Reading,
) -> bytes | SOAPParts:
    """A SOAP message of a client or service: whole if it is small, apart if it isn't; the message itself in memory.

    Raises Fault, TooLarge, BudgetSpent, SpoolUnwritable.
    """
    multipart = media_type_of(content_type) == RELATED
    limit = limits.max_body + limits.max_soap if multipart else limits.max_soap
    most = bodies.spool.threshold if multipart else limit
    begin, whole = await read_small(stream, most, limit, bodies, deadline)
    if whole:
        return begin
    bodies.memory.give_back(len(begin))
    boundary = _boundary(content_type)
    if boundary is None:
        raise reading.refuse("invalid_content_type", "the content type has no boundary")
    taking = _SOAPTaking(boundary, limits, bodies)
    try:
        chunk = begin
        while chunk:
            deadline.moved(len(chunk))
            await taking.take(taking.reader.feed(chunk))
            chunk = await stream.readany()
        await taking.take(taking.reader.close())
    except MalformedMultipart as error:
        raise reading.refuse("mime_parsing_failed", error.reason) from None
    parts = taking.parts
    if not parts or not all(part.content_type for part in parts):
        raise reading.refuse("invalid_content_type", "a part has no content type")
    return SOAPParts(content_type, parts[0], tuple(parts[1:]))


class _SOAPTaking:
    """Takes the parts of a SOAP message with attachments as they come."""

    def __init__(self, boundary: str, limits: TransportLimits, bodies: Bodies) -> None:
        self.reader = RelatedReader(boundary)
        self.parts: list[Part] = []
        self._boundary = boundary
        self._limits = limits
        self._bodies = bodies
        self._part: Part | None = None
        self._guard = ContentGuard(boundary)
        self._writer = bodies.writer()
        self._root = b""
        self._total = 0

    async def take(self, events: list[RelatedEvent]) -> None:
        """Raises MalformedMultipart, TooLarge, BudgetSpent, SpoolUnwritable."""
        for event in events:
            match event:
                case PartBegin(part):
                    self._part, self._guard = part, ContentGuard(self._boundary)
                    self._writer = self._bodies.writer()
                case ContentData(data):
                    await self._data(data)
                case ContentEnd():
                    assert self._part is not None
                    content = await self._writer.end() if self.parts else self._root
                    self.parts.append(Part(self._part.content_type, self._part.headers, content))

    async def _data(self, data: bytes) -> None:
        self._guard.feed(data)
        if not self.parts:
            if len(self._root) + len(data) > self._limits.max_soap:
                raise TooLarge
            self._bodies.memory.take(len(data))
            self._root += data
            return
        self._total += len(data)
        if self._total > self._limits.max_body:
            raise TooLarge
        await self._writer.write(data)


def _boundary(content_type: str | None) -> str | None:
    try:
        if content_type is None or media_type_of(content_type) != RELATED:
            return None
        return boundary_of(content_type)
    except MalformedMultipart:
        # Whoever needs it refuses it.
        return None


class PiecesPayload(Payload):
    """Pieces as the body of a request of ours. Sent once: nothing is tried again after that."""

    _default_content_type = "application/octet-stream"

    def __init__(self, pieces: Pieces, deadline: Deadline) -> None:
        super().__init__(pieces)
        self._pieces = pieces
        self._deadline = deadline
        self._size = total_size(pieces)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 - the overridden method's
        """Not a text."""
        raise TypeError("a body of pieces is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Sends all."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002 - the overridden method's
        """Sends all; the length is known to be right."""
        async for chunk in _chunks(self._pieces):
            await writer.write(chunk)
            self._deadline.moved(len(chunk))


def outgoing(body: Sendable | None, deadline: Deadline) -> bytes | Payload | None:
    """The body as the HTTP client takes it; bytes that would hold up the loop in one go, in pieces."""
    if isinstance(body, bytes) and len(body) > _ONE_WRITE:
        body = tuple(body[begin : begin + _ONE_WRITE] for begin in range(0, len(body), _ONE_WRITE))
    return PiecesPayload(body, deadline) if isinstance(body, tuple) else body


async def _chunks(pieces: Pieces) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        async for chunk in piece.chunks():
            yield chunk


async def stream_answer(request: web.BaseRequest, answer: web.StreamResponse, pieces: Pieces, rate: int) -> None:
    """Sends an answer whose body isn't in memory: its exchange must not end before.

    If the other side doesn't take it, by `rate` bytes a second, the connection is cut: it must not take what it has for
    the whole, and what was answered is logged already.
    """
    answer.content_length = total_size(pieces)
    try:
        async with Deadline(_ANSWER_SECONDS, rate) as deadline:
            await answer.prepare(request)
            async for chunk in _chunks(pieces):
                await answer.write(chunk)
                deadline.moved(len(chunk))
            await answer.write_eof()
    except (OSError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
