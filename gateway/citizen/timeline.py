"""The timeline of accesses: how many on each day of a month, or in each month, and what came of them. A core.

The picture is drawn by the template from these numbers; the same numbers are its table for those who don't see it.
"""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.citizen.access import Access
from gateway.citizen.accesses import AccessView

# From the ground of a column upwards. What isn't known is shown with what failed.
KINDS: Final = ("delivered", "failed", "denied")
WIDTH: Final = 320
HEIGHT: Final = 84
_MOST_LABELS: Final = 8
_GAP: Final = 0.2


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a column, in the picture's units; `kind` is one of KINDS."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """A day (`2026-11-22`) or a month, with its accesses. `label` is shown below; empty where there is no room."""

    period: str
    label: str
    x: float
    width: float
    counts: tuple[tuple[str, int], ...]
    segments: tuple[Segment, ...]

    @property
    def total(self) -> int:
        return sum(count for _, count in self.counts)


@dataclass(frozen=True, slots=True)
class Timeline:
    """All columns, oldest first; `most` is what the highest one stands for."""

    columns: tuple[Column, ...]
    most: int

    @property
    def filled(self) -> tuple[Column, ...]:
        """The columns in which there is something."""
        return tuple(column for column in self.columns if column.total)


def build_timeline(views: Sequence[AccessView], shown: Sequence[Access]) -> Timeline:
    """The columns of these months, newest month first, for the accesses that are shown."""
    if len(views) == 1:
        month = views[0].month
        days = monthrange(int(month[:4]), int(month[5:]))[1]
        periods = [f"{month}-{day:02d}" for day in range(1, days + 1)]
    else:
        periods = sorted(view.month for view in views)
    length = len(periods[0])
    counted: dict[str, Counter[str]] = {period: Counter() for period in periods}
    for access in shown:
        # What was released only now may have happened in a month that isn't looked at: it stands in the list alone.
        if (period := counted.get(access.time[:length])) is not None:
            period[access.result if access.result in KINDS else "failed"] += 1
    most = max(1, *(sum(counts.values()) for counts in counted.values()))
    step = max(1, -(-len(periods) // _MOST_LABELS))
    room = WIDTH / len(periods)
    return Timeline(
        tuple(
            _column(period, counted[period], at * room, room, most, is_labelled=at % step == 0)
            for at, period in enumerate(periods)
        ),
        most,
    )


def _column(period: str, counts: Counter[str], at: float, room: float, most: int, *, is_labelled: bool) -> Column:
    segments, top = [], float(HEIGHT)
    for kind in KINDS:
        if counts[kind]:
            # A single access among hundreds is still seen.
            height = max(3.0, counts[kind] / most * (HEIGHT - 9))
            top -= height
            segments.append(Segment(kind, round(top, 1), round(height, 1)))
    label = (period[-2:].lstrip("0") if len(period) > 7 else f"{period[-2:]}/{period[2:4]}") if is_labelled else ""
    return Column(
        period,
        label,
        round(at + room * _GAP / 2, 1),
        round(room * (1 - _GAP), 1),
        tuple((kind, counts[kind]) for kind in KINDS),
        tuple(segments),
    )
