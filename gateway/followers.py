"""What a gateway does in the background: it follows the configuration, the certificates' status, the store, the year,
and lets records go whose time is up.

A follower outlives whatever goes wrong in a round: it says so, waits, and does the next. When rounds have failed for
long, `stale_since` tells the health check. A stop lets the round in progress finish: one that is cancelled in the
middle of a write can leave its lock on the database, and the log's last entries and checkpoint then find it locked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from time import monotonic
from typing import Final

from audit.retention import delete_expired_records
from gateway.clock import Clock
from gateway.configuration import FollowedConfiguration
from gateway.exchange.directory import build_directory
from gateway.exchange.node import Node
from gateway.key_follower import KeyFollower
from gateway.log_announcements import Announcements
from gateway.logging import describe_error
from gateway.logs import OwnLogs
from gateway.tls_contexts import TLSContexts
from gateway.witnessing import Witnessing, index_month, index_year_end

_STATUS_SECONDS: Final = 5.0
_YEAR_SECONDS: Final = 1.0
_INDEX_SECONDS: Final = 60.0
_RETENTION_SECONDS: Final = 3600.0
_URGENT_SECONDS: Final = 0.1
_MOST_DOUBLINGS: Final = 20
# How long a stop waits for the rounds in progress.
_STOP_SECONDS: Final = 5.0
# A follower is stale after so many intervals without a success, but not before so many seconds.
_STALE_ROUNDS: Final = 10
_STALE_SECONDS: Final = 10.0


class Follower:
    """One job, done every `interval` seconds. `name` is the health check's."""

    def __init__(
        self,
        name: str,
        interval: float,
        work: Callable[[Follower], Awaitable[None]],
        clock: Clock,
        *,
        is_urgent: Callable[[], bool] = lambda: False,
    ) -> None:
        """`work` does one round; while something `is_urgent` it hardly waits for the next, at first."""
        self.name = name
        self._interval = interval
        self._is_urgent = is_urgent
        self._urgent_pauses = 0
        self._work = work
        self._clock = clock
        self.succeeded()

    def succeeded(self) -> None:
        """A round is done."""
        self._last, self._last_monotonic = self._clock.now(), monotonic()

    @property
    def stale_since(self) -> datetime | None:
        """When the last round succeeded, if that is too long ago."""
        patience = max(self._interval * _STALE_ROUNDS, _STALE_SECONDS)
        return self._last if monotonic() - self._last_monotonic > patience else None

    def _pause(self) -> float:
        if not self._is_urgent():
            self._urgent_pauses = 0
            return self._interval
        # Twice as long each time, so that who is never answered doesn't ask for ever so often.
        self._urgent_pauses += 1
        return float(min(self._interval, _URGENT_SECONDS * 2 ** min(self._urgent_pauses, _MOST_DOUBLINGS)))

    async def round(self) -> None:
        """One round. Raises what the work raises."""
        await self._work(self)
        self.succeeded()

    async def run(self, node: Node, stopping: asyncio.Event) -> None:
        """Works until told to stop."""
        while not stopping.is_set():
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 - a follower that ends would leave the gateway with old rights
                node.log.error("a background job failed, it is tried again", action=self.name, **describe_error(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._pause())


def build_followers(
    node: Node,
    configuration: FollowedConfiguration,
    contexts: TLSContexts,
    logs: OwnLogs,
    witnessing: Witnessing,
    *,
    keys: KeyFollower,
) -> tuple[Follower, ...]:
    """The jobs of one gateway, not yet started."""
    every, clock = node.settings.configuration_interval_seconds, node.clock
    confirmed = node.settings.witness_interval_seconds
    announcements = Announcements(node.settings, witnessing.policy_text)
    return (
        Follower("configuration", every, lambda _: configuration.round(node, contexts), clock),
        Follower("keys", node.settings.store_poll_seconds, lambda _: keys.round(node, contexts), clock),
        Follower("certificates", _STATUS_SECONDS, lambda _: _certificates(node), clock),
        Follower("store", node.settings.store_poll_seconds, _StoreReader(node, contexts).round, clock),
        Follower("log", _YEAR_SECONDS, lambda _: _year(node, logs), clock),
        Follower("index", _INDEX_SECONDS, lambda _: _index(node, logs, announcements), clock),
        Follower(
            "witnesses",
            confirmed,
            lambda _: _witnesses(node, logs, witnessing),
            clock,
            # Before the first quorum, at a first start or in a new year, citizens can be shown nothing.
            is_urgent=lambda: not logs.publisher.is_public,
        ),
        Follower("retention", _RETENTION_SECONDS, lambda _: _retention(node, logs), clock),
    )


def start_followers(stack: AsyncExitStack, node: Node, followers: Sequence[Follower]) -> None:
    """Starts them; the stack's end stops them."""
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(follower.run(node, stopping), name=follower.name) for follower in followers]
    stack.push_async_callback(_stop, tasks, stopping)


async def _stop(tasks: Sequence[asyncio.Task[None]], stopping: asyncio.Event) -> None:
    stopping.set()
    _, stuck = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


async def _certificates(node: Node) -> None:
    await node.own_certificates.refresh()
    if not node.own_certificates.complete:
        node.log.error("an OCSP answer of our own certificates is missing", hint="look at the authority's responder")


class _StoreReader:
    """Takes what this process, a command or another process of the node has changed."""

    def __init__(self, node: Node, contexts: TLSContexts) -> None:
        self._node = node
        self._contexts = contexts
        self._consents = -1

    async def round(self, _: Follower) -> None:
        node = self._node
        await node.subject_keys.refresh()
        revision = await node.repository.revision()
        if revision.configuration != node.directory.configuration_revision:
            node.directory = build_directory(
                await node.repository.load(), node.settings.owner_id, node.settings.consent_service_id
            )
            self._contexts.pin(node.directory)
        if revision.consents != self._consents:
            node.consents.replace_all(await node.repository.consent_copies())
            self._consents = revision.consents


async def _retention(node: Node, logs: OwnLogs) -> None:
    """Deletes the records whose retention has ended; their leaves stay, and say nothing any more."""
    count = await delete_expired_records(logs.engine, at_ms=node.clock.now_ms())
    if count:
        node.log.info("records deleted whose retention has ended", count=count)


async def _index(node: Node, logs: OwnLogs, announcements: Announcements) -> None:
    """After each day the month's accesses are counted and the count sealed in the log, which also names its keys."""
    await announcements.round(logs)
    if await index_month(logs.engine, logs, node.clock):
        node.log.info("the month's index is in the log")


async def _witnesses(node: Node, logs: OwnLogs, witnessing: Witnessing) -> None:
    """The others cosign our checkpoints; who doesn't, and for how long none did, is the operator's to know."""
    await witnessing.round(logs)
    missing = witnessing.seconds_without_quorum
    node.metrics.witnessed(seconds_without_quorum=missing)
    if missing > node.settings.witness_alarm_seconds:
        for report in witnessing.reports.values():
            if report.problem:
                node.log.error("a witness does not confirm the log", server=report.name, hint=report.problem)


async def _year(node: Node, logs: OwnLogs) -> None:
    closing = logs.publisher.origin
    old = await logs.change_over()
    if old is not None:
        # New steps go to the new log from here on; the old one finishes those that it has.
        node.sequencer = logs.sequencer
        try:
            await index_year_end(logs.engine, old, closing)
        finally:
            await old.close()
        node.log.info("the new year's log is open")
