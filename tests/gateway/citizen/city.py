"""A little city on loopback for the citizen's tests: the real issuer, the real pages, and an endpoint that plays our
own gateway.
"""

from __future__ import annotations

import asyncio
import html
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from audit.store import open_engine
from gateway.citizen.accounts import ACCOUNTS, Accounts
from gateway.citizen.app import build_citizen_app, citizen_http_session
from gateway.citizen.context import CitizenContext, CitizenSettings, ConsentKey
from gateway.citizen.notice_settings import NoticeSettings
from gateway.citizen.purposes import Journey, PurposeDeclaration
from gateway.citizen.web import CITIZEN, Citizen
from gateway.city.citizens import DEMO_PASSWORD
from gateway.city.issuer import ISSUER, DemoIssuer, build_issuer
from gateway.city.issuer_clients import DemoIssuerSettings, IssuerClient
from gateway.exchange.pseudonyms import pseudonym
from gateway.store.migrate import migrate
from tests.clocks import ManualClock
from trust.identifiers import MemberId, SubsystemId, parse_service_id
from trust.self_signed import build_self_signed

APP = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "buergerkonto")
BANK = SubsystemId("DE-TEST", "COM", "SPARKASSE", "konto")
UTILITY = SubsystemId("DE-TEST", "COM", "STADTWERKE", "kundenservice")
AUDIENCE = "datenweg-road"
BANK_PURPOSE = PurposeDeclaration(
    "kontostand",
    parse_service_id(f"{BANK.encoded}/konto"),
    Journey.BANK,
    "Sparkasse Musterstadt",
    "Damit Sie Ihren Kontostand hier sehen.",
    "So that you see your balance here.",
    privacy_url="https://musterstadt.example/privacy",
    validity_days=90,
)
UTILITY_PURPOSE = PurposeDeclaration(
    "strom",
    parse_service_id(f"{UTILITY.encoded}/rechnungen"),
    Journey.UTILITY,
    "Stadtwerke Musterstadt",
    "Damit Sie Ihre Stromrechnung hier sehen.",
    "So that you see your electricity bill here.",
)
BANK_DECLARATION = {
    "code": "konto",
    "title_de": "Kontostand <b>fett</b>",
    "title_en": "Account balance",
    "purpose_de": "Kontostand anzeigen",
    "purpose_en": "Show the balance",
    "legal_basis_kind": "consent",
    "legal_basis": "Art. 6 Abs. 1 lit. a DSGVO",
    "data_categories": ["Kontostand", "<script>alert(1)</script>"],
    "identity_level": "high",
}
UTILITY_DECLARATION = {
    "code": "rechnungen",
    "title_de": "Stromrechnung",
    "title_en": "Electricity bill",
    "purpose_de": "Rechnungen anzeigen",
    "purpose_en": "Show bills",
    "legal_basis_kind": "contract",
    "legal_basis": "Liefervertrag",
    "data_categories": ["Rechnungen"],
    "identity_level": "substantial",
}


