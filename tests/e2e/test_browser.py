"""A citizen's way through the pages and the verifiers, in a real browser, in both languages, on phone and desktop.

Here is what only a browser can show: layout, keyboard, colours, Content Security Policy, WebCrypto. Rules of the pages
themselves are tested in tests/gateway/citizen, the verifier's rules in tests/audit.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from playwright.async_api import Page, Route, expect

from gateway.city.citizens import CITIZENS, DEMO_PASSWORD, MIA
from gateway.city.third_party import ThirdParty
from tests.e2e.browser import CHROMIUM, DESKTOP, PHONE, Citizen, Screen, visiting
from tests.e2e.conftest import City

pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path (Debian: apt-get install chromium)"),
]
ERIKA: Final = CITIZENS[0]
ISSUER: Final = {"de": ("Anmelden", "Benutzername", "Passwort"), "en": ("Log in", "User name", "Password")}
BANK: Final = {"de": "Konten bei der Sparkasse", "en": "Savings bank accounts"}
BILLS: Final = {"de": "Rechnungen der Stadtwerke", "en": "Utility bills"}
OFFICES: Final = {"de": "Termine bei den Ämtern", "en": "Appointments with the offices"}
# The outline that shows where the keyboard is.
FOCUS: Final = """() => {
  const at = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(at);
  const { top, left, bottom, right } = at.getBoundingClientRect();
  return {
    name: at.getAttribute("aria-label") ?? at.innerText?.trim() ?? "",
    tag: at.tagName,
    visible: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
    inside: bottom > 0 && right > 0 && top < innerHeight && left < innerWidth,
  };
}"""

Bundle = dict[str, Any]
# The half that a second process may run at the same time, in a city and a browser of its own.
HALF: Final = pytest.mark.xdist_group("browser-2")


@pytest.mark.parametrize(
    ("language", "screen"),
    [
        ("de", PHONE),
        ("en", PHONE),
        pytest.param("en", DESKTOP, marks=HALF),
        pytest.param("de", DESKTOP, marks=HALF),
    ],
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


async def log_in(citizen: Citizen, *, examined: bool = False) -> None:
    button, user, password = ISSUER[citizen.language]
    await citizen.open(citizen.say("login"))
    if examined:
        await citizen.examine("issuer")
    await citizen.fill(user, ERIKA.username)
    await citizen.fill(password, DEMO_PASSWORD)
    await citizen.press(button)
    await expect(citizen.page.locator("h1")).to_have_text(citizen.say("overview_title", name=ERIKA.name))


async def open_service(citizen: Citizen, title: str) -> None:
    await citizen.go("nav_services")
    await citizen.open(citizen.say("open_service", title=title))


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


# -- without scripts, with the keyboard alone -------------------------------------------------------------------------


@HALF
async def test_everything_but_the_verifier_works_without_scripts(city: City, tmp_path: Path) -> None:
    async with visiting(city.browser, city.watch(), "en", screen=PHONE, scripts=False) as citizen:
        await citizen.page.goto(city.plan.citizen_url)
        await log_in(citizen)
        await open_service(citizen, OFFICES["en"])
        await citizen.press(citizen.say("action_offices"))
        await expect(citizen.sees("Rathausplatz")).to_be_visible()
        await citizen.go("nav_accesses")
        await citizen.fill(citizen.say("search"), "appointments")
        await citizen.press(citizen.say("show"))
        await expect(citizen.page.get_by_role("article").first).to_contain_text(OFFICES["en"])
        await citizen.page.get_by_role("article").first.get_by_role("link").click()
        await expect(citizen.page.get_by_role("heading", name=citizen.say("meaning_title"))).to_be_visible()
        await citizen.go("nav_verify")
        await expect(citizen.sees(citizen.say("verify_no_script"))).to_be_visible()
        await expect(citizen.sees("all proofs hold")).to_be_visible()
        await expect(citizen.page.locator("#browser-outcome")).to_be_hidden()
        await citizen.go("nav_export")
        async with citizen.page.expect_download() as download:
            await citizen.press(citizen.say("export_csv"))
        assert (await download.value).suggested_filename.endswith(".csv")
        await citizen.go("nav_complaints")
        await citizen.fill(citizen.say("field_text"), "Who was that?")
        await citizen.press(citizen.say("complain"))
        await expect(citizen.sees(citizen.say("complaint_received"))).to_be_visible()
        await citizen.go("nav_representation")
        await citizen.press(citizen.say("representation_choose", name=MIA.name))
        await expect(citizen.sees(citizen.say("acting_for", name=MIA.name))).to_be_visible()
        await citizen.press(citizen.say("acting_end"))
        await expect(citizen.page.locator("h1")).to_have_text(citizen.say("overview_title", name=ERIKA.name))


@HALF
async def test_the_keyboard_alone_is_enough(city: City) -> None:
    """WCAG 2.2, 2.1.1, 2.4.3, 2.4.7: each stop is seen, in the order of the page, and there is no trap."""
    async with visiting(city.browser, city.watch(), "de", screen=DESKTOP) as citizen:
        keyboard = citizen.page.keyboard
        await citizen.page.goto(city.plan.citizen_url)
        # 2.4.1: the first stop jumps over the header.
        await keyboard.press("Tab")
        await expect(citizen.page.locator("a.skip")).to_be_in_viewport(ratio=1)
        await keyboard.press("Enter")
        await expect(citizen.page.locator("main")).to_be_focused()
        await tab_to(citizen, citizen.say("login"))
        await follow(citizen)
        button, user, password = ISSUER["de"]
        await tab_to(citizen, field=user)
        await keyboard.type(ERIKA.username)
        await tab_to(citizen, field=password)
        await keyboard.type(DEMO_PASSWORD)
        await tab_to(citizen, button)
        await follow(citizen)
        await expect(citizen.page.locator("h1")).to_have_text(citizen.say("overview_title", name=ERIKA.name))
        await tab_to(citizen, citizen.say("nav_services"))
        await follow(citizen)
        await tab_to(citizen, citizen.say("open_service", title=OFFICES["de"]))
        await follow(citizen)
        await tab_to(citizen, citizen.say("action_offices"))
        await follow(citizen)
        await expect(citizen.sees("Rathausplatz")).to_be_attached()
        await tab_to(citizen, citizen.say("nav_accesses"))
        await follow(citizen)
        await expect(citizen.page.locator("h1")).to_have_text(citizen.say("accesses_title"))
        await tab_to(citizen, citizen.say("more_filters"))
        await keyboard.press("Enter")
        await tab_to(citizen, field=citizen.say("order"))
        await keyboard.press("ArrowDown")
        await tab_to(citizen, citizen.say("show"))
        await follow(citizen)
        await citizen.page.wait_for_url("**order=time**")
        await tab_to(citizen, citizen.say("timeline_table"))
        await keyboard.press("Enter")
        await expect(citizen.page.get_by_role("table")).to_be_visible()
        await citizen.page.reload()
        stops = await stops_of(citizen.page)
        assert stops == sorted(stops), "the keyboard's order is not the page's"
        await tab_to(citizen, citizen.say("nav_more"))
        await keyboard.press("Enter")
        await tab_to(citizen, citizen.say("nav_representation"))
        await follow(citizen)
        await tab_to(citizen, citizen.say("representation_choose", name=MIA.name))
        await follow(citizen)
        await expect(citizen.page.locator("h1")).to_have_text(citizen.say("overview_title_for", name=MIA.name))
        await tab_to(citizen, citizen.say("acting_end"))
        await follow(citizen)
        await expect(citizen.page.locator("h1")).to_have_text(citizen.say("overview_title", name=ERIKA.name))
        await tab_to(citizen, citizen.say("nav_more"))
        await keyboard.press("Enter")
        await tab_to(citizen, citizen.say("nav_help"))
        await follow(citizen)
        await expect(citizen.page.locator("h1")).to_have_text(citizen.say("help_title"))


async def follow(citizen: Citizen) -> None:
    """Presses Enter on what leads to another page."""
    async with citizen.page.expect_navigation():
        await citizen.page.keyboard.press("Enter")


async def tab_to(citizen: Citizen, name: str = "", *, field: str = "") -> None:
    """Presses Tab until the wanted stop is reached; whatever is passed must show that it is."""
    for _ in range(120):
        await citizen.page.keyboard.press("Tab")
        at = await citizen.page.evaluate(FOCUS)
        if at["tag"] == "BODY":
            continue
        assert at["visible"], f"no outline on {at}"
        assert at["inside"], f"out of sight: {at}"
        if field:
            labels = await citizen.page.evaluate("[...(document.activeElement.labels ?? [])].map((l) => l.innerText)")
            if field in labels:
                return
        elif at["name"] == name:
            return
    raise AssertionError(f"the keyboard does not reach {name or field}")


async def stops_of(page: Page) -> list[int]:
    """The keyboard's stops as places in the document, in the order in which they come."""
    stops = []
    for _ in range(400):
        await page.keyboard.press("Tab")
        place = await page.evaluate("[...document.querySelectorAll('body *')].indexOf(document.activeElement)")
        if stops and place in (-1, stops[0]):
            break
        if place >= 0:
            stops.append(place)
    assert len(stops) > 10
    return stops


