"""Every route of the application, taken from the application itself, walked as nobody, as another citizen's browser and
as another citizen's app. A route that is added is walked, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from gateway.citizen.api_operations import CONTRACT
from gateway.citizen.sessions import Chosen
from tests.gateway.citizen.citizens import ANNA, ERIKA
from tests.gateway.citizen.city import APP, BANK, Browser, City, pseudonym_of
from tests.gateway.citizen.test_accesses import MONTH, own_bundles, run_log
from tests.gateway.citizen.test_api import bearer, send
from tests.gateway.citizen.test_representation import MIA, parent
from tests.gateway.citizen.wallet import App

# What a body may be made of, so that a route gets past its own check of the form to where persons matter.
BODIES: Mapping[str, Any] = {
    "callService": {"service": "strom", "path": ["bills"]},
    "giveConsent": {"service": "kontostand"},
    "renameDevice": {"name": "gekapert"},
    "complain": {"text": "x"},
    "linkIdentity": {"service": "strom"},
    "decideConsentRequest": {"approved": [], "refused": []},
    "setMailAddress": {"address": "anna@example.org"},
    "confirmMailAddress": {"code": "00000000"},
    "chooseNotices": {"kinds": []},
    "subscribeToPush": {"endpoint": "https://push.example/x", "keys": {"p256dh": "x", "auth": "x"}},
}
PUBLIC = {"/", "/login", "/login/callback", "/login/backchannel", "/logout", "/language/{language}", "/static/{name}"}
PUBLIC |= {"/help", "/.well-known/oauth-protected-resource"}
# What is the citizen's own, whomever they act for; every other page is about whom they chose.
OWN = {"/representation", "/representation/end", "/devices", "/devices/{device}/revoke", "/complaints"}
OWN |= {"/notices/mail", "/notices/mail/confirm", "/notices/{channel}/choice", "/notices/{channel}/remove"}
OWN |= {"/notices/push/subscriptions", "/verify/policy.json"}


async def things_of_erika(city: City, tmp_path: Path, browser: Browser) -> dict[str, str]:
    """One of everything, by what a path may call it."""
    headers = bearer(city)
    _, consent = await send(browser, "POST", "/consents", headers, {"service": "kontostand"})
    _, complaint = await send(browser, "POST", "/complaints", headers, {"text": "erikas-complaint"})
    person = city.context.person(city.issuer_url, ERIKA)
    link = await city.citizen.links.add(person, service="strom", provider=BANK.encoded, label="erikas-account")
    device = await city.citizen.devices.use(person, "erikas-key", kind="app", user_agent="Erikasapp")
    _, notices = await send(browser, "GET", "/notices", headers)
    _, listed = await send(browser, "GET", "/represented", parent(city))
    child = listed["represented"][0]["reference"]
    headers = parent(city) | {"X-Datenweg-Representing": child}
    _, childs = await send(browser, "POST", "/consents", headers, {"service": "kontostand"})
    mia = pseudonym_of(city, MIA, APP.member)
    async with run_log(tmp_path, "own", keeper=APP) as own:
        for whose, name in ((person, "erikas-exchange"), (mia, "mias-exchange")):
            await own.record(whose, requestId=name)
        own_bundles(city).update({whose: await own.bundle(whose) for whose in (person, mia)})
    return {
        "consents": consent["reference"],
        "complaints": complaint["id"],
        "links": link.id,
        "devices": device.id,
        "notices": notices["notices"][0]["id"],
        "childs": childs["reference"],
        "child": child,
    }


async def everything_of_erika(city: City, browser: Browser) -> Any:
    """As the API exports it, but for when it was made and for the receipts, which are signed anew each time."""
    _, document = await send(browser, "GET", "/export?months=1", bearer(city))
    document.pop("made")
    document.pop("receipts")
    return document


def filled(path: str, things: Mapping[str, str]) -> Iterator[str]:
    """The path with each of Erika's things in its place, in turn."""
    names = re.findall(r"\{(\w+)\}", path)
    values = {
        "language": "en",
        "name": "style.css",
        "key": "strom",
        "action": "bills",
        "format": "json",
        "month": MONTH,
    }
    for thing in things.values() if set(names) - set(values) else ("",):
        yield path.format(**{name: values.get(name, thing) for name in names})


async def test_nobody_gets_anything_without_a_login(city: City) -> None:
    described = {(one.method, one.path): one for one in CONTRACT.operations}
    walked = 0
    async with city.browser() as browser:
        for method, path in city.routes:
            operation = described.get((method, path))
            # Our own scripts are the same for everybody.
            if path in PUBLIC or path.endswith(".js") or (operation is not None and operation.public):
                continue
            for address in filled(path, {"x": "something"}):
                async with browser.session.request(
                    method, city.url + address, allow_redirects=False, json={} if operation else None
                ) as answer:
                    walked += 1
                    if path.startswith("/api/"):
                        assert answer.status == 401, (method, path)
                    else:
                        assert answer.status in (303, 400, 401, 403, 404), (method, path, answer.status)
                        assert answer.status != 303 or answer.headers["Location"].startswith("/login"), (method, path)
    assert walked > len(CONTRACT.operations)
    # Nothing was asked for on anybody's behalf.
    assert not [request for request in city.road.requests if "X-Datenweg-Citizen" in request.headers]


