"""Steps that a citizen takes on several of the tests' ways."""

from __future__ import annotations

from typing import Final

from playwright.async_api import expect

from gateway.city.citizens import CITIZENS, DEMO_PASSWORD
from tests.e2e.browser import Citizen

ERIKA: Final = CITIZENS[0]
ISSUER: Final = {"de": ("Anmelden", "Benutzername", "Passwort"), "en": ("Log in", "User name", "Password")}
OFFICES: Final = {"de": "Termine bei den Ämtern", "en": "Appointments with the offices"}


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
