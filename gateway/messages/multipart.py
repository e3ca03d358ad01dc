"""Multipart bodies (RFC 2046 section 5.1), bounded and strict, whole or piece by piece.

Stricter than the RFC where leniency would let two readers see two messages: no preamble, no epilogue but one CRLF, no
folded headers, no blanks after a delimiter, CRLF only. Which parts may come in which order is for the caller to say,
and so are digests: a reader hands out the very bytes of each part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from gateway.messages.content import Content
from gateway.messages.http_fields import Header, Refused, field_name

_BOUNDARY_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'()+_,-./:=? ")
_MAX_BOUNDARY: Final = 70
_MAX_CONTENT_TYPE: Final = 1024
_CRLF: Final = b"\r\n"
_HEADER_END: Final = b"\r\n\r\n"


class MalformedMultipart(Exception):
    """The bytes are no such multipart body. `reason` is safe to show; the caller knows whose fault it is."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class MultipartLimits:
    """Bounds of one body: bytes of one part's header block, headers in it, parts, and bytes in all."""

    max_header_bytes: int = 8 * 1024
    max_headers: int = 32
    max_parts: int = 24
    max_total: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PartHeader:
    """A part begins. `content_type` is the whole value (empty if there is none); names are in lower case.

    `media_type` is the content type without parameters, in lower case; `verbatim` has the names as they were sent.
    """

    content_type: str
    media_type: str
    headers: tuple[Header, ...]
    verbatim: tuple[Header, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of the part, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


@dataclass(frozen=True, slots=True)
class End:
    """The closing delimiter was read."""


Event = PartHeader | PartData | PartEnd | End
_PART_END: Final = PartEnd()
_END: Final = End()


def media_type_and_boundary(content_type: str) -> tuple[str, str | None]:
    """Media type in lower case and the boundary, if given. Raises MalformedMultipart for a boundary out of form."""
    if len(content_type) > _MAX_CONTENT_TYPE:
        raise MalformedMultipart("the content type is too long")
    media_type, *parameters = content_type.split(";")
    boundary: str | None = None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() != "boundary":
            continue
        if boundary is not None:
            raise MalformedMultipart("the content type has two boundaries")
        boundary = value.strip()
        if len(boundary) > 1 and boundary[0] == boundary[-1] == '"':
            boundary = boundary[1:-1]
        # RFC 2046 5.1.1: 1 to 70 characters, the last no blank.
        if (
            not 0 < len(boundary) <= _MAX_BOUNDARY
            or boundary[-1] == " "
            or not _BOUNDARY_CHARACTERS.issuperset(boundary)
        ):
            raise MalformedMultipart("the boundary is not valid")
    return media_type.strip().lower(), boundary


def parse_part_header(block: bytes, limits: MultipartLimits) -> PartHeader:
    """A part's header block, without the empty line. Raises MalformedMultipart."""
    # Gateways send the same few blocks all the time; those with changing values are rare and long.
    if len(block) > limits.max_header_bytes:
        raise MalformedMultipart("a part's headers are too large")
    return (_small_header if len(block) <= 128 else _parse_header)(block, limits.max_headers)


def _parse_header(block: bytes, max_headers: int) -> PartHeader:
    try:
        lines = str(block, "utf-8").split("\r\n") if block else []
    except UnicodeDecodeError:
        raise MalformedMultipart("a part's headers are not UTF-8") from None
    if len(lines) > max_headers:
        raise MalformedMultipart("a part has too many headers")
    headers: list[Header] = []
    verbatim: list[Header] = []
    content_type = ""
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        try:
            lower = field_name(name)
        except Refused:
            colon = ""
            lower = ""
        # Two hyphens begin a delimiter (whose boundary may hold a colon), never one of our headers.
        if not colon or lower.startswith("--") or not value.replace("\t", " ").isprintable():
            raise MalformedMultipart("a part's header is not valid")
        if lower == "content-type":
            if content_type:
                raise MalformedMultipart("a part has two content types")
            content_type = value
        headers.append((lower, value))
        verbatim.append((name, value))
    media_type = content_type.partition(";")[0].strip().lower()
    return PartHeader(content_type, media_type, tuple(headers), tuple(verbatim))


_small_header = lru_cache(maxsize=256)(_parse_header)


def split_multipart(data: bytes, boundary: str, limits: MultipartLimits) -> list[tuple[PartHeader, bytes]]:
    """All parts of a body that is there as a whole. The same verdict as MultipartReader, quicker for small bodies.

    Raises MalformedMultipart.
    """
    if len(data) > limits.max_total:
        raise MalformedMultipart("the message is too large")
    first = b"--" + boundary.encode("ascii")
    if not data.startswith(first):
        raise MalformedMultipart("the message does not begin with its boundary")
    pieces = data.split(_CRLF + first, limits.max_parts + 1)
    closing = pieces.pop()
    if len(pieces) > limits.max_parts:
        raise MalformedMultipart("the message has too many parts")
    if not pieces:
        closing = closing[len(first) :]
    else:
        pieces[0] = pieces[0][len(first) :]
    if closing not in (b"--", b"--\r\n"):
        raise MalformedMultipart("the message does not end with its boundary")
    parts: list[tuple[PartHeader, bytes]] = []
    for piece in pieces:
        block, found, content = piece.partition(_HEADER_END)
        if not found:
            raise MalformedMultipart("a part has no end of headers")
        if block[:2] != _CRLF and (block or not piece.startswith(_HEADER_END)):
            raise MalformedMultipart("a boundary is followed by something else")
        parts.append((parse_part_header(block[2:], limits), content))
    return parts


class _State(Enum):
    DELIMITER = auto()
    HEADER = auto()
    DATA_BEGIN = auto()
    DATA = auto()
    CLOSED = auto()


class MultipartReader:
    """Reads one multipart body piece by piece. Not for several callers at once; unusable after it raised.

    Holds back at most one header block or one delimiter; everything else is handed on as it comes.
    """

    def __init__(self, boundary: str, limits: MultipartLimits | None = None) -> None:
        self._limits = limits or MultipartLimits()
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._state = _State.DELIMITER
        # The first delimiter has no line break before it; with this one all delimiters look alike.
        self._rest = _CRLF
        self._total = 0
        self._parts = 0

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes complete. Raises MalformedMultipart."""
        self._total += len(data)
        if self._total > self._limits.max_total:
            raise MalformedMultipart("the message is too large")
        data = self._rest + data if self._rest else data
        self._rest = b""
        events: list[Event] = []
        position = 0
        while position < len(data):
            match self._state:
                case _State.DATA:
                    after = self._read_data(data, position, events)
                case _State.DATA_BEGIN:
                    after = self._read_data_begin(data, position)
                case _State.DELIMITER:
                    after = self._read_delimiter(data, position, events)
                case _State.HEADER:
                    after = self._read_header(data, position, events)
                case _State.CLOSED:
                    if not _CRLF.startswith(data[position:]):
                        raise MalformedMultipart("something follows the closing boundary")
                    after = None
            if after is None:
                self._rest = data[position:] if self._state is not _State.DATA else self._rest
                break
            position = after
        return events

    def close(self) -> None:
        """Call at the end of the input. Raises MalformedMultipart if the body was cut."""
        if self._state is not _State.CLOSED or self._rest not in (b"", _CRLF):
            raise MalformedMultipart("the message is cut short")

    def _read_data(self, data: bytes, position: int, events: list[Event]) -> int | None:
        found = data.find(self._delimiter, position)
        if found >= 0:
            if found > position:
                events.append(PartData(data[position:found]))
            events.append(_PART_END)
            self._state = _State.DELIMITER
            return found
        # A delimiter may have begun in the last bytes: it would begin with a carriage return.
        begin = data.find(b"\r", max(position, len(data) - len(self._delimiter) + 1))
        while begin >= 0 and not self._delimiter.startswith(data[begin:]):
            begin = data.find(b"\r", begin + 1)
        end = len(data) if begin < 0 else begin
        if end > position:
            events.append(PartData(data[position:end]))
        self._rest = data[end:]
        return None

    def _read_delimiter(self, data: bytes, position: int, events: list[Event]) -> int | None:
        end = position + len(self._delimiter)
        seen = data[position : end + 2]
        if not seen.startswith(self._delimiter) and not self._delimiter.startswith(seen):
            raise MalformedMultipart("the message does not begin with its boundary")
        if len(seen) < len(self._delimiter) + 2:
            return None
        if seen.endswith(b"--"):
            self._state = _State.CLOSED
            events.append(_END)
            return end + 2
        if not seen.endswith(_CRLF):
            raise MalformedMultipart("a boundary is followed by something else")
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise MalformedMultipart("the message has too many parts")
        self._state = _State.HEADER
        # The delimiter's line break stays, so that an empty header block ends like any other.
        return end

    def _read_header(self, data: bytes, position: int, events: list[Event]) -> int | None:
        end = data.find(_HEADER_END, position)
        pending = (end if end >= 0 else len(data)) - position
        if pending > self._limits.max_header_bytes + len(_HEADER_END):
            raise MalformedMultipart("a part's headers are too large")
        if end < 0:
            return None
        events.append(parse_part_header(data[position + 2 : end], self._limits))
        self._state = _State.DATA_BEGIN
        return end + 2

    def _read_data_begin(self, data: bytes, position: int) -> int | None:
        # A delimiter on the line after the headers would be content to one reader and the part's end to another.
        seen = data[position : position + len(self._delimiter)]
        if seen == self._delimiter:
            raise MalformedMultipart("a part has no end of headers")
        if self._delimiter.startswith(seen):
            return None
        self._state = _State.DATA
        return position + 2


def join_multipart(parts: Sequence[tuple[bytes, bytes]], boundary: str) -> bytes:
    """A whole body from header blocks (lines joined by CRLF, no empty line) and contents."""
    return b"".join(piece for piece in multipart_pieces(parts, boundary) if isinstance(piece, bytes))


def multipart_pieces(parts: Sequence[tuple[bytes, Content]], boundary: str) -> list[Content]:
    """As `join_multipart`, in pieces: contents needn't be in memory."""
    delimiter = b"--" + boundary.encode("ascii")
    pieces: list[Content] = []
    for block, content in parts:
        pieces += (delimiter, _CRLF, block, _HEADER_END if block else _CRLF, content, _CRLF)
    pieces += (delimiter, b"--\r\n")
    return pieces
