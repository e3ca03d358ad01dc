"""Reading at most so much: the one way in which bodies enter memory.

A limit bounds one body, a budget all bodies that are in memory at once: many callers of large messages are turned away
before memory grows, not after.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import StreamReader


class TooLarge(Exception):
    """The body is longer than it may be. The sender's fault."""


class BudgetSpent(Exception):
    """The bodies in memory leave no room for this one now. Nobody's fault: try again."""


class ByteBudget:
    """How many bytes of bodies may be in memory at once. Used from one event loop."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    @contextmanager
    def share(self) -> Iterator[ByteShare]:
        """One message's share: grows as its bytes arrive, given back at the end of the block."""
        share = ByteShare(self)
        try:
            yield share
        finally:
            share.give_back()

    def take(self, count: int) -> None:
        """Takes bytes out of the budget. Raises BudgetSpent."""
        if count > self._left:
            raise BudgetSpent
        self._left -= count

    def give_back(self, count: int) -> None:
        """Puts bytes back that were taken."""
        self._left += count

    @property
    def left(self) -> int:
        """How many bytes there is room for."""
        return self._left


class ByteShare:
    """What one message has taken."""

    __slots__ = ("_budget", "taken")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.taken = 0

    def take(self, count: int) -> None:
        """Takes more. Raises BudgetSpent."""
        self._budget.take(count)
        self.taken += count

    def give_back(self, count: int | None = None) -> None:
        """Gives back `count` bytes, or all."""
        count = self.taken if count is None else count
        self._budget.give_back(count)
        self.taken -= count


async def read_bounded(stream: StreamReader, limit: int, share: ByteShare | None = None) -> bytes:
    """The whole of `stream`, at most `limit` bytes, taken out of `share` as they arrive.

    Raises TooLarge as soon as there is one byte more, and BudgetSpent.
    """
    chunks: list[bytes] = []
    total = 0
    while True:
        chunk = await stream.readany()
        if not chunk:
            # An empty read is the end: readany() waits for data before that.
            return b"".join(chunks)
        total += len(chunk)
        if total > limit:
            raise TooLarge
        if share is not None:
            share.take(len(chunk))
        if not chunks and stream.at_eof():
            return chunk
        chunks.append(chunk)
