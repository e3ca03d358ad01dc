"""Multipart bodies (RFC 2046 section 5.1): the boundary that a content type names, and bodies as gateways write them.

Reading them is `mime`'s, and `related_reader`'s piece by piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.messages.content import Content

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
