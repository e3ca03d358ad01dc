"""The citizen's pages without scripts, and with the keyboard alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from playwright.async_api import Page, expect

from gateway.city.citizens import DEMO_PASSWORD, MIA
from tests.e2e.browser import DESKTOP, IN_A_BROWSER, PHONE, Citizen, visiting
from tests.e2e.conftest import City
from tests.e2e.steps import ERIKA, ISSUER, OFFICES, log_in, open_service

pytestmark = IN_A_BROWSER

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
