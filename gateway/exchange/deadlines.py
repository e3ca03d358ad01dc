"""How long a message may take: a fixed time, and more for each byte that moves.

A large body may take its time as long as it keeps moving; whoever trickles runs out of it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

# How much has to move before the timer is set anew.
_STEP_BYTES: Final = 1 << 20


class Deadline:
    """An `async with` block that raises TimeoutError when its time is up: `seconds`, and one for each `rate` bytes."""

    __slots__ = ("_moved", "_rate", "_seconds", "_timeout")

    def __init__(self, seconds: float, rate: int) -> None:
        self._seconds = seconds
        self._rate = rate
        self._moved = 0
        self._timeout: asyncio.Timeout | None = None

    async def __aenter__(self) -> Self:
        self._timeout = asyncio.timeout(self._seconds)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._timeout is not None
        await self._timeout.__aexit__(kind, error, trace)

    def moved(self, count: int) -> None:
        """So many bytes have come, or gone."""
        self._moved += count
        timeout = self._timeout
        if self._moved < _STEP_BYTES or timeout is None or timeout.expired():
            return
        when = timeout.when()
        if when is not None:
            timeout.reschedule(when + self._moved / self._rate)
            self._moved = 0
