"""The pages: headers, forms, languages, hostile texts, the journeys without JavaScript."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

import gateway.citizen
from gateway.citizen.journeys import actions_of, find_action, same_form
from gateway.citizen.purposes import Journey
from gateway.citizen.texts import CATALOGUES, TEXTS, text
from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import UTILITY_DECLARATION, City

PAGES: Final = (
    "/",
    "/services",
    "/services/kontostand",
    "/consents",
    "/consents/new?service=kontostand",
    "/accesses",
    "/accesses?span=3&order=time&result=denied&q=x&own=1",
    "/verify",
    "/devices",
    "/links",
    "/notices",
    "/representation",
    "/export",
    "/complaints",
    "/help",
)
# The verifier's page alone runs a script, from a file of ours.
SCRIPTED: Final = "/verify"
TEMPLATES: Final = Path(gateway.citizen.__file__).with_name("templates")
PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


def test_both_languages_say_the_same_things() -> None:
    german, english = (CATALOGUES[language].messages for language in ("de", "en"))
    assert german.keys() == english.keys()
    for key, message in german.items():
        assert message.is_plural == english[key].is_plural, key
        placeholders = {tuple(sorted(set(PLACEHOLDER.findall(form)))) for form in message.forms + english[key].forms}
        # "One" may say so without the number, but ours never do.
        assert len(placeholders) == 1, key
        assert not message.is_plural or "count" in placeholders.pop(), key


def test_templates_and_journeys_use_texts_that_exist() -> None:
    used = set()
    for template in TEMPLATES.glob("*.html"):
        used |= set(re.findall(r'\bt\("(\w+)"[),]', template.read_text("utf-8")))
    for journey in Journey:
        for action in actions_of(journey):
            used |= {action.label} | {field.label for field in action.fields}
    assert used <= set(TEXTS), used - set(TEXTS)


def test_texts_are_filled_in_the_language_asked_for() -> None:
    assert text("days", "de", count=3) == "3 Tage ab heute"
    assert text("days", "en", count=3) == "3 days from today"
    assert text("days", "de", count=1) == "1 Tag ab heute"
    with pytest.raises(KeyError):
        text("no such text", "de")


class Outline(HTMLParser):
    """What assistive technology needs, collected from a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("language", ["de", "en"])
async def test_every_page_is_labelled_safe_and_self_contained(city: City, language: str) -> None:
    async with city.browser(language=language) as browser:
        await browser.log_in()
        for path in PAGES:
            page = await browser.get(path)
            assert page.status == 200, path
            outline = Outline()
            outline.feed(page.text)
            assert outline.all("html")[0]["lang"] == language
            assert [len(outline.all(tag)) for tag in ("h1", "main", "header", "footer", "title")] == [1] * 5, path
            assert outline.all("a")[0]["href"] == "#content"
            labelled = {label["for"] for label in outline.all("label")}
            fields = outline.all("input") + outline.all("select") + outline.all("textarea")
            visible = [field for field in fields if field.get("type") != "hidden"]
            assert {field["id"] for field in visible} == labelled, path
            identifiers = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
            assert len(identifiers) == len(set(identifiers)), path
            # No script but the verifier's file, no inline style, nothing from elsewhere.
            scripts = [{"type": "module", "src": "/static/verify.js"}] if path == SCRIPTED else []
            assert outline.all("script") == scripts, path
            assert not outline.all("style")
            assert not [1 for _, attributes in outline.tags if "style" in attributes or "onclick" in attributes]
            sources = [tag.get("src") or tag.get("href") for name in ("link", "img") for tag in outline.all(name)]
            assert all(source is not None and source.startswith("/static/") for source in sources)
            policy = page.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert ("script-src" in policy) is (path == SCRIPTED)
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert page.headers["X-Content-Type-Options"] == "nosniff"
            assert page.headers["Cache-Control"] == "no-store"


async def test_texts_of_institutions_are_escaped(city: City) -> None:
    async with city.browser(language="de") as browser:
        await browser.log_in()
        page = await browser.get("/services")
        assert "Kontostand &lt;b&gt;fett&lt;/b&gt;" in page.text
        assert "<script>" not in page.text
        city.road.answers["GET", "balance"] = (200, {"<img src=x>": {"name": "<svg onload=alert(1)>"}})
        answer = await browser.submit("/services/kontostand", "/services/kontostand/balance")
        assert "<svg" not in answer.text
        assert "<img" not in answer.text
        assert "&lt;svg onload=alert(1)&gt;" in answer.text


async def test_a_disabled_service_is_shown_as_such_and_cannot_be_called(city: City) -> None:
    city.road.declarations["kundenservice"] = UTILITY_DECLARATION | {"enabled": False}
    disabled = "The institution does not offer this service at the moment."
    async with city.browser() as browser:
        await browser.log_in()
        assert (await browser.get("/services")).text.count(disabled) == 1
        page = await browser.get("/services/strom")
        assert disabled in page.text
        assert "/services/strom/" not in page.text
        assert disabled not in (await browser.get("/services/kontostand")).text
        token = page.field("csrf")
        refused = await browser.post("/services/strom/bills", {"csrf": token})
        assert refused.status == 409
        assert disabled in refused.text
        assert city.road.of("/rechnungen") == []


