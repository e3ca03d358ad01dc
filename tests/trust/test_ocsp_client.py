"""Asking for status over the network: kept, refreshed, shared, and never older than it may be."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.factory import FRESHNESS, NOW, Authority, Holder, approve, make_authority, parameters
from trust.certificates import CertificateVerifier, StatusQuery
from trust.errors import FetchFailed, MalformedInput, StatusNotGood
from trust.ocsp_client import StatusSource, add_peer_routes, fetch_from_peer, parse_status_parts

# X-Road's fetch interval, which comes before half of the freshness.
HALF = timedelta(seconds=1200)


@dataclass
class Responder:
    """An OCSP responder that can be dead, slow, or wrong."""

    authority: Authority
    holder: Holder
    now: datetime = NOW
    asked: int = 0
    status: int = 200
    content_type: str = "application/ocsp-response"
    answer: bytes | None = None
    certificate_status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.reached.set()
        question = ocsp.load_der_ocsp_request(await request.read())
        assert question.serial_number == self.holder.certificate.serial_number
        await self.gate.wait()
        body = self.answer
        if body is None:
            body = self.authority.status(self.holder.certificate, at=self.now, status=self.certificate_status)
        return web.Response(status=self.status, body=body, content_type=self.content_type)


@dataclass
class Bench:
    responder: Responder
    source: StatusSource
    query: StatusQuery

    async def settle(self) -> None:
        """Wait for whatever the source does in the background."""
        await asyncio.gather(*self.source._asking.values(), return_exceptions=True)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    authority = make_authority()
    responder = Responder(authority, authority.signer())
    responder.gate.set()
    app = web.Application()
    app.router.add_post("/ocsp", responder.handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("/ocsp"))
        verifier = CertificateVerifier(parameters(approve(authority, ocsp_urls=(url,))))
        source = StatusSource(session, lambda: responder.now, timeout_seconds=5)
        yield Bench(responder, source, verifier.status_query(responder.holder.der, at=NOW))
        responder.gate.set()
        await source.close()


async def test_asked_once_and_kept(bench: Bench) -> None:
    first = await bench.source.status_for(bench.query)
    bench.responder.now += HALF - timedelta(seconds=1)
    assert await bench.source.status_for(bench.query) == first
    assert bench.responder.asked == 1


async def test_arguments_by_hand(bench: Bench) -> None:
    q = bench.query
    assert await bench.source.status_of(q.certificate, q.issuer, q.urls) == await bench.source.status_for(q)
    assert bench.responder.asked == 1


async def test_many_callers_ask_once(bench: Bench) -> None:
    bench.responder.gate.clear()
    callers = [asyncio.create_task(bench.source.status_for(bench.query)) for _ in range(20)]
    await bench.responder.reached.wait()
    # One that gives up doesn't take the answer from the others.
    callers[0].cancel()
    bench.responder.gate.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert len(set(map(str, answers[1:]))) == 1
    assert bench.responder.asked == 1


async def test_refreshed_ahead_without_waiting(bench: Bench) -> None:
    first = await bench.source.status_for(bench.query)
    bench.responder.now += HALF
    bench.responder.gate.clear()
    assert await bench.source.status_for(bench.query) == first
    bench.responder.gate.set()
    await bench.settle()
    second = await bench.source.status_for(bench.query)
    assert second != first
    assert bench.responder.asked == 2


async def test_dead_responder_is_survived_as_long_as_it_is_fresh(bench: Bench) -> None:
    first = await bench.source.status_for(bench.query)
    bench.responder.status = 503
    bench.responder.now += HALF
    for _ in range(5):
        assert await bench.source.status_for(bench.query) == first
        await bench.settle()
    # It is asked again only after a pause.
    assert bench.responder.asked == 2
    bench.responder.now += timedelta(seconds=60)
    assert await bench.source.status_for(bench.query) == first
    await bench.settle()
    assert bench.responder.asked == 3
    bench.responder.now = NOW + timedelta(seconds=FRESHNESS + 1)
    with pytest.raises(FetchFailed):
        await bench.source.status_for(bench.query)


async def test_revocation_takes_effect_at_the_refresh(bench: Bench) -> None:
    await bench.source.status_for(bench.query)
    bench.responder.certificate_status = ocsp.OCSPCertStatus.REVOKED
    bench.responder.now += HALF
    await bench.source.status_for(bench.query)
    await bench.settle()
    with pytest.raises(StatusNotGood) as caught:
        await bench.source.status_for(bench.query)
    assert caught.value.code == "cert_validation"


async def test_refreshed_at_half_of_a_short_freshness(bench: Bench) -> None:
    short = replace(bench.query, freshness=timedelta(seconds=600))
    await bench.source.status_for(short)
    for seconds, asked in ((299, 1), (300, 2)):
        bench.responder.now = NOW + timedelta(seconds=seconds)
        await bench.source.status_for(short)
        await bench.settle()
        assert bench.responder.asked == asked


async def test_next_update_by_policy(bench: Bench) -> None:
    bench.responder.answer = bench.responder.authority.status(
        bench.responder.holder.certificate, at=NOW, next_update=NOW + timedelta(seconds=60)
    )
    await bench.source.status_for(bench.query)
    lenient = replace(bench.query, verify_next_update=False)
    bench.responder.now = NOW + timedelta(seconds=61)
    with pytest.raises(FetchFailed):
        await bench.source.status_for(bench.query)
    await bench.source.status_for(lenient)


async def test_a_responder_that_does_not_know_the_certificate_is_not_the_last_word(bench: Bench) -> None:
    """An authority and its intermediates have responders of their own, and the configuration names them in one list."""
    app = web.Application()

    async def other(_: web.Request) -> web.Response:
        holder = bench.responder.holder.certificate
        body = bench.responder.authority.status(holder, status=ocsp.OCSPCertStatus.UNKNOWN)
        return web.Response(body=body, content_type="application/ocsp-response")

    app.router.add_post("/", other)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        await bench.source.status_for(replace(bench.query, urls=(url, *bench.query.urls)))
        bench.source._kept.clear()
        with pytest.raises(StatusNotGood) as caught:
            await bench.source.status_for(replace(bench.query, urls=(url,)))
    assert caught.value.code == "cert_validation"


async def test_what_is_kept_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trust.ocsp_client._MAX_KEPT", 1)
    first = await bench.source.status_for(bench.query)
    second = bench.responder.authority.signer()
    bench.responder.holder = second
    await bench.source.status_for(replace(bench.query, certificate=second.certificate))
    assert [kept.der for kept in bench.source._kept.values()] != [first]
    assert len(bench.source._kept) == 1


@pytest.mark.parametrize(
    ("status", "content_type", "answer"),
    [
        (500, "application/ocsp-response", None),
        (302, "application/ocsp-response", None),
        (200, "text/html", None),
        (200, "application/ocsp-response", b"nonsense"),
        (200, "application/ocsp-response", b""),
        (200, "application/ocsp-response", bytes(100_000)),
    ],
)
async def test_useless_answers(bench: Bench, status: int, content_type: str, answer: bytes | None) -> None:
    bench.responder.status, bench.responder.content_type, bench.responder.answer = status, content_type, answer
    with pytest.raises(FetchFailed):
        await bench.source.status_for(bench.query)


async def test_forged_answer_is_a_failure_and_the_next_responder_is_asked(bench: Bench) -> None:
    authority = bench.responder.authority
    bench.responder.answer = make_authority().status(bench.responder.holder.certificate, issuer=authority.certificate)
    with pytest.raises(FetchFailed):
        await bench.source.status_for(bench.query)
    query = bench.query
    dead = StatusQuery(query.certificate, query.issuer, ("http://127.0.0.1:9/", *query.urls), (), query.freshness)
    bench.responder.answer = None
    assert await bench.source.status_for(dead)


async def test_nobody_to_ask(bench: Bench) -> None:
    query = bench.query
    with pytest.raises(FetchFailed):
        await bench.source.status_for(StatusQuery(query.certificate, query.issuer, (), (), query.freshness))
    with pytest.raises(FetchFailed):
        await bench.source.status_for(StatusQuery(query.certificate, query.issuer, ("no url",), (), query.freshness))


async def test_closing_ends_what_is_under_way(bench: Bench) -> None:
    bench.responder.gate.clear()
    caller = asyncio.create_task(bench.source.status_for(bench.query))
    await bench.responder.reached.wait()
    await bench.source.close()
    with pytest.raises(asyncio.CancelledError):
        await caller


OWN = {b"certificate one": b"status one \r\n--", b"certificate two": bytes(range(256))}


@pytest.fixture
async def peer() -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    async def statuses() -> dict[bytes, bytes]:
        return OWN

    app = web.Application()
    add_peer_routes(app, statuses)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield session, str(server.make_url("/"))


async def test_peer_gives_the_status_of_its_certificates_in_order(peer: tuple[aiohttp.ClientSession, str]) -> None:
    session, url = peer
    for ders in ([b"certificate one"], [b"certificate two", b"certificate one"]):
        assert await fetch_from_peer(session, url, ders) == [OWN[der] for der in ders]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?cert=d9d1a3f2ee1ea1ce1c7ef4d1d9e2e9d9f3d4e1c2", 404),
        ("?cert_hash=" + "0" * 64, 404),
        ("", 400),
        ("?cert=xyz", 400),
        ("?cert=" + "0" * 41, 400),
        ("?" + "&".join(["cert=" + "0" * 40] * 11), 400),
    ],
)
async def test_peer_endpoint_refuses(peer: tuple[aiohttp.ClientSession, str], query: str, status: int) -> None:
    session, url = peer
    async with session.get(url + query) as response:
        assert response.status == status


async def test_peer_endpoint_answers_old_names_and_the_heartbeat(peer: tuple[aiohttp.ClientSession, str]) -> None:
    session, url = peer
    name = hashlib.sha1(b"certificate one", usedforsecurity=False).hexdigest().upper()
    async with session.get(url, params={"cert": name}) as response:
        assert response.status == 200
        parts = parse_status_parts(response.headers["Content-Type"], await response.read())
    assert parts == [OWN[b"certificate one"]]
    async with session.head(url) as response:
        assert response.status == 200


async def test_peer_that_does_not_answer_well(peer: tuple[aiohttp.ClientSession, str]) -> None:
    session, url = peer
    with pytest.raises(FetchFailed):
        await fetch_from_peer(session, url, [b"unknown"])
    with pytest.raises(FetchFailed):
        await fetch_from_peer(session, "http://127.0.0.1:9/", [b"unknown"])
    with pytest.raises(FetchFailed):
        await fetch_from_peer(session, "no url", [b"unknown"])


TYPE = "multipart/related; boundary=b"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b""),
        ("multipart/related", b""),
        (TYPE, b""),
        (TYPE, b"--b\r\nContent-Type: application/ocsp-response\r\n\r\nx\r\n"),
        (TYPE, b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--"),
        (TYPE, b"--b\r\nContent-Type: application/ocsp-response\r\n--b--"),
    ],
)
def test_what_is_no_multipart_answer(content_type: str, body: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_status_parts(content_type, body)


def test_spellings_of_a_multipart_answer() -> None:
    body = b"preamble\r\n--b\r\ncontent-type: application/ocsp-response\r\n\r\nx\r\n--b--\r\n"
    for content_type in (TYPE, 'Multipart/Related; charset=UTF-8; Boundary="b"', TYPE + "; charset=UTF-8"):
        assert parse_status_parts(content_type, body) == [b"x"]


@given(st.text(max_size=60), st.binary(max_size=100))
def test_no_foreign_error_for_bytes(content_type: str, body: bytes) -> None:
    for kind in (content_type, TYPE):
        with contextlib.suppress(MalformedInput):
            parse_status_parts(kind, body)
