"""The verifier's file in a real browser, with what a city has on few days: withheld accesses, and their release."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from audit.browser import build_verifier, verifier_module
from audit.period_store import build_period_index
from audit.releasing import release_person
from audit.subject_keys import withheld
from gateway.city.plan import Plan
from tests.audit.test_access import citizens
from tests.audit.test_browser_verifier import PROVER, require_proven
from tests.audit.test_release import ORIGIN, hidden
from tests.e2e.browser import DESKTOP, IN_A_BROWSER, PHONE, SCREENSHOTS, Citizen, Screen, Watch, chromium, visiting

pytestmark = IN_A_BROWSER
Bundle = dict[str, Any]


@pytest_asyncio.fixture(loop_scope="package")
async def files(tmp_path: Path) -> AsyncIterator[tuple[Path, Bundle]]:
    """The page, and a month in which an access was withheld, released, and counted."""
    async with citizens(f"sqlite+aiosqlite:///{tmp_path}/log.sqlite", tmp_path) as city:
        await city.log.append(hidden(await city.keys.key_for(withheld("erika"))))
        city.log.clock.now_ms += 3_600_000
        await release_person(city.log.engine, city.log.sequencer, city.keys, "erika")
        await build_period_index(city.log.engine, city.log.sequencer, ORIGIN, "2026-11")
        await city.publisher.publish()
        bundle = await city.bundle("erika")
        page = tmp_path / "datenweg-verifier.html"
        page.write_bytes(build_verifier([city.publisher.verifier.text]))
    yield page, bundle


@pytest.mark.parametrize(("language", "screen"), [("de", PHONE), ("en", DESKTOP)])
async def test_a_released_access_is_verified_and_explained(
    files: tuple[Path, Bundle], tmp_path: Path, language: str, screen: Screen
) -> None:
    page, good = files
    good |= {"withheld": [{"day": "2026-11-21", "accesses": 2}, {"day": "2026-11-20", "accesses": 1}, {"day": "<b>"}]}
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    watch = Watch(Plan(tmp_path / "nowhere", 1))
    async with chromium(tmp_path) as browser, visiting(browser, watch, language, screen=screen) as citizen:
        await citizen.page.goto(page.as_uri())
        await choose(citizen, tmp_path / "good.json", good)
        result = citizen.page.locator("#result")
        await expect(result).to_have_class("good")
        await expect(result.locator("tbody tr")).to_have_count(6)
        for text in {
            "de": ("freigegeben am", "Vollständig bis auf Zugriffe", "2 Zugriffe auf Daten", "1 Zugriff auf Daten"),
            "en": ("released on", "Complete, except for accesses", "2 accesses to anybody's", "1 access to anybody's"),
        }[language]:
            await expect(result.get_by_text(text)).to_have_count(1)
        await citizen.examine("verifier-released")
        for reason, changed in (("not_in_log", _elsewhere(good)), ("release_unproven", _unproven(good))):
            await choose(citizen, tmp_path / f"{reason}.json", changed)
            await expect(result).to_have_class("bad")
            await expect(result).to_contain_text(f"[{reason}]")
            await expect(result.locator("table")).to_have_count(0)
        await expect(result).to_contain_text({"de": "fehlt der Beweis", "en": "is missing"}[language])


async def test_a_log_in_the_browser_is_verified_by_python(tmp_path: Path) -> None:
    empty, module = tmp_path / "empty.html", json.dumps(verifier_module().decode())
    empty.write_text("<!doctype html><title>empty</title>", "utf-8")
    script = f"""async (size) => {{
{PROVER}
  const source = new Blob([{module}], {{ type: "text/javascript" }});
  return JSON.stringify(await proveByJavaScript(await import(URL.createObjectURL(source)), size));
}}"""
    async with chromium(tmp_path) as browser:
        page = await browser.new_page()
        await page.goto(empty.as_uri())
        require_proven(json.loads(await page.evaluate(script, 21)), 21)


async def choose(citizen: Citizen, file: Path, bundle: Bundle) -> None:
    await citizen.page.get_by_label("(.json)").set_input_files(_written(file, bundle))


def _written(file: Path, bundle: Bundle) -> Path:
    file.write_text(json.dumps(bundle), "utf-8")
    return file


def _elsewhere(good: Bundle) -> Bundle:
    changed = copy.deepcopy(good)
    changed["accesses"][5]["withheld"]["proof"].pop()
    return changed


def _unproven(good: Bundle) -> Bundle:
    changed = copy.deepcopy(good)
    del changed["accesses"][5]["withheld"]
    return changed