async def test_the_bank_is_linked_step_by_step(city: City) -> None:
    method = {"authenticationMethodId": "901", "authenticationType": "CHIP_OTP", "name": "chipTAN <x>"}
    started = {"linkId": "l-1", "state": "started", "scaMethods": [method]}
    city.road.answers |= {
        ("POST", "link"): (201, started),
        ("PUT", "link/l-1"): (200, {"linkId": "l-1", "state": "methodSelected", "challenge": {"otpFormat": "integer"}}),
    }
    async with city.browser() as browser:
        await browser.log_in()
        first = await browser.submit(
            "/services/kontostand", "/services/kontostand/bank_link", psuId="erika", password=" geheim "
        )
        assert city.road.of("/konto/link")[-1].body == b'{"psuId": "erika", "password": " geheim "}'
        assert "geheim" not in first.text
        assert "chipTAN &lt;x&gt;" in first.text
        form = {"linkId": first.field("linkId"), "authenticationMethodId": "901", "csrf": first.field("csrf")}
        second = await browser.post("/services/kontostand/bank_method", form)
        assert "Send the TAN" in second.text
        city.road.answers["PUT", "link/l-1"] = (200, {"linkId": "l-1", "state": "linked"})
        form = {"linkId": "l-1", "scaAuthenticationData": "123456", "csrf": first.field("csrf")}
        third = await browser.post("/services/kontostand/bank_tan", form)
        assert city.road.of("/konto/link/")[-1].body == b'{"scaAuthenticationData": "123456"}'
        assert "Ask for the account balance" in third.text


async def test_a_value_cannot_climb_out_of_its_place_in_the_path(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        token = (await browser.get("/services/strom")).field("csrf")
        await browser.post("/services/strom/bill", {"csrf": token, "invoiceNumber": "../../x?y=1#z"})
        paths = [request.path for request in city.road.requests]
        assert paths[-1].endswith("/rechnungen/bills/..%2F..%2Fx%3Fy%3D1%23z")


async def test_a_services_refusal_is_told_in_the_citizens_language(city: City) -> None:
    texts = {
        "de": {"title": "Nicht verknüpft.", "hint": "Erst verknüpfen."},
        "en": {"title": "Not linked.", "hint": "Link."},
    }
    city.road.answers["GET", "balance"] = (404, {"code": "not_linked", "title": "x", "texts": texts})
    async with city.browser(language="de") as browser:
        await browser.log_in()
        page = await browser.submit("/services/kontostand", "/services/kontostand/balance")
        assert "Nicht verknüpft." in page.text
        assert "Erst verknüpfen." in page.text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/logout", {}),
        ("/consents", {"service": "kontostand", "decision": "give"}),
        ("/consents/x/withdraw", {}),
        ("/services/kontostand/balance", {}),
    ],
)
async def test_no_form_works_without_its_token(city: City, path: str, form: dict[str, str]) -> None:
    async with city.browser() as browser, city.browser() as other:
        await browser.log_in()
        await other.log_in("anna.probe")
        theirs = (await other.get("/services")).field("csrf")
        before = len(city.road.requests)
        for token in ("", "x", theirs):
            assert (await browser.post(path, {**form, "csrf": token})).status == 403
        own = (await browser.get("/consents")).field("csrf")
        assert (await browser.post(path, {**form, "csrf": own}, Sec_Fetch_Site="cross-site")).status == 403
        assert len(city.road.requests) == before
        assert "Hello, Erika" in (await browser.get("/")).text


async def test_pages_ask_for_a_login_first(city: City) -> None:
    async with city.browser() as browser:
        for path in PAGES[1:-1]:
            page = await browser.get(path, follow=False)
            assert page.status == 303
            assert page.headers["Location"].startswith("/login?return_to=%2F")
        assert (await browser.get("/nothing")).status == 404
        assert (await browser.get("/static/..%2Fapp.py")).status == 404


async def test_an_expired_token_leads_back_through_the_login(city: City) -> None:
    city.road.answers["GET", "balance"] = (200, {"state": "there"})
    async with city.browser() as browser:
        await browser.log_in()
        city.clock.advance(minutes=11)
        # The issuer still knows the citizen: they land on the service's page, logged in anew, without typing.
        page = await browser.submit("/services/kontostand", "/services/kontostand/balance")
        assert page.url.path == "/services/kontostand"
        assert "What you last wanted to send was not sent." in page.text
        assert "was not sent" not in (await browser.get("/services/kontostand")).text
        assert "there" in (await browser.submit("/services/kontostand", "/services/kontostand/balance")).text


