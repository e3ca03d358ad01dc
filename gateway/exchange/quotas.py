"""Quotas: a token bucket per client and service, so that one client's zeal is not everybody's outage.

In memory and per process: a quota is a fairness rule, not an accounting one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from trust.identifiers import ClientId, ServiceId

_REMEMBERED: Final = 10_000


class Quotas:
    """`per_minute` requests for each pair of client and service, with a burst of a tenth of that (at least one)."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_ms = None if per_minute is None else per_minute / 60_000
        self._burst = 1.0 if per_minute is None else max(1.0, per_minute / 10)
        self._buckets: OrderedDict[tuple[ClientId, ServiceId], tuple[float, int]] = OrderedDict()

    def take(self, client: ClientId, service: ServiceId, at_ms: int) -> bool:
        """Takes one token; False when there is none left."""
        if self._per_ms is None:
            return True
        key = (client, service)
        tokens, since = self._buckets.pop(key, (self._burst, at_ms))
        tokens = min(self._burst, tokens + max(0, at_ms - since) * self._per_ms)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, at_ms)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed
