"""What a node counts and measures, for /metrics (prometheus-client; docs/operations.md lists every metric).

One registry per node, so that several nodes may live in one process. No label carries personal data: services come from
the configuration, not from the request, and the number of label combinations is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from audit.sequencer import BatchReport
from gateway.clock import Clock
from gateway.durations import Durations
from gateway.message_log.metrics import MessageLogMetrics

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_STEP_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_EXCHANGE_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_MAX_SERIES: Final = 2000


class Metrics:
    """The metrics of one node. Cheap to call from the event loop: label children are looked up once and kept."""

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._exchanges = Counter(
            "datenweg_exchanges_total",
            "Exchanges by service, outcome (ok or fault code), hop that failed and our role",
            ("service", "outcome", "hop", "role"),
            registry=self.registry,
        )
        self._exchange_seconds = Durations(
            "datenweg_exchange_seconds",
            "Duration of an exchange as this gateway saw it",
            "role",
            buckets=_EXCHANGE_BUCKETS,
            registry=self.registry,
        )
        self._step_seconds = Durations(
            "datenweg_step_seconds",
            "Duration of each step of the way of a message",
            "step",
            buckets=_STEP_BUCKETS,
            registry=self.registry,
        )
        self._client_requests = Counter(
            "datenweg_client_requests_total",
            "Requests of clients that this gateway answered by itself, by path and HTTP status",
            ("path", "status"),
            registry=self.registry,
        )
        self._in_progress = 0
        Gauge(
            "datenweg_exchanges_in_progress", "Exchanges accepted and not yet answered", registry=self.registry
        ).set_function(lambda: self._in_progress)
        self._cut_connections = Counter(
            "datenweg_connections_cut_total",
            "Connections of clients and peers that were cut: for room, a slow head, or an answer that isn't taken",
            ("reason",),
            registry=self.registry,
        )
        self._log_queue = Gauge(
            "datenweg_log_queue_entries", "Steps that wait for the log's next commit", registry=self.registry
        )
        self._log_commit_seconds = Histogram(
            "datenweg_log_commit_seconds",
            "Duration of one commit of the log",
            buckets=_STEP_BUCKETS,
            registry=self.registry,
        )
        self._log_batch_steps = Histogram(
            "datenweg_log_batch_steps",
            "Steps that shared one commit of the log",
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self._log_entries = Counter("datenweg_log_entries_total", "Entries added to the log", registry=self.registry)
        self._log_failed_steps = Counter(
            "datenweg_log_failed_steps_total", "Steps that the log refused or could not commit", registry=self.registry
        )
        self._log_clock_behind = Gauge(
            "datenweg_log_clock_behind_seconds",
            "By how much the clock was behind the log's newest entry",
            registry=self.registry,
        )
        self._without_quorum = Gauge(
            "datenweg_log_seconds_without_quorum",
            "For how long no quorum of witnesses has confirmed the log; 0 if the policy asks for none",
            registry=self.registry,
        )
        self._certificate_expiry = Gauge(
            "datenweg_certificate_expiry_seconds",
            "Time until one of our certificates expires",
            ("usage",),
            registry=self.registry,
        )
        self._configuration_age = Gauge(
            "datenweg_configuration_age_seconds",
            "Time since the global configuration in use was accepted",
            registry=self.registry,
        )
        self._configuration_expiry = Gauge(
            "datenweg_configuration_expiry_seconds",
            "Time until the global configuration in use expires and exchanges stop",
            registry=self.registry,
        )
        self._federation_expiry = Gauge(
            "datenweg_federated_configuration_expiry_seconds",
            "Time until a federated instance's configuration expires and its members can't be met",
            ("instance",),
            registry=self.registry,
        )
        self._federations: frozenset[str] = frozenset()
        self._operational_records_dropped = Counter(
            "datenweg_operational_records_dropped_total",
            "Operational records that found no room in the buffer before the database took them",
            registry=self.registry,
        )
        self.message_log = MessageLogMetrics(self.registry)
        self._exchange_counters: dict[tuple[str, str, str, str], Counter] = {}

    def count_exchange(self, *, service: str, outcome: str, hop: str, role: str, seconds: float) -> None:
        """One finished exchange. `service` is a configured service's identifier or "" for an unknown one."""
        labels = (service, outcome, hop, role)
        counter = self._exchange_counters.get(labels)
        if counter is None:
            if len(self._exchange_counters) >= _MAX_SERIES:
                labels = ("", outcome, hop, role)
            counter = self._exchange_counters.setdefault(labels, self._exchanges.labels(*labels))
        counter.inc()
        self._exchange_seconds.observe(role, seconds)

    def observe_step(self, step: str, seconds: float) -> None:
        """One step of the way of a message took this long."""
        self._step_seconds.observe(step, seconds)

    def count_client_request(self, path: str, status: int) -> None:
        """A request to one of the gateway's own few paths is answered."""
        self._client_requests.labels(path, str(status)).inc()

    def count_cut_connection(self, reason: str) -> None:
        """A connection was cut: `room`, `head` or `stuck`."""
        self._cut_connections.labels(reason).inc()

    def exchange_started(self) -> None:
        """An exchange was accepted."""
        self._in_progress += 1

    def exchange_ended(self) -> None:
        """An accepted exchange was answered, or its caller is gone."""
        self._in_progress -= 1

    def observe_log_batch(self, report: BatchReport) -> None:
        """One commit of the log; the sequencer's `on_batch`."""
        self._log_entries.inc(report.entries)
        self._log_batch_steps.observe(report.steps)
        self._log_commit_seconds.observe(report.seconds)
        self._log_queue.set(report.queue)
        self._log_failed_steps.inc(report.failed)
        self._log_clock_behind.set(report.clock_behind_ms / 1000)

    def watch_certificate(self, usage: str, not_after: datetime) -> None:
        """From now on report the time until `not_after`."""
        self._certificate_expiry.labels(usage).set_function(self._seconds_until(not_after))

    def configuration_accepted(self, *, expires: datetime) -> None:
        """A global configuration was accepted now and is valid until `expires`."""
        clock, accepted = self._clock, self._clock.now()

        def age() -> float:
            return (clock.now() - accepted).total_seconds()

        self._configuration_age.set_function(age)
        self._configuration_expiry.set_function(self._seconds_until(expires))

    def witnessed(self, *, seconds_without_quorum: float) -> None:
        """For how long no quorum has confirmed the log."""
        self._without_quorum.set(seconds_without_quorum)

    def federations_accepted(self, expires: Mapping[str, datetime]) -> None:
        """The federated instances in force now, and until when each is."""
        for instance in self._federations - expires.keys():
            self._federation_expiry.remove(instance)
        for instance, moment in expires.items():
            self._federation_expiry.labels(instance).set_function(self._seconds_until(moment))
        self._federations = frozenset(expires)

    def operational_record_dropped(self) -> None:
        """The buffer of operational monitoring was full."""
        self._operational_records_dropped.inc()

    def render(self) -> bytes:
        """All metrics in the text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def _seconds_until(self, moment: datetime) -> Callable[[], float]:
        clock = self._clock

        def seconds() -> float:
            return (moment - clock.now()).total_seconds()

        return seconds
