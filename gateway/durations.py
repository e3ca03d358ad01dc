"""Histograms of durations for the path of a message, where prometheus-client's own cost a hundredth of an exchange.

Same samples, other bookkeeping: no locks, and a bucket is found by bisection. For one event loop, in which they are
also read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Durations(Collector):
    """Durations in seconds by the value of one label; the values are few."""

    def __init__(
        self, name: str, documentation: str, label: str, *, buckets: tuple[float, ...], registry: CollectorRegistry
    ) -> None:
        """`buckets` are their upper bounds, ascending; what is longer has a bucket of its own."""
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds: Final = buckets
        # For each bucket how many, and the sum of all.
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def observe(self, value: str, seconds: float) -> None:
        """One duration, of this value of the label."""
        counts = self._counts.get(value)
        if counts is None:
            counts = self._counts[value] = [0] * (len(self._bounds) + 1)
            self._sums[value] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[value] += seconds

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The metric without values: the registry asks for its names."""
        yield self._family()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The metric as it is now."""
        family = self._family()
        bounds = [*map(str, self._bounds), "+Inf"]
        for value, counts in self._counts.items():
            cumulative = [(bound, float(count)) for bound, count in zip(bounds, accumulate(counts), strict=True)]
            family.add_metric([value], cumulative, self._sums[value])
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
