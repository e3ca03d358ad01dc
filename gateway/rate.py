"""Token buckets per key, in memory: how often somebody may try something.

One bucket per key (a user name, an address). Bounded: the least recently used key is forgotten first, so that an
attacker who makes up keys costs us no memory. Time comes in; nothing here reads a clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_ms: int


class RateLimit:
    """At most `burst` attempts at once per key, refilled by one every `refill_ms`. For one event loop."""

    def __init__(self, *, burst: int, refill_ms: int, keys: int = 10_000) -> None:
        self._burst = burst
        self._refill_ms = refill_ms
        self._keys = keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def admit(self, key: str, *, now_ms: int) -> None:
        """Counts one attempt. Raises TooManyAttempts with the wait in whole seconds when the bucket is empty."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(self._burst), now_ms)
            if len(self._buckets) > self._keys:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            elapsed = max(0, now_ms - bucket.filled_ms)
            bucket.tokens = min(float(self._burst), bucket.tokens + elapsed / self._refill_ms)
            bucket.filled_ms = now_ms
        if bucket.tokens < 1:
            raise TooManyAttempts(max(1, round((1 - bucket.tokens) * self._refill_ms / 1000)))
        bucket.tokens -= 1


class TooManyAttempts(Exception):
    """The key's bucket is empty. The caller's fault; carries how long to wait."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds
