"""A citizen's way through the pages and the downloaded verifier, in a real browser.

Here is what only a browser can show: layout, keyboard, colours, Content Security Policy, WebCrypto on a file. Rules of
the pages themselves are tested in tests/gateway/citizen, the verifier's rules in tests/audit.
"""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import (
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    Route,
    WebError,
    async_playwright,
    expect,
)

from gateway.city.citizens import CITIZENS, DEMO_PASSWORD
from gateway.city.plan import Plan
from gateway.city.setup import prepare
from gateway.city.start import embedded
from gateway.clock import SystemClock
from tests.gateway.exchange.ports import free_ports

# tests/tools/debian.sh looks for the same names.
CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ROOT: Final = Path(__file__).parents[2]
SCREENSHOTS: Final = ROOT / "build" / "screenshots"
OUTLINE: Final = Path(__file__).with_name("outline.js").read_text("utf-8")
# The plan's ports are spread over so many.
PORTS: Final = 50
PHONE: Final = 320
DESKTOP: Final = 1280
ERIKA: Final = CITIZENS[0]

Bundle = dict[str, Any]


class Watch:
    """Everything that the browser loads and complains about. Requests to other hosts are cut off and noted."""

    def __init__(self, plan: Plan) -> None:
        self._hosts = {urlsplit(url).netloc for url in (plan.citizen_url, plan.issuer_url)}
        self.problems: list[str] = []
        self.requests = 0

    async def attach(self, context: BrowserContext) -> None:
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("console", self._console)
        context.on("weberror", self._error)
        await context.route("**/*", self._route)

    def _ours(self, url: str) -> bool:
        # The verifier is opened from the disk.
        return urlsplit(url).netloc in self._hosts or url.startswith("file://")

    async def _route(self, route: Route) -> None:
        await (route.continue_() if self._ours(route.request.url) else route.abort())

    def _request(self, request: Request) -> None:
        self.requests += 1
        if not self._ours(request.url):
            self.problems.append(f"a request to {request.url}")

    def _response(self, response: Response) -> None:
        policy = response.headers.get("content-security-policy", "")
        if not response.url.startswith("file://") and ("default-src 'none'" not in policy or "unsafe" in policy):
            self.problems.append(f"{response.url} has the policy {policy!r}")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.page.url if message.page else '?'}: {message.text}")

    def _error(self, error: WebError) -> None:
        self.problems.append(str(error.error))


