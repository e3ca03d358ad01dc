"""Consent over the pages and the API, against a road endpoint that records what it gets and can fail."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from gateway.citizen.consent import ConsentState
from gateway.citizen.errors import ConsentConflict, LevelTooLow, UnknownThing
from gateway.exchange.consents import parse_consent, verify_consent
from gateway.messages.headers import IdentityLevel
from gateway.store.model import ConsentStatus
from tests.gateway.citizen.citizens import ANNA, ERIKA, session_for
from tests.gateway.citizen.city import APP, BANK, City, Recorded, pseudonym_of, run_city


def payload_of(request: Recorded) -> dict[str, Any]:
    part = request.body.split(b".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    return claims


async def test_give_use_and_withdraw(city: City) -> None:
    city.road.answers["GET", "balance"] = (200, {"accounts": [{"iban": "DE00", "balances": [{"amount": "12.34"}]}]})
    async with city.browser() as browser:
        await browser.log_in()
        question = await browser.get("/consents/new?service=kontostand")
        for shown in (
            "Sparkasse Musterstadt",
            "So that you see your balance here.",
            "90 days from today",
            "Musterstadt",
        ):
            assert shown in question.text
        given = await browser.submit(
            "/consents/new?service=kontostand", "/consents", service="kontostand", decision="give"
        )
        assert "Valid. The institution has confirmed it." in given.text
        (push,) = city.road.of("datenwegConsent")
        assert push.method == "PUT"
        assert push.path.startswith(f"/r1/{BANK.encoded}/datenwegConsent/")
        assert push.headers["Content-Type"] == "application/jose"
        assert push.headers["X-Road-Client"] == APP.encoded
        claims = payload_of(push)
        assert claims["status"] == "valid"
        assert claims["subject"] == pseudonym_of(city, ERIKA, BANK.member)
        assert claims["expires_ms"] - claims["given_ms"] == 90 * 86_400_000

        answer = await browser.submit("/services/kontostand", "/services/kontostand/balance")
        assert "12.34" in answer.text
        (call,) = city.road.of("/konto/balance")
        assert call.headers["X-Datenweg-Consent"] == claims["reference"]
        assert call.headers["X-Datenweg-Purpose"] == "kontostand"
        assert call.headers["X-Datenweg-Citizen"].count(".") == 2

        withdrawn = await browser.submit("/consents", f"/consents/{claims['reference']}/withdraw")
        assert "Withdrawn." in withdrawn.text
        last = payload_of(city.road.of("datenwegConsent")[-1])
        assert (last["status"], last["sequence"]) == ("withdrawn", 2)
        city.road.failures["balance"] = "server.serverproxy.consent_required"
        refused = await browser.submit("/services/kontostand", "/services/kontostand/balance")
        assert "server.serverproxy.consent_required" in refused.text
        assert "because your consent is missing" in refused.text
        city.road.failures["balance"] = "server.serverproxy.service_failed"
        refused = await browser.submit("/services/kontostand", "/services/kontostand/balance")
        assert "the &lt;i&gt;road&lt;/i&gt; says no" in refused.text
        assert "X-Datenweg-Consent" not in city.road.of("/konto/balance")[-1].headers


async def test_whoever_took_a_consent_back_is_not_asked_for_it_again(city: City) -> None:
    asked = "/consents/new?service=kontostand"
    service = (await city.citizen.catalogues.current()).find("kontostand")
    async with city.browser() as browser:
        await browser.log_in()
        assert asked in (await browser.get("/")).text
        consent = await city.citizen.consents.give(session_for(city), service, language="de")
        assert asked not in (await browser.get("/")).text
        await city.citizen.consents.withdraw(session_for(city), consent.reference)
        assert asked not in (await browser.get("/")).text


async def test_who_extends_a_consent_is_identified_as_for_giving_it(city: City) -> None:
    service = (await city.citizen.catalogues.current()).find("kontostand")
    session = session_for(city)
    weaker = replace(session, level=IdentityLevel.SUBSTANTIAL)
    with pytest.raises(LevelTooLow, match="high"):
        await city.citizen.consents.give(weaker, service, language="de")
    consent = await city.citizen.consents.give(session, service, language="de")
    city.clock.advance(days=1)
    with pytest.raises(LevelTooLow, match="high"):
        await city.citizen.consents.extend(weaker, consent.reference)
    extended = await city.citizen.consents.extend(session, consent.reference)
    assert extended.expires_ms == consent.expires_ms + 86_400_000


async def test_the_provider_accepts_the_signed_copy(city: City) -> None:
    service = (await city.citizen.catalogues.current()).find("kontostand")
    consent = await city.citizen.consents.give(session_for(city), service, language="de")
    unverified = parse_consent(consent.jws.encode())
    copy = verify_consent(unverified, x509.load_der_x509_certificate(unverified.certificate))
    assert (copy.reference, copy.status, copy.sequence) == (consent.reference, ConsentStatus.VALID, 1)
    assert copy.client == APP
    assert copy.service == service.purpose.service
    withdrawn = await city.citizen.consents.withdraw(session_for(city), consent.reference)
    unverified = parse_consent(withdrawn.jws.encode())
    copy = verify_consent(unverified, x509.load_der_x509_certificate(unverified.certificate))
    assert (copy.status, copy.sequence) == (ConsentStatus.WITHDRAWN, 2)


@pytest.mark.parametrize("database", ["sqlite_url", "postgres_url"])
async def test_nothing_is_valid_until_acknowledged_and_retries_go_on(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with run_city(request.getfixturevalue(database), tmp_path) as city:
        consents, session = city.citizen.consents, session_for(city)
        service = (await city.citizen.catalogues.current()).find("kontostand")
        city.road.consent_status = 500
        consent = await consents.give(session, service, language="de")
        assert consent.state is ConsentState.PENDING
        assert await consents.usable(session, "kontostand") is None
        assert await consents.push_due() == 0
        city.clock.advance(seconds=6)
        assert await consents.push_due() == 1
        city.road.consent_status = 200
        city.clock.advance(seconds=30)
        assert await consents.push_due() == 1
        assert (await consents.get(session, consent.reference)).state is ConsentState.VALID
        # The withdrawal counts here at once, and is confirmed only when the provider knows.
        city.road.consent_status = 500
        withdrawn = await consents.withdraw(session, consent.reference)
        assert withdrawn.state is ConsentState.WITHDRAWING
        assert not withdrawn.provider_knows
        assert await consents.usable(session, "kontostand") is None
        with pytest.raises(ConsentConflict):
            await consents.withdraw(session, consent.reference)
        city.road.consent_status = 204
        city.clock.advance(seconds=30)
        await consents.push_due()
        done = await consents.get(session, consent.reference)
        assert done.state is ConsentState.WITHDRAWN
        assert [event.state.value for event in done.events] == ["ConsentRequested", "ConsentGiven", "ConsentWithdrawn"]
        assert await consents.push_due() == 0


async def test_an_unreachable_provider_and_the_lapse_are_told(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        await browser.submit("/consents/new?service=kontostand", "/consents", service="kontostand", decision="give")
        city.road.dead.add("SPARKASSE")
        reference = payload_of(city.road.of("datenwegConsent")[0])["reference"]
        page = await browser.submit("/consents", f"/consents/{reference}/withdraw")
        assert "The institution has not confirmed it yet" in page.text
        assert "2027-02-20" in page.text
    city.clock.advance(days=91)
    lapsed = await city.citizen.consents.get(session_for(city), reference)
    assert lapsed.state is ConsentState.WITHDRAWN
    assert lapsed.events[-1].state.value == "ConsentExpired"


async def test_a_consent_expires_and_may_be_given_again(city: City) -> None:
    service = (await city.citizen.catalogues.current()).find("kontostand")
    consents, session = city.citizen.consents, session_for(city)
    first = await consents.give(session, service, language="de")
    with pytest.raises(ConsentConflict):
        await consents.give(session, service, language="de")
    city.clock.advance(days=90)
    assert await consents.usable(session, "kontostand") is None
    second = await consents.give(session, service, language="de")
    assert {c.reference: c.state for c in await consents.of(session)} == {
        first.reference: ConsentState.EXPIRED,
        second.reference: ConsentState.VALID,
    }


async def test_two_browsers_that_consent_at_once_give_one_consent(city: City) -> None:
    service = (await city.citizen.catalogues.current()).find("kontostand")
    given = await asyncio.gather(
        *(city.citizen.consents.give(session_for(city), service, language="de") for _ in range(5)),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in given) == ["Consent"] + ["ConsentConflict"] * 4


async def test_a_late_acknowledgement_does_not_undo_a_withdrawal(city: City) -> None:
    consents, session = city.citizen.consents, session_for(city)
    service = (await city.citizen.catalogues.current()).find("kontostand")
    city.road.consent_status = 500
    pending = await consents.give(session, service, language="de")
    await consents.withdraw(session, pending.reference)
    await consents._store.acknowledge(pending)
    assert (await consents.get(session, pending.reference)).state is ConsentState.WITHDRAWING


async def test_one_citizen_cannot_touch_anothers_consent(city: City) -> None:
    service = (await city.citizen.catalogues.current()).find("kontostand")
    consent = await city.citizen.consents.give(session_for(city), service, language="de")
    for attempt in (city.citizen.consents.get, city.citizen.consents.withdraw):
        with pytest.raises(UnknownThing):
            await attempt(session_for(city, ANNA), consent.reference)
    assert await city.citizen.consents.of(session_for(city, ANNA)) == ()
    async with city.browser() as browser:
        await browser.log_in("anna.probe")
        assert (await browser.get(f"/consents/{consent.reference}/receipt")).status == 404


async def test_a_service_on_another_basis_takes_no_consent(city: City) -> None:
    service = (await city.citizen.catalogues.current()).find("strom")
    with pytest.raises(ConsentConflict):
        await city.citizen.consents.give(session_for(city), service, language="de")


async def test_the_receipt_says_what_was_shown(city: City) -> None:
    async with city.browser(language="de") as browser:
        await browser.log_in()
        await browser.submit("/consents/new?service=kontostand", "/consents", service="kontostand", decision="give")
        reference = payload_of(city.road.of("datenwegConsent")[0])["reference"]
        answer = await browser.get(f"/consents/{reference}/receipt")
        assert "attachment" in answer.headers["Content-Disposition"]
        receipt = json.loads(answer.text)
        assert receipt["@type"] == "dpv:ConsentReceipt"
        assert (
            receipt["dpv:hasProcess"]["dpv:hasPurpose"]["dct:description"] == "Damit Sie Ihren Kontostand hier sehen."
        )
        assert receipt["signedCopy"].count(".") == 2
        assert [e["@type"] for e in receipt["dpv:hasConsentStatus"]] == ["dpv:ConsentRequested", "dpv:ConsentGiven"]


async def test_refusing_gives_nothing_away(city: City) -> None:
    async with city.browser() as browser:
        await browser.log_in()
        page = await browser.submit(
            "/consents/new?service=kontostand", "/consents", service="kontostand", decision="refuse"
        )
        assert page.url.path == "/services/kontostand"
        assert city.road.of("datenwegConsent") == []


async def test_the_background_tells_the_provider_by_itself(city: City) -> None:
    city.road.consent_status = 500
    service = (await city.citizen.catalogues.current()).find("kontostand")
    consent = await city.citizen.consents.give(session_for(city), service, language="de")
    city.road.consent_status = 204
    city.clock.advance(seconds=10)
    async with city.citizen.consents.running():
        await asyncio.wait_for(city.road.acknowledged.wait(), 10)
    assert (await city.citizen.consents.get(session_for(city), consent.reference)).state is ConsentState.VALID
