"""Bodies beyond the threshold: they pass unchanged, in bounded room, and leave nothing behind."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import io
import os
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from sqlalchemy import select

from audit.message_reader import MessageReader
from audit.store import message_record
from gateway.admin.log import verify_logs
from gateway.exchange import provider_http, streaming
from tests.gateway.exchange import streams
from tests.gateway.exchange.backend import Call
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.records import require_sound, view_of
from tests.gateway.exchange.soap_messages import Message, response_to, without_hash
from tests.gateway.exchange.town import APP, path_of, service

pytestmark = pytest.mark.asyncio(loop_scope="module")

KIB = 1024
THRESHOLD = 32 * KIB
MAX_BODY = 4 << 20
MAX_LOGGED = 1 << 20
# Below, at and beyond the threshold, a whole spooled chunk, and one byte more.
SIZES = [THRESHOLD - 1, THRESHOLD, THRESHOLD + 1, 200 * KIB, 256 * KIB, 256 * KIB + 1, MAX_LOGGED - 4 * KIB]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    output: io.StringIO
    with captured_output() as output:
        async with gateway_pair(
            tmp_path_factory.mktemp("strom"),
            output,
            max_body_bytes=MAX_BODY,
            spool_threshold_bytes=THRESHOLD,
            max_loggable_body_bytes=MAX_LOGGED,
            body_digest_allowed=True,
        ) as running:
            yield running


def nodes(pair: GatewayPair) -> list[RunningNode]:
    return [pair.consumer, pair.provider]


async def require_nothing_left(pair: GatewayPair) -> None:
    """All room is given back, and no file is open."""
    for node in nodes(pair):
        spool, settings = node.gateway.node.spool, node.settings
        await pair.until(
            lambda s=spool, v=settings: (s.memory.left, s.spooled.left) == (v.max_bodies_bytes, v.max_spooled_bytes)  # type: ignore[misc]
        )
        await pair.until(lambda v=settings: not streams.spooled_files(os.getpid(), v.spool_directory))  # type: ignore[misc]
        assert list(settings.spool_directory.iterdir()) == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_rest_body_there_and_back(pair: GatewayPair, size: int, chunked: bool) -> None:
    body = os.urandom(size)
    answer = await pair.call("echo", "/binary", "POST", body=body, chunked=chunked)
    assert answer.status == 200, answer.body[:500]
    assert pair.backend.calls[-1].body == body
    assert answer.body == body
    assert answer.headers["Content-Length"] == str(size)
    await require_nothing_left(pair)


async def kept(node: RunningNode, message_id: str) -> list[tuple[str, str, tuple[bytes, ...]]]:
    """How the messages of an exchange were kept, and their attachments."""
    view = view_of(node.gateway)
    reader = MessageReader(view.engine, view.messages)
    opened = await reader.open(await reader.of_message_id(message_id))
    return [(one.header.direction, one.header.kept, one.attachments) for one in opened]


async def test_what_is_small_enough_is_logged_whole_though_it_was_spooled(pair: GatewayPair) -> None:
    body = os.urandom(500 * KIB)
    await pair.call("echo", "/binary", "POST", body=body, headers={"X-Road-Id": "ganz-1"})
    for node in nodes(pair):
        assert await kept(node, "ganz-1") == [("request", "whole", (body,)), ("response", "whole", (body,))]
        # The digests of the rows were made of those that the bodies got on their way in.
        await require_sound(node.gateway)


@pytest.mark.parametrize("size", [MAX_LOGGED + 1, MAX_BODY])
async def test_what_is_too_large_to_log_is_logged_by_its_digest(pair: GatewayPair, size: int) -> None:
    body, name = os.urandom(size), f"digest-{size}"
    answer = await pair.call("echo", "/binary", "POST", body=body, headers={"X-Road-Id": name})
    assert answer.body == body
    digest = hashlib.sha512(body).digest()
    for node in nodes(pair):
        assert await kept(node, name) == [("request", "digest", (digest,)), ("response", "digest", (digest,))]
    await require_nothing_left(pair)


@pytest.mark.parametrize("rest", ["/binary", "/large/"])
async def test_one_byte_too_much(pair: GatewayPair, rest: str) -> None:
    size = MAX_BODY + 1
    if rest == "/binary":
        answer = await pair.call("echo", rest, "POST", body=bytes(size))
        assert (answer.status, answer.json["type"]) == (400, "client.body_too_large")
    else:
        answer = await pair.call("echo", f"{rest}{size}")
        assert (answer.status, answer.json["type"]) == (500, "server.serverproxy.service_failed.body_too_large")
    await require_nothing_left(pair)


async def test_a_client_that_breaks_off_leaves_nothing(pair: GatewayPair) -> None:
    calls = len(pair.backend.calls)
    _, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    head = f"POST {path_of(service('echo'), '/binary')} HTTP/1.1\r\nHost: x\r\nX-Road-Client: {APP.encoded}\r\n"
    writer.write(head.encode() + b"Content-Length: 3000000\r\n\r\n" + bytes(1_000_000))
    await writer.drain()
    spool = pair.consumer.gateway.node.spool
    await pair.until(lambda: spool.spooled.left < pair.consumer.settings.max_spooled_bytes)
    writer.transport.abort()
    await require_nothing_left(pair)
    assert len(pair.backend.calls) == calls


async def test_a_client_that_stops_taking_the_answer_leaves_nothing(pair: GatewayPair) -> None:
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    target = path_of(service("echo"), f"/large/{MAX_BODY}")
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nX-Road-Client: {APP.encoded}\r\n\r\n".encode())
    assert (await reader.readexactly(100)).startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()
    await require_nothing_left(pair)


async def test_a_service_that_breaks_off_is_an_error_and_no_answer(
    pair: GatewayPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair.backend, "answer", streams.handle, raising=False)
    answer = await pair.call("echo", f"/break/{MAX_BODY // 2}")
    assert (answer.status, answer.json["type"]) == (500, "server.serverproxy.service_failed.io_error")
    await require_nothing_left(pair)


async def test_no_room_is_said_before_anything_happens(pair: GatewayPair) -> None:
    spool = pair.consumer.gateway.node.spool
    calls = len(pair.backend.calls)
    spool.spooled.take(spool.spooled.left - THRESHOLD)
    try:
        answer = await pair.call("echo", "/binary", "POST", body=bytes(THRESHOLD * 30))
        assert (answer.status, answer.json["type"]) == (503, "server.clientproxy.overloaded")
        assert answer.headers["Retry-After"] == "1"
        small = await pair.call("echo", "/binary", "POST", body=b"klein")
        assert small.body == b"klein"
    finally:
        spool.spooled.give_back(pair.consumer.settings.max_spooled_bytes - spool.spooled.left)
    assert len(pair.backend.calls) == calls + 1
    await require_nothing_left(pair)


async def test_a_full_disk_is_told_and_survived(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    position = pair.position
    with monkeypatch.context() as patched:
        patched.setattr("gateway.exchange.spool.os.write", full)
        answer = await pair.call("echo", "/binary", "POST", body=bytes(THRESHOLD * 30))
    assert (answer.status, answer.json["type"]) == (503, "server.clientproxy.overloaded")
    assert any(line["event"] == "bodies can't be spooled" for line in pair.lines(position))
    assert (await pair.call("echo", "/binary", "POST", body=bytes(THRESHOLD * 30))).status == 200
    await require_nothing_left(pair)


async def test_files_are_private_and_have_no_name(pair: GatewayPair) -> None:
    with pair.consumer.gateway.node.spool.bodies() as bodies:
        writer = bodies.writer()
        await writer.write(bytes(THRESHOLD + 1))
        (path,) = streams.spooled_files(os.getpid(), pair.consumer.settings.spool_directory)
        assert path.endswith(" (deleted)")
        file = bodies._files[0]
        mode = os.fstat(file._descriptor).st_mode
        assert oct(mode & 0o777) == "0o600"
        assert oct(pair.consumer.settings.spool_directory.stat().st_mode & 0o777) == "0o700"
    await require_nothing_left(pair)


# -- SOAP


def with_attachments(message: bytes, attachments: list[bytes], boundary: str = "muster") -> tuple[bytes, str]:
    pieces = [b"--muster\r\nContent-Type: text/xml; charset=utf-8\r\nContent-ID: <wurzel>\r\n\r\n", message]
    for number, data in enumerate(attachments):
        head = f"\r\n--muster\r\nContent-Type: application/octet-stream\r\nContent-ID: <teil-{number}>\r\n\r\n"
        pieces += (head.encode(), data)
    body = b"".join((*pieces, b"\r\n--muster--\r\n"))
    return body, f'multipart/related; type="text/xml"; start="<wurzel>"; boundary={boundary}'


def parts_of(content_type: str, body: bytes) -> list[bytes]:
    text = b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    message = email.message_from_bytes(text, policy=email.policy.HTTP)
    assert isinstance(message, EmailMessage)
    return [part.get_payload(decode=True) for part in message.iter_parts()]  # type: ignore[misc]


@pytest.mark.parametrize("sizes", [[200 * KIB], [10, THRESHOLD * 2, 0, 3], [1 << 20, 1 << 20]])
async def test_soap_attachments_there_and_back(pair: GatewayPair, sizes: list[int]) -> None:
    attachments = [b"x" * size if size < 100 else os.urandom(size) for size in sizes]

    def answer(call: Call) -> web.Response:
        root, *got = parts_of(call.headers["Content-Type"], call.body)
        body, content_type = with_attachments(response_to(root), list(reversed(got)))
        return web.Response(body=body, headers={"Content-Type": content_type})

    pair.backend.soap = answer
    sent = Message(message_id=f"anhang-{sum(sizes)}").encoded()
    body, content_type = with_attachments(sent, attachments)
    got = await pair.request("POST", "/", client=None, headers={"Content-Type": content_type}, body=body)
    assert got.status == 200, got.body[:800]
    root, *returned = parts_of(got.headers["Content-Type"], got.body)
    assert parts_of(pair.backend.calls[-1].headers["Content-Type"], pair.backend.calls[-1].body) == [sent, *attachments]
    assert returned == list(reversed(attachments))
    assert without_hash(root) == response_to(sent)
    for node in nodes(pair):
        logged = await kept(node, f"anhang-{sum(sizes)}")
        whole = sum(sizes) <= MAX_LOGGED
        for (_, how, found), expected in zip(logged, (attachments, attachments[::-1]), strict=True):
            assert how == ("whole" if whole else "digest")
            assert list(found) == (expected if whole else [hashlib.sha512(data).digest() for data in expected])
    await require_nothing_left(pair)


async def test_a_large_soap_message_without_attachments_stays_within_its_own_bound(
    tmp_path: Path, pair: GatewayPair
) -> None:
    message = Message(message_id="gross-1", content=f"<frage>{'a' * (MAX_BODY + 200 * KIB)}</frage>").encoded()
    answer = await pair.request("POST", "/", client=None, headers={"Content-Type": "text/xml"}, body=message)
    assert answer.status == 200
    assert b"<faultcode>client.body_too_large</faultcode>" in answer.body
    await require_nothing_left(pair)


async def test_rows_of_each_kind_verify(pair: GatewayPair) -> None:
    """A record that holds digests is chained like any other."""
    for size in (1, MAX_LOGGED + 1):
        assert (await pair.call("echo", "/binary", "POST", body=os.urandom(size))).status == 200
    for node in nodes(pair):
        for report in await verify_logs(node.settings):
            report.require_sound()
    async with pair.consumer.gateway.engine.connect() as connection:
        found = set((await connection.execute(select(message_record.c.kept))).scalars())
    assert found == {"whole", "digest"}


async def test_a_broken_peer_stream_is_an_error(pair: GatewayPair) -> None:
    """A provider's gateway that ends in the middle of a spooled answer: no part of it is delivered."""

    async def half(request, answer, pieces, rate):  # type: ignore[no-untyped-def]
        answer.content_length = streaming.total_size(pieces)
        await answer.prepare(request)
        await answer.write(bytes(100_000))
        request.transport.abort()

    original, provider_http.stream_answer = provider_http.stream_answer, half
    try:
        answer = await pair.call("echo", "/large/1000000")
    finally:
        provider_http.stream_answer = original
    assert answer.status == 500
    assert answer.json["type"] == "server.clientproxy.service_failed.io_error"
    await require_nothing_left(pair)
