"""`python -m bench.pages`: what the citizen's pages weigh, how soon they can be used on a slow phone, calls of the API.

Each page is opened with an empty cache in a browser that is slowed down as a phone on a slow 4G line: 150 ms there and
back, 1.6 Mbit/s down, 750 kbit/s up, a quarter of the processor. A page can be used once it is drawn, its document is
complete, and no task keeps the browser busy for more than 50 ms any more (Long Tasks API). The API is called over plain
HTTP by one process; the per-person limit is lifted for that.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any, Final

import aiohttp
import typer
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, async_playwright
from rich.console import Console
from rich.table import Table

from bench.machine import describe_machine
from bench.processes import NotMeasurable
from gateway.city.citizens import CITIZENS, DEMO_PASSWORD
from gateway.city.plan import Plan
from gateway.city.setup import prepare
from gateway.city.start import NodeNotReady, processes
from gateway.clock import SystemClock
from gateway.logging import configure_logging
from gateway.serve import run

_REPORT: Final = Path("bench-results/pages.json")
_PHONE: Final = {"width": 360, "height": 740}
_LINE: Final = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
_SLOWER: Final = 4
_PAGES: Final = (
    "/",
    "/services",
    "/services/{service}",
    "/consents",
    "/consents/new?service={service}",
    "/accesses",
    "/verify",
    "/devices",
    "/links",
    "/notices",
    "/representation",
    "/export",
    "/complaints",
    "/help",
)
_CALLS: Final = ("/api/v1/me", "/api/v1/services", "/api/v1/consents")
_CONNECTIONS: Final = 16
# After the load: what a script still does, and when the browser was last busy.
_SETTLED: Final = """() => new Promise((done) => {
  const busy = [];
  new PerformanceObserver((list) => busy.push(...list.getEntries())).observe({ type: "longtask", buffered: true });
  setTimeout(() => {
    const [page] = performance.getEntriesByType("navigation");
    const painted = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0;
    const last = Math.max(0, ...busy.map((task) => task.startTime + task.duration));
    done({
      painted,
      interactive: Math.max(painted, page.domContentLoadedEventEnd, last),
      elements: document.querySelectorAll("*").length,
    });
  }, 500);
})"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class PageFigures:
    """One page, as the median of its openings. Times in milliseconds since the click, bytes as on the line."""

    path: str
    requests: int
    document_bytes: int
    all_bytes: int
    elements: int
    painted: float
    interactive: float


@dataclass(frozen=True, slots=True)
class CallFigures:
    """One call of the API. Times in milliseconds."""

    path: str
    per_second: float
    median: float
    worst_of_hundred: float


