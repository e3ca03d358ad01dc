"""SOAP messages with attachments as clients and services send them: multipart/related (RFC 2387).

More lenient than `multipart`, which reads what gateways write: a preamble and an epilogue are passed over, lines may
end with LF alone, headers may be folded, as the MIME reader of X-Road's proxy takes them. Names, order and values of a
part's headers stay as they came; so do the bytes of its content. A part that is itself multipart is one attachment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.messages.content import Content, Sendable, sendable
from gateway.messages.http_fields import Header, Refused, field_name
from gateway.messages.multipart import MalformedMultipart, media_type_and_boundary

RELATED: Final = "multipart/related"
_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*("[^"]*"|'[^']*'|[^\s;"']+)""", re.IGNORECASE)
_FOLDED: Final = re.compile(r"\r?\n[ \t]+")
MAX_PARTS: Final = 100
MAX_HEADER_BYTES: Final = 8 * 1024
_MAX_HEADERS: Final = 32


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


def split_related(data: bytes, boundary: str) -> list[Part]:
    """The parts of a multipart body, none if it has none. Raises MalformedMultipart."""
    # RFC 2046 5.1.1: a delimiter begins a line, may have blanks after it, and takes the line break before it along.
    delimiter = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary.encode("ascii")) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    parts: list[Part] = []
    begin: int | None = None
    for found in delimiter.finditer(data):
        if begin is not None:
            if len(parts) >= MAX_PARTS:
                raise MalformedMultipart("the message has too many parts")
            parts.append(_part(data, begin, found.start()))
        begin = found.end()
        if found.group(1):
            return parts
    if begin is None:
        return []
    if begin == len(data):
        # The last delimiter lacks its two hyphens, but nothing follows: X-Road's reader takes it for the end.
        return parts
    raise MalformedMultipart("the message does not end with its boundary")


def _part(data: bytes, begin: int, end: int) -> Part:
    # What begins here is the line break after the delimiter: an empty header block looks like any other's end.
    ends = [(position, mark) for mark in (b"\r\n\r\n", b"\n\n") if begin <= (position := data.find(mark, begin, end))]
    if data.startswith((b"\r\n\r\n", b"\n\n"), begin):
        position, mark = begin, data[begin : begin + (4 if data[begin] == 13 else 2)]
    elif ends:
        position, mark = min(ends)
    else:
        # Headers alone, as mime4j takes them: the part is empty.
        position, mark = end, b""
    content = data[position + len(mark) : end]
    return part_with_headers(data[begin:position], content)


def part_with_headers(block: bytes, content: bytes) -> Part:
    """A part with this header block, the line break of the delimiter before it. Raises MalformedMultipart."""
    if len(block) > MAX_HEADER_BYTES:
        raise MalformedMultipart("a part's headers are too large")
    try:
        text = _FOLDED.sub(" ", block.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedMultipart("a part's headers are not UTF-8") from None
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
    return Part(content_type, tuple(headers), content)


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
