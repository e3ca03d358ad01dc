"""A shop that wants a citizen's data of the utility: three gateways, the citizen's pages, a real issuer.

City and utility are the pair's; the shop has a gateway of its own, and a service by which it knows the citizen.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import select
from yarl import URL

from gateway.citizen.transmissions import Transmissions
from gateway.city.issuer import build_issuer
from gateway.city.issuer_clients import DemoIssuerSettings, IssuerClient
from gateway.clock import SystemClock
from gateway.serve import Listener, listening
from gateway.store.model import AccessRight, LegalBasisKind, RequiredIdentityLevel
from gateway.store.tables import transmission_report
from tests.gateway.citizen.city import Browser
from tests.gateway.exchange.citizens import AUDIENCE
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import Answer, GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.town import APP, INSTANCE, UTILITY, Party, service, services
from trust.identifiers import ServiceId

SHOP = Party("COM", "LADEN", "kasse")
CARD = ServiceId(SHOP.subsystem, "kundenkarte")
DATA = service("stammdaten")
# What the citizen's application uses itself: the shop, and not the utility.
PURPOSES = f"""
[[purpose]]
key = "karte"
service = "{CARD.encoded}"
provider_name = "Laden am Markt"
text_de = "Auskunft."
text_en = "Information."
"""
CALLBACK = "https://laden.example/zurueck"


@dataclass
class Town:
    """The gateways, and where the citizen's browser finds pages and issuer."""

    pair: GatewayPair
    url: str
    issuer_url: str

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, headers={"Accept-Language": "en"}) as session:
            yield Browser(self, session)  # type: ignore[arg-type] - it asks for the two addresses, no more

    async def call(
        self,
        client: Party,
        target: ServiceId | str,
        method: str = "GET",
        body: Any = None,
        *,
        path: str = "/",
        **headers: str,
    ) -> Answer:
        """A request of a third party's own system to its own gateway. A text is a path of the consent service."""
        gateway = self.pair.provider if client is UTILITY else self.pair.others[client]
        wanted = f"{APP.encoded}/{target}" if isinstance(target, str) else f"{target.encoded}{path}"
        url = URL(f"http://{HOST}:{gateway.settings.client_port}/r1/{wanted}", encoded=True)
        sent = {"X-Road-Client": client.subsystem.encoded, "Content-Type": "application/json"}
        sent |= {f"X-Datenweg-{name}": value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        async with self.pair.http.request(method, url, headers=sent, data=data) as answer:
            return Answer(answer.status, answer.reason or "", answer.headers, await answer.read())

    async def declare(self, purpose: str, **expiry: str) -> None:
        """What the shop wants the utility's data for."""
        document = {
            "name": "Rechnungskauf",
            "recipientName": "Laden am Markt",
            "serviceDeclaration": "sd-stammdaten",
            "purpose": "Damit wir Ihre Lieferadresse prüfen.",
            "purposeEn": "So that we check your delivery address.",
            "privacyUrl": "https://laden.example/datenschutz",
        } | expiry
        path = f"consent/api/declarations/purpose/{purpose}"
        assert (await self.call(SHOP, path, "PUT", document)).status == 200

    async def ask(self, purpose: str, id_code: str) -> str:
        """The shop asks for a consent; the link to send the citizen to."""
        asked = {"idCode": id_code, "callback": CALLBACK, "purposeDeclarationBusinessIdentifiers": [purpose]}
        answer = await self.call(SHOP, "consent/api/consent", "POST", asked, Subject=id_code)
        assert answer.status == 200, answer
        return str(answer.json["url"])

    async def consent(self, browser: Browser, purpose: str, id_code: str) -> Consented:
        """Asked for by the shop, given by the citizen, looked up by the shop again."""
        page = await browser.get((await self.ask(purpose, id_code)).removeprefix(self.url))
        form = {"csrf": page.field("csrf"), "reference": page.field("reference")}
        (decision,) = set(re.findall(r'name="(decision-[^"]+)"', page.text))
        assert CALLBACK in (await browser.post("/consent-request", form | {decision: "give"})).text
        wanted = {"idCode": id_code, "purposeDeclarationBusinessIdentifiers": [purpose]}
        found = await self.call(SHOP, "consent/api/consent/reference", "POST", wanted)
        reference = found.json[purpose]
        known = await self.call(SHOP, f"consent/api/consent/validation/client?consentReference={reference}")
        return Consented(reference, known.json["subject"])

    async def fetch(self, given: Consented, path: str = "/") -> Answer:
        """The shop asks the utility for the data."""
        return await self.call(SHOP, DATA, path=path, Subject=given.subject, Consent=given.reference)

    async def refusal(self, given: Consented) -> str:
        """The code with which the shop is refused the data."""
        before = len(self.pair.backend.calls)
        answer = await self.fetch(given)
        assert len(self.pair.backend.calls) == before, "the request reached the service"
        return answer.headers["X-Road-Error"].removeprefix("server.serverproxy.")


@dataclass(frozen=True)
class Consented:
    """What the shop knows of a consent: its reference, and the person's pseudonym at the utility."""

    reference: str
    subject: str


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what happens in the background."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running_town(
    folder: Path, stack: AsyncExitStack, databases: tuple[str | None, str | None] = (None, None)
) -> AsyncIterator[Town]:
    """City, utility and shop. The utility's `stammdaten` needs a consent and a surely identified person.

    `databases`: URLs of the city's and the utility's (default SQLite).
    """
    (folder / "purposes.toml").write_text(PURPOSES, "utf-8")
    port, issuer_port = free_port(), free_port()
    url, issuer_url = f"http://{HOST}:{port}", f"http://{HOST}:{issuer_port}"
    pages = IssuerClient("datenweg-citizen", (f"{url}/login/callback",), (f"{url}/",))
    demo = DemoIssuerSettings(INSTANCE, issuer_url, folder / "issuer", (pages,), AUDIENCE)
    issuer = build_issuer(demo, clock=SystemClock())
    await stack.enter_async_context(listening([Listener(issuer, HOST, issuer_port)], shutdown_seconds=1))
    citizens = {
        "citizen_port": port,
        "citizen_url": url,
        "citizen_client": APP.encoded,
        "citizen_purposes_file": folder / "purposes.toml",
        "citizen_consent_declarants": (UTILITY.subsystem.encoded, SHOP.subsystem.encoded),
        "token_issuer": issuer_url,
    }
    output = stack.enter_context(captured_output())
    pair = await stack.enter_async_context(
        gateway_pair(folder, output, databases=databases, consumer=citizens, others=(SHOP,), peer_timeout_seconds=20)
    )
    offered = next(one for one in services("") if one.code == "konto")
    backend = next(one for one in pair.provider.gateway.node.directory.services_of(UTILITY.subsystem)).registered
    assert backend is not None
    wanted = replace(offered, code=DATA.service_code, url=backend.url, identity_level=RequiredIdentityLevel.SUBSTANTIAL)
    await pair.provider.gateway.node.repository.upsert_service(wanted, grant_to=[AccessRight(DATA, SHOP.subsystem)])
    card = replace(wanted, provider=SHOP.subsystem, code=CARD.service_code, legal_basis_kind=LegalBasisKind.CONTRACT)
    await pair.others[SHOP].gateway.node.repository.upsert_service(card, grant_to=[AccessRight(CARD, APP)])
    for node, identifier in ((pair.provider, DATA), (pair.others[SHOP], CARD)):
        await pair.until(lambda node=node, identifier=identifier: identifier in node.gateway.node.directory.offers)
    town = Town(pair, url, issuer_url)
    declaration = {
        "name": "Stammdaten",
        "service": DATA.encoded,
        "description": "Ihr Name und Ihre Anschrift",
        "controllerName": "Stadtwerke",
        "maxValidityDays": 30,
        "extensionAllowed": True,
    }
    path = "consent/api/declarations/service/sd-stammdaten"
    assert (await town.call(UTILITY, path, "PUT", declaration)).status == 200
    yield town


