"""The pages for somebody else: chosen by a form, shown on each page, checked and written down at each request."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.citizen.notices import NoticeKind
from gateway.citizen.sessions import Chosen
from gateway.citizen.texts import text
from gateway.city.citizens import MIA
from tests.gateway.citizen.citizens import ANNA, ERIKA
from tests.gateway.citizen.city import APP, BANK, Browser, City, Page, pseudonym_of, run_city
from tests.gateway.citizen.test_accesses import MONTH, links_of, own_bundles, run_log
from tests.gateway.citizen.test_api import send

ACTING = "You act for Mia Beispiel."
DAY_MS = 86_400_000
# Pages that are the represented person's, once one acts for them.
THEIRS = (
    "/",
    "/services",
    "/services/kontostand",
    "/consents",
    "/consents/new?service=kontostand",
    f"/accesses?month={MONTH}",
    f"/verify?month={MONTH}",
    "/links",
    "/notices",
    "/export",
)
OWN = ("/devices", "/complaints", "/representation", "/help")


@pytest.fixture
async def city(database_url: str, tmp_path: Path) -> AsyncIterator[City]:
    """On both databases."""
    async with run_city(database_url, tmp_path) as running:
        yield running


def token_of(page: Page, action: str) -> str:
    """The CSRF token of one form of a page."""
    form = re.search(rf'action="{re.escape(action)}".*?name="csrf" value="([^"]*)"', page.text, re.DOTALL)
    assert form is not None, action
    return html.unescape(form[1])


async def reference_of(browser: Browser) -> str:
    return (await browser.get("/representation")).field("reference")


async def act(browser: Browser) -> Page:
    """Chooses the only person whom one may act for."""
    return await browser.submit("/representation", "/representation", reference=await reference_of(browser))


def child(city: City) -> str:
    return city.context.person(city.issuer_url, MIA.subject)


async def test_every_page_says_for_whom_one_acts(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        for path in (*THEIRS, *OWN):
            assert "Act for myself again" not in (await browser.get(path)).text, path
        page = await act(browser)
        assert (page.status, str(page.url)) == (200, f"{city.url}/")
        for path in THEIRS:
            page = await browser.get(path)
            assert ACTING in page.text, path
            assert "<title>For Mia Beispiel – " in page.text, path
            assert page.text.index(ACTING) < page.text.index("<h1>"), path
            # Who is logged in stays clear, too.
            assert "Logged in as Erika Beispiel" in page.text, path
        for path in OWN:
            page = await browser.get(path)
            assert "This page is about yourself only." in page.text, path
            assert "On the other pages you act for Mia Beispiel." in page.text, path
        assert ACTING in (await browser.get("/nothing/at/all")).text
        # One click, on whatever page.
        page = await browser.post("/representation/end", {"csrf": token_of(page, "/representation/end")})
        assert (page.status, ACTING in page.text) == (200, False)
        assert "Hello, Erika Beispiel" in page.text


async def test_consents_are_the_childs(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        await act(browser)
        question = await browser.get("/consents/new?service=kontostand")
        form = {"csrf": token_of(question, "/consents"), "service": "kontostand", "decision": "give"}
        page = await browser.post("/consents", form)
        assert page.status == 200
        (pushed,) = city.road.of("datenwegConsent")
        reference = pushed.path.rsplit("/", 1)[1]
        consent = await city.citizen.consents.find_decided(reference)
        assert consent.subject == pseudonym_of(city, MIA.subject, BANK.member)
        assert consent.representative == city.context.person(city.issuer_url, ERIKA)
        # Nobody extends in another's place.
        assert "/extend" not in page.text
        refused = await browser.post(f"/consents/{reference}/extend", form)
        assert refused.status == 409
        receipt = json.loads((await browser.get(f"/consents/{reference}/receipt")).text)
        both = receipt["dpv:hasRepresentative"]
        assert (both["@type"], both["dct:title"]) == ("dpv:ParentOfDataSubject", "Erika Beispiel")
        assert both["dpv:isRepresentativeFor"] == {
            "dct:identifier": receipt["dpv:hasDataSubject"],
            "dct:title": "Mia Beispiel",
        }
        city.road.answers["GET", "balance"] = (200, {"balance": "12.50"})
        page = await browser.get("/services/kontostand")
        action = "/services/kontostand/balance"
        assert "12.50" in (await browser.post(action, {"csrf": token_of(page, action)})).text
        (called,) = city.road.of("/konto/balance")
        assert called.headers["X-Datenweg-Representing"] == await reference_of_chosen(city)
        assert called.headers["X-Datenweg-Consent"] == reference
        page = await browser.get("/consents")
        action = f"/consents/{reference}/withdraw"
        page = await browser.post(action, {"csrf": token_of(page, action)})
        assert "Withdrawn." in page.text
        # The parent has none of it as their own.
        page = await browser.post("/representation/end", {"csrf": token_of(page, "/representation/end")})
        assert reference not in (await browser.get("/consents")).text
        assert (await browser.get(f"/consents/{reference}/receipt")).status == 404
    ended = await city.citizen.consents.find_decided(reference)
    assert [event.representative != "" for event in ended.events] == [False, True, True]


async def reference_of_chosen(city: City) -> str:
    async with city.browser() as other:
        await other.log_in()
        return await reference_of(other)


async def test_the_access_log_and_its_files_are_the_childs(city: City, tmp_path: Path) -> None:
    here, own = pseudonym_of(city, MIA.subject, APP.member), pseudonym_of(city, ERIKA, APP.member)
    async with run_log(tmp_path, "own", keeper=APP) as log:
        await log.record(here, requestId="mias-exchange", representative="parent", identityLevel="high")
        await log.record(own, requestId="erikas-exchange", identityLevel="high")
        own_bundles(city)[here], own_bundles(city)[own] = await log.bundle(here), await log.bundle(own)
    async with city.browser() as browser:
        await browser.log_in()
        paths = [f"/accesses/export.{kind}?month={MONTH}" for kind in ("csv", "json", "xml")]
        paths.append(f"/accesses/bundle?month={MONTH}&source=own")
        for path in paths:
            assert "mias-exchange" not in (await browser.get(path)).text, path
        await act(browser)
        page = await browser.get(f"/accesses?month={MONTH}")
        (one, *_) = links_of(page.text)
        assert "a parent acted for you" in page.text
        assert "mias-exchange" in (await browser.get(one)).text
        for path in paths[:2]:
            file = await browser.get(path)
            assert "mias-exchange" in file.text, path
            assert "erikas-exchange" not in file.text, path
            assert "accesses-for-another-2026-11" in file.headers["Content-Disposition"]
        assert json.loads((await browser.get(paths[1])).text)["person"] == "Mia Beispiel"
        pdf = await browser.session.get(f"{city.url}/accesses/export.pdf?month={MONTH}")
        assert (await pdf.read()).startswith(b"%PDF")
        bundle = json.loads((await browser.get(paths[3])).text)
        assert bundle == own_bundles(city)[here]


async def test_nobody_elses_child_can_be_chosen(city: City) -> None:
    async with city.browser() as mine, city.browser() as other:
        await mine.log_in()
        reference = await reference_of(mine)
        await other.log_in("anna.probe")
        page = await other.get("/representation")
        assert "Nobody is registered" in page.text
        csrf = page.field("csrf")
        for stated in (reference, MIA.subject, "", "x" * 500, "é", child(city)):
            refused = await other.post("/representation", {"csrf": csrf, "reference": stated})
            assert refused.status == 403, stated
            assert "Act for myself again" not in refused.text
        # Nor by a form that isn't one's own.
        for bad in ({}, {"csrf": ""}, {"csrf": csrf}):
            assert (await mine.post("/representation", {**bad, "reference": reference})).status == 403
        assert ACTING not in (await mine.get("/")).text
        assert (await other.get("/consents")).status == 200
        elsewhere = await mine.post(
            "/representation", {"csrf": (await mine.get("/")).field("csrf"), "reference": reference},
            Origin="https://evil.example",
        )  # fmt: skip
        assert elsewhere.status == 403


async def test_a_relation_that_has_ended_stops_it_at_once(city: City) -> None:
    made = await city.citizen.relations.register(
        issuer=city.issuer_url, representative=ANNA, represented=MIA.subject, role="guardian", name="Mia Beispiel",
        until_ms=city.clock.now_ms() + 60_000,
    )  # fmt: skip
    async with city.browser() as browser:
        await browser.log_in("anna.probe")
        page = await act(browser)
        assert "You are registered as a guardian." in page.text
        question = await browser.get("/consents/new?service=kontostand")
        # Any form of the page carries the token that is for the child.
        form = {"csrf": token_of(question, "/logout"), "service": "kontostand", "decision": "give"}
        city.clock.advance(minutes=1)
        refused = await browser.post("/consents", form)
        assert refused.status == 403
        assert "You may no longer act for this person." in refused.text
        assert "Act for myself again" not in refused.text
        # The form isn't taken as one for themselves, either.
        assert (await browser.post("/consents", form)).status == 403
        assert not city.road.of("datenwegConsent")
        assert ACTING not in (await browser.get("/consents")).text
        assert "Nobody is registered" in (await browser.get("/representation")).text
        # Removed, too, and it doesn't come back by itself when it is registered again.
        await city.citizen.relations.register(
            issuer=city.issuer_url, representative=ANNA, represented=MIA.subject, role="parent", name="Mia Beispiel",
            until_ms=city.clock.now_ms() + DAY_MS,
        )  # fmt: skip
        assert ACTING not in (await browser.get("/")).text
        await act(browser)
        assert await city.citizen.relations.remove(made.reference)
        assert [(await browser.get("/accesses")).status for _ in range(2)] == [403, 200]


async def test_what_the_register_ended_no_issuer_brings_back(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        await act(browser)
        await city.citizen.relations.register(
            issuer=city.issuer_url, representative=ERIKA, represented=MIA.subject, role="parent", name="Mia Beispiel",
            until_ms=city.clock.now_ms() + 1_000,
        )  # fmt: skip
        assert (await browser.get("/consents")).status == 200
        city.clock.advance(seconds=1)
        assert (await browser.get("/consents")).status == 403
        assert "Nobody is registered" in (await browser.get("/representation")).text


async def test_a_form_counts_only_for_whom_it_was_shown(city: City) -> None:
    """Two windows: what is chosen in one doesn't turn the other's form into one for somebody else."""
    async with city.browser() as browser:
        await browser.log_in()
        own = token_of(await browser.get("/consents/new?service=kontostand"), "/consents")
        await act(browser)
        theirs = token_of(await browser.get("/consents/new?service=kontostand"), "/consents")
        form = {"service": "kontostand", "decision": "give"}
        assert (await browser.post("/consents", {**form, "csrf": own})).status == 403
        page = await browser.get("/")
        await browser.post("/representation/end", {"csrf": token_of(page, "/representation/end")})
        assert (await browser.post("/consents", {**form, "csrf": theirs})).status == 403
        assert not city.road.of("datenwegConsent")
        assert (await browser.post("/consents", {**form, "csrf": own})).status == 200


async def test_each_step_is_written_down_for_the_child(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        await act(browser)
        (told,) = await city.citizen.notices.of(child(city))
        assert (told.kind, dict(told.facts)) == (NoticeKind.REPRESENTED, {"role": "parent", "day": "2026-11-22"})
        before = told.count
        for path in ("/consents", "/services"):
            await browser.get(path)
        (told,) = await city.citizen.notices.of(child(city))
        assert told.count == before + 2
        page = await browser.get("/notices")
        assert "A parent acted for you here on 2026-11-22." in page.text
        # Neither the ways out of the page nor what is read are the representative's to set.
        assert "How would you like" not in page.text
        assert (await city.citizen.notices.of(child(city)))[0].read_ms is None
        city.clock.advance(minutes=1)
        _, listed = await send(browser, "GET", "/represented", {})
        headers = {"X-Datenweg-Representing": listed["represented"][0]["reference"]}
        await send(browser, "GET", "/consents", headers)
        (told,) = await city.citizen.notices.of(child(city))
        assert told.count == before + 4
    assert not [one for one in await city.citizen.notices.of(city.context.person(city.issuer_url, ERIKA))
                if one.kind is NoticeKind.REPRESENTED]  # fmt: skip


async def test_a_login_in_between_keeps_for_whom_one_acts(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        await act(browser)
        # The access token is over, the session isn't: the issuer remembers the citizen.
        city.clock.advance(minutes=11)
        page = await browser.get("/consents")
        assert (page.status, str(page.url)) == (200, f"{city.url}/consents")
        assert ACTING in page.text
        # Somebody else at the same browser doesn't.
        await browser.post("/logout", {"csrf": token_of(page, "/logout")})
        page = await browser.log_in("anna.probe")
        assert "Act for myself again" not in page.text


async def test_a_login_of_another_person_in_the_same_browser_acts_for_nobody(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        assert ACTING in (await act(browser)).text
        # At the issuer somebody else is logged in by now; nobody has logged out here.
        ours = (city.citizen.session_cookie, city.citizen.device_cookie)
        browser.session.cookie_jar.clear(lambda cookie: cookie.key not in ours)
        page = await browser.log_in("anna.probe")
        assert page.status == 200
        assert ACTING not in page.text
        assert "Anna Probe" in page.text


async def test_the_api_is_told_at_each_request_and_by_no_page(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        await act(browser)
        _, me = await send(browser, "GET", "/me", {})
        assert me["name"] == "Erika Beispiel"
        token = {"X-CSRF-Token": me["csrf"]}
        status, consent = await send(browser, "POST", "/consents", token, {"service": "kontostand"})
        assert status == 201
        assert (await city.citizen.consents.find_decided(consent["reference"])).representative == ""


async def test_a_choice_lies_sealed_and_ends_with_the_session(city: City) -> None:
    from sqlalchemy import select

    from gateway.citizen import tables
    from gateway.citizen.errors import NotLoggedIn

    async with city.browser() as browser:
        await browser.log_in()
        await act(browser)
        reference = await reference_of_chosen(city)
        async with city.engine.connect() as connection:
            rows = str((await connection.execute(select(tables.session))).all())
        assert "Mia" not in rows
        assert reference not in rows
        jar = {cookie.key: cookie.value for cookie in browser.session.cookie_jar}
        await city.citizen.sessions.end(jar["datenweg_session"])
        with pytest.raises(NotLoggedIn):
            await city.citizen.sessions.choose(jar["datenweg_session"], Chosen(reference, "Mia"))


@pytest.mark.parametrize("language", ["de", "en"])
async def test_a_page_without_anybody_says_so(city: City, language: str) -> None:
    async with city.browser(language=language) as browser:
        await browser.log_in("anna.probe")
        page = await browser.get("/representation")
        assert text("representation_none", language, city="Musterstadt") in html.unescape(page.text)
