"""Hostile citizens and hostile institutions: one citizen after another's things, markup in every text of others."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from gateway.citizen import access_pages, api, login_pages, pages, personal_pages
from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import BANK, BANK_DECLARATION, Browser, City, pseudonym_of
from tests.gateway.citizen.test_accesses import MONTH, links_of, run_log
from tests.gateway.citizen.test_api import bearer, send

PARTS: Final = (pages, access_pages, personal_pages, login_pages, api)
ROUTES: Final = [(route.method, route.path) for part in PARTS for route in part.routes]
# As text it shows; as markup it makes an element, or closes an attribute and makes one.
HOSTILE: Final = "\"'><evil onclick=alert(1)>&lt;{{ 7919 * 7919 }}</title></script>"


# -- one citizen and another's things --------------------------------------------------------------------------------


async def a_consent_of_erika(city: City) -> dict[str, Any]:
    async with city.browser() as browser:
        status, consent = await send(browser, "POST", "/consents", bearer(city), {"service": "kontostand"})
    assert status == 201
    return dict(consent)


async def test_a_session_of_one_and_a_form_of_another_do_nothing(city: City) -> None:
    consent = await a_consent_of_erika(city)
    async with city.browser() as mine, city.browser() as other:
        await mine.log_in()
        await other.log_in("anna.probe")
        good = json.loads((await mine.get("/api/v1/me")).text)["csrf"]
        theirs = json.loads((await other.get("/api/v1/me")).text)["csrf"]
        posts = [path for method, path in ROUTES if method == "POST" and path.startswith("/api/")]
        assert len(posts) >= 3
        before = len(city.road.requests)
        for path in posts:
            local = path.format(reference=consent["reference"], id="x").removeprefix("/api/v1")
            for headers in (
                {},
                {"X-CSRF-Token": ""},
                {"X-CSRF-Token": theirs},
                {"X-CSRF-Token": good[:-1]},
                {"X-CSRF-Token": good, "Sec-Fetch-Site": "cross-site"},
                {"X-CSRF-Token": good, "Sec-Fetch-Site": "same-site"},
            ):
                status, problem = await send(mine, "POST", local, headers, {"service": "kontostand"})
                assert (status, problem["code"]) == (403, "form_refused"), (path, headers)
        assert len(city.road.requests) == before


# -- redirects --------------------------------------------------------------------------------------------------------


async def test_no_logout_leads_elsewhere(city: City) -> None:
    async with city.browser() as browser:
        for client in ("datenweg-citizen", "unknown"):
            target = quote("https://evil.example/", safe="")
            url = f"{city.issuer_url}/logout?client_id={client}&post_logout_redirect_uri={target}"
            page = await browser.get(url, follow=False)
            assert page.status == 200
            assert "Location" not in page.headers


# -- markup in the texts of others ------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Which elements and attributes a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.scripts: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))
        self.found |= {tag} | {name for name, _ in attrs}


async def shows(browser: Browser, path: str, form: dict[str, str] | None = None, *, text: bool = True) -> None:
    """The page shows hostile text, if it is meant to, and makes nothing of it."""
    page = await (browser.get(path) if form is None else browser.post(path, form))
    elements = Elements()
    elements.feed(page.text)
    # The verifier's page has its script, and that alone.
    verifies = path.startswith("/verify?") and page.status == 200
    assert elements.scripts == (["/static/verify.js"] if verifies else []), path
    assert not {"evil", "onclick"} & elements.found, path
    assert "62710561" not in page.text, path
    assert ("&lt;evil onclick=alert(1)&gt;" in page.text) is text, path


@pytest.mark.parametrize("language", ["de", "en"])
async def test_markup_of_an_institution_is_text_on_every_page(city: City, tmp_path: Path, language: str) -> None:
    texts = ("title_de", "title_en", "purpose_de", "purpose_en", "legal_basis")
    city.road.declarations["konto"] = BANK_DECLARATION | dict.fromkeys(texts, HOSTILE) | {"data_categories": [HOSTILE]}
    there = pseudonym_of(city, ERIKA, BANK.member)
    both = {"de": HOSTILE, "en": HOSTILE}
    async with run_log(tmp_path, "bank") as bank:
        for result in ("delivered", "denied", HOSTILE):
            await bank.record(
                there,
                client={"id": HOSTILE, "name": HOSTILE},
                provider={"id": HOSTILE, "name": HOSTILE},
                service={"id": HOSTILE, "title": both},
                purpose=both,
                legalBasis={"kind": HOSTILE, "text": HOSTILE},
                dataCategories=[HOSTILE],
                consent=HOSTILE,
                result=result,
                reason=HOSTILE,
                requestId=HOSTILE,
                requestDigest=HOSTILE,
                occasion=HOSTILE,
                system=HOSTILE,
                identityLevel=HOSTILE,
                representative=HOSTILE,
                withheld={HOSTILE: HOSTILE},
            )
        city.road.bundles["SPARKASSE"] = await bank.bundle(there)
    async with city.browser(language=language) as browser:
        await browser.log_in()
        for path in ("/services", "/services/kontostand", "/consents/new?service=kontostand"):
            await shows(browser, path)
        form = {"csrf": (await browser.get("/services")).field("csrf")}
        await shows(browser, "/consents", form | {"service": "kontostand", "decision": "give"})
        await shows(browser, "/consents")
        await shows(browser, f"/accesses?month={MONTH}")
        await shows(browser, f"/accesses?month={MONTH}&order=time&institution={quote(HOSTILE, safe='')}")
        for link in links_of((await browser.get(f"/accesses?month={MONTH}")).text):
            await shows(browser, link)
        await shows(browser, f"/verify?month={MONTH}", text=False)
        await shows(browser, "/")
        await shows(browser, "/export")
        await shows(browser, "/complaints", form | {"text": HOSTILE, "about": HOSTILE})
        await shows(browser, "/devices", text=False)
        for status, answer in (
            (200, {HOSTILE: {"name": HOSTILE, "state": HOSTILE, "list": [HOSTILE]}}),
            (409, {"code": HOSTILE, "title": HOSTILE, "detail": HOSTILE, "texts": {language: {"title": HOSTILE}}}),
        ):
            city.road.answers["GET", "balance"] = (status, answer)
            await shows(browser, "/services/kontostand/balance", form)
        method = {"authenticationMethodId": HOSTILE, "name": HOSTILE}
        city.road.answers["POST", "link"] = (201, {"linkId": HOSTILE, "state": HOSTILE, "scaMethods": [method]})
        await shows(browser, "/services/kontostand/bank_link", form | {"psuId": "erika", "password": "geheim"})


async def test_markup_in_an_address_is_text_on_every_page(city: City) -> None:
    hostile = quote(HOSTILE, safe="")
    async with city.browser() as browser:
        await browser.log_in()
        for path in (
            f"/services/{hostile}",
            f"/consents/new?service={hostile}",
            f"/accesses?month={hostile}",
            f"/verify?month={hostile}",
            f"/accesses/bundle?source={hostile}",
            f"/accesses?result={hostile}",
            f"/accesses?span={hostile}",
            f"/accesses?order={hostile}&page={hostile}",
            f"/accesses/one/{MONTH}/{hostile}",
            f"/accesses/one/{hostile}/x?log={hostile}",
            f"/accesses/export.{hostile}",
            f"/accesses/export.pdf?month={hostile}",
            f"/{hostile}",
            f"/consents/{hostile}/receipt",
            f"/login?level={hostile}",
            f"/login?return_to={hostile}",
            f"/login/callback?error={hostile}&state={hostile}",
            f"/services?{hostile}",
        ):
            await shows(browser, path, text=False)
        # What is searched for stands in the form again, and what a complaint is about.
        for path in (f"/accesses?month={MONTH}&q={hostile}&institution={hostile}", f"/complaints?about={hostile}"):
            await shows(browser, path)
