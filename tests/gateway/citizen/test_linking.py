"""Linked accounts: the ways to a link at the utility, the bank and the authority, and what goes with its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.citizen.consent import ConsentState, EndReason
from gateway.citizen.links import Link
from gateway.citizen.notices import NoticeKind
from gateway.citizen.purposes import Journey, PurposeDeclaration
from gateway.citizen.unlinking import end_due
from tests.gateway.citizen.citizens import session_for
from tests.gateway.citizen.city import BANK, UTILITY, UTILITY_DECLARATION, City, run_city
from tests.gateway.citizen.test_api import bearer, send
from trust.identifiers import ServiceId, SubsystemId, parse_service_id

OFFICE = SubsystemId("DE-TEST", "GOV", "BUERGERAMT", "termine")
LINKED = {"state": "linked", "customerNumber": "****001 <b>"}
STARTED = {
    "linkId": "l-1",
    "state": "started",
    "scaMethods": [{"authenticationMethodId": "m1", "name": "<b>pushTAN</b>"}],
}


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[City]:
    async with run_city(database_url, tmp_path) as city:
        yield city


async def links_of(city: City) -> dict[str, Link]:
    person = city.citizen.person(session_for(city))
    return {link.service: link for link in await city.citizen.links.of(person) if link.state != "ended"}


async def test_the_utility_checks_two_numbers(town: City) -> None:
    town.road.answers["POST", "link"] = (404, {"code": "customer_unknown", "title": "No such customer <b>"})
    form = {"customerNumber": "4711001", "meterNumber": "1MUS0047110011"}
    async with town.browser() as browser:
        await browser.log_in()
        assert "Not linked." in (await browser.get("/links")).text
        page = await browser.submit("/links/strom", "/links/strom/step/utility_link", **form)
        assert "No such customer &lt;b&gt;" in page.text
        assert await links_of(town) == {}
        assert (await browser.submit("/links/strom", "/links/strom/step/utility_link", meterNumber="1")).status == 400
        town.road.answers["POST", "link"] = (201, LINKED)
        page = await browser.submit("/links/strom", "/links/strom/step/utility_link", **form)
        assert page.url.path == "/links"
        assert "****001 &lt;b&gt;" in page.text
        assert (await links_of(town))["strom"].state == "linked"
        # The numbers themselves are the utility's to keep.
        assert "4711001" not in str(await links_of(town))
        assert town.road.of("/rechnungen/link")[-1].headers["X-Datenweg-Citizen"].count(".") == 2


async def test_the_bank_asks_by_itself_and_unlinking_takes_the_consent(town: City) -> None:
    session = session_for(town)
    async with town.browser() as browser:
        await browser.log_in()
        page = await browser.get("/links/kontostand")
        assert "/consents/new?service=kontostand" in page.text
        assert "psuId" not in page.text
        await browser.submit("/consents/new?service=kontostand", "/consents", service="kontostand", decision="give")
        town.road.answers["POST", "link"] = (201, STARTED)
        page = await browser.submit(
            "/links/kontostand", "/links/kontostand/step/bank_link", psuId="erika", password="geheim"
        )
        assert "&lt;b&gt;pushTAN&lt;/b&gt;" in page.text
        assert "geheim" not in page.text
        assert await links_of(town) == {}
        form = {"csrf": page.field("csrf"), "linkId": page.field("linkId")}
        town.road.answers["PUT", "link/l-1"] = (200, {"linkId": "l-1", "state": "methodSelected"})
        page = await browser.post("/links/kontostand/step/bank_method", form | {"authenticationMethodId": "m1"})
        town.road.answers["PUT", "link/l-1"] = (200, {"linkId": "l-1", "state": "linked"})
        page = await browser.post("/links/kontostand/step/bank_tan", form | {"scaAuthenticationData": "111111"})
        assert page.url.path == "/links"
        assert (await links_of(town))["kontostand"].state == "linked"

        # The institution doesn't answer: nothing is asked for any more, and what it has not confirmed is said.
        town.road.answers["DELETE", "link"] = (502, {"title": "later"})
        page = await browser.submit("/links", "/links/kontostand/end")
        assert "has not confirmed it yet" in page.text
        assert (await links_of(town))["kontostand"].state == "ending"
        consents = await town.citizen.consents.of(session)
        assert [(one.state, one.reason) for one in consents] == [(ConsentState.WITHDRAWN, EndReason.UNLINKED)]
        assert "Ended together with the link." in (await browser.get("/consents")).text
        town.road.answers["DELETE", "link"] = (204, None)
        await browser.submit("/links", "/links/kontostand/end")
        assert await links_of(town) == {}
        # The link was asked to end while the consent for it still held.
        first = next(call for call in town.road.of("/konto/link") if call.method == "DELETE")
        assert first.headers["X-Datenweg-Consent"] == consents[0].reference


async def test_an_end_that_the_bank_has_not_heard_of_is_told_again_without_the_citizen(town: City) -> None:
    _with_unlink_service(town)
    session = session_for(town)
    person = town.citizen.person(session)
    offered = (await town.citizen.catalogues.current()).find("kontostand")
    consent = await town.citizen.consents.give(session, offered, language="en")
    link = await town.citizen.links.add(person, service="kontostand", provider=BANK.encoded, label="")
    async with town.browser() as browser:
        await browser.log_in()
        town.road.dead.add("SPARKASSE")
        page = await browser.submit("/links", "/links/kontostand/end")
        assert "has not confirmed it yet" in page.text
        assert "We keep telling the institution until it confirms" in page.text
        town.road.dead.clear()
        # Over is over, whatever the institution knows: it isn't even asked.
        call = {"service": "kontostand", "method": "GET", "path": ["balance"]}
        sent = {"X-CSRF-Token": page.field("csrf"), "Origin": town.url}
        async with browser.session.post(f"{town.url}/api/v1/calls", json=call, headers=sent) as answer:
            assert (answer.status, (await answer.json())["code"]) == (409, "link_ending")
        assert town.road.of("/konto/balance") == []
    assert (await town.citizen.consents.get(session, consent.reference)).reason is EndReason.UNLINKED

    told = town.road.of("/verknuepfung/link")
    assert [one.method for one in told] == ["DELETE"]
    assert told[0].headers["X-Datenweg-Citizen"].count(".") == 2
    # Not before its time; then by one process alone, and later the longer it fails.
    assert await end_due(town.citizen) == 0
    town.road.answers["DELETE", "link"] = (502, {"title": "later"})
    town.clock.advance(seconds=5)
    assert sum(await asyncio.gather(*(end_due(town.citizen) for _ in range(3)))) >= 1
    assert len(town.road.of("/verknuepfung/link")) == 2
    town.clock.advance(seconds=4)
    assert await end_due(town.citizen) == 0
    # The citizen is gone: who they are, the application says; a consent or a login is nobody's to show any more.
    town.road.answers["DELETE", "link"] = (204, None)
    town.clock.advance(seconds=1)
    assert await end_due(town.citizen) == 1
    last = town.road.of("/verknuepfung/link")[-1].headers
    assert last["X-Datenweg-Subject"] == town.context.pseudonym_at(BANK.member, session.issuer, session.subject)
    assert not {"X-Datenweg-Citizen", "X-Datenweg-Consent"} & set(last)
    assert (await town.citizen.links.get(person, link.id)).state == "ended"
    assert NoticeKind.LINK_ENDED in {notice.kind for notice in await town.citizen.notices.of(person)}
    town.clock.advance(days=1)
    assert await end_due(town.citizen) == 0


async def test_a_new_link_is_not_ended_by_the_old_ones_end(town: City) -> None:
    _with_unlink_service(town)
    session = session_for(town)
    person = town.citizen.person(session)
    link = await town.citizen.links.add(person, service="strom", provider=UTILITY.encoded, label="")
    town.road.answers["DELETE", "link"] = (502, {"title": "later"})
    async with town.browser() as browser:
        await browser.log_in()
        await browser.submit("/links", "/links/strom/end")
        assert (await links_of(town))["strom"].state == "ending"
        town.road.answers["POST", "link"] = (201, LINKED)
        form = {"customerNumber": "4711001", "meterNumber": "1MUS0047110011"}
        await browser.submit("/links/strom", "/links/strom/step/utility_link", **form)
    assert (await town.citizen.links.get(person, link.id)).state == "ended"
    assert (await links_of(town))["strom"].state == "linked"
    before = len(town.road.of("/link"))
    town.clock.advance(days=1)
    assert await end_due(town.citizen) == 0
    assert len(town.road.of("/link")) == before


async def test_a_link_made_or_ended_by_a_call_counts_as_well(town: City) -> None:
    town.road.answers["POST", "link"] = (201, LINKED)
    async with town.browser() as browser:
        await browser.log_in()
        await browser.submit(
            "/services/strom", "/services/strom/utility_link", customerNumber="4711001", meterNumber="1MUS0047110011"
        )
        assert (await links_of(town))["strom"].state == "linked"
        town.road.answers["DELETE", "link"] = (404, {"code": "not_linked"})
        await browser.submit("/services/strom", "/services/strom/utility_unlink")
        assert await links_of(town) == {}


async def test_the_authority_knows_the_login_at_its_level(town: City) -> None:
    await _with_office(town)
    async with town.browser() as browser:
        await browser.log_in("max.beispiel")
        page = await browser.get("/links/termin")
        assert "identity level “substantial”" in page.text
        csrf = (await browser.get("/consents")).field("csrf")
        refused = await browser.post("/links/termin/identity", {"csrf": csrf})
        assert refused.status == 403
    async with town.browser() as browser:
        await browser.log_in()
        page = await browser.get("/links/termin")
        assert "Name from your login: Erika Beispiel" in page.text
        await browser.submit("/links/termin", "/links/termin/identity")
        assert (await links_of(town))["termin"].label == "high"
        # The name that the login vouches for stands in the form already.
        slot = {"slots": [{"timestamp": 1, "start": "2026-11-23T09:00:00+01:00"}]}
        town.road.answers["GET", "slots"] = (200, slot)
        page = await browser.submit("/services/termin", "/services/termin/slots", officeId="1", serviceId="2")
        assert page.field("familyName") == "Erika Beispiel"
        town.road.answers["DELETE", "link"] = (404, {"code": "operation_unknown"})
        await browser.submit("/links", "/links/termin/end")
        assert await links_of(town) == {}


async def test_forms_of_others_change_nothing(town: City) -> None:
    town.road.answers["POST", "link"] = (201, LINKED)
    form = {"customerNumber": "4711001", "meterNumber": "1MUS0047110011"}
    async with town.browser() as browser:
        await browser.log_in()
        for path in ("/links/strom/step/utility_link", "/links/strom/end", "/links/strom/identity"):
            assert (await browser.post(path, form | {"csrf": "falsch"})).status == 403
            csrf = (await browser.get("/consents")).field("csrf")
            cross = await browser.post(path, form | {"csrf": csrf}, Sec_Fetch_Site="cross-site")
            assert cross.status == 403
        # Only the steps to a link stand behind these addresses.
        assert (await browser.submit("/links/strom", "/links/strom/step/bills")).status == 404
        assert (await browser.get("/links/nichts")).status == 404
    assert town.road.of("/link") == []


def _with_unlink_service(city: City) -> None:
    """Bank and utility have a service for ending links that asks for no consent."""
    settings = city.context.settings
    purposes = (
        replace(purpose, unlink_service=ServiceId(purpose.service.provider, "verknuepfung"))
        for purpose in settings.purposes
    )
    object.__setattr__(settings, "purposes", tuple(purposes))


async def _with_office(city: City) -> None:
    """The authority's service among the offered ones."""
    purpose = PurposeDeclaration(
        "termin", parse_service_id(f"{OFFICE.encoded}/termine"), Journey.APPOINTMENTS, "Bürgeramt", "Termine.", "Slots."
    )
    settings = city.context.settings
    object.__setattr__(settings, "purposes", (*settings.purposes, purpose))
    declaration = UTILITY_DECLARATION | {"code": "termine", "legal_basis_kind": "law", "identity_level": "low"}
    city.road.declarations["termine"] = declaration


async def test_an_app_links_the_authority_to_the_login(town: City) -> None:
    await _with_office(town)
    async with town.browser() as browser:
        status, problem = await send(browser, "POST", "/links", bearer(town, level="low"), {"service": "termin"})
        assert (status, problem["code"], problem["requiredLevel"]) == (403, "identity_level_too_low", "substantial")
        status, link = await send(browser, "POST", "/links", bearer(town), {"service": "termin"})
        assert (status, link["service"], link["label"], link["state"]) == (201, "termin", "high", "linked")
        assert (await send(browser, "GET", f"/links/{link['id']}", bearer(town)))[1] == link
        assert (await send(browser, "POST", "/links", bearer(town), {"service": "termin"}))[0] == 409
        # An account is linked where it is kept, not by a login.
        assert (await send(browser, "POST", "/links", bearer(town), {"service": "strom"}))[0] == 400
        assert (await send(browser, "POST", "/links", bearer(town), {"service": "nothing"}))[0] == 404
