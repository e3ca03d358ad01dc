"""A real browser for the tests: what it loads is watched, what it shows is held to what every page must be."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    WebError,
    async_playwright,
    expect,
)

from gateway.citizen.texts import text
from gateway.city.plan import Plan

# tests/tools/debian.sh looks for the same names.
CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# The marks of each module of such tests: one event loop for all, and none without a browser.
IN_A_BROWSER: Final = [
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path (Debian: apt-get install chromium)"),
]
SWITCHES: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nothing leaves the machine, whatever a page asks for; intercepting each request instead would cost the cache.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
ROOT: Final = Path(__file__).parents[2]
SCREENSHOTS: Final = ROOT / "build" / "screenshots"
OUTLINE: Final = Path(__file__).with_name("outline.js").read_text("utf-8")
AXE: Final = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text("utf-8")
# WCAG 2.2 at level AA: each rule carries the version and level that first asked for it.
RUN_AXE: Final = """() => axe.run(document, {
  resultTypes: ["violations"],
  preload: false,
  runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"] },
})"""
# Width and height in CSS pixels.
Screen = tuple[int, int]
PHONE: Final[Screen] = (360, 740)
DESKTOP: Final[Screen] = (1280, 800)
# WCAG 2.2, 1.4.10: a screen of 1280 pixels at 400 %.
ZOOMED: Final[Screen] = (320, 256)
Scheme = Literal["light", "dark"]


class Watch:
    """Everything that the browser loads and complains about. Requests to other hosts lead nowhere and are noted."""

    def __init__(self, plan: Plan) -> None:
        self._hosts = {urlsplit(url).netloc for url in (plan.citizen_url, plan.issuer_url)}
        self.problems: list[str] = []
        self.requests = 0

    def attach(self, context: BrowserContext) -> None:
        """Watches everything in the context."""
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("console", self._console)
        context.on("weberror", self._error)

    def _request(self, request: Request) -> None:
        self.requests += 1
        # The verifier is opened from the disk.
        if urlsplit(request.url).netloc not in self._hosts and not request.url.startswith("file://"):
            self.problems.append(f"a request to {request.url}")

    def _response(self, response: Response) -> None:
        policy = response.headers.get("content-security-policy", "")
        if not response.url.startswith("file://") and ("default-src 'none'" not in policy or "unsafe" in policy):
            self.problems.append(f"{response.url} has the policy {policy!r}")

    def _console(self, message: ConsoleMessage) -> None:
        # The browser complains of a page that isn't there, too, where a test asks for one.
        if message.type in ("error", "warning") and not message.location["url"].endswith("/nothing"):
            self.problems.append(f"{message.page.url if message.page else '?'}: {message.text}")

    def _error(self, error: WebError) -> None:
        self.problems.append(str(error.error))


class Citizen:
    """Somebody in front of the browser, with a language and a screen."""

    def __init__(self, page: Page, language: str, screen: Screen = DESKTOP) -> None:
        self.page = page
        self.language = language
        self.screen = screen

    def say(self, key: str, **values: object) -> str:
        """A text of the pages in this citizen's language."""
        return text(key, self.language, **values)

    async def open(self, name: str, *, exact: bool = True) -> None:
        """Follows a link."""
        await self.page.get_by_role("link", name=name, exact=exact).first.click()

    async def go(self, key: str) -> None:
        """To a page of the menu, whose second part is opened where it has to be."""
        entry = self.page.get_by_role("navigation", name=self.say("main_navigation")).get_by_role(
            "link", name=self.say(key), exact=True
        )
        if not await entry.is_visible():
            await self.page.get_by_text(self.say("nav_more"), exact=True).click()
        await entry.click()

    async def press(self, name: str) -> None:
        """Presses a button; the first if there are two, as the page offers what comes next at the top."""
        await self.page.get_by_role("button", name=name, exact=True).first.click()

    async def fill(self, label: str, value: str) -> None:
        """Types into a field."""
        await self.page.get_by_label(label, exact=True).first.fill(value)

    def sees(self, words: str) -> Locator:
        """The first place where these words can be read."""
        return self.page.get_by_text(words).filter(visible=True).first

    async def examine(self, name: str, *, pictured: bool = True) -> None:
        """Holds the page to what every page must be, on phone and desktop, light and dark, and pictures it.

        Pictured on both and zoomed in German, where words are longer; axe looks at this citizen's own screen, so that
        between the two languages it has seen both.
        """
        views: tuple[tuple[str, Screen, Scheme], ...] = (("phone", PHONE, "dark"), ("desktop", DESKTOP, "light"))
        if self.language != "de":
            views = tuple(view for view in views if view[1] == self.screen)
        await self.page.wait_for_load_state("load")
        for word, screen, scheme in views:
            await self._see(screen, scheme)
            await self._outlined(f"{name} on a {word}, {scheme}")
            if screen == self.screen:
                await self._without_violations(f"{name} on a {word}, {scheme}")
            if pictured and self.language == "de":
                file = SCREENSHOTS / f"{name}-{self.language}-{word}.png"
                await self.page.screenshot(path=file, full_page=True)
        if self.language == "de":
            await self._see(ZOOMED, "light")
            await self._outlined(f"{name} at 400 %")
        await self._see(self.screen, "light")

    async def download(self, name: str, folder: Path, *, exact: bool = True) -> Path:
        """Follows a link that gives a file."""
        async with self.page.expect_download() as download:
            await self.open(name, exact=exact)
        finished = await download.value
        file = folder / finished.suggested_filename
        await finished.save_as(file)
        return file

    async def _outlined(self, where: str) -> None:
        found = await self.page.evaluate(OUTLINE)
        meant: dict[str, object] = {"language": self.language, "headings": 1, "mains": 1, "overflow": 0}
        meant |= {name: [] for name in ("skipped", "unlabelled", "nameless", "repeated", "sticking", "faint")}
        assert found == meant, f"{where}: {found}"

    async def _without_violations(self, where: str) -> None:
        if not await self.page.evaluate("typeof axe === 'object'"):
            await self.page.evaluate(AXE)
        result: dict[str, Any] = await self.page.evaluate(RUN_AXE)
        violations = [
            f"{violation['id']}: {violation['help']}: {[node['html'][:120] for node in violation['nodes'][:3]]}"
            for violation in result["violations"]
        ]
        assert violations == [], f"{where}: {violations}"

    async def _see(self, screen: Screen, scheme: Scheme) -> None:
        await self.page.set_viewport_size({"width": screen[0], "height": screen[1]})
        await self.page.emulate_media(color_scheme=scheme)


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """One browser, at home in `folder`, so that nothing is left elsewhere."""
    async with async_playwright() as playwright:
        # Without its sandbox, playwright's default: it can't start in a container or as root, and loads our pages only.
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=SWITCHES, env={**os.environ, "HOME": str(folder)}
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser, watch: Watch, language: str, *, screen: Screen = DESKTOP, scripts: bool = True
) -> AsyncIterator[Citizen]:
    """A visit with an empty profile. At its end nothing that was loaded was amiss."""
    context = await browser.new_context(
        locale={"de": "de-DE", "en": "en-GB"}[language],
        timezone_id="Europe/Berlin",
        java_script_enabled=scripts,
        viewport={"width": screen[0], "height": screen[1]},
    )
    context.set_default_timeout(15_000)
    expect.set_options(timeout=10_000)
    watch.attach(context)
    try:
        yield Citizen(await context.new_page(), language, screen)
    finally:
        await context.close()
    assert watch.problems == []
