"""Consents that institutions ask for, decided and extended over the API, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.citizen.citizens import ANNA, ERIKA, session_for
from tests.gateway.citizen.city import BANK, UTILITY, City, pseudonym_of, run_city
from tests.gateway.citizen.consent_town import CALLBACK, PURPOSE, SERVICE, ask, asking, call
from tests.gateway.citizen.test_api import MAX, bearer, send
from tests.gateway.citizen.test_consents import payload_of
from tests.gateway.citizen.test_representation import MIA, for_mia, parent


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[City]:
    """The utility offers consumption data, the bank wants them for two purposes; Erika and Mia use its service."""
    async with run_city(database_url, tmp_path) as city:
        assert (await call(city, UTILITY, "PUT", "declarations/service/sd-verbrauch", SERVICE))[0] == 200
        for purpose in ("pd-kredit", "pd-beratung"):
            assert (await call(city, BANK, "PUT", f"declarations/purpose/{purpose}", PURPOSE))[0] == 200
        service = (await city.citizen.catalogues.current()).find("kontostand")
        for subject in (ERIKA, MIA):
            await city.citizen.consents.introduce(session_for(city, subject), service)
        yield city


async def test_a_request_is_listed_read_and_decided(town: City) -> None:
    both = {"purposeDeclarationBusinessIdentifiers": ["pd-kredit", "pd-beratung"]}
    _, asked = await call(town, BANK, "POST", "consent", asking(town, **both))
    reference = asked["consentGroupReference"]
    async with town.browser() as browser:
        _, listed = await send(browser, "GET", "/consent-requests", bearer(town))
        (request,) = listed["requests"]
        assert (request["reference"], request["client"], request["callback"]) == (reference, BANK.encoded, CALLBACK)
        assert request["represented"] is None
        _, one = await send(browser, "GET", f"/consent-requests/{reference}", bearer(town))
        assert one == request
        counselling, credit = one["consents"]
        assert (counselling["purpose"], credit["purpose"]) == ("pd-beratung", "pd-kredit")
        # The institutions' words as they are: a client shows them as text.
        assert credit["recipient"]["name"] == PURPOSE["recipientName"]
        assert credit["description"] == SERVICE["description"]
        assert credit["expiresMs"] == town.clock.now_ms() + 60 * 86_400_000
        url = f"{town.url}/api/v1/consent-requests/{reference}"
        async with browser.session.get(url, headers=bearer(town)) as first:
            tag = first.headers["ETag"]
        async with browser.session.get(url, headers=bearer(town) | {"If-None-Match": tag}) as again:
            assert again.status == 304
        path = f"/consent-requests/{reference}/decision"
        names = [one["reference"] for one in (credit, counselling)]
        for approved, refused in (
            ([], []),
            (names[:1], []),
            (names, names[:1]),
            (names[:1], names[:1]),
            ([*names, "another"], []),
        ):
            body = {"approved": approved, "refused": refused}
            status, problem = await send(browser, "POST", path, bearer(town), body)
            assert (status, problem["code"], problem["field"]) == (400, "invalid_request", "approved")
        body = {"approved": names[:1], "refused": names[1:]}
        status, problem = await send(browser, "POST", path, bearer(town, ERIKA, "low"), body)
        assert (status, problem["code"]) == (403, "identity_level_too_low")
        status, done = await send(browser, "POST", path, bearer(town), body)
        assert (status, done["callback"]) == (200, CALLBACK)
        assert {one["reference"]: one["state"] for one in done["consents"]} == dict(
            zip(names, ("valid", "declined"), strict=True)
        )
        assert (await send(browser, "POST", path, bearer(town), body))[0] == 404
        assert (await send(browser, "GET", "/consent-requests", bearer(town)))[1]["requests"] == []


async def test_requests_come_in_pages(town: City) -> None:
    references = []
    for purpose in ("pd-kredit", "pd-beratung"):
        both = {"purposeDeclarationBusinessIdentifiers": [purpose]}
        _, asked = await call(town, BANK, "POST", "consent", asking(town, **both))
        references.append(asked["consentGroupReference"])
        town.clock.advance(seconds=1)
    async with town.browser() as browser:
        _, first = await send(browser, "GET", "/consent-requests?limit=1", bearer(town))
        _, second = await send(browser, "GET", f"/consent-requests?limit=1&cursor={first['next']}", bearer(town))
        assert [one["reference"] for one in (*first["requests"], *second["requests"])] == references[::-1]
        assert second["next"] is None


async def test_whoever_else_asks_learns_nothing(town: City) -> None:
    reference = await ask(town)
    async with town.browser() as browser:
        for headers in (bearer(town, ANNA), await for_mia(town, browser)):
            assert (await send(browser, "GET", "/consent-requests", headers))[1]["requests"] == []
            assert (await send(browser, "GET", f"/consent-requests/{reference}", headers))[0] == 404
            body = {"approved": [], "refused": []}
            assert (await send(browser, "POST", f"/consent-requests/{reference}/decision", headers, body))[0] == 404
        town.clock.advance(days=8)
        assert (await send(browser, "GET", "/consent-requests", bearer(town)))[1]["requests"] == []


@pytest.mark.parametrize("named", ["the child", "the child and its parent"])
async def test_a_parent_decides_for_a_child(town: City, named: str) -> None:
    there = pseudonym_of(town, MIA, BANK.member)
    if named == "the child":
        _, asked = await call(town, BANK, "POST", "consent", asking(town, idCode=there))
    else:
        await town.citizen.relations.register(
            issuer=town.issuer_url,
            representative=ERIKA,
            represented=MIA,
            role="parent",
            name="Mia Beispiel",
            until_ms=town.clock.now_ms() + 86_400_000,
        )
        document = {
            "representativeIdCode": pseudonym_of(town, ERIKA, BANK.member),
            "representeeIdCode": there,
            "relationType": "LAPS",
            "callback": CALLBACK,
            "purposeDeclarationBusinessIdentifiers": ["pd-kredit"],
        }
        _, asked = await call(town, BANK, "POST", "consent/representation", document)
    reference = asked["consentGroupReference"]
    async with town.browser() as browser:
        headers = await for_mia(town, browser)
        _, listed = await send(browser, "GET", "/consent-requests", headers)
        (request,) = listed["requests"]
        assert (request["reference"], request["represented"]) == (reference, "Mia Beispiel")
        # One that only the child was asked is none of the parent's own.
        _, own = await send(browser, "GET", "/consent-requests", parent(town))
        assert len(own["requests"]) == (0 if named == "the child" else 1)
        names = [one["reference"] for one in request["consents"]]
        path = f"/consent-requests/{reference}/decision"
        _, done = await send(browser, "POST", path, headers, {"approved": names, "refused": []})
        assert [(one["state"], one["byRepresentative"]) for one in done["consents"]] == [("valid", True)]
        _, receipt = await send(browser, "GET", f"/consents/{names[0]}/receipt", headers)
        assert receipt["dpv:hasRepresentative"]["dct:title"] == "Erika Beispiel"
        assert (await send(browser, "POST", f"/consents/{names[0]}/extension", bearer(town, MIA)))[0] == 409
    pushed = payload_of(town.road.of("datenwegConsent")[-1])
    assert pushed["subject"] == pseudonym_of(town, MIA, UTILITY.member)


async def test_a_consent_is_extended(town: City) -> None:
    reference = await ask(town)
    async with town.browser() as browser:
        _, request = await send(browser, "GET", f"/consent-requests/{reference}", bearer(town))
        (name,) = (one["reference"] for one in request["consents"])
        path = f"/consent-requests/{reference}/decision"
        _, done = await send(browser, "POST", path, bearer(town), {"approved": [name], "refused": []})
        assert done["consents"][0]["extendable"]
        # As long as it lasts already.
        assert (await send(browser, "POST", f"/consents/{name}/extension", bearer(town)))[0] == 409
        town.clock.advance(days=10)
        status, longer = await send(browser, "POST", f"/consents/{name}/extension", bearer(town))
        assert (status, longer["state"], longer["acknowledged"]) == (200, "valid", True)
        assert longer["expiresMs"] == done["consents"][0]["expiresMs"] + 10 * 86_400_000
        assert longer["events"][-1]["state"] == "RenewedConsentGiven"
        town.clock.advance(days=1)
        town.road.dead.add(UTILITY.member_code)
        status, unheard = await send(browser, "POST", f"/consents/{name}/extension", bearer(town))
        assert (status, unheard["acknowledged"]) == (202, False)
        assert (await send(browser, "POST", f"/consents/{name}/extension", bearer(town, ANNA)))[0] == 404
        town.road.dead.clear()
        await send(browser, "POST", f"/consents/{name}/withdrawal", bearer(town))
        assert (await send(browser, "POST", f"/consents/{name}/extension", bearer(town)))[0] == 409


async def test_a_weak_login_gives_no_consent_to_what_it_could_not_see(city: City) -> None:
    async with city.browser(language="de") as browser:
        low = bearer(city, MAX, "low")
        status, problem = await send(browser, "POST", "/consents", low, {"service": "kontostand"})
        assert (status, problem["code"], problem["requiredLevel"]) == (403, "identity_level_too_low", "high")
        assert city.road.of("datenwegConsent") == []
        await browser.log_in("max.beispiel")
        page = await browser.get("/consents/new?service=kontostand")
        assert 'href="/login?level=high&amp;return_to=/consents/new%3Fservice%3Dkontostand"' in page.text
        assert 'name="decision"' not in page.text
