"""What every adapter is made of: descriptions, problems, the context of a call, bounds on requests, links."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from adapters.kit.app import Answer, Operation, OperationRequest, build_adapter_app
from adapters.kit.context import IdentityLevel, parse_context
from adapters.kit.entries import Entry, Kind
from adapters.kit.errors import CallerError, ProblemKind
from adapters.kit.fields import MalformedJSON, parse_json
from adapters.kit.links import LinkExists, LinkStore
from adapters.kit.problems import preferred_language
from adapters.kit.serve import serving
from adapters.kit.settings import AdapterSettings
from adapters.kit.xml import MalformedXML, parse
from tests.adapters.support import ERIKA, MAX, SettableClock, World, world

ROUTE = {"X-Road-Client": "DE-TEST/GOV/MUSTERSTADT/APP", "X-Road-Id": "1"}


def problems_of(kind: Kind) -> tuple[ProblemKind, ...]:
    found: tuple[ProblemKind, ...] = import_module(f"adapters.{kind}.problems").PROBLEMS
    return found


@pytest.mark.parametrize("kind", list(Kind))
def test_descriptions_list_every_problem_and_every_operation(kind: Kind, tmp_path: Path) -> None:
    description = Entry(kind).description()
    document = json.loads(description.document)
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == [
        problem.code for problem in problems_of(kind)
    ]
    app = Entry(kind).build_adapter(AdapterSettings("http://127.0.0.1:1", tmp_path))
    served = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert {entry for entry in served if entry[0] != "HEAD" and entry[1] != "/healthz"} == described
    assert description.identity_level in [str(level) for level in IdentityLevel]
    assert description.legal_basis_kind in ("consent", "law", "contract")


@pytest.mark.parametrize("kind", list(Kind))
def test_problems_say_what_and_what_to_do_in_both_languages(kind: Kind) -> None:
    problems = problems_of(kind)
    assert len({problem.code for problem in problems}) == len(problems)
    for problem in problems:
        texts = (problem.title.de, problem.title.en, problem.hint.de, problem.hint.en)
        assert all(text.endswith(".") for text in texts)
        assert problem.title.de != problem.title.en
        assert 400 <= problem.status < 600


async def test_a_problem_is_worded_in_the_callers_language(tmp_path: Path) -> None:
    async with world(Kind.STADTWERKE, tmp_path) as utility:
        english = await utility.call("GET", "/bills", Accept_Language="en-GB,de;q=0.5")
        german = await utility.call("GET", "/bills")
    assert english.body["title"] == "No account is linked yet."
    assert english.headers["Content-Language"] == "en"
    assert german.body["title"] == "Es ist noch kein Konto verknüpft."
    assert english.body["texts"] == german.body["texts"]


@given(st.text(max_size=200))
def test_any_accept_language_gives_one_of_ours(text: str) -> None:
    assert preferred_language(text) in ("de", "en")


@pytest.mark.parametrize(
    ("missing", "code"),
    [("X-Road-Client", "context_missing"), ("X-Road-Id", "context_missing"), (None, "subject_required")],
)
async def test_a_call_that_did_not_come_over_the_road_is_refused(
    tmp_path: Path, missing: str | None, code: str
) -> None:
    async with world(Kind.STADTWERKE, tmp_path) as utility:
        headers = {name: value for name, value in ROUTE.items() if name != missing}
        async with utility.session.get(f"{utility.url}/bills", headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (400, code)
        assert utility.recorded == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Road-Client": "DE-TEST"},
        {"X-Road-Service": "a/b"},
        {"X-Datenweg-Subject": "short"},
        {"X-Datenweg-Identity-Level": "root"},
        {"X-Datenweg-Consent": "a b"},
        {"PSU-IP-Address": "here"},
    ],
)
def test_headers_that_cannot_be_read_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(CallerError):
        parse_context(ROUTE | headers)


def test_the_context_of_a_call() -> None:
    context = parse_context(
        ROUTE
        | {
            "X-Road-Service": "DE-TEST/COM/STADTWERKE/KUNDEN/rechnungen",
            "X-Datenweg-Subject": ERIKA,
            "X-Datenweg-Consent": "0f3c",
            "X-Datenweg-Identity-Level": "substantial",
            "PSU-IP-Address": "2001:DB8::1",
        }
    )
    assert (context.subject, context.attended, context.consent) == (ERIKA, True, "0f3c")
    assert context.person_address == "2001:db8::1"
    two = parse_context(ROUTE | {"X-Datenweg-Subject": f"{ERIKA}, {MAX}"})
    with pytest.raises(CallerError):
        _ = two.subject
    assert not two.attended


async def post(running: World, data: bytes, content_type: str = "application/json") -> tuple[int, Any]:
    headers = ROUTE | {"X-Datenweg-Subject": ERIKA, "Content-Type": content_type}
    async with running.session.post(f"{running.url}/link", data=data, headers=headers) as response:
        return response.status, (await response.json())["code"]


async def test_requests_are_bounded_and_strict(tmp_path: Path) -> None:
    async with world(Kind.STADTWERKE, tmp_path, max_request_bytes=2000) as utility:
        assert await post(utility, b"{" * 3000) == (413, "request_too_large")
        assert await post(utility, b"[]") == (400, "invalid_request")
        assert await post(utility, b"{}", "text/plain") == (400, "invalid_request")
        assert (await utility.call("PATCH", "/link")).body["code"] == "method_not_allowed"
        assert (await utility.call("GET", "/nothing")).body["code"] == "operation_unknown"


@given(st.binary(max_size=200))
def test_no_bytes_get_past_the_parsers_but_as_their_errors(data: bytes) -> None:
    for door, error in ((parse_json, MalformedJSON), (parse, MalformedXML)):
        with suppress(error):
            door(data)


@pytest.mark.parametrize("text", ["NaN", "[1,", '{"a":1,"a":1}', "[" * 100 + "]" * 100, "[" * 100_000, '"\xff"'])
def test_json_that_is_refused(text: str) -> None:
    with pytest.raises(MalformedJSON):
        parse_json(text.encode("latin-1"))


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        b"<a>&x;</a>",
        b"<a><?php x?></a>",
        b"<a>" * 33 + b"</a>" * 33,
        b"<a>" + b"<b/>" * 20_001 + b"</a>",
        b"<a>" + b" " * (1 << 20) + b"</a>",
        b"",
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
    ],
)
def test_xml_that_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedXML):
        parse(data)


async def test_links_are_private_durable_and_unique(tmp_path: Path) -> None:
    clock = SettableClock()
    async with LinkStore(tmp_path / "data", clock=clock) as links:
        first = await links.add(ERIKA, "a", {"n": 1})
        with pytest.raises(LinkExists):
            await links.add(ERIKA, "a", {"n": 2})
        await links.add(MAX, "a", {"n": 3})
        assert await links.replace(first, {"n": 4}) is not None
        # What another call has changed meanwhile is neither overwritten nor removed.
        assert await links.replace(first, {"n": 5}) is None
        await links.remove(first)
        assert stat.S_IMODE((tmp_path / "data" / "links.sqlite").stat().st_mode) == 0o600
    async with LinkStore(tmp_path / "data", clock=clock) as links:
        (link,) = await links.all_of(ERIKA)
        assert (link.payload, link.created_ms) == ({"n": 4}, int(clock().timestamp() * 1000))
        await links.remove(link)
        assert await links.find(ERIKA, "a") is None
        assert await links.find(MAX, "a") is not None


async def test_a_request_under_way_is_finished_at_shutdown(tmp_path: Path) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_: OperationRequest) -> Answer:
        entered.set()
        await leave.wait()
        return Answer({"done": True})

    settings = AdapterSettings("http://127.0.0.1:1", tmp_path)
    app = build_adapter_app([Operation("GET", "/slow", slow)], settings=settings, resources=())

    async def release(_: web.Application) -> None:
        leave.set()

    app.on_shutdown.append(release)
    async with aiohttp.ClientSession() as session:
        async with serving(app) as url:
            call = asyncio.create_task(_read(session, f"{url}/slow"))
            await entered.wait()
        assert await call == (200, {"done": True})


async def _read(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with session.get(url, headers=ROUTE) as response:
        return response.status, await response.json()


async def test_a_bug_shows_nothing_but_an_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def bug(_: OperationRequest) -> Answer:
        raise ValueError("Erika Beispiel, DE00")

    settings = AdapterSettings("http://127.0.0.1:1", tmp_path)
    app = build_adapter_app([Operation("GET", "/bug", bug)], settings=settings, resources=())
    with caplog.at_level(logging.INFO, logger="adapters"):
        async with serving(app) as url, aiohttp.ClientSession() as session:
            status, body = await _read(session, f"{url}/bug")
    assert (status, body["code"]) == (500, "internal_error")
    identifier = body["instance"].removeprefix("urn:uuid:")
    assert identifier in caplog.text
    assert "ValueError" in caplog.text
    assert "Beispiel" not in caplog.text + json.dumps(body)


@pytest.mark.parametrize("kind", list(Kind))
async def test_health_needs_no_road(kind: Kind, tmp_path: Path) -> None:
    async with (
        world(kind, tmp_path) as running,
        running.session.get(f"{running.url}/healthz") as response,
    ):
        assert await response.json() == {"status": "ok"}
