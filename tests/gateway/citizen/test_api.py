"""The citizen API: a citizen's own app with a bearer token, and the browser's session."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.gateway.citizen.citizens import ERIKA
from tests.gateway.citizen.city import AUDIENCE, BANK, BANK_DECLARATION, Browser, City
from tests.gateway.citizen.described import require_described

MAX = "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e03"


def bearer(city: City, subject: str = ERIKA, level: str = "high") -> dict[str, str]:
    now = int(city.clock.now().timestamp())
    claims = {"iss": city.issuer_url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600, "acr": level}
    return {"Authorization": "Bearer " + city.issuer.keys.sign(claims, token_type="at+jwt")}


async def send(
    browser: Browser, method: str, path: str, headers: Mapping[str, str], document: Any = None
) -> tuple[int, Any]:
    url = f"{browser.city.url}/api/v1{path}"
    async with browser.session.request(method, url, headers=headers, json=document) as answer:
        body = json.loads(await answer.text())
        require_described(method, path, answer.status, answer.headers, body)
        return answer.status, body


async def test_an_app_goes_the_whole_way(city: City) -> None:
    city.road.answers["GET", "balance"] = (200, {"accounts": []})
    async with city.browser() as browser:
        headers = bearer(city)
        status, catalogue = await send(browser, "GET", "/services", headers)
        assert status == 200
        assert [service["key"] for service in catalogue["services"]] == ["kontostand", "strom"]
        assert catalogue["services"][0]["identityLevel"] == "high"
        status, consent = await send(browser, "POST", "/consents", headers, {"service": "kontostand"})
        assert (status, consent["state"], consent["acknowledged"]) == (201, "valid", True)
        call = {"service": "kontostand", "method": "GET", "path": ["balance"], "query": {"a": "b c"}}
        status, answer = await send(browser, "POST", "/calls", headers, call)
        assert (status, answer["status"], answer["body"]) == (200, 200, {"accounts": []})
        assert answer["requestId"].startswith("request-")
        assert answer["receipt"] == "log.example 7 YWJj"
        sent = city.road.of("/konto/balance")[0]
        assert sent.query == {"a": "b c"}
        assert sent.headers["X-Datenweg-Consent"] == consent["reference"]
        status, receipt = await send(browser, "GET", f"/consents/{consent['reference']}/receipt", headers)
        assert receipt["dct:identifier"] == consent["reference"]
        status, withdrawn = await send(browser, "POST", f"/consents/{consent['reference']}/withdrawal", headers)
        assert (status, withdrawn["state"]) == (200, "withdrawn")
        city.road.failures["balance"] = "server.serverproxy.consent_required"
        status, refused = await send(browser, "POST", "/calls", headers, call)
        assert refused["failure"]["code"] == "server.serverproxy.consent_required"
        status, listed = await send(browser, "GET", "/consents", headers)
        assert [one["state"] for one in listed["consents"]] == ["withdrawn"]


async def test_a_withdrawal_that_is_not_acknowledged_says_when_it_lapses(city: City) -> None:
    async with city.browser() as browser:
        headers = bearer(city)
        _, consent = await send(browser, "POST", "/consents", headers, {"service": "kontostand"})
        city.road.dead.add(BANK.member_code)
        status, withdrawn = await send(browser, "POST", f"/consents/{consent['reference']}/withdrawal", headers)
        assert (status, withdrawn["state"], withdrawn["acknowledged"]) == (202, "withdrawing", False)
        assert withdrawn["lapsesMs"] == consent["expiresMs"]


@pytest.mark.parametrize(
    ("path", "document", "status", "code"),
    [
        ("/consents", {"service": "nothing"}, 404, "not_found"),
        ("/consents", {"service": 7}, 400, "invalid_request"),
        ("/consents", {"service": "kontostand", "extra": 1}, 400, "invalid_request"),
        ("/consents", [], 400, "invalid_request"),
        ("/consents", {"service": "strom"}, 409, "consent_conflict"),
        ("/consents/unknown/withdrawal", None, 404, "not_found"),
        ("/calls", {"service": "strom", "method": "TRACE"}, 400, "invalid_request"),
        ("/calls", {"service": "strom", "path": "bills"}, 400, "invalid_request"),
        ("/calls", {"service": "strom", "path": [""]}, 400, "invalid_request"),
        ("/calls", {"service": "strom", "query": {"a": 1}}, 400, "invalid_request"),
        ("/nothing", {}, 404, "not_found"),
    ],
)
async def test_bad_requests_become_problem_details(
    city: City, path: str, document: Any, status: int, code: str
) -> None:
    async with city.browser() as browser:
        answered, problem = await send(browser, "POST", path, bearer(city), document)
        assert (answered, problem["code"], problem["status"]) == (status, code, status)
        assert problem["type"] == f"urn:datenweg:problem:{code}"
        assert problem["title"]


async def test_too_low_a_level_is_told_and_never_sent(city: City) -> None:
    async with city.browser() as browser:
        low = bearer(city, MAX, "low")
        status, problem = await send(browser, "POST", "/calls", low, {"service": "kontostand", "path": ["balance"]})
        assert (status, problem["code"], problem["requiredLevel"]) == (403, "identity_level_too_low", "high")
        assert city.road.of("/konto/konto") == []
        status, problem = await send(browser, "GET", "/accesses", low)
        assert (status, problem["requiredLevel"]) == (403, "substantial")


async def test_a_disabled_service_is_told_and_never_called(city: City) -> None:
    city.road.declarations["konto"] = BANK_DECLARATION | {"enabled": False}
    async with city.browser() as browser:
        _, catalogue = await send(browser, "GET", "/services", bearer(city))
        assert [service["enabled"] for service in catalogue["services"]] == [False, True]
        call = {"service": "kontostand", "path": ["balance"]}
        status, problem = await send(browser, "POST", "/calls", bearer(city), call)
        assert (status, problem["code"]) == (409, "service_disabled")
        assert city.road.of("/konto/konto") == []


async def test_a_session_needs_its_csrf_token_in_a_header(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        status, me = await send(browser, "GET", "/me", {})
        assert (status, me["name"]) == (200, "Erika Beispiel")
        status, problem = await send(browser, "POST", "/consents", {}, {"service": "kontostand"})
        assert (status, problem["code"]) == (403, "form_refused")
        status, _ = await send(browser, "POST", "/consents", {"X-CSRF-Token": me["csrf"]}, {"service": "kontostand"})
        assert status == 201


async def test_nobody_gets_anything_without_a_login(city: City) -> None:
    async with city.browser() as browser:
        for path in ("/me", "/services", "/consents", "/consents/x", "/consents/x/receipt", "/accesses"):
            assert (await send(browser, "GET", path, {}))[0] == 401
        for path in ("/consents", "/consents/x/withdrawal", "/calls"):
            assert (await send(browser, "POST", path, {}, {}))[0] == 401
        assert city.road.requests == []


async def test_what_fails_on_our_side_is_opaque_and_has_a_number(city: City) -> None:
    async with city.browser() as browser:
        object.__setattr__(city.citizen, "consents", None)
        status, problem = await send(browser, "GET", "/consents", bearer(city))
        assert (status, problem["code"]) == (500, "internal_error")
        assert problem["instance"].startswith("urn:uuid:")
        assert "NoneType" not in json.dumps(problem)


async def test_a_body_of_another_kind_is_told_as_such(city: City) -> None:
    headers = bearer(city) | {"Content-Type": "text/plain"}
    async with (
        city.browser() as browser,
        browser.session.post(f"{city.url}/api/v1/complaints", data=b'{"text": "x"}', headers=headers) as answer,
    ):
        assert (answer.status, (await answer.json())["code"]) == (415, "invalid_request")


async def test_blanks_are_neither_a_complaint_nor_a_name(city: City) -> None:
    async with city.browser() as browser:
        status, problem = await send(browser, "POST", "/complaints", bearer(city), {"text": " \n\u00a0"})
        assert (status, problem["field"]) == (400, "text")
        await browser.log_in()
        _, me = await send(browser, "GET", "/me", {})
        csrf = {"X-CSRF-Token": me["csrf"]}
        status, problem = await send(browser, "PATCH", f"/devices/{me['device']}", csrf, {"name": "  "})
        assert (status, problem["field"]) == (400, "name")


async def test_a_way_that_the_city_does_not_offer_names_its_field(city: City) -> None:
    async with city.browser() as browser:
        status, problem = await send(browser, "PUT", "/notice-channels/mail", bearer(city), {"address": "nobody"})
        assert (status, problem["field"]) == (400, "address")
