"""REST as bytes at both ends: a client and a service without an HTTP library, and two gateways between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from gateway.messages.faults import Fault
from gateway.store.model import AccessRight
from gateway.store.repository import Repository
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.town import APP, path_of, service, service_at

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = path_of(service("roh"))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# What the road itself says in a request or an answer; all else is the other end's.
ROAD = ("x-road-", "x-datenweg-", "server:", "date:", "host:", "connection:")


@dataclass
class RawService:
    """Takes one request a connection, and says what it was told to say."""

    says: bytes = OK
    got: list[bytes] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length[0].partition(b":")[2])) if length else b""
            self.got.append(head + body)
            writer.write(self.says)
            await writer.drain()
        writer.close()

    @property
    def last(self) -> list[str]:
        """The lines of the last request, without the road's own."""
        return lines_of(self.got[-1])


def lines_of(message: bytes) -> list[str]:
    return [line for line in message.decode("utf-8").split("\r\n") if not line.lower().startswith(ROAD)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def raw(pair: GatewayPair) -> AsyncIterator[RawService]:
    """The service `roh` of the utility."""
    listening = RawService()
    server = await asyncio.start_server(listening.handle, HOST, 0)
    url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}/basis"
    entry = service_at("roh", url)
    gateway = pair.provider.gateway
    await Repository(gateway.engine).upsert_service(entry, grant_to=[AccessRight(entry.identifier, APP)])
    await pair.until(lambda: gateway.node.directory.offer(entry.identifier) is not None)
    yield listening
    server.close()


async def ask(
    pair: GatewayPair, method: str = "GET", target: str = PATH, *more: str, body: str = "", version: str = "1.1"
) -> list[str]:
    """The lines of the answer, without the road's own headers; the connection is closed with it."""
    head = [f"{method} {target} HTTP/{version}", "Host: x", f"X-Road-Client: {APP.encoded}", "Connection: close", *more]
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write("\r\n".join([*head, "", body]).encode("latin-1"))
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return lines_of(answer)


async def test_headers_that_are_spelled_in_two_ways_both_arrive(pair: GatewayPair, raw: RawService) -> None:
    raw.says = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    answer = await ask(pair, "GET", PATH, "Accept: a/b", "X-A: 1", "ACCEPT: c/d", "x-a: 2", "Cookie: a=1", "Cookie: b")
    seen = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in raw.last[1:]) if name]
    assert sorted(seen) == [
        ("accept", "a/b"), ("accept", "c/d"), ("cookie", "a=1"), ("cookie", "b"), ("x-a", "1"), ("x-a", "2")
    ]  # fmt: skip
    # In their order among themselves.
    assert [value for name, value in seen if name == "accept"] == ["a/b", "c/d"]
    assert answer[1:5] == ["X-A: 1", "x-a: 2", "Set-Cookie: a=1", "set-cookie: b=2"]


@pytest.mark.parametrize("content_type", ["", "Content-Type: a/b\r\n"], ids=["without", "with"])
async def test_a_content_type_is_the_services_or_none(pair: GatewayPair, raw: RawService, content_type: str) -> None:
    raw.says = f"HTTP/1.1 200 OK\r\n{content_type}Content-Length: 2\r\n\r\nok".encode()
    answer = await ask(pair)
    assert answer == ["HTTP/1.1 200 OK", *filter(None, [content_type.strip()]), "Content-Length: 2", "", "ok"]


async def test_two_content_types(pair: GatewayPair, raw: RawService) -> None:
    """Of a client they are refused: which of them says what its body is? A service's answer is its own affair."""
    two = ("Content-Type: a/b", "Content-Type: c/d")
    seen, raw.says = len(raw.got), OK
    answer = await ask(pair, "POST", PATH, *two, "Content-Length: 3", body="abc")
    assert answer[0] == "HTTP/1.0 400 Bad Request"
    assert '"client.bad_request"' in answer[-1]
    assert len(raw.got) == seen
    raw.says = "\r\n".join(("HTTP/1.1 200 OK", *two, "Content-Length: 2", "", "ok")).encode()
    assert await ask(pair) == ["HTTP/1.1 200 OK", *two, "Content-Length: 2", "", "ok"]


