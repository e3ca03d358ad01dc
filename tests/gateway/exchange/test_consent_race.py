"""No data moves on a consent that isn't valid at its provider at that moment: withdrawals race against requests.

A few hundred requests here, 10,000 with `make soak`, which sets DATENWEG_SOAK_REQUESTS. The order that counts is that
of the provider's own log: whatever was handed over stands in it before the withdrawal that was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from tests.databases import two_databases
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import Answer, GatewayPair, gateway_pair

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUESTS = int(os.environ.get("DATENWEG_SOAK_REQUESTS", "200"))
PER_CONSENT = 10
AT_ONCE = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgres"])
async def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair whose gateways wait for each other: a slow machine is no reason to refuse."""
    folder, patience = tmp_path_factory.mktemp("wettlauf"), {"peer_timeout_seconds": 120, "connect_timeout_seconds": 60}
    async with AsyncExitStack() as stack:
        output = stack.enter_context(captured_output())
        databases = two_databases(request, stack)
        yield await stack.enter_async_context(gateway_pair(folder, output, databases=databases, **patience))


@dataclass
class Raced:
    """One consent: what came of its requests, and when its withdrawal was acknowledged, in the provider's log."""

    reference: str
    withdrawn_at: int = -1
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)
    # Whether the withdrawal was acknowledged already when the request was sent, and the answer.
    answers: list[tuple[bool, Answer]] = field(default_factory=list)


def index_in_log(answer: Answer) -> int:
    """The place of an answer's leaf in the provider's log."""
    origin, index, _ = answer.headers["X-Datenweg-Audit-Receipt"].split(" ")
    assert "STADTWERKE" in origin
    return int(index)


async def race(pair: GatewayPair, turns: random.Random, headers: dict[str, str]) -> Raced:
    """Ten requests on one consent, and its withdrawal after some of their answers."""
    raced = Raced(await pair.give_consent())
    early = turns.randrange(3, PER_CONSENT)
    answered = turns.randrange(early)
    begin = asyncio.Event()
    if answered == 0:
        begin.set()

    async def ask(number: int) -> None:
        if number >= early:
            # The later ones start with the withdrawal, or when it is acknowledged.
            await (begin if number % 2 else raced.acknowledged).wait()
        known = raced.acknowledged.is_set()
        answer = await pair.call("konto", headers=headers | {"X-Datenweg-Consent": raced.reference})
        raced.answers.append((known, answer))
        if len(raced.answers) == answered:
            begin.set()

    async def withdraw() -> None:
        await begin.wait()
        withdrawal = pair.consent_jws(raced.reference, status="withdrawn", sequence=2)
        answer = await pair.push_consent(withdrawal, raced.reference)
        assert answer.status == 204
        raced.withdrawn_at = index_in_log(answer)
        raced.acknowledged.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(withdraw())
        for number in range(PER_CONSENT):
            group.create_task(ask(number))
    return raced


async def test_withdrawals_race_against_requests(pair: GatewayPair) -> None:
    turns = random.Random(20261122)
    places = asyncio.Semaphore(AT_ONCE)

    async def one() -> Raced:
        async with places:
            # A login of its own: the first would end before the last request of a long race.
            return await race(pair, turns, pair.citizen())

    async with asyncio.timeout(120 + REQUESTS / 4):
        raced = await asyncio.gather(*(one() for _ in range(REQUESTS // PER_CONSENT)))
    given = refused = crossed = 0
    for consent in raced:
        assert len(consent.answers) == PER_CONSENT
        for known, answer in consent.answers:
            if answer.status == 200:
                given += 1
                assert not known, (
                    "data moved on a consent whose withdrawal was acknowledged before the request was sent"
                )
                assert index_in_log(answer) < consent.withdrawn_at, "data moved after the acknowledged withdrawal"
            else:
                refused += 1
                crossed += not known
                assert answer.headers["X-Road-Error"] == "server.serverproxy.consent_withdrawn"
    # A race that only one side ever wins shows nothing.
    assert given > REQUESTS // 20
    assert refused > REQUESTS // 20
    assert crossed > 0
