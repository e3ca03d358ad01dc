"""What an `erase` leaf commits to: which entries' records were destroyed, and on what legal basis.

The tree never changes. A record that is gone leaves a leaf that says nothing any more; the `erase` leaf says that this
was done on purpose, so that a missing record without one is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audit.errors import MalformedInput
from audit.leaf import MAX_INTEGER

KIND: Final = "erase"
MAX_BASIS: Final = 500
_MAX_RANGES: Final = 100_000

# The first and the last index.
IndexRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Erasure:
    """The erased entries' ranges by the origin of their log. `person`: their key was destroyed as well."""

    basis: str
    ranges: tuple[tuple[str, tuple[IndexRange, ...]], ...]
    person: bool = False

    def encode(self) -> bytes:
        """JSON, keys sorted, no blanks: committed to as it is."""
        logs = [{"origin": origin, "ranges": [list(pair) for pair in ranges]} for origin, ranges in self.ranges]
        value = {"basis": self.basis, "logs": logs, "person": self.person, "v": 1}
        return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()

    def covers(self, origin: str, index: int) -> bool:
        """Whether the entry's record was erased."""
        return any(first <= index <= last for named, ranges in self.ranges if named == origin for first, last in ranges)


def index_ranges(indices: Iterable[int]) -> tuple[IndexRange, ...]:
    """The indices as the fewest ranges, ascending."""
    ranges: list[IndexRange] = []
    for index in sorted(set(indices)):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    return tuple(ranges)


def parse_erasure(data: bytes) -> Erasure:
    """The inverse of `encode`, strict. Raises MalformedInput."""
    try:
        value: Any = json.loads(data)
        found = Erasure(
            value["basis"],
            tuple((log["origin"], tuple(_pair(pair) for pair in log["ranges"])) for log in value["logs"]),
            value["person"],
        )
        is_same = found.encode() == data
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedInput("not an erasure") from None
    if not is_same or sum(len(ranges) for _, ranges in found.ranges) > _MAX_RANGES:
        raise MalformedInput("not an erasure in canonical form")
    return found


def _pair(pair: Sequence[int]) -> IndexRange:
    first, last = pair
    if type(first) is not int or type(last) is not int or not 0 <= first <= last <= MAX_INTEGER:
        raise MalformedInput("not a range of indices")
    return first, last