async def test_nor_has_one_that_isnt_kept_in_memory(
    pair: GatewayPair, raw: RawService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in (pair.consumer, pair.provider):
        monkeypatch.setattr(node.gateway.node.spool, "threshold", 1000)
    long = "x" * 100_000
    raw.says = f"HTTP/1.1 200 OK\r\nContent-Length: {len(long)}\r\n\r\n{long}".encode()
    assert await ask(pair) == ["HTTP/1.1 200 OK", f"Content-Length: {len(long)}", "", long]


async def test_a_request_has_the_clients_content_type_or_none(pair: GatewayPair, raw: RawService) -> None:
    raw.says = OK
    await ask(pair, "POST", PATH, "Content-Length: 3", body="abc")
    assert raw.last == ["POST /basis HTTP/1.1", "Content-Length: 3", "", "abc"]
    await ask(
        pair, "PUT", PATH, "Content-Type: a/b", "Transfer-Encoding: chunked", body="3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
    )
    assert raw.last == ["PUT /basis HTTP/1.1", "Content-Type: a/b", "Content-Length: 3", "", "abc"]


@pytest.mark.parametrize(
    ("says", "answer"),
    [
        ("200 Alles gut", ["HTTP/1.1 200 Alles gut", "Content-Length: 0", "", ""]),
        ("204 No Content", ["HTTP/1.1 204 No Content", "", ""]),
        ("206 Partial Content", ["HTTP/1.1 206 Partial Content", "Content-Length: 0", "", ""]),
        ("299", ["HTTP/1.1 299 ", "Content-Length: 0", "", ""]),
        ("304 Not Modified", ["HTTP/1.1 304 Not Modified", "", ""]),
        ("307 Temporary Redirect", ["HTTP/1.1 307 Temporary Redirect", "Location: /neu", "Content-Length: 0", "", ""]),
        ("599 Eigen", ["HTTP/1.1 599 Eigen", "Content-Length: 0", "", ""]),
    ],
)
async def test_status_lines(pair: GatewayPair, raw: RawService, says: str, answer: list[str]) -> None:
    location = "Location: /neu\r\n" if says.startswith("307") else ""
    length = "" if says.startswith("204") else "Content-Length: 0\r\n"
    raw.says = f"HTTP/1.1 {says}\r\n{location}{length}\r\n".encode()
    seen = len(raw.got)
    assert await ask(pair) == answer
    assert len(raw.got) == seen + 1


@pytest.mark.parametrize(
    "more",
    [
        '/a?x={1}|[2]^`\\"<>&y=%zz&z=%41&Z=%c3%b6',
        "/%7Ea//b;c=%2F/?",
        "/a/./b?c?d=/../e",
        "/?&&=&a",
        "?",
        "/?",
        "/a??",
        "/a?b?",
        "?a&&b=",
        "//a///",
        "/a;b=c;;d,e/;",
        "/%2F%2f/%23%3F%3f/%25/%20",
        "/+?a+b=%2B+",
        "/~-._!$&'()*,:@=",
        "/%7E%2D%5F%41%61%30",
        "/%C3%B6/%f0%9f%98%80?%C3%B6=%FF%00",
        "/a?http://b/c",
    ],
)
async def test_path_and_query_byte_for_byte(pair: GatewayPair, raw: RawService, more: str) -> None:
    raw.says = OK
    assert (await ask(pair, "GET", f"{PATH}{more}"))[0] == "HTTP/1.1 200 OK"
    assert raw.got[-1].split(b"\r\n")[0] == f"GET /basis{more} HTTP/1.1".encode("latin-1")


@pytest.mark.parametrize("more", ["/a#b", "#", "/a b", "/a\tb", "/\x7f", "/\u00c3\u00b6", "/\u00ff"])
async def test_targets_that_are_no_targets(pair: GatewayPair, raw: RawService, more: str) -> None:
    """A fragment is the client's own; blanks, controls and letters beyond ASCII are no part of a URL (RFC 3986)."""
    seen = len(raw.got)
    assert (await ask(pair, "GET", f"{PATH}{more}"))[0].split(" ")[1] in {"400", "500"}
    assert len(raw.got) == seen


async def test_a_path_that_rights_cant_be_decided_by(pair: GatewayPair, raw: RawService) -> None:
    """Of a control character nobody knows what a service makes of it (gateway/messages/paths.py)."""
    seen = len(raw.got)
    assert "access_denied" in (await ask(pair, "GET", f"{PATH}/a%00"))[-1]
    assert len(raw.got) == seen


async def test_an_absolute_target_and_an_old_client(pair: GatewayPair, raw: RawService) -> None:
    raw.says = OK
    assert (await ask(pair, "GET", f"http://sonst.example:99{PATH}/a?b"))[0] == "HTTP/1.1 200 OK"
    assert raw.last[0] == "GET /basis/a?b HTTP/1.1"
    assert (await ask(pair, version="1.0"))[0] == "HTTP/1.0 200 OK"


async def test_head_has_no_body_and_names_no_wrong_length(pair: GatewayPair, raw: RawService) -> None:
    raw.says = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 100\r\n\r\n"
    assert await ask(pair, "HEAD") == ["HTTP/1.1 200 OK", "Content-Type: a/b", "", ""]
    assert raw.last[0] == "HEAD /basis HTTP/1.1"


async def test_a_client_that_waits_to_be_told_to_go_on(pair: GatewayPair, raw: RawService) -> None:
    """RFC 9110 section 10.1.1; many clients ask first when they have much to send."""
    raw.says = OK
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    head = f"Host: x\r\nX-Road-Client: {APP.encoded}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n"
    writer.write(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode())
    async with asyncio.timeout(20):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    writer.close()
    assert raw.last == ["POST /basis HTTP/1.1", "Content-Length: 3", "", "abc"]


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
async def test_a_client_that_offers_another_protocol(pair: GatewayPair, raw: RawService, upgrade: str) -> None:
    """Java's client offers HTTP/2 with each first request; nobody has to take the offer (RFC 9110 section 7.8)."""
    raw.says = OK
    offer = (f"Upgrade: {upgrade}", "Connection: Upgrade, HTTP2-Settings", "Content-Length: 3")
    assert (await ask(pair, "POST", PATH, *offer, body="abc"))[0] == "HTTP/1.1 200 OK"
    assert raw.last == ["POST /basis HTTP/1.1", "Content-Length: 3", "", "abc"]


@pytest.mark.parametrize("target", ["/r1", "/r1?a=b", "/R1/x", "//r1/x", "/r2/a/b/c/d/e"])
async def test_whatever_isnt_below_r1_is_for_soap(pair: GatewayPair, target: str) -> None:
    answer = await ask(pair, "GET", target)
    assert answer[:2] == ["HTTP/1.1 200 OK", "Content-Type: text/xml;charset=utf-8"]
    assert "<faultcode>client.invalid_http_method</faultcode>" in answer[-1]


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        *(
            (method, 500, "server.clientproxy.internal_error")
            for method in ("CONNECT", "LINK", "PROPFIND", "M-SEARCH", "get", "HOLE", "POSTE", "!#$%&'*+.^_`|~")
        ),
        *((method, 400, "client.bad_request") for method in ("(GET)", "H\u00d6LE", "HO\x00LE", "X" * 65)),
    ],
)
async def test_verbs_that_arent_the_protocols(pair: GatewayPair, method: str, status: int, code: str) -> None:
    """Those that could be are told as X-Road tells them; what is no verb at all isn't HTTP (docs/errors.md)."""
    position = pair.position
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(f"{method} {PATH} HTTP/1.1\r\nHost: x\r\nX-Road-Client: {APP.encoded}\r\n\r\n".encode("latin-1"))
    async with asyncio.timeout(20):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    assert head.split(" ")[1] == str(status)
    assert f"\r\nX-Road-Error: {code}\r\n" in head
    (line,) = [line for line in pair.lines(position) if line.get("event") == "exchange refused"]
    assert (line["code"], line["role"]) == (code, "consumer")
    assert f"\r\nx-road-request-id: {line['exchange']}\r\n" in head