@dataclass
class Recorded:
    """A request that reached the road's client port."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Road:
    """The client port of a gateway, as far as the citizen's side can tell: records what comes, answers as told."""

    consent_status: int = 204
    access_status: int = 200
    dead: set[str] = field(default_factory=set)
    bundles: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    declarations: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"konto": BANK_DECLARATION, "kundenservice": UTILITY_DECLARATION}
    )
    requests: list[Recorded] = field(default_factory=list)
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, part: str) -> list[Recorded]:
        return [request for request in self.requests if part in request.path]

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append(
            Recorded(request.method, request.rel_url.raw_path, dict(request.query), dict(request.headers), body)
        )
        *_, member, subsystem, service = request.path.split("/")[:7]
        rest = request.path.split("/", 7)[7] if request.path.count("/") > 6 else ""
        headers = {"X-Road-Request-Id": f"request-{len(self.requests)}"}
        if member in self.dead:
            return _road_error("server.clientproxy.network_error", headers)
        match service:
            case "datenwegServices":
                return web.json_response([self.declarations[subsystem]], headers=headers)
            case "datenwegConsent":
                if self.consent_status >= 400:
                    return _road_error("server.clientproxy.network_error", headers)
                self.acknowledged.set()
                return web.Response(status=self.consent_status, headers=headers)
            case "datenwegAccesses":
                return web.json_response(self.bundles.get(member, {}), status=self.access_status, headers=headers)
            case _:
                return self._of_service(request.method, rest, headers)

    def _of_service(self, method: str, rest: str, headers: dict[str, str]) -> web.Response:
        if code := self.failures.get(rest):
            return _road_error(code, headers)
        status, data = self.answers.get((method, rest), (404, {"code": "operation_unknown", "title": "?"}))
        headers["X-Datenweg-Audit-Receipt"] = "log.example 7 YWJj"
        content_type = "application/json" if status < 400 else "application/problem+json"
        return web.json_response(data, status=status, headers=headers, content_type=content_type)


def _road_error(code: str, headers: dict[str, str]) -> web.Response:
    body = {"type": code, "message": "the <i>road</i> says no", "detail": "an-id"}
    return web.json_response(body, status=500, headers={**headers, "X-Road-Error": code})


@dataclass
class City:
    """Everything a test needs to reach."""

    clock: ManualClock
    road: Road
    issuer: DemoIssuer
    issuer_url: str
    url: str
    engine: AsyncEngine
    context: CitizenContext
    citizen: Citizen
    accounts: Accounts
    # Every method and path that the application answers.
    routes: tuple[tuple[str, str], ...]

    @asynccontextmanager
    async def browser(self, *, language: str = "en") -> AsyncIterator[Browser]:
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, headers={"Accept-Language": language}) as session:
            yield Browser(self, session)


@dataclass
class Page:
    """An answer, read."""

    status: int
    headers: dict[str, str]
    text: str
    url: URL

    def field(self, name: str) -> str:
        """The value of a hidden or text field."""
        found = re.search(rf'name="{name}"[^>]*? value="([^"]*)"', self.text)
        assert found is not None, f"no field {name}"
        return html.unescape(found[1])


@dataclass
class Browser:
    """A browser without JavaScript: cookies, redirects, forms."""

    city: City
    session: aiohttp.ClientSession

    async def get(self, path: str, *, follow: bool = True, **headers: str) -> Page:
        return await self._send("GET", path, None, follow, headers)

    async def post(self, path: str, form: dict[str, str], *, follow: bool = True, **headers: str) -> Page:
        return await self._send("POST", path, form, follow, headers)

    async def submit(self, page: str, path: str, **form: str) -> Page:
        """Opens a page, takes its CSRF token, sends the form."""
        return await self.post(path, {"csrf": (await self.get(page)).field("csrf"), **form})

    async def log_in(self, username: str = "erika.beispiel", *, start: str = "/login") -> Page:
        """Logs in at the issuer, by its form."""
        form_page = await self.get(start)
        assert urlsplit(str(form_page.url)).path == "/authorize", form_page.text
        return await self.enter(form_page, username, DEMO_PASSWORD)

    async def enter(self, form_page: Page, username: str, password: str) -> Page:
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form_page.text))
        fields = {name: html.unescape(value) for name, value in hidden.items()}
        fields |= {"username": username, "password": password}
        return await self.post(f"{self.city.issuer_url}/authorize", fields)

    async def _send(
        self, method: str, path: str, form: dict[str, str] | None, follow: bool, headers: dict[str, str]
    ) -> Page:
        url = path if path.startswith("http") else self.city.url + path
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, url, data=form, headers=names, allow_redirects=follow) as answer:
            return Page(answer.status, dict(answer.headers), await answer.text(), answer.url)