# -- the verifiers ----------------------------------------------------------------------------------------------------


async def test_the_page_verifies_in_the_browser_and_remembers(city: City) -> None:
    async with visiting(city.browser, city.watch(), "de", screen=PHONE) as citizen:
        await citizen.page.goto(city.plan.citizen_url)
        await log_in(citizen)
        asked: list[str] = []
        citizen.page.on("request", lambda request: asked.append(request.url))
        outcome = citizen.page.locator("#browser-outcome")
        await citizen.go("nav_verify")
        await expect(outcome).to_have_class("good")
        await expect(citizen.sees(citizen.say("script_visit_first"))).to_be_visible()
        # Our own log is asked once for each pseudonym: from the second on it was seen.
        assert not [url for url in asked if "seen=" in url and "source=own%3A" not in url]
        await citizen.examine("verify")
        await citizen.page.reload()
        await expect(outcome).to_have_class("good")
        # The looks themselves made the logs longer: the proof of that was asked for, and holds.
        await expect(citizen.sees(citizen.say("script_visit_extended"))).to_be_visible()
        assert [url for url in asked if "seen=" in url]
        states: dict[str, Any] = json.loads(await citizen.page.evaluate("localStorage.getItem('datenweg-seen')"))
        assert len(states) >= 3
        await refuses(citizen, "record_changed", _change_record)
        await refuses(citizen, "signature_invalid", _change_checkpoint)
        # A log that is shorter than what was seen was rolled back.
        longer = {origin: state | {"size": state["size"] + 1_000} for origin, state in states.items()}
        await citizen.page.evaluate("(state) => localStorage.setItem('datenweg-seen', state)", json.dumps(longer))
        await citizen.page.reload()
        await expect(outcome).to_have_class("bad")
        await expect(citizen.sees("[log_shrunk]")).to_be_visible()
        await citizen.examine("verify-bad")


