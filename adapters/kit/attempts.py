"""Counts failed proofs per person, so that a customer's number and meter can't be guessed through the road.

What is under way counts as failed until it has ended: guesses sent at once are no more than guesses one by one. In
memory and bounded: a restart forgets, which a guesser can't cause.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from adapters.kit.errors import CallerError
from adapters.kit.problems import TOO_MANY_ATTEMPTS

LIMIT: Final = 5
WINDOW: Final = timedelta(minutes=15)
_MAX_PEOPLE: Final = 10_000


class FailedAttempts:
    """Failures of the last quarter of an hour."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[datetime]] = OrderedDict()
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def attempt(self, subject: str, at: datetime) -> Iterator[None]:
        """A person's attempt, within the block. Raises CallerError if with it they could have failed too often."""
        recent = [failed for failed in self._failures.get(subject, []) if at - failed < WINDOW]
        if len(recent) + self._under_way[subject] >= LIMIT:
            raise CallerError(TOO_MANY_ATTEMPTS)
        self._under_way[subject] += 1
        try:
            yield
        finally:
            self._under_way[subject] -= 1
            if not self._under_way[subject]:
                del self._under_way[subject]

    def record(self, subject: str, at: datetime) -> None:
        """Remembers a failure."""
        recent = [failed for failed in self._failures.pop(subject, []) if at - failed < WINDOW]
        self._failures[subject] = [*recent, at][-LIMIT:]
        while len(self._failures) > _MAX_PEOPLE:
            self._failures.popitem(last=False)

    def clear(self, subject: str) -> None:
        """Forgets a person's failures after a proof that held."""
        self._failures.pop(subject, None)