async def test_the_language_can_be_chosen(city: City) -> None:
    async with city.browser(language="en") as browser:
        assert "Ihre Daten, Ihre Entscheidung" in (await browser.get("/language/de?return_to=/")).text
        assert (await browser.get("/language/xx")).status == 404
        assert str((await browser.get("/language/de?return_to=//evil.example/")).url).startswith(city.url)


async def test_a_dead_provider_is_named_and_the_rest_works(city: City) -> None:
    city.road.dead.add("SPARKASSE")
    async with city.browser() as browser:
        await browser.log_in()
        page = await browser.get("/services")
        assert "This institution does not answer at the moment: Sparkasse Musterstadt" in page.text
        assert "Electricity bill" in page.text


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/services/kontostand/balance", "/services/kontostand"),
        ("/consents/some-reference/withdraw", "/consents"),
        ("/devices/some-device/revoke", "/devices"),
        ("/notices/mail/confirm", "/notices"),
        ("/logout", "/"),
    ],
)
async def test_a_forms_address_leads_back_to_its_page(city: City, address: str, page: str) -> None:
    """After a reload, from the history or a bookmark, and when the session ended while the form was filled in."""
    async with city.browser(language="de") as browser:
        answer = await browser.get(address, follow=False)
        assert (answer.status, answer.headers["Location"]) == (303, page)
        if address != "/logout":
            answer = await browser.post(address, {"csrf": "of a session that is over"}, follow=False)
            assert answer.headers["Location"] == f"/login?return_to={quote(page + '?unsent=1', safe='')}"


async def test_an_error_without_a_field_is_a_whole_sentence(city: City) -> None:
    async with city.browser(language="de") as browser:
        answer = await browser.post("/help", {})
        assert answer.status == 405
        assert "Diese Anfrage ist so nicht möglich." in answer.text


async def test_notices_of_links_name_the_institution(city: City) -> None:
    async with city.browser(language="de") as browser:
        await browser.log_in()
        person = city.citizen.context.person(city.issuer_url, ERIKA)
        link = await city.citizen.links.add(person, service="kontostand", provider="x", label="…47")
        await city.citizen.links.end(person, link.id)
        page = await browser.get("/notices")
        assert "Ihr Konto wurde verknüpft: Sparkasse Musterstadt." in page.text
        assert "Eine Verknüpfung wurde gelöst: Sparkasse Musterstadt." in page.text


WRONG: Final = {"code": "tan_refused", "title": "Die TAN ist nicht richtig."}


@pytest.mark.parametrize("start", ["/services/kontostand", "/links/kontostand/step"])
async def test_a_wrong_tan_is_typed_again_where_it_was_typed(city: City, start: str) -> None:
    city.road.answers |= {("PUT", "link/l-1"): (403, WRONG), ("POST", "link"): (201, {})}
    async with city.browser(language="de") as browser:
        await browser.log_in()
        await browser.submit("/consents/new?service=kontostand", "/consents", service="kontostand", decision="give")
        form = {"linkId": "l-1", "scaAuthenticationData": "000000"}
        page = await browser.submit("/services/kontostand", f"{start}/bank_tan", **form)
        assert "Die TAN ist nicht richtig." in page.text
        assert page.field("linkId") == "l-1"
        assert f'action="{start}/bank_tan"' in page.text
        # A one-time code is never shown again.
        assert "000000" not in page.text
        # What is missing altogether is told without asking the bank.
        page = await browser.submit("/services/kontostand", f"{start}/bank_tan", linkId="l-1")
        assert (page.status, page.field("linkId")) == (400, "l-1")
        assert f'action="{start}/bank_tan"' in page.text


async def test_a_booking_that_is_refused_keeps_what_was_chosen_and_typed(city: City) -> None:
    booking = find_action(Journey.APPOINTMENTS, "book")
    form = {"officeId": "7", "serviceId": "8", "timestamp": "1795350000", "familyName": "Łódź", "email": "x"}
    (again,) = same_form(booking, form, 400)
    assert again.values == form
    assert [item.name for item in again.action.fields if item.kind != "hidden"] == ["familyName", "email"]
    # The slot is gone, or too much was tried: typing doesn't help.
    assert not any(same_form(booking, form, status) for status in (200, 404, 409, 429, 502))
    # Nothing was typed, or the page has the form anyhow.
    assert same_form(find_action(Journey.APPOINTMENTS, "cancel"), {"processId": "1"}, 400) == ()
    assert same_form(find_action(Journey.BANK, "bank_link"), {"psuId": "x"}, 400) == ()


async def test_fields_that_a_service_names_are_named_as_in_the_form(city: City) -> None:
    city.road.answers["POST", "link"] = (400, {"code": "invalid_request", "title": "x", "fields": ["meterNumber", 7]})
    async with city.browser(language="de") as browser:
        await browser.log_in()
        form = {"customerNumber": "1", "meterNumber": "2"}
        page = await browser.submit("/services/strom", "/services/strom/utility_link", **form)
        assert "Bitte prüfen Sie Ihre Eingabe: Zählernummer" in page.text
