"""Multipart bodies (RFC 2046 section 5.1): SOAP messages with attachments (RFC 2387), and messages between gateways.

As lenient as the MIME reader of X-Road's proxy: preamble and epilogue are passed over, lines may end with LF alone,
headers may be folded. What was read is what is verified, and nobody reads the same bytes again in another way: bodies
are written anew. Names, order and values of a part's headers stay as they came; so do the bytes of its content. A part
that is itself multipart is one attachment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.messages.content import Content, Sendable, sendable
from gateway.messages.http_fields import Header, Refused, field_name
from gateway.messages.multipart import MalformedMultipart, media_type_and_boundary

RELATED: Final = "multipart/related"
_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*("[^"]*"|'[^']*'|[^\s;"']+)""", re.IGNORECASE)
_FOLDED: Final = re.compile(r"\r?\n[ \t]+")
# What may follow a boundary on its line; without a line break after it, it is text like any other.
AFTER_WORD: Final = re.compile(rb"(--)?[ \t]*(?=\r?\n|\Z)")
_LF: Final = 10
_CR: Final = 13
MAX_PARTS: Final = 100
MAX_HEADER_BYTES: Final = 8 * 1024
_MAX_HEADERS: Final = 32
_SMALL: Final = 128


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its content type (empty if it has none), its other headers as they came, and its bytes."""

    content_type: str
    headers: tuple[Header, ...]
    data: Content


def media_type_of(content_type: str) -> str:
    """The media type in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def charset_of(content_type: str) -> str | None:
    """The charset parameter, if there is one that says something."""
    found = _CHARSET.search(content_type)
    return None if found is None else found.group(1).strip("\"'").strip() or None


def boundary_of(content_type: str) -> str | None:
    """The boundary of a multipart content type, or None. Raises MalformedMultipart for one out of form."""
    return media_type_and_boundary(content_type)[1]


def split_related(data: bytes, boundary: str, max_parts: int = MAX_PARTS) -> list[Part]:
    """The parts of a multipart body, none if it has none. Raises MalformedMultipart."""
    word = b"--" + boundary.encode("ascii")
    parts: list[Part] = []
    begin: int | None = None
    found = _next_delimiter(data, word, 0)
    while found is not None:
        if begin is not None:
            if len(parts) >= max_parts:
                raise MalformedMultipart("the message has too many parts")
            parts.append(_part(data, begin, found.start))
        begin = found.end
        if found.closes:
            return parts
        found = _next_delimiter(data, word, begin)
    if begin is None:
        return []
    if begin == len(data):
        # The last delimiter lacks its two hyphens, but nothing follows: X-Road's reader takes it for the end.
        return parts
    raise MalformedMultipart("the message does not end with its boundary")


class Delimiter(NamedTuple):
    """Where a delimiter is: from the line break before it, which is its own, to the one after it, which isn't."""

    start: int
    end: int
    closes: bool


def _next_delimiter(data: bytes, word: bytes, position: int) -> Delimiter | None:
    # RFC 2046 5.1.1: a delimiter begins a line, may have blanks after it, and takes the line break before it along.
    while (found := data.find(word, position)) >= 0:
        start = found
        if found and data[found - 1] == _LF:
            start -= 2 if found > 1 and data[found - 2] == _CR else 1
        tail = AFTER_WORD.match(data, found + len(word))
        if tail is not None and (start < found or found == 0):
            return Delimiter(start, tail.end(), tail.group(1) is not None)
        position = found + 1
    return None


def _part(data: bytes, begin: int, end: int) -> Part:
    # What begins here is the line break after the delimiter: an empty header block looks like any other's end.
    if data.startswith((b"\r\n\r\n", b"\n\n"), begin):
        return part_with_headers(b"", data[begin + (4 if data[begin] == _CR else 2) : end])
    position, mark = data.find(b"\r\n\r\n", begin, end), 4
    earlier = data.find(b"\n\n", begin, end if position < 0 else position)
    if earlier >= 0:
        position, mark = earlier, 2
    if position < 0:
        # Headers alone, as mime4j takes them: the part is empty.
        return part_with_headers(data[begin:end], b"")
    return part_with_headers(data[begin:position], data[position + mark : end])


def part_with_headers(block: bytes, content: bytes) -> Part:
    """A part with this header block, the line break of the delimiter before it. Raises MalformedMultipart."""
    if len(block) > MAX_HEADER_BYTES:
        raise MalformedMultipart("a part's headers are too large")
    # Gateways send the same few blocks all the time; those with changing values are rare and long.
    content_type, headers = (_small_headers if len(block) <= _SMALL else _parse_headers)(block)
    return Part(content_type, headers, content)


def _parse_headers(block: bytes) -> tuple[str, tuple[Header, ...]]:
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        # As in HTTP's own headers; they go on as UTF-8, as from X-Road's reader.
        text = block.decode("latin-1")
    text = _FOLDED.sub(" ", text)
    headers: list[Header] = []
    content_type = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line:
            continue
        name, colon, value = line.partition(":")
        name, value = name.rstrip(" \t"), value.strip(" \t")
        try:
            lower = field_name(name)
        except Refused:
            colon = lower = ""
        if not colon or not value.replace("\t", " ").isprintable() or len(headers) >= _MAX_HEADERS:
            raise MalformedMultipart("a part's header is not valid")
        if lower == "content-type":
            if content_type:
                raise MalformedMultipart("a part has two content types")
            content_type = value
        else:
            headers.append((name, value))
    return content_type, tuple(headers)


_small_headers = lru_cache(maxsize=256)(_parse_headers)


def join_related(parts: Sequence[Part], boundary: str) -> Sendable:
    """The body again, for the service or the client, under the boundary of its Content-Type.

    Byte for byte in the manner of X-Road's proxy: some clients find the parts with regular expressions.

    Raises MalformedMultipart if that boundary occurs in a part: whoever reads it would see other parts than were
    signed. (A part that isn't in memory was looked through when it came: `transport_assembly.ContentGuard`.)
    """
    delimiter = b"--" + boundary.encode("ascii")
    pieces: list[Content] = []
    for part in parts:
        if isinstance(part.data, bytes) and delimiter in part.data and _would_split(part.data, delimiter):
            raise MalformedMultipart("a part holds the boundary")
        lines = [f"content-type:{part.content_type}", *(f"{name}: {value}" for name, value in part.headers)]
        pieces += (delimiter, b"\r\n", "\r\n".join(lines).encode(), b"\r\n\r\n", part.data, b"\r\n")
    return sendable((*pieces, delimiter, b"--\r\n"))


def _would_split(data: bytes, delimiter: bytes) -> bool:
    return data.startswith(delimiter) or b"\n" + delimiter in data
