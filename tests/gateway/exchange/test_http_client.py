"""Asking over HTTP: what goes out, and what is made of what comes back, whether a body is in memory or in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from yarl import URL

from gateway.exchange.deadlines import Deadline
from gateway.exchange.http_client import HTTPClient
from gateway.exchange.services import service_session
from gateway.messages.content import Sendable
from tests.gateway.exchange.ports import HOST

OK = b"HTTP/1.1 200 Gut\r\nContent-Length: 4\r\nX-Zwei: a\r\nx-zwei: b\r\n\r\nGut!"
LIMIT = 1000


@dataclass
class Script:
    """A server that answers each request with the next of `answers`; b"" breaks the connection off."""

    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                _, found, length = head.lower().partition(b"content-length: ")
                body = await reader.readexactly(int(length.partition(b"\r\n")[0])) if found else b""
                self.requests.append(head + body)
                answer = self.answers.pop(0)
                if not answer:
                    break
                writer.write(answer)
                if b"Content-Length" not in answer and b"chunked" not in answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


class Stored:
    """A content that isn't in memory."""

    size = 5
    digest = b""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"hal"
        yield b"lo"


@asynccontextmanager
async def asking(*answers: bytes) -> AsyncIterator[tuple[HTTPClient, URL, Script]]:
    script = Script(list(answers))
    server = await asyncio.start_server(script.serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, service_session(10) as session:
        yield HTTPClient(session, max_line=LIMIT), URL(f"http://{HOST}:{port}/pfad?a=%20", encoded=True), script


async def ask(
    client: HTTPClient, url: URL, method: str = "POST", body: Sendable | None = b"hallo", *, read: bool = True
) -> tuple[int, str | None, str | None, bytes]:
    deadline = Deadline(10, 1)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    headers = [("X-Eins", "ü"), ("X-Eins", "zwei")]
    async with client.request(method, url, headers, body, deadline=deadline, timeout=timeout, ssl=True) as answer:
        content = await answer.content.read() if read else b""
        return answer.status, answer.reason, answer.headers.get("X-ZWEI"), content


@pytest.mark.parametrize("body", [b"hallo", (Stored(),)], ids=["in memory", "in pieces"])
async def test_request_and_answer(body: Sendable) -> None:
    async with asking(OK, OK) as (client, url, script):
        for _ in range(2):
            assert await ask(client, url, body=body) == (200, "Gut", "a", b"Gut!")
    lines = ["POST /pfad?a=%20 HTTP/1.1", f"Host: {HOST}:{url.port}", "X-Eins: ü", "X-Eins: zwei", "Content-Length: 5"]
    assert script.requests == ["\r\n".join((*lines, "", "hallo")).encode()] * 2
    assert script.connections == 1


@pytest.mark.parametrize(("method", "says"), [("GET", False), ("HEAD", False), ("DELETE", True), ("POST", True)])
async def test_no_body(method: str, says: bool) -> None:
    head = OK.removesuffix(b"Gut!")
    async with asking(head if method == "HEAD" else OK, OK) as (client, url, script):
        assert (await ask(client, url, method, None))[3] == (b"" if method == "HEAD" else b"Gut!")
        await ask(client, url)
    assert (b"Content-Length: 0\r\n" in script.requests[0]) is says
    assert b"Content-Length" in script.requests[0] or not says
    assert script.connections == 1


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"Gut!"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGut!\r\n0\r\n\r\n", b"Gut!"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nGut!", b"Gut!"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["after an interim one", "chunked", "until the end", "empty"],
)
async def test_forms_of_answers(answer: bytes, content: bytes) -> None:
    async with asking(answer, OK) as (client, url, _):
        assert (await ask(client, url))[3] == content
        assert (await ask(client, url))[3] == b"Gut!"


async def test_a_status_that_is_none_is_the_answer() -> None:
    """It isn't an interim one, after which another would come: nobody waits for that."""
    async with asking(b"HTTP/1.1 099 Unsinn\r\nContent-Length: 0\r\n\r\n") as (client, url, _):
        assert (await ask(client, url))[0] == 99


async def test_a_connection_whose_answer_was_not_read_is_not_used_again() -> None:
    begun = OK.replace(b"Content-Length: 4", b"Content-Length: 9")
    async with asking(begun, OK) as (client, url, script):
        await ask(client, url, read=False)
        assert (await ask(client, url))[3] == b"Gut!"
    assert script.connections == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", aiohttp.ServerDisconnectedError),
        (b"SSH-2.0-x\r\n\r\n", aiohttp.ClientResponseError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * LIMIT + b"\r\n\r\n", aiohttp.ClientResponseError),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Le", aiohttp.ClientError),
    ],
    ids=["none", "another protocol", "a long line", "broken off"],
)
async def test_no_answer(answer: bytes, error: type[Exception]) -> None:
    """One attempt: what failed isn't asked again."""
    async with asking(answer, OK) as (client, url, script):
        with pytest.raises(error):
            await ask(client, url, "GET", None)
        assert len(script.requests) == 1
        assert (await ask(client, url))[3] == b"Gut!"


async def test_nobody_there() -> None:
    async with asking() as (client, url, _):
        pass
    async with service_session(10) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(HTTPClient(session, max_line=LIMIT), url)
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(client, url)


async def test_who_asks_in_the_address_is_told() -> None:
    async with asking(OK) as (client, url, script):
        await ask(client, url.with_user("ich").with_password("x"))
    assert b"\r\nAuthorization: Basic aWNoOng=\r\n" in script.requests[0]


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\nb", "a\rb", "a\0b"])
async def test_a_header_that_would_break_is_not_sent(value: str) -> None:
    async with asking(OK) as (client, url, script):
        timeout = aiohttp.ClientTimeout(total=None)
        with pytest.raises(ValueError, match="line break"):
            client.request("GET", url, [("X", value)], None, deadline=Deadline(1, 1), timeout=timeout, ssl=True)
    assert script.requests == []
