"""Quotas and places: who asks for more than its share is told when to come again, and the others notice nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

import pytest
import pytest_asyncio

from gateway.exchange.places import Full, Held, Places, release
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import Answer, GatewayPair, gateway_pair
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, answering, fault_of
from tests.gateway.exchange.town import APP, GUEST

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        async with gateway_pair(
            tmp_path_factory.mktemp("grenzen"),
            output,
            consumer={"client_concurrency_limit": 6, "client_requests_per_minute": 600, "concurrency_limit": 20},
            provider={"service_concurrency_limit": 4, "client_concurrency_limit": 6, "requests_per_minute": 60},
        ) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def rested(pair: GatewayPair) -> None:
    """Every bucket is full again."""
    fill(pair)
    for node in (pair.consumer, pair.provider):
        await pair.until(lambda n=node: not n.gateway.node.places_of_clients._taken)  # type: ignore[misc]
    pair.backend.release.clear()


def fill(pair: GatewayPair) -> None:
    for running in (pair.consumer, pair.provider):
        node = running.gateway.node
        for buckets in (node.client_quotas, node.quotas._pairs, node.quotas._services):
            buckets._buckets.clear()


def refused(answers: list[Answer]) -> list[tuple[int, str, str]]:
    return [
        (answer.status, answer.json["type"], answer.headers.get("Retry-After", ""))
        for answer in answers
        if answer.status != 200
    ]


async def test_a_clients_places_at_its_gateway(pair: GatewayPair) -> None:
    """Six are at the slow services; the seventh is turned away, another client isn't."""
    waiting = [asyncio.ensure_future(pair.call(code, "/slow")) for code in ("echo",) * 4 + ("gruppe",) * 2]
    await pair.until(lambda: len(pair.backend.calls) >= 6 and pair.consumer.in_progress == 6)
    began = perf_counter()
    seventh = await pair.call("gruppe", "/echo")
    assert refused([seventh]) == [(503, "server.clientproxy.overloaded", "1")]
    assert "at once" in seventh.json["message"]
    other = await pair.call("gruppe", "/echo", client=GUEST)
    assert other.status in {200, 500}
    assert other.headers.get("X-Road-Error") != "server.clientproxy.overloaded"
    assert perf_counter() - began < 2
    pair.backend.release.set()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 6
    assert (await pair.call("gruppe", "/echo")).status == 200


async def test_a_services_places_at_its_gateway(pair: GatewayPair) -> None:
    waiting = [asyncio.ensure_future(pair.call("echo", "/slow")) for _ in range(4)]
    calls = len(pair.backend.calls)
    await pair.until(lambda: pair.provider.gateway.node.places_of_services._taken.get(service_key(pair), 0) == 4)
    fifth = await pair.call("echo", "/echo")
    assert refused([fifth]) == [(503, "server.serverproxy.overloaded", "1")]
    # Another service of the same provider has places of its own.
    assert (await pair.call("gruppe", "/echo")).status == 200
    pair.backend.release.set()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 4
    assert len(pair.backend.calls) <= calls + 5


def service_key(pair: GatewayPair) -> object:
    (key,) = pair.provider.gateway.node.places_of_services._taken or (None,)
    return key


async def test_a_quota_says_when_to_come_again(pair: GatewayPair) -> None:
    """60 a minute: six at once, then one each second. Over REST 429, over SOAP a fault."""
    pair.backend.soap = answering()
    answers = [await pair.call("echo", "/echo") for _ in range(10)]
    told = refused(answers)
    assert 1 <= len(told) <= 4
    assert set(told) == {(429, "server.serverproxy.quota_exceeded", "1")}
    body, seen = Message(message_id="viel").encoded(), []
    for _ in range(10):
        answer = await pair.request("POST", "/", client=None, headers={"Content-Type": TEXT_XML}, body=body)
        assert answer.status == 200
        seen.append(answer.body)
    faults = [fault_of(one) for one in seen if b"faultcode" in one]
    assert faults
    assert set(faults) == {"server.serverproxy.quota_exceeded"}


async def test_a_clients_quota_at_its_own_gateway(pair: GatewayPair) -> None:
    """600 a minute: sixty at once, to whatever services."""
    node = pair.consumer.gateway.node
    now_ms = node.clock.now_ms()
    for _ in range(60):
        node.client_quotas.take(APP, now_ms)
    calls = len(pair.backend.calls)
    answers = await asyncio.gather(*(pair.call(code, "/echo") for code in ("echo", "gruppe", "ohne-recht")))
    assert (429, "server.clientproxy.quota_exceeded", "1") in refused(list(answers))
    assert len(pair.backend.calls) <= calls + 2


async def test_the_gateway_sheds_load_while_it_goes_on(pair: GatewayPair) -> None:
    """Twenty places in all: a hundred ask at once, each has an answer or is told to come again, soon."""
    began = perf_counter()
    answers = await asyncio.gather(*(pair.call("echo", "/echo", client=GUEST if n % 2 else APP) for n in range(100)))
    assert perf_counter() - began < 10
    assert {answer.status for answer in answers} <= {200, 429, 500, 503}
    assert any(answer.status == 503 for answer in answers)
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status in {429, 503})
    fill(pair)
    assert (await pair.call("echo", "/echo")).status == 200


async def test_places_are_counted_by_key_and_given_back() -> None:
    places, held, other = Places(2), Held(), Held()
    places.take("a", held)
    places.take("a", held)
    places.take("b", other)
    with pytest.raises(Full):
        places.take("a", other)
    assert len(other) == 1
    release(held)
    assert held == []
    places.take("a", other)
    release(other)
    assert places._taken == {}


async def test_without_a_limit_nothing_is_counted() -> None:
    places, held = Places(None), Held()
    for _ in range(10_000):
        places.take("a", held)
    assert held == []
