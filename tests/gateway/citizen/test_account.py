"""The account over the API: links, notices, complaints, export, pages of lists, ETags. On both databases."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.citizen.errors import LinkConflict
from gateway.citizen.notices import NoticeKind
from gateway.citizen.tables import complaint as complaint_table
from tests.gateway.citizen.citizens import ANNA, ERIKA
from tests.gateway.citizen.city import BANK, UTILITY, City, run_city
from tests.gateway.citizen.described import check
from tests.gateway.citizen.test_api import MAX, bearer, send


@pytest.fixture
async def city(database_url: str, tmp_path: Path) -> AsyncIterator[City]:
    """On both databases."""
    async with run_city(database_url, tmp_path) as running:
        yield running


def person(city: City, subject: str = ERIKA) -> str:
    return city.context.person(city.issuer_url, subject)


async def linked(city: City) -> str:
    link = await city.citizen.links.add(
        person(city), service="kontostand", provider=BANK.encoded, label="Girokonto …47"
    )
    return link.id


async def test_unlinking_takes_the_consent_with_it(city: City) -> None:
    city.road.answers["DELETE", "link"] = (204, None)
    async with city.browser() as browser:
        _, consent = await send(browser, "POST", "/consents", bearer(city), {"service": "kontostand"})
        identifier = await linked(city)
        with pytest.raises(LinkConflict):
            await linked(city)
        status, link = await send(browser, "GET", f"/links/{identifier}", bearer(city))
        assert (status, link["state"], link["label"]) == (200, "linked", "Girokonto …47")
        status, link = await send(browser, "DELETE", f"/links/{identifier}", bearer(city))
        assert (status, link["state"]) == (200, "ended")
        (ending,) = city.road.of("/konto/link")
        # Asked while the consent still held: the bank needs it to hear us.
        assert ending.headers["X-Datenweg-Consent"] == consent["reference"]
        _, now = await send(browser, "GET", f"/consents/{consent['reference']}", bearer(city))
        assert now["state"] == "withdrawn"
        status, link = await send(browser, "DELETE", f"/links/{identifier}", bearer(city))
        assert (status, len(city.road.of("/konto/link"))) == (200, 1)
        _, notices = await send(browser, "GET", "/notices", bearer(city))
        told = {notice["kind"]: notice["facts"].get("institution") for notice in notices["notices"]}
        assert (told["link_added"], told["link_ended"]) == ("Sparkasse Musterstadt", "Sparkasse Musterstadt")
        # And a new account may be linked now.
        await linked(city)
        _, listed = await send(browser, "GET", "/links", bearer(city))
        assert sorted(one["state"] for one in listed["links"]) == ["ended", "linked"]


async def test_an_institution_that_does_not_answer_leaves_a_link_ending(city: City) -> None:
    async with city.browser() as browser:
        _, consent = await send(browser, "POST", "/consents", bearer(city), {"service": "kontostand"})
        identifier = await linked(city)
        city.road.dead.add(BANK.member_code)
        status, link = await send(browser, "DELETE", f"/links/{identifier}", bearer(city))
        assert (status, link["state"], link["endedMs"]) == (202, "ending", None)
        _, now = await send(browser, "GET", f"/consents/{consent['reference']}", bearer(city))
        assert now["state"] == "withdrawing"
        city.road.dead.clear()
        city.road.answers["DELETE", "link"] = (404, {"code": "unknown"})
        status, link = await send(browser, "DELETE", f"/links/{identifier}", bearer(city))
        assert (status, link["state"]) == (200, "ended")


async def test_a_complaint_is_sealed_and_answered(city: City) -> None:
    async with city.browser() as browser:
        text, about = "Die Bank hat ohne Grund gefragt.", {"requestId": "request-7", "provider": BANK.encoded}
        status, complaint = await send(browser, "POST", "/complaints", bearer(city), {"text": text, "about": about})
        assert (status, complaint["state"], complaint["answer"]) == (201, "received", None)
        async with city.engine.connect() as connection:
            row = (await connection.execute(complaint_table.select())).one()
        assert b"Grund" not in b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
        await city.citizen.complaints.answer(complaint["id"], "Wir haben nachgefragt.")
        status, answered = await send(browser, "GET", f"/complaints/{complaint['id']}", bearer(city))
        assert (answered["text"], answered["about"], answered["answer"]) == (text, about, "Wir haben nachgefragt.")
        assert answered["state"] == "answered"
        _, notices = await send(browser, "GET", "/notices", bearer(city))
        assert notices["notices"][0]["kind"] == "complaint_answered"
        for number in range(20):
            assert (await send(browser, "POST", "/complaints", bearer(city), {"text": f"x{number}"}))[0] == 201
        status, problem = await send(browser, "POST", "/complaints", bearer(city), {"text": "x"})
        assert (status, problem["code"]) == (409, "complaint_limit")


async def test_a_button_that_is_pressed_twice_is_one_complaint(city: City) -> None:
    async with city.browser() as browser:
        words = {"text": "Das war ich nicht.", "about": {"requestId": "request-7"}}
        sent = await asyncio.gather(*(send(browser, "POST", "/complaints", bearer(city), words) for _ in range(3)))
        assert {status for status, _ in sent} == {201}
        assert len({complaint["id"] for _, complaint in sent}) == 1
        # About something else, or said again later, it is another one.
        _, other = await send(browser, "POST", "/complaints", bearer(city), words | {"about": {}})
        _, again = await send(browser, "POST", "/complaints", bearer(city), words)
        city.clock.advance(minutes=1)
        _, later = await send(browser, "POST", "/complaints", bearer(city), words)
        _, listed = await send(browser, "GET", "/complaints", bearer(city))
        assert {one["id"] for one in listed["complaints"]} == {again["id"], other["id"], later["id"]}
        assert (len(listed["complaints"]), again["id"]) == (3, sent[0][1]["id"])


@pytest.mark.parametrize(
    "document",
    [{}, {"text": ""}, {"text": 7}, {"text": "x" * 5001}, {"text": "x", "more": 1}, {"text": "x", "about": {"y": "z"}}],
    ids=lambda document: json.dumps(document)[:40],
)
async def test_a_complaint_of_another_form(city: City, document: Any) -> None:
    async with city.browser() as browser:
        status, problem = await send(browser, "POST", "/complaints", bearer(city), document)
        assert (status, problem["code"]) == (400, "invalid_request")


async def test_a_list_comes_in_pages_that_neither_repeat_nor_skip(city: City) -> None:
    for number in range(7):
        await city.citizen.notices.add(person(city), NoticeKind.SESSION_REFUSED, {"n": str(number)})
        if number % 2:
            city.clock.advance(seconds=1)
    async with city.browser() as browser:
        _, whole = await send(browser, "GET", "/notices?limit=200", bearer(city))
        assert whole["next"] is None
        seen: list[str] = []
        cursor = ""
        for _ in range(10):
            _, part = await send(browser, "GET", f"/notices?limit=2{cursor}", bearer(city))
            seen += [one["id"] for one in part["notices"]]
            if len(seen) == 4:
                # Something new at the top moves nothing below.
                city.clock.advance(seconds=1)
                await city.citizen.notices.add(person(city), NoticeKind.SESSION_REFUSED, {"n": "new"})
            if part["next"] is None:
                break
            cursor = f"&cursor={part['next']}"
        assert seen == [one["id"] for one in whole["notices"]]
        # Another's cursor is a place in a list, and no key to it.
        status, other = await send(browser, "GET", f"/notices?limit=2{cursor}", bearer(city, ANNA))
        assert (status, other["notices"]) == (200, [])
        for bad in ("x", "%00", "WzEsMl0", "W10", "e30", "x" * 600, "W3RydWUsIngiXQ"):
            assert (await send(browser, "GET", f"/notices?cursor={bad}", bearer(city)))[0] == 400, bad
        for bad in ("limit=0", "limit=201", "limit=-1", "limit=x", "limit=1&limit=2", "unread=yes", "foo=1", "limit="):
            assert (await send(browser, "GET", f"/notices?{bad}", bearer(city)))[0] == 400, bad


async def test_an_answer_that_has_not_changed_is_not_sent_again(city: City) -> None:
    async with city.browser() as browser:
        url = f"{city.url}/api/v1/notices"
        async with browser.session.get(url, headers=bearer(city)) as first:
            tag = first.headers["ETag"]
            assert first.headers["Cache-Control"] == "private, no-cache"
        for stated, status in ((tag, 304), (f'W/{tag}, "x"', 304), ("*", 304), ('"x"', 200)):
            async with browser.session.get(url, headers=bearer(city) | {"If-None-Match": stated}) as again:
                assert (again.status, again.headers["ETag"]) == (status, tag)
                assert (await again.read() == b"") is (status == 304)
        await city.citizen.notices.add(person(city), NoticeKind.SESSION_REFUSED)
        async with browser.session.get(url, headers=bearer(city) | {"If-None-Match": tag}) as changed:
            assert changed.status == 200


async def test_the_catalogue_by_category(city: City) -> None:
    async with city.browser() as browser:
        _, whole = await send(browser, "GET", "/services", bearer(city))
        assert whole["categories"] == [
            {"category": "banking", "services": 1},
            {"category": "utilities", "services": 1},
        ]
        _, part = await send(browser, "GET", "/services?category=utilities", bearer(city))
        assert [one["service"] for one in part["services"]] == [f"{UTILITY.encoded}/rechnungen"]
        _, one = await send(browser, "GET", "/services/strom", bearer(city))
        assert one == part["services"][0]
        assert (await send(browser, "GET", "/services?category=weapons", bearer(city)))[0] == 400
        assert (await send(browser, "GET", "/services/nothing", bearer(city)))[0] == 404


async def test_everything_can_be_taken_along(city: City) -> None:
    async with city.browser() as browser:
        await send(browser, "POST", "/consents", bearer(city), {"service": "kontostand"})
        await send(browser, "POST", "/complaints", bearer(city), {"text": "Beschwerde"})
        await linked(city)
        _, document = await send(browser, "GET", "/export?months=2", bearer(city))
        assert [len(document[part]) for part in ("consents", "receipts", "complaints", "links")] == [1, 1, 1, 1]
        assert [month["month"] for month in document["accesses"]] == ["2026-11", "2026-10"]
        assert document["identity"]["subject"] == ERIKA
        url = f"{city.url}/api/v1/export?format=zip&months=1"
        async with browser.session.get(url, headers=bearer(city)) as answer:
            assert answer.headers["Content-Disposition"].endswith('.zip"')
            archive = zipfile.ZipFile(io.BytesIO(await answer.read()))
        assert {"identity.json", "consents.json", "accesses/2026-11.json"} <= set(archive.namelist())
        parts = {name: json.loads(archive.read(name)) for name in archive.namelist()}
        assert parts["complaints.json"][0]["text"] == "Beschwerde"
        check(parts["links.json"][0], {"$ref": "#/components/schemas/Link"})
        # A login that proves too little for the accesses gets the rest, and reads why.
        _, little = await send(browser, "GET", "/export", bearer(city, MAX, "low"))
        assert little["accesses"] == [{"missing": "identity_level_too_low", "requiredLevel": "substantial"}]


async def test_a_session_ends_over_the_api(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        _, me = await send(browser, "GET", "/me", {})
        _, listed = await send(browser, "GET", "/devices", {})
        assert [(one["kind"], one["current"]) for one in listed["devices"]] == [("browser", True)]
        assert (await send(browser, "DELETE", "/session", {}))[0] == 403
        status, ended = await send(browser, "DELETE", "/session", {"X-CSRF-Token": me["csrf"]})
        assert status == 200
        assert ended["endSessionUrl"].startswith(f"{city.issuer_url}/logout?")
        assert "id_token_hint=" in ended["endSessionUrl"]
        assert (await send(browser, "GET", "/me", {}))[0] == 401


async def test_a_revoked_browser_is_logged_out_everywhere(city: City) -> None:
    async with city.browser() as phone, city.browser() as laptop:
        for browser in (phone, laptop):
            await browser.log_in()
        _, me = await send(laptop, "GET", "/me", {})
        _, stolen = await send(phone, "GET", "/me", {})
        token = {"X-CSRF-Token": me["csrf"]}
        status, _ = await send(laptop, "DELETE", f"/devices/{stolen['device']}", token)
        assert status == 200
        assert (await send(phone, "GET", "/me", {}))[0] == 401
        assert (await send(laptop, "GET", "/me", {}))[0] == 200
        # Whoever has the phone and the login at the issuer is a new device, and the citizen is told.
        await phone.get("/login")
        _, again = await send(phone, "GET", "/me", {})
        assert again["device"] not in (stolen["device"], None)


async def test_the_document_is_for_everybody(city: City) -> None:
    async with city.browser() as browser:
        status, document = await send(browser, "GET", "/openapi.json", {})
        assert (status, document["openapi"]) == (200, "3.1.0")
        assert "/accesses" in document["paths"]
