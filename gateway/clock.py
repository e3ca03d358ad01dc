"""Where the time comes from. Cores take the time as a parameter; the shell reads it here and nowhere else."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The time of day. Implementations may be called from any thread."""

    def now(self) -> datetime:
        """The time as an aware UTC datetime."""
        ...

    def now_ms(self) -> int:
        """The time in milliseconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
