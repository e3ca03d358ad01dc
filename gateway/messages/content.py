"""The content of a message's body or attachment: bytes while it is small, something that can be read again if not.

Cores handle both alike, by size and digest; what lies where is for the shell (`gateway.exchange.spool`). A whole body
is a sequence of pieces of either kind, in the order in which they are sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import Protocol


class Spooled(Protocol):
    """A content that isn't in memory; never empty. May be read several times, until its exchange ends."""

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    @property
    def digest(self) -> bytes:
        """Its SHA-512 digest, computed when it was written."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes from the beginning, in pieces. Raises OSError."""
        ...


Content = bytes | Spooled
# What is sent as one body: bytes, or pieces of which at least one isn't in memory.
Pieces = tuple[Content, ...]
Sendable = bytes | Pieces


def size_of(content: Content) -> int:
    """The content's length in bytes."""
    return len(content) if isinstance(content, bytes) else content.size


def total_size(contents: Iterable[Content]) -> int:
    """The length of all together."""
    return sum(map(size_of, contents))


def digest_of(content: Content) -> bytes:
    """The content's SHA-512 digest, which the signature is over (PR-MESSTRANSP 2.7)."""
    return hashlib.sha512(content).digest() if isinstance(content, bytes) else content.digest


def sendable(pieces: Iterable[Content]) -> Sendable:
    """The pieces one after the other; bytes if all of them are."""
    pieces = tuple(pieces)
    joined: list[bytes] = []
    for piece in pieces:
        if not isinstance(piece, bytes):
            return _merged(pieces)
        joined.append(piece)
    return b"".join(joined)


def _merged(pieces: Pieces) -> Pieces:
    """Neighbours in memory as one piece."""
    merged: list[Content] = []
    for piece in pieces:
        if isinstance(piece, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += piece
        else:
            merged.append(piece)
    return tuple(merged)
