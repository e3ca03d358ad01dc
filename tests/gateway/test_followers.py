"""Background jobs: what they outlive, when they hurry, how they end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.clock import SystemClock
from gateway.exchange.node import Node
from gateway.followers import Follower, start_followers


class DriverError(Exception):
    """As a database driver raises it: nobody's base class but Exception."""


@dataclass
class Lines:
    """A logger that remembers."""

    errors: list[dict[str, Any]] = field(default_factory=list)

    def error(self, event: str, **values: Any) -> None:
        self.errors.append({"event": event} | values)


NODE = cast("Node", SimpleNamespace(log=Lines()))


@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "refused"), DriverError("too many clients")])
async def test_a_follower_outlives_what_a_round_raises(error: Exception) -> None:
    rounds: list[Follower] = []
    again = asyncio.Event()

    async def work(follower: Follower) -> None:
        rounds.append(follower)
        if len(rounds) == 1:
            raise error
        again.set()

    lines = Lines()
    follower = Follower("store", 0.001, work, SystemClock())
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        start_followers(stack, cast("Node", SimpleNamespace(log=lines)), [follower])
        await again.wait()
    assert [line["action"] for line in lines.errors] == ["store"]
    assert str(error) not in str(lines.errors)


async def test_what_is_urgent_does_not_wait_for_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.followers._URGENT_SECONDS", 0.001)
    rounds: list[Follower] = []
    settled = asyncio.Event()

    async def work(follower: Follower) -> None:
        rounds.append(follower)
        if len(rounds) == 3:
            settled.set()

    follower = Follower("witnesses", 3600, work, SystemClock(), is_urgent=lambda: len(rounds) < 3)
    async with asyncio.timeout(5), AsyncExitStack() as stack:
        start_followers(stack, NODE, [follower])
        await settled.wait()
        # Nothing is urgent any more: a round that came early would be here by now.
        await asyncio.sleep(0.05)
    assert len(rounds) == 3


def test_what_stays_urgent_is_asked_for_less_and_less() -> None:
    async def work(_: Follower) -> None: ...

    urgent = [True]
    follower = Follower("witnesses", 10, work, SystemClock(), is_urgent=lambda: urgent[0])
    assert [round(follower._pause(), 1) for _ in range(9)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10]
    urgent[0] = False
    assert follower._pause() == 10
    urgent[0] = True
    assert follower._pause() == 0.2


def test_a_follower_without_success_becomes_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    class Time(SystemClock):
        def now(self) -> datetime:
            return datetime(2026, 11, 22, 10, tzinfo=UTC)

    async def work(_: Follower) -> None: ...

    now = [1000.0]
    monkeypatch.setattr("gateway.followers.monotonic", lambda: now[0])
    quick, slow = Follower("store", 0.1, work, Time()), Follower("configuration", 60, work, Time())
    start = datetime(2026, 11, 22, 10, tzinfo=UTC)
    for seconds, stale in ((9, (None, None)), (11, (start, None)), (601, (start, start))):
        now[0] = 1000.0 + seconds
        assert (quick.stale_since, slow.stale_since) == stale
    slow.succeeded()
    assert (quick.stale_since, slow.stale_since) == (start, None)


async def test_a_stop_lets_the_round_finish_and_waits_for_no_interval() -> None:
    """A round that is cancelled in the middle of a write would leave its lock on the database behind."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    finished: list[str] = []

    async def work(follower: Follower) -> None:
        begun.set()
        await go_on.wait()
        finished.append(follower.name)

    async def idle(_: Follower) -> None: ...

    async with asyncio.timeout(5), AsyncExitStack() as stack:
        followers = [Follower("busy", 3600, work, SystemClock()), Follower("idle", 3600, idle, SystemClock())]
        start_followers(stack, NODE, followers)
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        await stack.aclose()
    assert finished == ["busy"]


async def test_a_round_that_does_not_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.followers._STOP_SECONDS", 0.05)
    begun = asyncio.Event()

    async def work(_: Follower) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(5), AsyncExitStack() as stack:
        start_followers(stack, NODE, [Follower("stuck", 1, work, SystemClock())])
        await begun.wait()
