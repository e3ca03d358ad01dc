"""How many exchanges may be under way at once for one client, or with one service: nobody takes all the places.

The limit for all together is the ports'. In memory and per process, like quotas.
"""

from __future__ import annotations

from collections.abc import Hashable


class Full(Exception):
    """There is no place left for this key. Nobody's fault: try again."""


class Places:
    """At most `limit` of each key at once; without a limit nothing is counted. For one event loop."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._taken: dict[Hashable, int] = {}

    def take(self, key: Hashable, held: Held) -> None:
        """Takes a place for the exchange that holds `held`. Raises Full."""
        if self._limit is None:
            return
        taken = self._taken.get(key, 0)
        if taken >= self._limit:
            raise Full
        self._taken[key] = taken + 1
        held.append((self, key))

    def give_back(self, key: Hashable) -> None:
        """One place is free again."""
        left = self._taken[key] - 1
        if left:
            self._taken[key] = left
        else:
            del self._taken[key]


# The places that one exchange has taken.
Held = list[tuple[Places, Hashable]]


def release(held: Held) -> None:
    """Gives back all that an exchange took, at its end."""
    for places, key in held:
        places.give_back(key)
    held.clear()
