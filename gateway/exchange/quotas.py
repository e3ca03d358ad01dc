"""Quotas: token buckets for clients and services, so that one client's zeal is not everybody's outage.

In memory and per process: a quota is a fairness rule, not an accounting one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from trust.identifiers import ClientId, ServiceId

_REMEMBERED: Final = 10_000


class TokenBuckets:
    """`per_minute` requests for each key, with a burst of a tenth of that (at least one); without it, any number."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_ms = None if per_minute is None else per_minute / 60_000
        self._burst = 1.0 if per_minute is None else max(1.0, per_minute / 10)
        self._buckets: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def wait_ms(self, key: Hashable, at_ms: int) -> float:
        """How long until there is a token for the key: 0 if there is one now. Takes none."""
        if self._per_ms is None:
            return 0.0
        return max(0.0, (1 - self._tokens(key, at_ms)) / self._per_ms)

    def take(self, key: Hashable, at_ms: int) -> None:
        """Takes one token, which is there."""
        if self._per_ms is None:
            return
        tokens = self._tokens(key, at_ms)
        self._buckets[key] = (tokens - 1, at_ms)
        self._buckets.move_to_end(key)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)

    def _tokens(self, key: Hashable, at_ms: int) -> float:
        assert self._per_ms is not None
        tokens, since = self._buckets.get(key, (self._burst, at_ms))
        return min(self._burst, tokens + max(0, at_ms - since) * self._per_ms)


class Quotas:
    """What a provider's gateway allows: for each client and service, and for each service of all clients together."""

    def __init__(self, per_minute: int | None, *, of_service: int | None = None) -> None:
        self._pairs = TokenBuckets(per_minute)
        self._services = TokenBuckets(of_service)

    def take(self, client: ClientId, service: ServiceId, at_ms: int) -> float:
        """Takes a token of each and returns 0; or takes none, and returns for how many milliseconds there is none."""
        pair = (client, service)
        wait = max(self._pairs.wait_ms(pair, at_ms), self._services.wait_ms(service, at_ms))
        if wait <= 0:
            self._pairs.take(pair, at_ms)
            self._services.take(service, at_ms)
        return wait
