"""What a person reads when the institution's system fails: always a documented problem, and nothing half-done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.kit.entries import Entry, Kind
from adapters.kit.serve import serving
from adapters.stadtwerke.backend import NAMESPACE
from tests.adapters.support import Misbehaviour, Reply, World, adapter_at, world

START: dict[Kind, tuple[str, dict[str, object]]] = {
    Kind.SPARKASSE: ("/link", {"psuId": "chipTAN", "password": "okok1"}),
    Kind.STADTWERKE: ("/link", {"customerNumber": "4711001", "meterNumber": "1MUS0047110011"}),
    Kind.OZG: (
        "/appointments",
        {"officeId": 1, "serviceId": 1, "timestamp": 1, "familyName": "Beispiel", "email": "e@beispiel.example"},
    ),
}


@dataclass
class Broken:
    """An adapter before a backend that misbehaves."""

    world: World
    backend: Misbehaviour

    async def start(self) -> Reply:
        """The operation that would create something."""
        path, body = START[self.world.kind]
        return await self.world.call("POST", path, body)

    async def require_nothing_left(self) -> None:
        if self.world.kind is Kind.OZG:
            assert (await self.world.call("GET", "/appointments")).body == {"appointments": []}
        else:
            assert (await self.world.call("GET", "/link")).body["code"] == "not_linked"


@pytest.fixture(params=list(Kind))
async def broken(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broken]:
    backend = Misbehaviour()
    async with (
        serving(backend.build_app()) as url,
        adapter_at(
            request.param, tmp_path, url, backend_timeout_seconds=0.3, max_backend_answer_bytes=20_000
        ) as running,
    ):
        try:
            yield Broken(running, backend)
        finally:
            backend.hang.set()


@pytest.fixture
async def utility(tmp_path: Path) -> AsyncIterator[Broken]:
    backend = Misbehaviour()
    backend.content_type = "text/xml"
    async with serving(backend.build_app()) as url, adapter_at(Kind.STADTWERKE, tmp_path, url) as running:
        yield Broken(running, backend)


@pytest.mark.parametrize("kind", list(Kind))
async def test_backend_down(kind: Kind, tmp_path: Path) -> None:
    async with serving(Misbehaviour().build_app()) as gone:
        pass
    async with adapter_at(kind, tmp_path, gone) as running:
        broken = Broken(running, Misbehaviour())
        reply = await broken.start()
        assert (reply.status, reply.body["code"], reply.body["hop"]) == (503, "backend_unreachable", "backend")
        assert reply.body["hint"] == "Versuchen Sie es in einigen Minuten erneut."
        await broken.require_nothing_left()


async def test_backend_slow(broken: Broken) -> None:
    broken.backend.hang.clear()
    reply = await broken.start()
    assert (reply.status, reply.body["code"]) == (504, "backend_timeout")
    await broken.require_nothing_left()


@pytest.mark.parametrize(
    ("status", "content_type", "body"),
    [
        (200, "application/json", b"{"),
        (201, "application/json", b"[]"),
        (200, "application/json", b'{"a":1,"a":2}'),
        (200, "application/json", b"[" * 5000),
        (201, "application/json", b'{"consentId":"../../v1/payments","processId":"x"}'),
        (200, "text/html", b"<html>Wartung</html>"),
        (500, "text/html", b"<html>Traceback: secret</html>"),
        (302, "application/json", b"{}"),
        (200, "text/xml", b"<a><b></a>"),
        (200, "text/xml", b"<a/>"),
    ],
)
async def test_malformed_answers(broken: Broken, status: int, content_type: str, body: bytes) -> None:
    broken.backend.status, broken.backend.content_type, broken.backend.body = status, content_type, body
    broken.backend.headers = {"Location": "http://127.0.0.1:1/"} if status == 302 else {}
    reply = await broken.start()
    assert reply.status == 502
    assert reply.body["code"] in ("backend_malformed", "backend_refused")
    assert "secret" not in str(reply.body)
    await broken.require_nothing_left()


async def test_oversize_answers(broken: Broken) -> None:
    broken.backend.content_type = "text/xml" if broken.world.kind is Kind.STADTWERKE else "application/json"
    broken.backend.body = b'{"a":"' + b"x" * 30_000 + b'"}'
    reply = await broken.start()
    assert (reply.body["code"], reply.body["fields"]) == ("backend_malformed", ["size"])


async def test_compressed_answers_are_not_unpacked(broken: Broken) -> None:
    broken.backend.headers = {"Content-Encoding": "gzip"}
    assert (await broken.start()).body["fields"] == ["Content-Encoding"]


def envelope(body: str, prolog: str = "") -> bytes:
    return (
        f'{prolog}<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:k="{NAMESPACE}">'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


GOOD = (
    "<k:PruefeKundeResponse><k:kundennummer>4711001</k:kundennummer>"
    "<k:sparten>STROM</k:sparten></k:PruefeKundeResponse>"
)


def fault(detail: str) -> str:
    return f"<s:Fault><faultcode>s:Client</faultcode><faultstring>x</faultstring><detail>{detail}</detail></s:Fault>"


async def test_the_soap_answer_as_it_should_be(utility: Broken) -> None:
    utility.backend.body = envelope(GOOD)
    assert (await utility.start()).status == 201


@pytest.mark.parametrize(
    "body",
    [
        envelope(GOOD, '<!DOCTYPE a [<!ENTITY k "4711001">]>'),
        envelope(GOOD.replace("4711001", "&k;"), '<!DOCTYPE a [<!ENTITY k "4711001">]>'),
        envelope(GOOD, '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd">'),
        envelope(GOOD.replace("4711001", "4711002")),
        envelope(GOOD.replace("STROM", "ATOM")),
        envelope(GOOD + GOOD),
        envelope(""),
        envelope(GOOD.replace("PruefeKunde", "HoleRechnung")),
        envelope("<a>" * 40 + "</a>" * 40),
        envelope(fault("")),
        envelope(fault("<KundeUnbekannt/>")),
        envelope(fault("<k:KundeUnbekannt/><k:KundeUnbekannt/>")),
        b"\xff\xfe" + "<a/>".encode("utf-16-le"),
    ],
)
async def test_soap_answers_that_are_refused(utility: Broken, body: bytes) -> None:
    utility.backend.body = body
    reply = await utility.start()
    assert (reply.status, reply.body["code"]) == (502, "backend_malformed")
    await utility.require_nothing_left()


@pytest.mark.parametrize(
    ("detail", "code"),
    [("<k:KundeUnbekannt/>", "customer_unknown"), ("<k:ZeitraumUngueltig/>", "backend_refused")],
)
async def test_soap_faults_that_the_wsdl_declares(utility: Broken, detail: str, code: str) -> None:
    utility.backend.status, utility.backend.body = 500, envelope(fault(detail))
    assert (await utility.start()).body["code"] == code
    await utility.require_nothing_left()


async def test_a_link_survives_when_the_bank_cannot_confirm_its_end(tmp_path: Path) -> None:
    async with world(Kind.SPARKASSE, tmp_path) as bank:
        started = await bank.call("POST", "/link", {"psuId": "pushTAN", "password": "okok1"})
        await bank.call("PUT", f"/link/{started.body['linkId']}", {"scaAuthenticationData": "111111"})
    backend = Misbehaviour()
    async with serving(backend.build_app()) as url, adapter_at(Kind.SPARKASSE, tmp_path, url) as bank:
        backend.status, backend.body = 500, b'{"tppMessages":[{"category":"ERROR","code":"INTERNAL_SERVER_ERROR"}]}'
        assert (await bank.call("DELETE", "/link")).body["code"] == "backend_refused"
        backend.status, backend.body = 403, b'{"tppMessages":[{"category":"ERROR","code":"CONSENT_UNKNOWN"}]}'
        assert (await bank.call("DELETE", "/link")).status == 204


def test_every_backend_path_of_an_entry_is_absolute() -> None:
    assert all(Entry(kind).backend_url("http://127.0.0.1:1/").startswith("http://127.0.0.1:1") for kind in Kind)
