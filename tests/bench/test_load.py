"""The load generator: it counts good answers only, and sends what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from bench.load import Job, Result, build_request, quantile, run_round

HEAD = "POST /x HTTP/1.1\r\nHost: localhost\r\n"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def load(handler: Handler) -> Result:
    server = web.Server(handler, access_log=None)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        return await run_round(Job("127.0.0.1", port, 3, 0.02, 0.1, (HEAD,), "question", "answer"))
    finally:
        listener.close()
        await server.shutdown()


async def test_good_answers_are_counted_and_requests_arrive_whole() -> None:
    bodies: set[bytes] = set()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        bodies.add(await request.read())
        return web.Response(text="answer")

    result = await load(handle)
    assert bodies == {b"question"}
    assert 0 < result.counted <= result.answered
    assert result.failed == 0
    assert result.per_second == pytest.approx(result.counted / 0.1)
    assert 0 < result.p50_ms <= result.p99_ms


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        answer = web.StreamResponse(headers={"Content-Length": "6"})
        await answer.prepare(request)
        for piece in (b"an", b"sw", b"er"):
            await answer.write(piece)
            await asyncio.sleep(0)
        await answer.write_eof()
        return answer

    result = await load(handle)
    assert result.answered > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    "answer",
    [{"text": "another answer"}, {"text": "answer", "status": 500}, {"text": "answerX"}],
    ids=["body", "status", "length"],
)
async def test_a_wrong_answer_fails_its_connection(answer: dict[str, object]) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(**answer)  # type: ignore[arg-type]

    result = await load(handle)
    assert (result.answered, result.failed) == (0, 3)
    assert "answer" in result.failure


async def test_a_closed_connection_fails() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    result = await load(handle)
    assert (result.answered, result.failed) == (0, 3)
    assert result.failure == "the connection was closed"


def test_a_request_says_how_long_its_body_is() -> None:
    assert build_request(HEAD, b"12") == HEAD.encode() + b"Content-Length: 2\r\n\r\n12"


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(100)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50, 99, 7)
    assert quantile([], 0.5) == 0
