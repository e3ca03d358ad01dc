"""What a client written for X-Road relies on: verbs, paths, headers and bodies go through both gateways unchanged."""

from __future__ import annotations

import base64
import os
import re
import uuid
from typing import Any

import pytest

from gateway.messages.rest import parse_request_message
from gateway.messages.rest_response import parse_response_message
from tests.gateway.exchange.backend import SERVICE_HEADERS
from tests.gateway.exchange.pair import Answer, GatewayPair
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.refusals import check_afterwards, watch
from tests.gateway.exchange.town import APP, path_of, service
from trust import xml

pytestmark = pytest.mark.asyncio(loop_scope="module")
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def seen_by_service(answer: Answer) -> dict[str, list[str]]:
    """The headers that reached the service, by lower-case name."""
    found: dict[str, list[str]] = {}
    for name, value in answer.json["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
async def test_every_verb(pair: GatewayPair, method: str) -> None:
    seen = watch(pair)
    answer = await pair.call("echo", "/echo/1", method)
    assert answer.status == 200
    assert "X-Road-Error" not in answer.headers
    assert [(call.method, call.body) for call in pair.backend.calls[seen.calls :]] == [(method, b"")]
    if method == "HEAD":
        assert answer.body == b""
        assert answer.headers["X-Laenge"] == "0"
    else:
        assert answer.json["method"] == method
    for node in (pair.consumer, pair.provider):
        summary = [entry.summary for entry in await logged(node.gateway, answer.request_id)]
        assert summary == [("request", "ok", []), ("response", "ok", [("delivered", None)])]
    await check_afterwards(seen)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "OPTIONS"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
async def test_binary_bodies(pair: GatewayPair, method: str, chunked: bool) -> None:
    body = os.urandom(30_000) + b"\r\n--xtop\r\n\x00"
    answer = await pair.call("echo", "/binary", method, body=body, chunked=chunked)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    ("rest", "arrives"),
    [
        ("", "/dienst"),
        ("/", "/dienst/"),
        ("/echo//doppelt/", "/dienst/echo//doppelt/"),
        ("/echo/a%2Fb%20c%C3%BC/%25", "/dienst/echo/a%2Fb%20c%C3%BC/%25"),
        ("/echo/a;v=1,2:x@y", "/dienst/echo/a;v=1,2:x@y"),
        ("?a=1&b=%26&b=2&leer=&c", "/dienst?a=1&b=%26&b=2&leer=&c"),
        ("/echo?url=https://x.example/?y=1", "/dienst/echo?url=https://x.example/?y=1"),
        ("/echo/.?x='\"", "/dienst/echo/.?x='\""),
        ("/a/%2e%2e/echo", "/dienst/a/%2e%2e/echo"),
    ],
)
async def test_paths_and_queries_arrive_as_they_were_sent(pair: GatewayPair, rest: str, arrives: str) -> None:
    answer = await pair.request("GET", path_of(service("echo"), rest))
    assert answer.json["target"] == arrives


async def test_the_identifiers_may_be_encoded(pair: GatewayPair) -> None:
    answer = await pair.request("GET", "/r1/DE%2DTEST/COM/STADTWERKE/kundenservice/ech%6f/echo")
    assert answer.status == 200
    assert answer.headers["X-Road-Service"] == "DE-TEST/COM/STADTWERKE/kundenservice/echo"