async def refuses(citizen: Citizen, reason: str, change: Callable[[Bundle], None]) -> None:
    """Something between the log and the browser changes what the log said."""

    async def changed(route: Route) -> None:
        answer = await route.fetch()
        bundle = await answer.json()
        if bundle["accesses"]:
            change(bundle)
        await route.fulfill(response=answer, body=json.dumps(bundle))

    await citizen.page.route("**/accesses/bundle?**", changed)
    await citizen.page.reload()
    await expect(citizen.page.locator("#browser-outcome")).to_have_class("bad")
    await expect(citizen.sees(f"[{reason}]")).to_be_visible()
    async with citizen.page.expect_download() as download:
        await citizen.open(citizen.say("script_report"))
    report = json.loads((await (await download.value).path()).read_text("utf-8"))
    assert report["failures"][0]["code"] == reason
    assert report["bundle"]["accesses"]
    await citizen.page.unroute("**/accesses/bundle?**")


@HALF
async def test_the_downloaded_verifier_needs_nobody(city: City, tmp_path: Path) -> None:
    """Opened from the disk, as the page advises: green, and red for each single changed byte."""
    watch = city.watch()
    async with visiting(city.browser, watch, "de", screen=PHONE) as citizen:
        await citizen.page.goto(city.plan.citizen_url)
        await log_in(citizen)
        await citizen.go("nav_verify")
        # Only when all is read: a page that is left in the middle of it complains of what it couldn't finish.
        await expect(citizen.page.locator("#browser-outcome")).to_have_class("good")
        verifier = await citizen.download(citizen.say("download_verifier"), tmp_path)
        # The shortest list: each of its entries is looked at by axe, too.
        name = "Stadtwerke Musterstadt"
        bundle = await citizen.download(citizen.say("download_bundle", name=name), tmp_path)
        before = watch.requests
        await citizen.page.goto(verifier.as_uri())
        file, result = citizen.page.get_by_label("(.json)"), citizen.page.locator("#result")
        await file.set_input_files(bundle)
        await expect(result).to_have_class("good")
        await expect(result).to_contain_text("lückenlos")
        await citizen.examine("verifier-good")
        await citizen.press("English")
        citizen.language = "en"
        await expect(result).to_contain_text("none missing")
        good: Bundle = json.loads(bundle.read_text("utf-8"))
        assert good["accesses"][0]["proof"] is not None
        changes: dict[str, Callable[[Bundle], None]] = {
            "record_changed": _change_record,
            "not_in_log": _change_leaf,
            "signature_invalid": _change_checkpoint,
        }
        for reason, change in changes.items():
            changed = json.loads(json.dumps(good))
            change(changed)
            bad = bundle.with_name(f"{reason}.json")
            bad.write_text(json.dumps(changed), "utf-8")
            await file.set_input_files(bad)
            await expect(result).to_have_class("bad")
            await expect(result).to_contain_text(f"[{reason}]")
            await expect(result.locator("table")).to_have_count(0)
        await citizen.examine("verifier-bad")
        await citizen.press("Deutsch")
        assert watch.requests == before + 1


def _change_record(bundle: Bundle) -> None:
    record = bytearray(b64decode(bundle["accesses"][0]["record"]))
    record[len(record) // 2] ^= 1
    bundle["accesses"][0]["record"] = b64encode(record).decode()


def _change_leaf(bundle: Bundle) -> None:
    # The first character of the commitment: still base64.
    before, mark, commitment = bundle["accesses"][0]["leaf"].partition('{"c":"')
    first = "B" if commitment[0] == "A" else "A"
    bundle["accesses"][0]["leaf"] = before + mark + first + commitment[1:]


def _change_checkpoint(bundle: Bundle) -> None:
    origin, size, rest = bundle["checkpoint"].split("\n", 2)
    bundle["checkpoint"] = "\n".join((origin, str(int(size) ^ 1), rest))