class Citizen:
    """Somebody in front of the browser, with one language, screen and colour scheme at a time."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.language = "de"
        self._width = DESKTOP
        self._scheme: Literal["light", "dark"] = "light"

    async def take(self, language: str, width: int, scheme: Literal["light", "dark"]) -> None:
        """Another language, screen and colour scheme."""
        if language != self.language:
            await self.page.get_by_role("link", name={"de": "Deutsch", "en": "English"}[language]).click()
        self.language, self._width, self._scheme = language, width, scheme
        await self._see(width, scheme)

    async def open(self, name: str) -> None:
        """Follows a link."""
        await self.page.get_by_role("link", name=name, exact=True).click()

    async def press(self, name: str) -> None:
        """Presses a button; the first if there are two, as the page offers what comes next at the top."""
        await self.page.get_by_role("button", name=name, exact=True).first.click()

    async def fill(self, label: str, value: str) -> None:
        await self.page.get_by_label(label, exact=True).first.fill(value)

    def sees(self, text: str) -> Locator:
        return self.page.get_by_text(text).first

    async def examine(self, name: str) -> None:
        """Holds the page to what every page must be, on both screens and in both colour schemes, and pictures it."""
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for width, scheme in ((width, scheme) for width in (PHONE, DESKTOP) for scheme in schemes):
            await self._see(width, scheme)
            found = await self.page.evaluate(OUTLINE)
            assert found == {
                "language": self.language,
                "headings": 1,
                "mains": 1,
                "unlabelled": [],
                "nameless": [],
                "repeated": [],
                "overflow": 0,
                "sticking": [],
                "faint": [],
            }, f"{name} at {width} px, {scheme}"
        await self._see(self._width, self._scheme)
        file = SCREENSHOTS / f"{name}-{self.language}-{self._width}-{self._scheme}.png"
        await self.page.screenshot(path=file, full_page=True)

    async def first_tab_skips(self) -> None:
        """WCAG 2.2, 2.4.1: the first stop of the keyboard jumps over the header."""
        await self.page.keyboard.press("Tab")
        skip = self.page.locator("a.skip")
        await expect(skip).to_be_focused()
        await expect(skip).to_be_in_viewport(ratio=1)
        await self.page.keyboard.press("Enter")
        await expect(self.page.locator("main")).to_be_focused()

    async def download(self, name: str, folder: Path) -> Path:
        async with self.page.expect_download() as download:
            await self.open(name)
        finished = await download.value
        file = folder / finished.suggested_filename
        await finished.save_as(file)
        return file

    async def _see(self, width: int, scheme: Literal["light", "dark"]) -> None:
        await self.page.set_viewport_size({"width": width, "height": 800})
        await self.page.emulate_media(color_scheme=scheme)


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[BrowserContext]:
    """Chromium with an empty profile, at home in `folder`, so that nothing is left elsewhere."""
    async with async_playwright() as playwright:
        # Without its sandbox, playwright's default: it can't start in a container or as root, and loads our pages only.
        context = await playwright.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=CHROMIUM,
            headless=True,
            args=SWITCHES,
            env={**os.environ, "HOME": str(folder)},
            locale="de-DE",
            timezone_id="Europe/Berlin",
        )
        context.set_default_timeout(15_000)
        try:
            yield context
        finally:
            await context.close()


@pytest.mark.xdist_group("browser")
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path (Debian: apt-get install chromium)")
async def test_a_citizens_way_through_pages_and_verifier(tmp_path: Path) -> None:
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    SCREENSHOTS.mkdir(parents=True)
    plan = Plan(tmp_path / "city", free_ports(PORTS))
    watch = Watch(plan)
    async with embedded(await prepare(plan, SystemClock())), browsing(tmp_path) as context:
        await watch.attach(context)
        citizen = Citizen(context.pages[0])
        await log_in(citizen, plan)
        await give_consent(citizen)
        await link_the_bank(citizen)
        await book_and_cancel(citizen)
        await citizen.take("en", PHONE, "dark")
        await withdraw_and_be_refused(citizen)
        await find_both_in_the_log(citizen)
        verifier, bundle = await download_proofs(citizen, tmp_path)
        await log_out(citizen)
        await check_proofs(citizen, verifier, bundle)
    assert watch.problems == []
    assert watch.requests > 50


async def log_in(citizen: Citizen, plan: Plan) -> None:
    await citizen.page.goto(plan.citizen_url)
    await citizen.examine("welcome")
    await citizen.page.reload()
    await citizen.first_tab_skips()
    await citizen.open("Anmelden")
    await citizen.examine("issuer")
    await citizen.fill("Benutzername", ERIKA.username)
    await citizen.fill("Passwort", DEMO_PASSWORD)
    await citizen.press("Anmelden")
    await expect(citizen.page.locator("h1")).to_have_text(f"Guten Tag, {ERIKA.name}")
    await citizen.examine("overview")
    await citizen.page.reload()
    await citizen.first_tab_skips()


async def give_consent(citizen: Citizen) -> None:
    await citizen.open("Dienste")
    for title in ("Konten bei der Sparkasse", "Rechnungen der Stadtwerke", "Termine bei den Ämtern"):
        await expect(citizen.page.get_by_role("heading", name=title)).to_be_visible()
    await citizen.examine("services")
    await citizen.open("Konten bei der Sparkasse öffnen")
    await expect(citizen.sees("Für diesen Dienst ist Ihre Einwilligung nötig.")).to_be_visible()
    await citizen.examine("service")
    await citizen.open("Jetzt entscheiden")
    await citizen.examine("consent")
    await citizen.press("Ja, ich willige ein")
    await expect(citizen.sees("Gültig. Die Stelle hat sie bestätigt.")).to_be_visible()
    await citizen.examine("consents")


async def link_the_bank(citizen: Citizen) -> None:
    await citizen.open("Dienste")
    await citizen.open("Konten bei der Sparkasse öffnen")
    await citizen.fill("Anmeldename bei der Bank", "chipTAN")
    await citizen.fill("Passwort oder PIN bei der Bank", "okok1")
    await citizen.press("Konto verknüpfen")
    await citizen.page.get_by_label("Verfahren zur Freigabe").select_option(index=0)
    await citizen.examine("bank-method")
    await citizen.press("Verfahren wählen")
    await expect(citizen.sees("Startcode")).to_be_visible()
    await citizen.fill("TAN", "111111")
    await citizen.examine("bank-tan")
    await citizen.press("TAN senden")
    await expect(citizen.sees("verknüpft")).to_be_visible()
    await citizen.press("Kontostand abrufen")
    await expect(citizen.sees("2504.37")).to_be_visible()
    await citizen.examine("balance")


async def book_and_cancel(citizen: Citizen) -> None:
    await citizen.open("Dienste")
    await citizen.open("Termine bei den Ämtern öffnen")
    await citizen.press("Termin vereinbaren: Standorte anzeigen")
    await expect(citizen.sees("Rathausplatz")).to_be_visible()
    await citizen.examine("offices")
    await citizen.press("Leistungen des Standorts anzeigen")
    await citizen.press("Freie Zeiten suchen")
    await citizen.fill("Name", ERIKA.name)
    await citizen.fill("E-Mail", "erika@example.org")
    await citizen.examine("slots")
    await citizen.press("Termin buchen")
    await expect(citizen.page.get_by_label("Termin", exact=True)).to_be_visible()
    await citizen.examine("booked")
    await citizen.press("Termin absagen")
    await expect(citizen.sees("Erledigt.")).to_be_visible()


async def withdraw_and_be_refused(citizen: Citizen) -> None:
    await citizen.open("Consents")
    await citizen.press("Withdraw the consent for “Konten bei der Sparkasse”")
    await expect(citizen.sees("Withdrawn.")).to_be_visible()
    await citizen.examine("consents")
    await citizen.open("Services")
    await citizen.examine("services")
    await citizen.open("Open Savings bank accounts")
    await citizen.press("Ask for the account balance")
    await expect(citizen.page.get_by_role("heading", name="That did not work")).to_be_visible()
    await expect(citizen.sees("server.serverproxy.consent_required")).to_be_visible()
    await citizen.examine("refused")


async def find_both_in_the_log(citizen: Citizen) -> None:
    await citizen.open("Accesses")
    balances = citizen.page.get_by_role("article").filter(has_text="Savings bank accounts")
    await expect(balances.filter(has_text="Data handed over").first).to_be_visible()
    refused = balances.filter(has_text="Refused: no data was handed over")
    await expect(refused).to_have_count(1)
    await expect(refused).to_have_class("card bad")
    await expect(refused).to_contain_text("your consent is missing")
    await refused.get_by_text("Details").click()
    await expect(refused.get_by_text("Recorded by")).to_be_visible()
    await citizen.examine("accesses")
    await citizen.take("de", DESKTOP, "light")
    await expect(citizen.sees("Abgelehnt: Es wurden keine Daten übermittelt")).to_be_visible()
    await citizen.examine("accesses")
    await citizen.take("en", PHONE, "dark")


async def download_proofs(citizen: Citizen, folder: Path) -> tuple[Path, Path]:
    await citizen.open("Verify")
    await expect(citizen.sees("all proofs hold")).to_be_visible()
    await expect(citizen.sees("a proof does not hold")).to_have_count(0)
    await citizen.examine("verify")
    verifier = await citizen.download("Download the verifier", folder)
    bundle = await citizen.download("Download the file of proofs: Sparkasse Musterstadt", folder)
    return verifier, bundle


async def log_out(citizen: Citizen) -> None:
    await citizen.press("Log out")
    await expect(citizen.page.locator("h1")).to_have_text("Your data, your decision")
    await citizen.examine("welcome")
    # The issuer has forgotten the citizen, too.
    await citizen.open("Log in")
    await expect(citizen.page.get_by_label("Password")).to_be_visible()
    await citizen.examine("issuer")


async def check_proofs(citizen: Citizen, verifier: Path, bundle: Path) -> None:
    """Opened from the disk, as the page advises, with nobody asked: green, and red for each single changed byte."""
    await citizen.page.goto(verifier.as_uri())
    citizen.language = "de"
    file, result = citizen.page.get_by_label("(.json)"), citizen.page.locator("#result")
    await file.set_input_files(bundle)
    await expect(result).to_have_class("good")
    await expect(result).to_contain_text("lückenlos")
    await citizen.examine("verifier-good")
    await citizen.press("English")
    citizen.language = "en"
    await expect(result).to_contain_text("none missing")
    await expect(result.get_by_text("Refused: no data was handed over")).to_be_visible()
    await citizen.examine("verifier-good")
    good: Bundle = _read(bundle)
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
    await file.set_input_files(bundle.with_name("record_changed.json"))
    await expect(result).to_contain_text("The details of an access were changed. (entry ")
    await citizen.examine("verifier-bad")
    await citizen.press("Deutsch")
    citizen.language = "de"
    await expect(result).to_contain_text("Die Angaben zu einem Zugriff wurden verändert.")


def _read(bundle: Path) -> Bundle:
    read: Bundle = json.loads(bundle.read_text("utf-8"))
    return read


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