async def test_headers_of_the_request(pair: GatewayPair) -> None:
    sent = [
        ("X-Eigenes", "eins"),
        ("X-Eigenes", "zwei"),
        ("Authorization", "Bearer nur-fuer-den-dienst"),
        ("Accept", "application/json"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Language", "de"),
        ("X-Umlaut", "Größe"),
        ("X-Leer", ""),
        ("Date", "Tue, 01 Sep 2026 08:00:00 GMT"),
        ("User-Agent", "browser/1"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Trailer", "X-Spaeter"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("X-Road-Request-Id", "erfunden"),
        ("X-Road-Request-Hash", "erfunden"),
        ("X-Road-UserId", "EE12345678901"),
        ("X-Road-Issue", "akte-7"),
        ("X-Road-Id", "id-des-clients"),
    ]
    answer = await pair.call("echo", "/echo", "POST", headers=sent, body=b"{}")
    found = seen_by_service(answer)
    assert found["x-eigenes"] == ["eins", "zwei"]
    assert found["x-umlaut"] == ["Größe"]
    assert found["x-leer"] == [""]
    assert found["date"] == ["Tue, 01 Sep 2026 08:00:00 GMT"]
    for name in ("authorization", "accept", "content-type", "content-language", "x-road-userid", "x-road-issue"):
        assert found[name] == [value for key, value in sent if key.lower() == name]
    for name in ("user-agent", "keep-alive", "te", "trailer", "proxy-authorization", "x-road-request-hash"):
        assert name not in found
    assert found["x-road-id"] == ["id-des-clients"]
    assert found["x-road-client"] == [APP.encoded]
    assert found["x-road-service"] == ["DE-TEST/COM/STADTWERKE/kundenservice/echo"]
    assert found["x-road-request-id"] == [answer.request_id]
    assert found["host"][0].startswith("127.0.0.1:")


async def test_headers_of_the_answer(pair: GatewayPair) -> None:
    answer = await pair.call("echo", "/headers", headers={"X-Road-Id": "mein-aufruf"})
    assert answer.headers.getall("X-Eigenes") == ["bleibt", "auch das zweite"]
    assert answer.headers.getall("Date") == ["Tue, 01 Sep 2026 08:00:00 GMT"]
    assert answer.headers["Set-Cookie"] == "sitzung=1"
    assert answer.headers.getall("Server") == ["datenweg"]
    for name in ("X-Road-Error", "Keep-Alive", "Trailer", "X-Datenweg-Erfunden"):
        assert name not in answer.headers
    truth = {
        "X-Road-Client": APP.encoded,
        "X-Road-Id": "mein-aufruf",
        "X-Road-Service": "DE-TEST/COM/STADTWERKE/kundenservice/echo",
    }
    for name, value in truth.items():
        assert answer.headers.getall(name) == [value]
    false = [value for _, value in SERVICE_HEADERS if "falsch" in value.lower()]
    assert not {*false} & {*answer.headers.values()}
    assert re.fullmatch(_UUID, answer.request_id)
    assert answer.headers.getall("X-Datenweg-Audit-Receipt")[0].startswith("DE-TEST/COM/STADTWERKE/ss1/audit/")
    assert answer.headers["X-Datenweg-Consumer-Receipt"].startswith("DE-TEST/GOV/MUSTERSTADT/ss1/audit/")


async def test_date_exactly_once(pair: GatewayPair) -> None:
    for target in ("/echo", "/status/404", "/empty"):
        assert len((await pair.call("echo", target)).headers.getall("Date")) == 1
    assert len((await pair.call("unbekannt")).headers.getall("Date")) == 1


@pytest.mark.parametrize("given", [None, "", "mein-aufruf-1"], ids=["none", "empty", "given"])
async def test_the_message_id_is_echoed_or_made(pair: GatewayPair, given: str | None) -> None:
    answer = await pair.call("echo", "/echo", headers={} if given is None else {"X-Road-Id": given})
    (message_id,) = answer.headers.getall("X-Road-Id")
    if given:
        assert message_id == given
    else:
        assert re.fullmatch(f"DE-TEST-{_UUID}", message_id)
        # A random one, as X-Road's proxy makes it: clients may look at its form.
        assert uuid.UUID(message_id.removeprefix("DE-TEST-")).version == 4
    for node in (pair.consumer, pair.provider):
        assert {entry.message_id for entry in await logged(node.gateway, answer.request_id)} == {message_id}


async def test_the_message_id_of_a_refusal(pair: GatewayPair) -> None:
    answer = await pair.call("unbekannt", headers={"X-Road-Id": "mein-aufruf-2"})
    assert answer.headers["X-Road-Id"] == "mein-aufruf-2"


async def test_what_is_logged_is_what_was_signed(pair: GatewayPair) -> None:
    answer = await pair.call("echo", "/echo", "POST", body=b"inhalt", headers=pair.citizen())
    ours, theirs = [await logged(node.gateway, answer.request_id) for node in (pair.consumer, pair.provider)]
    assert [(entry.message, entry.signature) for entry in ours] == [
        (entry.message, entry.signature) for entry in theirs
    ]
    request, response = parse_request_message(ours[0].message), parse_response_message(ours[1].message)
    assert request.citizen_token is None
    assert b"X-Datenweg-Citizen" not in ours[0].message
    assert request.fields.subjects == (pair.pseudonym(),)
    assert response.request_hash == answer.headers["X-Road-Request-Hash"]
    assert len(ours[0].signature) > 1000


async def test_big_headers(pair: GatewayPair) -> None:
    big = {f"X-Gross-{number}": str(number) * 7000 for number in range(3)}
    answer = await pair.call("echo", "/echo", headers=big)
    found = seen_by_service(answer)
    assert [found[name.lower()] for name in big] == [[value] for value in big.values()]
    back = await pair.call("echo", "/many-headers/5")
    assert back.status == 200
    assert back.headers["X-Viel-4"] == "v" * 4000


@pytest.mark.parametrize("count", [1, 10, 200], ids=["one", "together", "many"])
async def test_headers_that_are_too_big(pair: GatewayPair, count: int) -> None:
    seen = watch(pair)
    size = {1: 20_000, 10: 6490, 200: 1}[count]
    answer = await pair.call("echo", "/echo", headers={f"X-Gross-{n}": "x" * size for n in range(count)})
    # The HTTP parser refuses a line that is too long, and too many; what it lets pass, the REST parser does.
    assert answer.status == 400
    assert answer.headers["X-Road-Error"] == "client.bad_request"
    assert answer.json["detail"] == answer.request_id
    assert seen.new_calls == 0
    await check_afterwards(seen)


@pytest.mark.parametrize(
    "status", [200, 201, 299, 300, 302, 304, 400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503]
)
async def test_the_services_status_passes_unchanged(pair: GatewayPair, status: int) -> None:
    seen = watch(pair)
    answer = await pair.call("echo", f"/status/{status}")
    assert answer.status == status
    assert "X-Road-Error" not in answer.headers
    if status != 304:
        assert answer.body == b'{"fehler":"vom Dienst"}'
        assert answer.headers["Content-Type"] == "application/problem+json"
    result = "failed" if status >= 400 else "delivered"
    for node in (pair.consumer, pair.provider):
        response = (await logged(node.gateway, answer.request_id))[1]
        assert response.summary == ("response", "ok", [(result, None)])
        assert response.accesses[0]["status"] == status
    await check_afterwards(seen)


async def test_a_redirect_is_the_clients_to_follow(pair: GatewayPair) -> None:
    seen = watch(pair)
    answer = await pair.call("echo", "/redirect")
    assert (answer.status, answer.headers["Location"]) == (302, "https://anderswo.example/neu?x=1")
    assert seen.new_calls == 1


async def test_an_empty_answer(pair: GatewayPair) -> None:
    answer = await pair.call("echo", "/empty", "DELETE")
    assert (answer.status, answer.body) == (204, b"")


async def test_several_persons(pair: GatewayPair) -> None:
    persons = [f"person-{uuid.uuid4().hex}" for _ in range(40)]
    pair.secrets |= set(persons)
    seen = watch(pair)
    answer = await pair.call("echo", "/echo", headers={"X-Datenweg-Subject": ", ".join(persons)})
    assert answer.status == 200, answer
    assert len(answer.headers["X-Datenweg-Audit-Receipt"].split(",")) == len(persons)
    for node in (pair.consumer, pair.provider):
        response = (await logged(node.gateway, answer.request_id))[1]
        assert [access["kind"] for access in response.accesses] == ["access"] * len(persons)
    await check_afterwards(seen)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/xml", "text/xml;charset=utf-8"),
        ("application/json, application/xml;q=0.1", "application/xml;charset=utf-8"),
        ("text/*", "text/xml;charset=utf-8"),
    ],
)
async def test_the_form_of_an_error_follows_accept(pair: GatewayPair, accept: str | None, content_type: str) -> None:
    answer = await pair.call("ohne-recht", headers={} if accept is None else {"Accept": accept})
    assert (answer.status, answer.headers["Content-Type"]) == (500, content_type)
    error: dict[str, Any]
    if content_type == "application/json":
        error = answer.json
    else:
        error = {str(element.tag): element.text for element in xml.parse(answer.body)}
    assert error.keys() == {"type", "message", "detail"}
    assert error["type"] == answer.headers["X-Road-Error"] == "server.serverproxy.access_denied"


async def test_the_catalogue_lists_what_the_client_may_use(pair: GatewayPair) -> None:
    answer = await pair.request("GET", path_of(service("datenwegServices")))
    codes = {entry["code"] for entry in answer.json["services"]}
    assert {"echo", "gruppe", "konto", "aus"} <= codes
    assert "ohne-recht" not in codes


async def test_the_citizen_reads_their_accesses_over_the_road(pair: GatewayPair) -> None:
    before = await pair.call("echo", "/echo", headers=pair.citizen())
    month = pair.provider.clock.now().strftime("%Y-%m")
    target = path_of(service("datenwegAccesses"), f"?month={month}")
    answer = await pair.request("GET", target, headers=pair.citizen())
    assert answer.status == 200
    records = [base64.b64decode(access["record"]).decode() for access in answer.json["accesses"]]
    assert any(before.request_id in record for record in records)


@pytest.mark.parametrize("query", ["", "?month=2026-13", "?month=2026-01&month=2026-02", "?month=%00"])
async def test_a_month_that_is_none(pair: GatewayPair, query: str) -> None:
    answer = await pair.request("GET", path_of(service("datenwegAccesses"), query), headers=pair.citizen())
    assert answer.headers["X-Road-Error"] == "server.serverproxy.invalid_request"
