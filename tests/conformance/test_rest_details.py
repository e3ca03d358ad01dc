"""What REST clients of X-Road depend on, one by one, as a client of a road that runs as a process sees it."""

from __future__ import annotations

import base64
import socket
import uuid
from urllib.parse import urlsplit

import pytest

from tests.conformance.foreign_town import APP, PROVIDER, Town, message
from trust.xml import parse


@pytest.mark.parametrize("method", ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"])
def test_every_verb(town: Town, method: str) -> None:
    answer = town.rest("b%C3%A4r", "/ding", method, headers={"X-Road-Id": "eins"})
    assert answer.status == 200
    assert (town.last.method, town.last.target) == (method, "/rest/ding")
    assert answer.headers["x-road-id"] == "eins"
    assert answer.headers["x-road-service"] == f"{PROVIDER.encoded}/b%C3%A4r"
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.json["method"] == method


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/rest/"),
        ("/", "/rest/"),
        ("/a%2Fb;c=%20?x=%C3%B6&y", "/rest/a%2Fb;c=%20?x=%C3%B6&y"),
        ("/path%3B/", "/rest/path%3B/"),
        ("?nur=frage", "/rest/?nur=frage"),
    ],
)
def test_paths_arrive_as_they_were_sent(town: Town, path: str, target: str) -> None:
    assert town.rest("b%C3%A4r", path).status == 200
    assert town.last.target == target


def test_headers_both_ways(town: Town) -> None:
    sent = {
        "Authorization": "Bearer a.b.c",
        "Cookie": "k=v",
        "Accept": "application/json;q=0.1",
        "X-Eigenes": "ja",
        "User-Agent": "muster/1",
        "Keep-Alive": "300",
        "TE": "trailers",
        "Proxy-Authorization": "Basic x",
        "x-road-request-hash": "falsch",
        "x-road-request-id": "falsch",
        "X-Road-UserId": "EE1",
        "X-Road-Issue": "Az 1",
        "X-Road-Represented-Party": "COM/99",
    }
    answer = town.rest("b%C3%A4r", "/kopf", headers=sent)
    for name in ("Authorization", "Cookie", "Accept", "X-Eigenes", "X-Road-UserId", "X-Road-Issue"):
        assert town.last.values(name) == [sent[name]]
    assert town.last.values("X-Road-Client") == [APP.encoded]
    assert town.last.values("X-Road-Represented-Party") == ["COM/99"]
    for name in ("User-Agent", "Keep-Alive", "TE", "Proxy-Authorization", "x-road-request-hash"):
        assert town.last.values(name) == []
    assert uuid.UUID(town.last.values("x-road-request-id")[0])
    assert "keep-alive" not in answer.headers
    assert answer.headers["server"] != "musterserver/1.0"
    for name in ("x-road-id", "x-road-client", "x-road-service", "x-road-request-id", "x-road-request-hash"):
        assert answer.headers[name]
    assert answer.headers["x-road-id"].startswith("DE-TEST-")
    assert "x-road-error" not in answer.headers


def raw(town: Town, head: str, body: bytes = b"") -> tuple[bytes, list[bytes]]:
    """What comes back on the wire: the head's lines, and the status line."""
    address = urlsplit(town.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        received = b""
        while b"\r\n\r\n" not in received and (chunk := connection.recv(65536)):
            received += chunk
    status, *lines = received.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return status, lines


def test_one_date_and_the_length_is_kept(town: Town) -> None:
    head = f"POST /r1/{PROVIDER.encoded}/belege/belege HTTP/1.1\nHost: x\nX-Road-Client: {APP.encoded}"
    status, lines = raw(town, f"{head}\nContent-Type: text/plain\nContent-Length: 5\nConnection: close", b"hallo")
    assert status == b"HTTP/1.1 201 Created"
    names = [line.partition(b":")[0].lower() for line in lines]
    assert names.count(b"date") == 1
    assert b"content-length: 5" in [line.lower() for line in lines]
    assert b"transfer-encoding" not in names
    # As aiohttp's and X-Road's services see it: with its length, not in chunks.
    assert town.last.values("Content-Length") == ["5"]
    assert town.last.values("Transfer-Encoding") == []
    assert len(town.last.values("Content-Type")) == 1


def test_a_target_in_absolute_form(town: Town) -> None:
    head = f"GET http://irgendwo.example/r1/{PROVIDER.encoded}/belege/x HTTP/1.1\nHost: irgendwo.example"
    status, lines = raw(town, f"{head}\nX-Road-Client: {APP.encoded}\nConnection: close")
    assert (status, b"X-Road-Error" in b"".join(lines)) == (b"HTTP/1.1 200 OK", False)
    data = message("pruefeBelege").encoded()
    head = f"POST http://irgendwo.example/ HTTP/1.1\nHost: x\nContent-Type: text/xml\nContent-Length: {len(data)}"
    status, lines = raw(town, f"{head}\nConnection: close", data)
    assert status == b"HTTP/1.1 200 OK"
    assert town.last.body == data


@pytest.mark.parametrize("status", [400, 404, 418, 500, 503])
def test_the_services_status_passes_without_the_roads_header(town: Town, status: int) -> None:
    answer = town.rest("b%C3%A4r", f"/status/{status}")
    assert (answer.status, answer.json) == (status, {"title": "Muster"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-road-error" not in answer.headers


def test_a_redirect_is_passed_on(town: Town) -> None:
    count = len(town.services.received)
    answer = town.rest("b%C3%A4r", "/redirect")
    assert (answer.status, answer.headers["location"]) == (302, "/rest/anderswo?x=1")
    assert len(town.services.received) == count + 1


def test_the_hash_is_another_each_time(town: Town) -> None:
    for options in ({}, {"method": "POST", "body": b"{}"}):
        hashes = {
            town.rest("b%C3%A4r", "/x", headers={"X-Road-Id": "q"}, **options).headers["x-road-request-hash"]  # type: ignore[arg-type]
            for _ in range(2)
        }
        assert len(hashes) == 2
        assert all(len(base64.b64decode(found)) == 64 for found in hashes)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("application/json;charset=utf-8", "application/json"),
        ("foobarbaz", "application/json"),
        ("application/xml", "application/xml;charset=utf-8"),
        ("text/xml", "text/xml;charset=utf-8"),
        ("application/xml, text/xml", "application/xml;charset=utf-8"),
        ("text/xml, application/xml", "text/xml;charset=utf-8"),
        ("text/xml-patch+xml", "application/json"),
        ("application/xml; q=0.2", "application/xml;charset=utf-8"),
        ("text/xml, application/xml, application/json", "text/xml;charset=utf-8"),
        ("application/json, text/*;q=0.1", "text/xml;charset=utf-8"),
    ],
)
def test_the_form_of_an_error_follows_accept(town: Town, accept: str | None, content_type: str) -> None:
    answer = town.rest("pruefeBelege", headers={} if accept is None else {"Accept": accept})
    assert (answer.status, answer.headers["x-road-error"]) == (500, "server.serverproxy.service_type")
    assert answer.headers["content-type"] == content_type
    if content_type == "application/json":
        assert set(answer.json) == {"type", "message", "detail"}
        return
    root = parse(answer.body)
    assert [root.tag, *(child.tag for child in root)] == ["error", "type", "message", "detail"]
    assert root.findtext("type") == "server.serverproxy.service_type"
