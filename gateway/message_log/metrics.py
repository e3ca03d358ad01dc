"""What the message log counts and measures, on the registry of its node's metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class MessageLogMetrics:
    """The metrics of one node's message log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stamped = Counter("datenweg_messages_stamped_total", "Messages that got a time-stamp", registry=registry)
        self._failures = Counter(
            "datenweg_stamping_failures_total", "Time-stamps that no authority gave", registry=registry
        )
        self._failing = Gauge(
            "datenweg_stamping_failing_seconds",
            "For how long messages have waited for a time-stamp without any success",
            registry=registry,
        )
        self._archived = Counter("datenweg_messages_archived_total", "Messages that were archived", registry=registry)
        self._untransferred = Gauge(
            "datenweg_archives_waiting", "Archives that the transfer command has not taken yet", registry=registry
        )
        self._transfer_failures = Counter(
            "datenweg_archive_transfer_failures_total", "Transfers of an archive that failed", registry=registry
        )
        self._emptied = Counter(
            "datenweg_messages_emptied_total", "Messages whose content went at the end of its retention",
            registry=registry,
        )  # fmt: skip

    def watch(self, failing_seconds: Callable[[], float]) -> None:
        """From now on report for how long stamping fails."""
        self._failing.set_function(failing_seconds)

    def stamped(self, count: int) -> None:
        """Messages got their time-stamp."""
        self._stamped.inc(count)

    def stamping_failed(self) -> None:
        """No authority gave a good token."""
        self._failures.inc()

    def archived(self, count: int) -> None:
        """Messages are in an archive."""
        self._archived.inc(count)

    def waiting_for_transfer(self, count: int) -> None:
        """So many archives wait for the transfer command."""
        self._untransferred.set(count)

    def transfer_failed(self) -> None:
        """The transfer command failed or took too long."""
        self._transfer_failures.inc()

    def emptied(self, count: int) -> None:
        """Contents of messages are gone."""
        self._emptied.inc(count)
