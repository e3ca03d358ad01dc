"""Metrics: what is counted under which labels, and that a client can't make up new ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from audit.sequencer import BatchReport
from gateway import metrics as module
from gateway.clock import SystemClock
from gateway.metrics import Metrics
from tests.clocks import ManualClock

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_exchanges_are_counted_by_service_outcome_hop_and_role() -> None:
    metrics = Metrics(ManualClock())
    for _ in range(3):
        metrics.count_exchange(service="A/B/C/D/e", outcome="ok", hop="", role="consumer", seconds=0.004)
    labels = {"service": "A/B/C/D/e", "outcome": "ok", "hop": "", "role": "consumer"}
    assert sample(metrics, "datenweg_exchanges_total", **labels) == 3
    assert sample(metrics, "datenweg_exchange_seconds_count", role="consumer") == 3
    assert sample(metrics, "datenweg_exchange_seconds_bucket", role="consumer", le="0.005") == 3


def test_the_number_of_series_is_bounded() -> None:
    metrics = Metrics(ManualClock())
    for number in range(module._MAX_SERIES + 50):
        metrics.count_exchange(service=f"S{number}", outcome="ok", hop="", role="provider", seconds=0.001)
    lines = [line for line in metrics.render().splitlines() if line.startswith(b"datenweg_exchanges_total{")]
    assert len(lines) == module._MAX_SERIES + 1


def test_ages_follow_the_clock() -> None:
    clock = ManualClock()
    metrics = Metrics(clock)
    metrics.watch_certificate("signing", START + timedelta(hours=2))
    metrics.configuration_accepted(expires=START + timedelta(minutes=10))
    clock.time += timedelta(minutes=4)
    assert sample(metrics, "datenweg_certificate_expiry_seconds", usage="signing") == 116 * 60
    assert sample(metrics, "datenweg_configuration_age_seconds") == 240
    assert sample(metrics, "datenweg_configuration_expiry_seconds") == 360


def test_log_steps_and_progress() -> None:
    metrics = Metrics(SystemClock())
    metrics.observe_log_batch(BatchReport(entries=4, steps=2, failed=1, seconds=0.002, queue=7, clock_behind_ms=1500))
    metrics.observe_step("4 sign", 0.00002)
    metrics.exchange_started()
    metrics.exchange_started()
    metrics.exchange_ended()
    assert sample(metrics, "datenweg_log_queue_entries") == 7
    assert sample(metrics, "datenweg_log_entries_total") == 4
    assert sample(metrics, "datenweg_log_failed_steps_total") == 1
    assert sample(metrics, "datenweg_log_clock_behind_seconds") == 1.5
    assert sample(metrics, "datenweg_log_commit_seconds_count") == 1
    assert sample(metrics, "datenweg_step_seconds_count", step="4 sign") == 1
    assert sample(metrics, "datenweg_exchanges_in_progress") == 1


def test_two_nodes_in_one_process_do_not_mix() -> None:
    one, other = Metrics(ManualClock()), Metrics(ManualClock())
    one.exchange_started()
    assert sample(other, "datenweg_exchanges_in_progress") == 0
