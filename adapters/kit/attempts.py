"""Counts failed proofs per person, so that a customer's number and meter can't be guessed through the road.

In memory and bounded: a restart forgets, which a guesser can't cause.
"""

from __future__ import annotations

from collections import OrderedDict
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

    def require_allowed(self, subject: str, at: datetime) -> None:
        """Raises CallerError when the person has failed five times within the window."""
        recent = [failed for failed in self._failures.get(subject, []) if at - failed < WINDOW]
        if len(recent) >= LIMIT:
            raise CallerError(TOO_MANY_ATTEMPTS)

    def record(self, subject: str, at: datetime) -> None:
        """Remembers a failure."""
        recent = [failed for failed in self._failures.pop(subject, []) if at - failed < WINDOW]
        self._failures[subject] = [*recent, at][-LIMIT:]
        while len(self._failures) > _MAX_PEOPLE:
            self._failures.popitem(last=False)

    def clear(self, subject: str) -> None:
        """Forgets a person's failures after a proof that held."""
        self._failures.pop(subject, None)