async def test_no_route_gives_another_citizen_anything(city: City, tmp_path: Path) -> None:
    described = {(one.method, one.path): one for one in CONTRACT.operations}
    # The walk is longer than a person's minute.
    city.citizen.person_requests._burst = 1_000_000
    async with city.browser() as hers, city.browser() as anna:
        things = await things_of_erika(city, tmp_path, hers)
        before = await everything_of_erika(city, hers)
        secrets = {
            *("Erika Beispiel", ERIKA, "erikas-exchange", "erikas-complaint", "erikas-account", "Erikasapp"),
            *("Mia Beispiel", MIA, "mias-exchange"),
            *(pseudonym_of(city, subject, member) for subject in (ERIKA, MIA) for member in (APP.member, BANK.member)),
        }
        await anna.log_in("anna.probe")
        token = json.loads((await anna.get("/api/v1/me")).text)["csrf"]
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as http:
            app = App(city, http)
            await app.log_in("anna.probe")
            # What ends her own login comes last.
            for method, path in sorted(city.routes, key=lambda route: "logout" in route[1] or "session" in route[1]):
                operation = described.get((method, path))
                for address in filled(path, things):
                    answers = [await by_browser(anna, method, address, token, operation, child=things["child"])]
                    if operation is not None and not operation.public:
                        answers.append(await by_app(app, method, address, BODIES.get(operation.id)))
                        # Another's child is nobody whom she could act for.
                        theirs = {"X-Datenweg-Representing": things["child"]}
                        refused = await by_app(app, method, address, BODIES.get(operation.id), theirs)
                        assert refused[0] == 403, (method, address)
                        answers.append(refused)
                    for status, text in answers:
                        assert status < 500, (method, address, status, text[:500])
                        of_others = [thing for thing in things.values() if thing in text and thing not in address]
                        assert not of_others, (method, address)
                        assert not [secret for secret in secrets if secret in text], (method, address)
                        if operation is not None and {"reference", "id"} & set(operation.path_parameters):
                            assert status in (404, 403), (method, address, status)
        after = await everything_of_erika(city, hers)
    assert after == before


async def test_no_route_goes_on_for_somebody_when_the_relation_has_ended(city: City, tmp_path: Path) -> None:
    described = {(one.method, one.path) for one in CONTRACT.operations}
    city.citizen.person_requests._burst = 1_000_000
    relations, sessions = city.citizen.relations, city.citizen.sessions
    walked = 0
    async with city.browser() as hers, city.browser() as anna:
        things = await things_of_erika(city, tmp_path, hers)
        secrets = {MIA, "mias-exchange", *(pseudonym_of(city, MIA, member) for member in (APP.member, BANK.member))}
        await anna.log_in("anna.probe")
        cookie = next(one.value for one in anna.session.cookie_jar if one.key == "datenweg_session")
        token = json.loads((await anna.get("/api/v1/me")).text)["csrf"]
        before = len(city.road.requests)
        for method, path in city.routes:
            if path in PUBLIC - {"/"} or path.endswith(".js") or (method, path) in described:
                continue
            for address in filled(path, things):
                made = await relations.register(
                    issuer=city.issuer_url,
                    representative=ANNA,
                    represented=MIA,
                    role="parent",
                    name="Mia",
                    until_ms=city.clock.now_ms() + 1,
                )
                await sessions.choose(cookie, Chosen(made.reference, "Mia"))
                await relations.remove(made.reference)
                status, text = await by_browser(anna, method, address, token, None, child=made.reference)
                walked += 1
                assert not [secret for secret in secrets if secret in text], (method, address)
                if path not in OWN:
                    assert status == 403, (method, address)
                    assert "You may no longer act for this person." in text, (method, address)
    assert walked > 50
    asked = city.road.requests[before:]
    assert not [request for request in asked if "X-Datenweg-Representing" in request.headers]


async def by_browser(
    browser: Browser, method: str, address: str, token: str, operation: Any, *, child: str
) -> tuple[int, str]:
    headers = {"X-CSRF-Token": token}
    content: dict[str, Any] = {"json": BODIES.get(operation.id)} if operation else {}
    if operation is None and method == "POST":
        content = {"data": {"csrf": token, "service": "strom", "decision": "refuse", "reference": child}}
    query = f"?month={MONTH}" if operation is None and method == "GET" else ""
    url = browser.city.url + address + query
    async with browser.session.request(method, url, headers=headers, allow_redirects=False, **content) as answer:
        return answer.status, (await answer.read()).decode("utf-8", "replace") + str(answer.headers)


async def by_app(
    app: App, method: str, address: str, body: Any, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    path = address.removeprefix("/api/v1")
    used = app.headers(method, path) | dict(headers or {})
    async with app.http.request(method, app.city.url + address, headers=used, json=body) as answer:
        return answer.status, (await answer.read()).decode("utf-8", "replace") + str(answer.headers)
