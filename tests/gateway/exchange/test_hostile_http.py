"""Raw bytes at the ports: each is answered in our own form or cut, as docs/limits.md says; nobody else notices."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter

import pytest
import pytest_asyncio
from aiohttp import web

from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.town import APP, path_of, service

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = path_of(service("echo"), "/echo")
BINARY = path_of(service("echo"), "/binary")
COMMON = f"Host: x\r\nX-Road-Client: {APP.encoded}\r\n"
HEAD_SECONDS = 0.4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        folder = tmp_path_factory.mktemp("roh")
        async with gateway_pair(folder, output, request_head_seconds=HEAD_SECONDS, max_connections=100) as running:
            yield running


@dataclass(frozen=True)
class Raw:
    """What came back until the other side closed."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["type"])


def parse(data: bytes) -> Raw | None:
    """The first answer in some bytes; None if there is none."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", "0"))
    return Raw(int(first.split(" ")[1]), headers, rest[:length], rest[length:])


async def talk(pair: GatewayPair, *pieces: bytes, pause: float = 0.0, wait: float = 5.0) -> bytes:
    """What the client port says to these bytes until it closes, or has said nothing more for a moment."""
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    received = bytearray()
    with suppress(ConnectionError):
        for piece in pieces:
            if writer.is_closing():
                break
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
    with suppress(ConnectionError):
        async with asyncio.timeout(wait):
            while chunk := await reader.read(1 << 16):
                received += chunk
                answer = parse(bytes(received))
                # A kept-alive connection is done when its answer is there.
                if answer is not None and answer.headers.get("connection") != "close":
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            received += await reader.read(1 << 16)
                    break
    writer.transport.abort()
    return bytes(received)


def post(headers: str, body: str = "", target: str = BINARY, common: str = COMMON) -> bytes:
    return f"POST {target} HTTP/1.1\r\n{common}{headers}\r\n{body}".encode("latin-1")


SMUGGLED = f"POST {ECHO}?geschmuggelt HTTP/1.1\r\n{COMMON}Content-Length: 0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
REFUSED = {
    "length and chunked": post(f"Content-Length: 5\r\n{CHUNKED}", f"0\r\n\r\n{SMUGGLED}"),
    "chunked and length": post(f"{CHUNKED}Content-Length: 5\r\n", f"0\r\n\r\n{SMUGGLED}"),
    "two lengths": post("Content-Length: 0\r\nContent-Length: 5\r\n", SMUGGLED),
    "the same length twice": post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
    "a list of lengths": post("Content-Length: 3, 3\r\n", "abc"),
    "a signed length": post("Content-Length: +3\r\n", "abc"),
    "a negative length": post("Content-Length: -1\r\n", "abc"),
    "a hexadecimal length": post("Content-Length: 0x3\r\n", "abc"),
    "an endless length": post("Content-Length: 99999999999999999999999\r\n", "abc"),
    "chunked twice": post("Transfer-Encoding: chunked, chunked\r\n", f"0\r\n\r\n{SMUGGLED}"),
    "another coding last": post("Transfer-Encoding: chunked, identity\r\n", f"0\r\n\r\n{SMUGGLED}"),
    "an unknown coding": post("Transfer-Encoding: xchunked\r\n", f"0\r\n\r\n{SMUGGLED}"),
    "a blank before the colon": post("Content-Length : 3\r\n", "abc"),
    "a folded header": post("X-Road-Issue: eins\r\n zwei\r\nContent-Length: 0\r\n"),
    "lines that end with LF": post("").replace(b"\r\n", b"\n"),
    "one line that ends with LF": post("X-Eins: 1\nX-Zwei: 2\r\n"),
    "a bare CR": post("X-Eins: 1\rX-Zwei: 2\r\n"),
    "a NUL in a value": post("X-Eins: 1\x002\r\n"),
    "a NUL in a name": post("X-\x00Eins: 1\r\n"),
    "no name": post(": wert\r\n"),
    "no colon": post("Unsinn\r\n"),
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 tls? \r\n\r\n",
    "another protocol": b"HELO road\r\n\r\n",
    "another version": f"GET {ECHO} HTTP/3.7\r\n{COMMON}\r\n".encode(),
    "a blank in the target": f"GET {ECHO} x HTTP/1.1\r\n{COMMON}\r\n".encode(),
    "a control character in the target": f"GET {ECHO}\x01 HTTP/1.1\r\n{COMMON}\r\n".encode(),
    "a bad chunk size": post(CHUNKED, "zz\r\nabc\r\n0\r\n\r\n"),
    "a negative chunk size": post(CHUNKED, "-3\r\nabc\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": post(CHUNKED, f"3\r\nabcdef\r\n0\r\n\r\n{SMUGGLED}"),
    "a chunk with LF": post(CHUNKED, f"3\nabc\n0\n\n{SMUGGLED}"),
    "a huge chunk size": post(CHUNKED, "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    "a line that is too long": post(f"X-Lang: {'x' * 20_000}\r\n"),
    "a target that is too long": f"GET {ECHO}?{'x' * 20_000} HTTP/1.1\r\n{COMMON}\r\n".encode(),
    "too many headers": post("".join(f"X-{n}: 1\r\n" for n in range(400))),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_could_be_read_in_two_ways_is_refused(pair: GatewayPair, name: str) -> None:
    calls, position = len(pair.backend.calls), pair.position
    answer = parse(await talk(pair, REFUSED[name]))
    assert answer is not None, "cut without an answer"
    assert answer.status == 400, answer
    assert answer.rest == b""
    assert answer.headers["x-road-error"] == "client.bad_request"
    assert answer.headers["connection"] == "close"
    assert answer.error == "client.bad_request"
    assert "geschmuggelt" not in str([call.target for call in pair.backend.calls[calls:]])
    assert len(pair.backend.calls) == calls
    detail = json.loads(answer.body)["detail"]
    lines = [line for line in pair.lines(position) if line.get("exchange") == detail]
    assert [line["event"] for line in lines] == ["exchange refused"]
    pair.require_discreet(position)


ACCEPTED = {
    "a chunk extension": (post(CHUNKED, "3;name=wert\r\nabc\r\n0\r\n\r\n"), b"abc"),
    "a trailer": (post(CHUNKED, "3\r\nabc\r\n0\r\nX-Spaeter: 1\r\n\r\n"), b"abc"),
    "upper case in the size": (post(CHUNKED, "A\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    "leading zeros": (post(CHUNKED, "0003\r\nabc\r\n0\r\n\r\n"), b"abc"),
    "an absolute target": (post("Content-Length: 3\r\n", "abc", f"http://anderswo.example{BINARY}"), b"abc"),
    "an empty line before": (b"\r\n" + post("Content-Length: 3\r\n", "abc"), b"abc"),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_what_is_unusual_and_unambiguous_is_taken(pair: GatewayPair, name: str) -> None:
    sent, body = ACCEPTED[name]
    answer = parse(await talk(pair, sent))
    assert answer is not None
    assert (answer.status, answer.body) == (200, body)
    call = pair.backend.calls[-1]
    assert call.body == body
    assert "X-Spaeter" not in call.headers


@pytest.mark.parametrize(
    "lines",
    [
        f"X-Road-Client: {APP.encoded}\r\n",
        "X-Road-Id: eins\r\nX-Road-Id: zwei\r\n",
        "Host: y\r\nX-Road-Service: a\r\nX-Road-Service: b\r\n",
    ],
    ids=["client", "id", "service"],
)
async def test_a_road_header_twice(pair: GatewayPair, lines: str) -> None:
    answer = parse(await talk(pair, post(lines + "Content-Length: 0\r\n")))
    assert answer is not None
    assert answer.status in {400, 200}
    if "Service" not in lines:
        assert (answer.status, answer.error) == (400, "client.duplicate_header_field")


@pytest.mark.parametrize("value", ["ein\twert", "umlaut \xe4", "  rand  "])
async def test_no_header_of_a_client_becomes_another(pair: GatewayPair, value: str) -> None:
    sent = post("Content-Length: 0\r\n".join(("", f"X-Eigenes: {value}\r\n")))
    await talk(pair, sent)
    names = [name.lower() for name in pair.backend.calls[-1].headers]
    assert names.count("x-eigenes") == 1
    assert names.count("content-length") <= 1


async def test_no_header_of_a_service_becomes_another(pair: GatewayPair) -> None:
    """A service that splits its answer: the bytes behind are no answer of the road."""
    calls = len(pair.backend.calls)
    split = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Eins: a\x00b\r\n\r\nok"

    async def answer(request):  # type: ignore[no-untyped-def]
        request.transport.write(split)
        request.transport.close()
        return web.Response()

    pair.backend.answer = answer
    try:
        got = await pair.call("echo", "/echo")
    finally:
        pair.backend.answer = None
    assert (got.status, got.json["type"]) == (500, "server.serverproxy.service_failed.invalid_message")
    assert "X-Eins" not in got.headers
    assert len(pair.backend.calls) == calls


async def test_pipelined_requests_are_answered_in_order(pair: GatewayPair) -> None:
    both = post("Content-Length: 4\r\n", "eins") + post("Content-Length: 4\r\nConnection: close\r\n", "zwei")
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(both)
    async with asyncio.timeout(5):
        received = await reader.read()
    writer.close()
    assert received.index(b"\r\n\r\neins") < received.index(b"\r\n\r\nzwei")


async def test_a_body_that_stops_is_told_apart_from_one_that_ends(pair: GatewayPair) -> None:
    calls = len(pair.backend.calls)
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(post("Content-Length: 10\r\n", "halb"))
    writer.write_eof()
    async with asyncio.timeout(5):
        received = await reader.read()
    answer = parse(received)
    assert answer is None or (answer.status, answer.error) == (400, "client.bad_request")
    writer.close()
    assert len(pair.backend.calls) == calls


async def test_a_client_that_only_closes_its_own_side_gets_its_answer(pair: GatewayPair) -> None:
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(post("Content-Length: 4\r\n", "ganz"))
    writer.write_eof()
    async with asyncio.timeout(5):
        received = await reader.read()
    answer = parse(received)
    writer.close()
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"ganz")


def cut(pair: GatewayPair, reason: str) -> float:
    value = pair.consumer.gateway.node.metrics.registry.get_sample_value(
        "datenweg_connections_cut_total", {"reason": reason}
    )
    return value or 0.0


@pytest.mark.parametrize("beginning", [b"G", b"GET / HTTP/1.1\r\n", post("X-Halb: ja")])
async def test_a_head_that_doesnt_come_to_its_end_is_cut(pair: GatewayPair, beginning: bytes) -> None:
    before, began = cut(pair, "head"), perf_counter()
    assert await talk(pair, beginning) == b""
    assert HEAD_SECONDS * 0.9 < perf_counter() - began < HEAD_SECONDS + 2
    assert cut(pair, "head") == before + 1


async def test_a_head_that_trickles_is_cut(pair: GatewayPair) -> None:
    began = perf_counter()
    sent = post("X-Langsam: ja\r\n")
    assert await talk(pair, *(sent[n : n + 1] for n in range(len(sent) - 1)), pause=0.02) == b""
    assert perf_counter() - began < len(sent) * 0.02 + 2


async def test_others_go_on_while_connections_are_taken_by_a_flood(pair: GatewayPair) -> None:
    """Five times the connections that there are, none of which asks for anything: who asks still gets in."""
    port, before = pair.consumer.settings.client_port, cut(pair, "room")
    flood = []
    slowest = 0.0
    try:
        for _ in range(10):
            flood += await asyncio.gather(*(asyncio.open_connection(HOST, port) for _ in range(50)))
            began = perf_counter()
            answer = await pair.call("echo", "/binary", "POST", body=b"ich auch")
            slowest = max(slowest, perf_counter() - began)
            assert answer.body == b"ich auch"
        server = pair.consumer.gateway.listeners[0].app
        assert len(server.connections) <= 100  # type: ignore[union-attr]
    finally:
        for _, writer in flood:
            writer.transport.abort()
    assert slowest < 2
    assert cut(pair, "room") >= before + 400


async def test_an_answer_that_nobody_takes_is_thrown_away(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client asks and never reads: once the gateway closes, what waits for it doesn't stay."""
    monkeypatch.setattr("gateway.http_server._FLUSH_SECONDS", 0.1)
    server = pair.consumer.gateway.listeners[0].app
    before, known = cut(pair, "stuck"), set(server.connections)  # type: ignore[union-attr]
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port, limit=1024)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    body = "x" * 200_000
    for _ in range(40):
        writer.write(post(f"Content-Length: {len(body)}\r\n", body))
    await pair.until(lambda: bool(set(server.connections) - known))  # type: ignore[union-attr]
    (connection,) = set(server.connections) - known  # type: ignore[union-attr]
    await pair.until(
        lambda: connection.transport is not None and connection.transport.get_write_buffer_size() > 0, seconds=20
    )
    connection.force_close()
    await pair.until(lambda: cut(pair, "stuck") == before + 1)
    await pair.until(lambda: connection not in server.connections)  # type: ignore[union-attr]
    writer.transport.abort()
    assert not reader.at_eof()