async def test_a_verb_of_nobodys_ends_the_connection(pair: GatewayPair, raw: RawService) -> None:
    """Nobody knows whether it has a body: what follows is no request."""
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    head = f"Host: x\r\nX-Road-Client: {APP.encoded}\r\nContent-Length: 0\r\n\r\n"
    seen = len(raw.got)
    writer.write(f"HOLE {PATH} HTTP/1.1\r\n{head}GET {PATH} HTTP/1.1\r\n{head}".encode())
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert answer.count(b"HTTP/1.") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert len(raw.got) == seen


async def test_a_verb_of_nobodys_outside_of_rest(pair: GatewayPair) -> None:
    answer = await ask(pair, "HOLE", "/")
    assert answer[0].endswith(" 200 OK")
    assert "<faultcode>client.invalid_http_method</faultcode>" in answer[-1]


@pytest.mark.parametrize("target", ["/", "amt.example:443"])
async def test_nobody_is_told_that_a_tunnel_is_open(pair: GatewayPair, target: str) -> None:
    """RFC 9110 section 9.3.6: after CONNECT and a 2xx, all that follows would be the tunnel's."""
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(
        f"CONNECT {target} HTTP/1.1\r\nHost: amt.example:443\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    )
    async with asyncio.timeout(20):
        answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 400 ")
    assert "\r\nX-Road-Error: client.invalid_http_method\r\n" in answer
    assert "\r\nConnection: close\r\n" in answer
    assert answer.count("HTTP/1.1") == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://ö.example/a?",
        "http://[::1/a",
        "http:///a?",
        "ftp://x/a?",
        "http://x:99999/a?",
        "http://127.0.0.1:1/a b",
        "http://127.0.0.1:1/a\r\nb",
        "http://127.0.0.1:1/a\x7f",
    ],
)
async def test_addresses_of_services_that_are_none(pair: GatewayPair, url: str) -> None:
    with pytest.raises(Fault) as refused:
        await pair.provider.gateway.node.services.call("GET", url, [], None, timeout_seconds=1)
    assert refused.value.code == "server.serverproxy.service_malformed_url"
