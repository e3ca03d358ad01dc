"""One city and one browser for all of these tests, in each process that runs some of them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.city.plan import Plan
from gateway.city.setup import prepare
from gateway.city.start import embedded
from gateway.clock import SystemClock
from tests.e2e.browser import SCREENSHOTS, Watch, chromium
from tests.gateway.exchange.ports import free_ports

# The plan's ports are spread over so many.
PORTS = 50


def pytest_sessionstart(session: pytest.Session) -> None:
    """Yesterday's pictures go, once: not by each of several processes."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(SCREENSHOTS, ignore_errors=True)


@dataclass(frozen=True)
class City:
    """The running city, and a browser to look at it."""

    plan: Plan
    browser: Browser

    def watch(self) -> Watch:
        return Watch(self.plan)


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def city(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    folder = tmp_path_factory.mktemp("city")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    plan = Plan(folder / "city", free_ports(PORTS))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(embedded(await prepare(plan, SystemClock())))
        yield City(plan, await stack.enter_async_context(chromium(folder)))