async def known_at_the_shop(town: Town, browser: Browser) -> str:
    """The citizen uses the shop's service, which so gets to know them; the pseudonym that it got."""
    me = await browser.get("/api/v1/me")
    sent = {"X-CSRF-Token": json.loads(me.text)["csrf"], "Origin": town.url}
    call = {"service": "karte", "method": "GET", "path": []}
    async with browser.session.post(f"{town.url}/api/v1/calls", json=call, headers=sent) as answer:
        assert answer.status == 200, await answer.text()
    return str(town.pair.backend.calls[-1].headers["X-Datenweg-Subject"])


async def accesses(town: Town, browser: Browser) -> list[dict[str, Any]]:
    """The citizen's access log of this month, newest first, once the logs can be shown."""
    month = datetime.now(UTC).strftime("%Y-%m")
    shown: dict[str, Any] = {}

    async def there() -> bool:
        nonlocal shown
        shown = json.loads((await browser.get(f"/api/v1/accesses?month={month}&proofs=false")).text)
        return all(source["reachable"] and not source["broken"] for source in shown["sources"])

    await until(there)
    found: list[dict[str, Any]] = shown["accesses"]
    return found


async def was_transmitted(town: Town, given: Consented, count: int) -> bool:
    """Whether the consent service was told that data moved on the consent so often."""
    found = await Transmissions(town.pair.consumer.gateway.engine).of([given.reference])
    return given.reference in found and found[given.reference].count == count


async def _reports(town: Town) -> list[int]:
    """How often each report was tried that the utility's gateway still has to make."""
    async with town.pair.provider.gateway.engine.connect() as connection:
        return list((await connection.execute(select(transmission_report.c.attempts))).scalars())


async def waiting(town: Town) -> int:
    """How many reports the utility's gateway still has to make."""
    return len(await _reports(town))


async def were_tried(town: Town, count: int) -> bool:
    """Whether so many reports were each tried in vain."""
    attempts = await _reports(town)
    return len(attempts) == count and min(attempts) >= 1


async def is_quiet(town: Town) -> bool:
    """Whether there is nothing left to report."""
    return await waiting(town) == 0
