"""The road under other settings: the older spelling of errors, a quota."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.refusals import check_afterwards, watch
from tests.gateway.exchange.town import APP, UTILITY

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair with the older spelling, a quota of thirty requests a minute, and room for three at a time."""
    with captured_output() as output:
        async with gateway_pair(
            tmp_path_factory.mktemp("pair"),
            output,
            error_vocabulary="camel",
            requests_per_minute=30,
            concurrency_limit=3,
        ) as running:
            yield running


@pytest.mark.parametrize(
    ("code", "client", "spelled", "status"),
    [
        ("ohne-recht", APP, "Server.ServerProxy.AccessDenied", 500),
        ("unbekannt", APP, "Server.ServerProxy.UnknownService", 500),
        ("echo", UTILITY.subsystem, "Server.ClientProxy.UnknownMember", 500),
        ("tot", APP, "Server.ServerProxy.ServiceFailed.NetworkError", 500),
    ],
)
async def test_the_older_spelling(pair: GatewayPair, code: str, client: object, spelled: str, status: int) -> None:
    answer = await pair.call(code, client=client)
    assert (answer.status, answer.headers["X-Road-Error"], answer.json["type"]) == (status, spelled, spelled)


async def test_the_older_spelling_of_a_clients_mistake(pair: GatewayPair) -> None:
    answer = await pair.call("echo", headers={"X-Datenweg-Citizen": "kein.to.ken"})
    assert (answer.status, answer.headers["X-Road-Error"]) == (400, "Client.CitizenTokenInvalid")
    # Logs and records keep to one spelling.
    (line,) = [line for line in pair.lines() if line.get("exchange") == answer.request_id]
    assert line["code"] == "client.citizen_token_invalid"


async def test_a_quota_that_is_used_up(pair: GatewayPair) -> None:
    seen = watch(pair)
    answers = [await pair.call("gruppe") for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert (answers[3].headers["X-Road-Error"], answers[3].headers["Retry-After"]) == (
        "Server.ServerProxy.QuotaExceeded",
        "2",
    )
    assert seen.new_calls == 3
    code = "server.serverproxy.quota_exceeded"
    theirs = [entry.summary for entry in await logged(pair.provider.gateway, answers[3].request_id)]
    assert theirs == [("request", code, [("denied", code)])]
    await check_afterwards(seen)


async def test_more_than_the_gateway_takes(pair: GatewayPair) -> None:
    pair.backend.release.clear()
    seen = watch(pair)
    async with asyncio.TaskGroup() as clients:
        asked = [clients.create_task(pair.call("echo", "/slow")) for _ in range(3)]
        await pair.until(lambda: pair.consumer.in_progress == 3)
        refused = await pair.call("echo", "/slow")
        pair.backend.release.set()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert refused.headers["X-Road-Error"] == "Server.ClientProxy.Overloaded"
    assert await logged(pair.consumer.gateway, refused.request_id) == []
    assert [task.result().status for task in asked] == [200, 200, 200]
    await check_afterwards(seen)
