"""A citizen's way through all pages, in a real browser, in both languages, on phone and desktop.

Here is what only a browser can show: layout, keyboard, colours, Content Security Policy, WebCrypto. Rules of the pages
themselves are tested in tests/gateway/citizen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import aiohttp
import pytest
from playwright.async_api import expect

from gateway.city.citizens import MIA
from gateway.city.third_party import ThirdParty
from tests.e2e.browser import DESKTOP, IN_A_BROWSER, PHONE, Citizen, Screen, visiting
from tests.e2e.conftest import City
from tests.e2e.steps import ERIKA, ISSUER, OFFICES, log_in, open_service

pytestmark = IN_A_BROWSER
BANK: Final = {"de": "Konten bei der Sparkasse", "en": "Savings bank accounts"}
BILLS: Final = {"de": "Rechnungen der Stadtwerke", "en": "Utility bills"}


@pytest.mark.parametrize(
    ("language", "screen"),
    [("de", PHONE), ("en", PHONE), ("en", DESKTOP), ("de", DESKTOP)],
    ids=["de-phone", "en-phone", "en-desktop", "de-desktop"],
)
async def test_a_citizens_way_through_all_pages(city: City, tmp_path: Path, language: str, screen: Screen) -> None:
    async with visiting(city.browser, city.watch(), language, screen=screen) as citizen:
        await citizen.page.goto(city.plan.citizen_url)
        await citizen.examine("welcome")
        await log_in(citizen, examined=True)
        await citizen.examine("overview")
        await give_consent(citizen)
        await link_the_bank(citizen)
        await book_and_cancel(citizen)
        await withdraw_and_be_refused(citizen)
        await find_both_in_the_log(citizen)
        await look_closer(citizen, tmp_path)
        await decide_for_the_utility(citizen, city)
        await unlink_the_bank(citizen)
        await see_the_rest(citizen)
        await act_for_the_child(citizen)
        await citizen.press(citizen.say("logout"))
        await expect(citizen.page.locator("h1")).to_have_text(citizen.say("welcome_title"))
        # The issuer has forgotten the citizen, too.
        await citizen.open(citizen.say("login"))
        await expect(citizen.page.get_by_label(ISSUER[language][2])).to_be_visible()


async def give_consent(citizen: Citizen) -> None:
    await citizen.go("nav_services")
    await citizen.examine("services")
    await citizen.open(citizen.say("open_service", title=BANK[citizen.language]))
    await expect(citizen.sees(citizen.say("consent_missing"))).to_be_visible()
    await citizen.examine("service")
    await citizen.open(citizen.say("decide"))
    await citizen.examine("consent")
    await citizen.press(citizen.say("consent_yes"))
    await expect(citizen.sees(citizen.say("state_valid"))).to_be_visible()
    await citizen.examine("consents")


async def link_the_bank(citizen: Citizen) -> None:
    await open_service(citizen, BANK[citizen.language])
    await citizen.fill(citizen.say("field_psuId"), "chipTAN")
    await citizen.fill(citizen.say("field_password"), "okok1")
    await citizen.press(citizen.say("action_bank_link"))
    await citizen.page.get_by_label(citizen.say("field_authenticationMethodId")).select_option(index=0)
    await citizen.examine("bank-method")
    await citizen.press(citizen.say("action_bank_method"))
    await expect(citizen.sees("Startcode")).to_be_visible()
    await citizen.fill(citizen.say("field_scaAuthenticationData"), "111111")
    await citizen.examine("bank-tan")
    await citizen.press(citizen.say("action_bank_tan"))
    await expect(citizen.sees(citizen.say("value_state_linked"))).to_be_visible()
    await citizen.press(citizen.say("action_balance"))
    await expect(citizen.sees("2504.37")).to_be_visible()
    await citizen.examine("balance")


async def book_and_cancel(citizen: Citizen) -> None:
    await open_service(citizen, OFFICES[citizen.language])
    await citizen.press(citizen.say("action_offices"))
    await expect(citizen.sees("Rathausplatz")).to_be_visible()
    await citizen.examine("offices")
    await citizen.press(citizen.say("action_office_services"))
    await citizen.press(citizen.say("action_slots"))
    await citizen.fill(citizen.say("field_familyName"), ERIKA.name)
    await citizen.fill(citizen.say("field_email"), "erika@example.org")
    await citizen.examine("slots")
    await citizen.press(citizen.say("action_book"))
    await expect(citizen.page.get_by_label(citizen.say("field_processId"), exact=True)).to_be_visible()
    await citizen.examine("booked")
    await citizen.press(citizen.say("action_cancel"))
    await expect(citizen.sees(citizen.say("result_done"))).to_be_visible()


async def withdraw_and_be_refused(citizen: Citizen) -> None:
    await citizen.go("nav_consents")
    # The declaration that was consented to keeps the language of that day.
    await citizen.press(citizen.say("withdraw_for", title=BANK[citizen.language]))
    await expect(citizen.sees(citizen.say("state_withdrawn"))).to_be_visible()
    await open_service(citizen, BANK[citizen.language])
    await citizen.press(citizen.say("action_balance"))
    await expect(citizen.page.get_by_role("heading", name=citizen.say("result_failed"))).to_be_visible()
    await expect(citizen.sees("server.serverproxy.consent_required")).to_be_visible()
    await citizen.examine("refused")


async def find_both_in_the_log(citizen: Citizen) -> None:
    await citizen.go("nav_accesses")
    balances = citizen.page.get_by_role("article").filter(has_text=BANK[citizen.language])
    await expect(balances.filter(has_text=citizen.say("outcome_delivered")).first).to_be_visible()
    refused = balances.filter(has_text=citizen.say("outcome_denied")).first
    await expect(refused).to_have_class("card entry bad")
    await expect(refused).to_contain_text(citizen.say("fault_consent_required"))
    await citizen.page.get_by_text(citizen.say("timeline_table")).click()
    await expect(citizen.page.get_by_role("table", name=citizen.say("timeline_title"))).to_be_visible()
    await citizen.examine("accesses")
    await citizen.page.get_by_text(citizen.say("more_filters")).click()
    await citizen.page.get_by_label(citizen.say("result"), exact=True).select_option("denied")
    await citizen.press(citizen.say("show"))
    await expect(citizen.page.locator("article:not(.bad)")).to_have_count(0)
    await expect(refused).to_be_visible()
    await citizen.examine("accesses-denied")


async def look_closer(citizen: Citizen, folder: Path) -> None:
    """One access, then its proofs, in the browser and as files."""
    await citizen.page.get_by_role("article").first.get_by_role("link").click()
    await expect(citizen.page.get_by_role("heading", name=citizen.say("meaning_title"))).to_be_visible()
    await citizen.page.get_by_text(citizen.say("whole_record")).click()
    await citizen.examine("access")
    await citizen.go("nav_accesses")
    for kind, start in (("csv", b"\xef\xbb\xbf"), ("json", b"{"), ("pdf", b"%PDF-1.7")):
        file = await citizen.download(citizen.say(f"export_{kind}"), folder)
        assert file.read_bytes().startswith(start)
    await citizen.page.emulate_media(media="print")
    await expect(citizen.page.get_by_role("navigation").first).to_be_hidden()
    await expect(citizen.page.get_by_role("article").first).to_be_visible()
    await citizen.page.emulate_media(media="screen")


async def decide_for_the_utility(citizen: Citizen, city: City) -> None:
    """Another institution asks: who, which data, what for and how long, before anything is given."""
    await open_service(citizen, BILLS[citizen.language])
    await citizen.fill(citizen.say("field_customerNumber"), "4711001")
    await citizen.fill(citizen.say("field_meterNumber"), "1MUS0047110011")
    await citizen.press(citizen.say("action_utility_link"))
    await expect(citizen.sees(citizen.say("request_number"))).to_be_visible()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        link = await ThirdParty(city.plan, http, ERIKA.subject).ask()
    await citizen.page.goto(link)
    await citizen.examine("consent-request")
    await citizen.page.get_by_label(citizen.say("consent_yes")).check()
    await citizen.press(citizen.say("request_confirm"))
    await citizen.examine("consent-decided")
    await citizen.go("nav_consents")
    await expect(citizen.sees(citizen.say("state_valid"))).to_have_count(1)


async def unlink_the_bank(citizen: Citizen) -> None:
    """The link goes, and the consent with it."""
    await open_service(citizen, BANK[citizen.language])
    await citizen.open(citizen.say("decide"))
    await citizen.press(citizen.say("consent_yes"))
    await expect(citizen.sees(citizen.say("state_valid"))).to_be_visible()
    await citizen.go("nav_links")
    await citizen.examine("links")
    await citizen.press(citizen.say("unlink_this", name="Sparkasse Musterstadt"))
    await citizen.go("nav_consents")
    await expect(citizen.sees(citizen.say("state_valid"))).to_have_count(0)


async def see_the_rest(citizen: Citizen) -> None:
    for key in ("nav_notices", "nav_devices", "nav_export", "nav_complaints", "nav_help"):
        await citizen.go(key)
        await citizen.examine(key.removeprefix("nav_"))
    await citizen.go("nav_devices")
    await expect(citizen.sees(citizen.say("device_this"))).to_be_visible()
    await citizen.page.goto(f"{citizen.page.url}/nothing")
    await citizen.examine("error")


async def act_for_the_child(citizen: Citizen) -> None:
    """From the choice to its end: everything between is the child's, and says so."""
    await citizen.go("nav_representation")
    await citizen.examine("representation")
    await citizen.press(citizen.say("representation_choose", name=MIA.name))
    await expect(citizen.page.locator("h1")).to_have_text(citizen.say("overview_title_for", name=MIA.name))
    await expect(citizen.sees(citizen.say("acting_for", name=MIA.name))).to_be_visible()
    await citizen.examine("overview-child")
    await open_service(citizen, BANK[citizen.language])
    await citizen.open(citizen.say("decide"))
    await citizen.press(citizen.say("consent_yes"))
    await expect(citizen.sees(citizen.say("state_valid"))).to_be_visible()
    await open_service(citizen, OFFICES[citizen.language])
    await citizen.press(citizen.say("action_offices"))
    await expect(citizen.sees("Rathausplatz")).to_be_visible()
    await citizen.go("nav_accesses")
    entries = citizen.page.get_by_role("article")
    await expect(entries.filter(has_text=OFFICES[citizen.language]).first).to_contain_text(citizen.say("behalf_parent"))
    # What the parent did for themselves isn't there.
    await expect(entries.filter(has_text=citizen.say("behalf_citizen"))).to_have_count(0)
    await citizen.go("nav_notices")
    await expect(citizen.sees(citizen.say("acting_by_parent"))).to_be_visible()
    await citizen.go("nav_devices")
    await expect(citizen.sees(citizen.say("acting_own_page"))).to_be_visible()
    await citizen.examine("devices-child")
    await citizen.go("nav_consents")
    await citizen.press(citizen.say("withdraw_for", title=BANK[citizen.language]))
    await expect(citizen.sees(citizen.say("state_valid"))).to_have_count(0)
    await citizen.press(citizen.say("acting_end"))
    await expect(citizen.page.locator("h1")).to_have_text(citizen.say("overview_title", name=ERIKA.name))
    await expect(citizen.page.get_by_role("region", name=citizen.say("acting_label"))).to_have_count(0)