def consent_key(common_name: str = "musterstadt") -> ConsentKey:
    """A P-256 key with a certificate that nobody checks here: the providers do, in their own tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    certificate = build_self_signed(key, common_name, since=since, until=until)
    return ConsentKey(key, (certificate.public_bytes(serialization.Encoding.DER),))


@dataclass
class OwnLog:
    """Our own gateway's log, as bundles by pseudonym."""

    bundles: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def read(self, subject_ref: str, month: str, *, seen: int = 0) -> dict[str, Any] | None:
        bundle = self.bundles.get(subject_ref)
        return bundle if bundle is not None and bundle["month"] == month else None


def keeps_log(provider: SubsystemId, origin: str) -> bool:
    """As if each member ran one gateway, named gw."""
    return origin == f"{provider.member.encoded}/gw/audit/2026"


def reserve() -> socket.socket:
    """A listening place on loopback, bound, so that its port is known and nobody else's."""
    place = socket.socket()
    place.bind(("127.0.0.1", 0))
    return place


async def serve(stack: AsyncExitStack, app: web.Application, place: socket.socket) -> None:
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, place).start()


@asynccontextmanager
async def run_city(
    database_url: str,
    directory: Path,
    *,
    secret: str | None = None,
    notices: NoticeSettings | None = None,
    proxy_header: str | None = None,
) -> AsyncIterator[City]:
    """Issuer, road and pages, each on its own port. Background pushes are left to the tests (`push_due`)."""
    clock, road = ManualClock(), Road()
    async with AsyncExitStack() as stack:
        issuer_place, road_place, pages_place = reserve(), reserve(), reserve()
        issuer_url, road_url, url = (
            f"http://127.0.0.1:{place.getsockname()[1]}" for place in (issuer_place, road_place, pages_place)
        )
        pages = IssuerClient(
            "datenweg-citizen", (f"{url}/login/callback",), (f"{url}/",), secret, f"{url}/login/backchannel"
        )
        app_client = IssuerClient("citizen-app", ("http://127.0.0.1/callback",))
        issuer_app = build_issuer(
            DemoIssuerSettings("DE-TEST", issuer_url, directory / "issuer", (pages, app_client), AUDIENCE),
            clock=clock,
        )
        await serve(stack, issuer_app, issuer_place)
        road_app = web.Application()
        road_app.router.add_route("*", "/r1/{rest:.*}", road.handle)
        await serve(stack, road_app, road_place)

        engine = open_engine(database_url)
        stack.push_async_callback(engine.dispose)
        await migrate(engine)
        settings = CitizenSettings(
            instance="DE-TEST",
            client=APP,
            public_url=url,
            road_url=road_url,
            issuer=issuer_url,
            client_id="datenweg-citizen",
            client_secret=secret,
            token_audience=AUDIENCE,
            purposes=(BANK_PURPOSE, UTILITY_PURPOSE),
            push_interval_ms=3_600_000,
            road_timeout_seconds=5,
            consent_declarants=frozenset({BANK, UTILITY}),
            notices=notices or NoticeSettings(),
            proxy_header=proxy_header,
            time_zone=ZoneInfo("Europe/Berlin"),
        )
        context = CitizenContext(
            settings, engine, clock, consent_key(), b"p" * 32, b"c" * 32, pseudonym, keeps_log, own_log=OwnLog()
        )
        http = await stack.enter_async_context(citizen_http_session())
        app = build_citizen_app(context, http)
        await serve(stack, app, pages_place)
        routes = tuple(
            (route.method, route.resource.canonical)
            for route in app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        )
        issuer, citizen = issuer_app[ISSUER], app[CITIZEN]
        yield City(clock, road, issuer, issuer_url, url, engine, context, citizen, app[ACCOUNTS], routes)


def pseudonym_of(city: City, subject: str, member: MemberId) -> str:
    return city.context.pseudonym_at(member, city.issuer_url, subject)