@app.command(help="Measure the citizen's pages on a slow phone, and calls of their API.")
def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="Openings of each page.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of each API call's round.")] = 3,
    base_port: Annotated[int, typer.Option(help="First of the city's ports.")] = 27_500,
    report: Annotated[Path, typer.Option(metavar="FILE", help="Where the JSON goes.")] = _REPORT,
    if_possible: Annotated[
        bool, typer.Option("--if-possible", help="Without Chromium say so, and be content.")
    ] = False,
) -> None:
    """Runs the measure."""
    console = Console(highlight=False)
    if if_possible and _chromium() is None:
        console.print("The citizen's pages are not measured: there is no Chromium on the path.")
        return
    configure_logging("error")
    figures: dict[str, Any] = {}

    async def measured(folder: Path) -> None:
        figures.update(await measure(folder, base_port, rounds, seconds))

    try:
        with tempfile.TemporaryDirectory(prefix="datenweg-bench-") as folder:
            run(measured(Path(folder)))
    except (NotMeasurable, NodeNotReady) as error:
        console.print(f"no figure: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    _print(figures, console)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    console.print(f"written: {report}")


async def measure(folder: Path, base_port: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Starts the city, measures, gives all figures as JSON values. Raises NotMeasurable, NodeNotReady."""
    chromium = _chromium()
    if chromium is None:
        raise NotMeasurable("there is no Chromium on the path (Debian: apt-get install chromium)")
    os.environ["DATENWEG_CITIZEN_REQUESTS_PER_MINUTE"] = "100000000"
    plan = Plan(folder / "city", base_port)
    settings = await prepare(plan, SystemClock())
    async with processes(plan, settings), async_playwright() as playwright:
        switches = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
        browser = await playwright.chromium.launch(
            executable_path=chromium, headless=True, args=switches, env={**os.environ, "HOME": str(folder)}
        )
        try:
            pages, headers = await _pages(browser, plan, rounds)
        finally:
            await browser.close()
        calls = [await _calls(plan.citizen_url + path, path, headers, seconds) for path in _CALLS]
    return {
        "version": 1,
        "line": {"round_trip_ms": 150, "down_kbit": 1600, "up_kbit": 750, "processor_slower": _SLOWER},
        "machine": describe_machine(folder),
        "pages": [asdict(page) for page in pages],
        "calls": [asdict(call) for call in calls],
    }


def _chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


async def _pages(browser: Browser, plan: Plan, rounds: int) -> tuple[list[PageFigures], dict[str, str]]:
    context = await browser.new_context(viewport=_PHONE, device_scale_factor=2, is_mobile=True, locale="de-DE")  # type: ignore[arg-type]
    context.set_default_timeout(60_000)
    page = await context.new_page()
    figures = [await _opened(page, context, plan.citizen_url, "/", rounds=rounds, name="/ (welcome)")]
    await page.goto(f"{plan.citizen_url}/login")
    await page.fill("#username", CITIZENS[0].username)
    await page.fill("#password", DEMO_PASSWORD)
    await page.click("button")
    await page.wait_for_url(f"{plan.citizen_url}/")
    await page.goto(f"{plan.citizen_url}/services")
    link = await page.get_attribute("main article a.button", "href")
    if link is None:
        raise NotMeasurable("the city offers no service")
    key = link.rpartition("/")[2]
    for path in _PAGES:
        figures.append(await _opened(page, context, plan.citizen_url, path.format(service=key), rounds=rounds))  # noqa: PERF401 - one page after the other
    await page.goto(f"{plan.citizen_url}/accesses")
    one = await page.get_attribute("a[href^='/accesses/one/']", "href")
    if one is None:
        raise NotMeasurable("the access log shows no access")
    figures.append(await _opened(page, context, plan.citizen_url, one, rounds=rounds, name="/accesses/one/…"))
    cookies = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in await context.cookies())
    # A session is this browser's alone: the calls have to come from what calls itself the same.
    return figures, {"Cookie": cookies, "User-Agent": str(await page.evaluate("navigator.userAgent"))}


async def _opened(
    page: Page, context: BrowserContext, base: str, path: str, *, rounds: int, name: str = ""
) -> PageFigures:
    seen = [await _once(page, await context.new_cdp_session(page), base + path) for _ in range(rounds)]
    return PageFigures(name or path, **{key: median(one[key] for one in seen) for key in seen[0]})


async def _once(page: Page, devtools: CDPSession, address: str) -> dict[str, Any]:
    sizes: list[int] = []
    devtools.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    await devtools.send("Network.enable")
    await devtools.send("Network.clearBrowserCache")
    await devtools.send("Network.emulateNetworkConditions", _LINE)
    await devtools.send("Emulation.setCPUThrottlingRate", {"rate": _SLOWER})
    try:
        answer = await page.goto(address, wait_until="networkidle")
        if answer is None or not answer.ok:
            raise NotMeasurable(f"{address} did not open")
        document = len(await answer.body())
        settled: dict[str, float] = await page.evaluate(_SETTLED)
    finally:
        await devtools.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        await devtools.detach()
    return {"requests": len(sizes), "document_bytes": document, "all_bytes": sum(sizes)} | {
        key: round(value) for key, value in settled.items()
    }


async def _calls(address: str, path: str, headers: dict[str, str], seconds: float) -> CallFigures:
    times: list[float] = []
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(headers=headers, connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        end = perf_counter() + seconds

        async def caller() -> None:
            while (begun := perf_counter()) < end:
                async with http.get(address) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise NotMeasurable(f"{path} answered {answer.status}: {body[:200]!r}")
                times.append((perf_counter() - begun) * 1000)

        begun = perf_counter()
        await asyncio.gather(*(caller() for _ in range(_CONNECTIONS)))
        taken = perf_counter() - begun
    times.sort()
    worst = times[len(times) * 99 // 100]
    return CallFigures(path, round(len(times) / taken, 1), round(median(times), 2), round(worst, 2))


def _print(figures: dict[str, Any], console: Console) -> None:
    _table(console, "Pages on a slow phone (bytes, milliseconds)", figures["pages"])
    _table(console, f"API, {_CONNECTIONS} connections (milliseconds)", figures["calls"])


def _table(console: Console, title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="left" if column == "path" else "right")
    for row in rows:
        table.add_row(*(f"{value:g}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)


if __name__ == "__main__":
    app(prog_name="bench.pages")
