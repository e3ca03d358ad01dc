"""Tells consent services what was handed over on their consents: a background job of a provider's gateway.

What is to be told stands in the store since the answer was logged (`gateway.exchange.transmissions`). A report that
isn't answered is tried again, at first after seconds, later every ten minutes; one that the consent service refuses
for good (it knows no such consent), and one that nobody took for a month, is given up, and the operator told.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.exchange.node import Node
from gateway.exchange.own_requests import post_json
from gateway.exchange.transmissions import REPORTING
from gateway.followers import Follower
from gateway.messages.faults import Fault
from gateway.store.transmission_reports import TransmissionReport, TransmissionReports
from trust.identifiers import ServiceId

_PATH: Final = "/api/reporting/consent"
_BATCH: Final = 50
_AT_ONCE: Final = 8
# How long a process that has taken a report has it for itself.
_CLAIM_MS: Final = 120_000
_FIRST_WAIT_MS: Final = 5_000
_LONGEST_WAIT_MS: Final = 600_000
_GIVE_UP_MS: Final = 30 * 86_400_000
# The request as such is refused: it will be the next time, too.
_REFUSED: Final = (400, 403, 404, 422)


class TransmissionReporter:
    """One per gateway process."""

    def __init__(self, node: Node, engine: AsyncEngine) -> None:
        self._node = node
        self._reports = TransmissionReports(engine)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def round(self) -> int:
        """Tries what is due. How many reports that were."""
        due = await self._reports.due(now_ms=self._node.clock.now_ms(), limit=_BATCH)
        await asyncio.gather(*(self._report(report) for report in due))
        return len(due)

    async def _report(self, report: TransmissionReport) -> None:
        async with self._places:
            if not await self._reports.claim(report, until_ms=self._node.clock.now_ms() + _CLAIM_MS):
                # Another process of this gateway was first.
                return
            problem, final = await self._tell(report)
        if not problem:
            await self._reports.settle(report)
            return
        now_ms, attempt = self._node.clock.now_ms(), report.attempts + 1
        if final or now_ms - report.at_ms > _GIVE_UP_MS:
            self._node.log.error(
                "a transmission is not reported", client=str(report.provider), attempt=attempt, reason=problem,
                hint="the consent service does not take it; the citizen finds the access in the access log",
            )  # fmt: skip
            await self._reports.settle(report)
            return
        self._node.log.warning(
            "a transmission could not be reported yet", client=str(report.provider), attempt=attempt, reason=problem
        )
        wait_ms = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS << min(report.attempts, 10))
        await self._reports.postpone(report, until_ms=now_ms + wait_ms)

    async def _tell(self, report: TransmissionReport) -> tuple[str, bool]:
        """What stood in the way, empty if nothing did, and whether it always will."""
        service = ServiceId(report.authority, REPORTING)
        moment = datetime.fromtimestamp(report.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        document = {"transmissionTimestamp": moment, "consentReference": report.reference}
        try:
            answer = await post_json(self._node, report.provider, service, _PATH, document)
        except Fault as fault:
            return fault.loggable_code, False
        return ("", False) if answer.status == 200 else (f"status {answer.status}", answer.status in _REFUSED)


def reporting_follower(node: Node, engine: AsyncEngine) -> Follower:
    """The job. A consent service that is away is no ailment of this gateway: the health check doesn't look at it."""
    reporter = TransmissionReporter(node, engine)

    async def work(_: Follower) -> None:
        await reporter.round()

    return Follower("reports", node.settings.store_poll_seconds, work, node.clock)
