"""Reports that wait: each is due at its time, and one process alone has it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from gateway.exchange.node import Node
from gateway.logging import configure_logging, get_logger
from gateway.reporting import TransmissionReporter
from gateway.store.tables import transmission_report
from gateway.store.transmission_reports import TransmissionReport, TransmissionReports
from tests.clocks import ManualClock
from trust.identifiers import SubsystemId

APP = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
UTILITY = SubsystemId("DE-TEST", "COM", "STADTWERKE", "kundenservice")


async def keep(engine: AsyncEngine, name: str, due_ms: int) -> TransmissionReport:
    """One report, as the log's transaction writes it."""
    report = TransmissionReport(name, "r", APP, UTILITY, at_ms=1_795_308_434_123, attempts=0, due_ms=due_ms)
    row = {"id": name, "reference": "r", "authority": APP.encoded, "provider": UTILITY.encoded}
    row |= {"at_ms": report.at_ms, "attempts": 0, "due_ms": due_ms}
    async with engine.begin() as connection:
        await connection.execute(insert(transmission_report).values(row))
    return report


async def test_what_is_due_comes_in_order_and_a_few_at_a_time(engine: AsyncEngine) -> None:
    reports = TransmissionReports(engine)
    kept = [await keep(engine, name, due_ms) for name, due_ms in (("c", 30), ("a", 10), ("b", 20), ("d", 41))]
    assert await reports.due(now_ms=40, limit=2) == (kept[1], kept[2])
    assert await reports.due(now_ms=40, limit=9) == (kept[1], kept[2], kept[0])
    assert await reports.due(now_ms=9, limit=9) == ()


async def test_of_several_processes_one_has_it_until_its_claim_lapses(engine: AsyncEngine) -> None:
    reports = TransmissionReports(engine)
    report = await keep(engine, "a", 10)
    claims = await asyncio.gather(*(reports.claim(report, until_ms=100) for _ in range(5)))
    assert sorted(claims) == [False] * 4 + [True]
    assert await reports.due(now_ms=99, limit=9) == ()
    # Whoever had it has died: another takes it, and knows that it was tried.
    (lapsed,) = await reports.due(now_ms=100, limit=9)
    assert lapsed.attempts == 1
    assert await reports.claim(lapsed, until_ms=200)


async def test_a_report_is_put_off_or_settled(engine: AsyncEngine) -> None:
    reports = TransmissionReports(engine)
    report = await keep(engine, "a", 10)
    assert await reports.claim(report, until_ms=100)
    await reports.postpone(report, until_ms=50)
    assert [one.due_ms for one in await reports.due(now_ms=50, limit=9)] == [50]
    await reports.settle(report)
    assert await reports.due(now_ms=1000, limit=9) == ()


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(
    ("days", "problem", "kept"),
    [(29, "away", True), (31, "away", False), (0, "status 404", False), (0, "", False)],
)
async def test_a_report_that_nobody_takes_is_given_up_after_a_month(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, days: int, problem: str, kept: bool
) -> None:
    report = await keep(engine, "a", 10)
    clock = ManualClock(datetime.fromtimestamp(report.at_ms / 1000, UTC) + timedelta(days=days))
    node = cast("Node", SimpleNamespace(clock=clock, log=get_logger()))
    reporter = TransmissionReporter(node, engine)

    async def told(_: TransmissionReport) -> tuple[str, bool]:
        return problem, problem.startswith("status")

    monkeypatch.setattr(reporter, "_tell", told)
    configure_logging("warning")
    with capture_logs() as lines:
        assert await reporter.round() == 1
    left = await TransmissionReports(engine).due(now_ms=clock.now_ms() + 86_400_000, limit=9)
    assert [one.id for one in left] == (["a"] if kept else [])
    # Nothing is given up without a word to the operator.
    levels = [line["log_level"] for line in lines]
    assert levels == ([] if not problem else ["warning" if kept else "error"])
