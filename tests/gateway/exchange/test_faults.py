"""What is down, slow or garbled on the way: each with its own error, logged on both sides, nothing tried twice."""

from __future__ import annotations

import asyncio

import pytest

from gateway.messages.faults import Hop
from gateway.registry import membership
from tests.gateway.exchange.pair import MAX_BODY, GatewayPair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.refusals import check_afterwards, check_refusal, watch
from tests.gateway.exchange.town import APP, CITY, UTILITY, path_of, service

pytestmark = pytest.mark.asyncio(loop_scope="module")
CONSUMER, ADAPTER, SERVICE = Hop.CONSUMER_GATEWAY, Hop.ADAPTER, Hop.SERVICE


# -- the adapter


@pytest.mark.parametrize(
    ("code", "rest", "refusal", "calls"),
    [
        ("tot", "/", "network_error", 0),
        ("langsam", "/slow", "io_error", 1),
        ("echo", "/garbage", "invalid_message", 1),
        ("echo", "/cut", "io_error", 1),
        ("echo", "/silent", "network_error", 1),
        ("echo", f"/large/{MAX_BODY + 1}", "body_too_large", 1),
        ("echo", "/endless", "body_too_large", 1),
        ("echo", "/many-headers/10", "http_error", 1),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_adapter(pair: GatewayPair, *, code: str, rest: str, refusal: str, calls: int, method: str) -> None:
    seen = watch(pair)
    answer = await pair.call(code, rest, method, headers=pair.citizen())
    await check_refusal(
        seen,
        answer,
        f"server.serverproxy.service_failed.{refusal}",
        500,
        ADAPTER if refusal in ("network_error", "io_error") else SERVICE,
        consumer="failed",
        provider="failed",
        calls=calls,
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_an_adapter_that_hangs_up_on_a_warm_connection_is_asked_once(pair: GatewayPair, method: str) -> None:
    assert (await pair.call("echo", "/echo", method)).status == 200
    seen = watch(pair)
    answer = await pair.call("echo", "/silent", method)
    code = "server.serverproxy.service_failed.network_error"
    await check_refusal(seen, answer, code, 500, ADAPTER, consumer="failed", provider="failed", calls=1)


async def test_an_address_that_is_none(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("falsche-adresse")
    code = "server.serverproxy.service_malformed_url"
    await check_refusal(seen, answer, code, 500, Hop.PROVIDER_GATEWAY, consumer="failed", provider="failed")


async def test_an_answer_at_the_limit(pair: GatewayPair) -> None:
    answer = await pair.call("echo", f"/large/{MAX_BODY}")
    assert (answer.status, len(answer.body)) == (200, MAX_BODY)


# -- the provider's gateway


async def test_the_providers_gateway_is_down_and_comes_back(pair: GatewayPair) -> None:
    assert (await pair.call("echo")).status == 200
    await pair.provider.stop()
    try:
        answer = await pair.call("echo", headers=pair.citizen())
    finally:
        await pair.provider.start()
    assert answer.headers["X-Road-Error"] == "server.clientproxy.network_error"
    seen = watch(pair)
    code = answer.headers["X-Road-Error"]
    summary = [entry.summary for entry in await logged(pair.consumer.gateway, answer.request_id)]
    assert summary == [("request", "ok", []), ("response", code, [("failed", code)])]
    assert (await pair.call("echo")).status == 200
    await check_afterwards(seen)


async def test_something_else_listens_at_the_providers_address(pair: GatewayPair) -> None:
    """Another member's gateway, with its real keys, at the address of the provider's: not a byte reaches it."""
    port = pair.provider.settings.peer_port
    await pair.provider.stop()
    arrived = len(pair.rogue.arrived)
    try:
        async with pair.rogue.also_at(HOST, port):
            answer = await pair.call("echo")
    finally:
        await pair.provider.start()
    assert answer.headers["X-Road-Error"] == "server.clientproxy.ssl_authentication_failed"
    assert len(pair.rogue.arrived) == arrived


async def test_maintenance(pair: GatewayPair) -> None:
    pair.registry.state.update(lambda p: membership.set_maintenance(p, UTILITY.server, "bis 14 Uhr"))
    await pair.publish()
    seen = watch(pair)
    answer = await pair.call("echo")
    await check_refusal(seen, answer, "server.clientproxy.maintenance_mode", 500, CONSUMER)
    assert "bis 14 Uhr" in answer.json["message"]
    pair.registry.state.update(lambda p: membership.set_maintenance(p, UTILITY.server, None))
    await pair.publish()
    assert (await pair.call("echo")).status == 200


async def test_a_client_that_was_taken_off_its_gateway(pair: GatewayPair) -> None:
    pair.registry.state.update(lambda p: membership.remove_client(p, CITY.server, APP))
    await pair.publish()
    seen = watch(pair)
    answer = await pair.call("echo")
    await check_refusal(seen, answer, "server.clientproxy.unknown_member", 500, CONSUMER)
    pair.registry.state.update(lambda p: membership.register_client(p, CITY.server, APP))
    await pair.publish()
    assert (await pair.call("echo")).status == 200


# -- the client


async def _raw(pair: GatewayPair, data: bytes) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(data)
    await writer.drain()
    return writer


def _head(pair: GatewayPair, rest: str, length: int) -> bytes:
    head = f"POST {path_of(service('echo'), rest)} HTTP/1.1\r\nHost: x\r\nX-Road-Client: {APP.encoded}\r\n"
    return f"{head}X-Datenweg-Citizen: {pair.token()}\r\nContent-Length: {length}\r\n\r\n".encode()


async def test_a_client_that_hangs_up_halfway_through_its_body(pair: GatewayPair) -> None:
    seen = watch(pair)
    writer = await _raw(pair, _head(pair, "/echo", 1000) + b"x" * 500)
    writer.close()
    await writer.wait_closed()
    await pair.until(lambda: any(line.get("code") == "client.bad_request" for line in pair.lines(seen.position)))
    (line,) = [line for line in pair.lines(seen.position) if line["event"] == "exchange refused"]
    assert await logged(pair.consumer.gateway, line["exchange"]) == []
    assert seen.new_calls == 0
    assert pair.consumer.in_progress == 0
    await check_afterwards(seen)


async def test_a_client_that_hangs_up_while_it_waits(pair: GatewayPair) -> None:
    """What was sent can't be unsent: the exchange ends, and is logged on both sides, as if the client had waited."""
    seen = watch(pair)
    pair.backend.release.clear()
    pair.backend.reached.clear()
    writer = await _raw(pair, _head(pair, "/slow", 2) + b"{}")
    await asyncio.wait_for(pair.backend.reached.wait(), 5)
    writer.transport.abort()
    request_id = pair.backend.calls[-1].headers["X-Road-Request-Id"]
    pair.backend.release.set()
    await pair.until(lambda: pair.consumer.in_progress == 0)
    for node in (pair.consumer, pair.provider):
        summary = [entry.summary for entry in await logged(node.gateway, request_id)]
        assert summary == [("request", "ok", []), ("response", "ok", [("delivered", None)])]
    await check_afterwards(seen)


async def test_a_client_that_asks_before_it_sends(pair: GatewayPair) -> None:
    """`Expect: 100-continue` (RFC 9110 10.1.1): without an answer, curl waits a second before each larger body."""
    head = _head(pair, "/binary", 2).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(head)
    assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 100 Continue\r\n"
    assert await reader.readline() == b"\r\n"
    writer.write(b"ja")
    assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    await writer.wait_closed()


async def test_what_is_no_http(pair: GatewayPair) -> None:
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(b"\x16\x03\x01\x00\xa5\x01 das ist kein HTTP kanarienvogel\r\n\r\n")
    seen = watch(pair)
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.0 400")
    writer.close()
    await writer.wait_closed()
    pair.require_discreet(seen.position)


# -- stopping


async def test_stopping_finishes_what_was_accepted(pair: GatewayPair) -> None:
    pair.backend.release.clear()
    pair.backend.reached.clear()
    waiting = asyncio.create_task(pair.call("echo", "/slow"))
    await asyncio.wait_for(pair.backend.reached.wait(), 5)
    stopping = asyncio.create_task(pair.consumer.stop())
    await asyncio.sleep(0)
    pair.backend.release.set()
    answer = await waiting
    await stopping
    await pair.consumer.start()
    assert (answer.status, answer.body) == (200, b"spaet")
    for node in (pair.consumer, pair.provider):
        assert len(await logged(node.gateway, answer.request_id)) == 2
