"""The clock of tests: it stands until it is moved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass
class ManualClock:
    """A Clock that stands at `time`."""

    time: datetime = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def now_ms(self) -> int:
        return int(self.time.timestamp() * 1000)

    def advance(self, **parts: float) -> None:
        """Moves it by a timedelta of these parts."""
        self.time += timedelta(**parts)
