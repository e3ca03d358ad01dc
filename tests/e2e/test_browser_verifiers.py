"""The verifiers in a real browser: the page's, which remembers, and the one to take away; their rules: tests/audit."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.async_api import Route, expect

from tests.e2e.browser import IN_A_BROWSER, PHONE, Citizen, visiting
from tests.e2e.conftest import City
from tests.e2e.steps import log_in

pytestmark = IN_A_BROWSER

Bundle = dict[str, Any]


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
