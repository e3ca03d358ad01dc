"""Reading at most so much: the one way in which bodies enter memory."""

from __future__ import annotations

from aiohttp import StreamReader


class TooLarge(Exception):
    """The body is longer than it may be. The sender's fault."""


async def read_bounded(stream: StreamReader, limit: int) -> bytes:
    """The whole of `stream`, at most `limit` bytes. Raises TooLarge as soon as there is one byte more."""
    first = await stream.readany()
    if stream.at_eof() and len(first) <= limit:
        return first
    chunks, total = [first], len(first)
    while total <= limit:
        chunk = await stream.readany()
        if not chunk:
            # An empty read is the end: readany() waits for data before that.
            return b"".join(chunks)
        chunks.append(chunk)
        total += len(chunk)
    raise TooLarge
