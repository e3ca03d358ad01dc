"""The consent service's calls for a decision, each with its errors, and the decision itself, on both databases."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from gateway.citizen.consent import ConsentState
from gateway.citizen.errors import LevelTooLow
from gateway.messages.headers import IdentityLevel
from tests.gateway.citizen.citizens import ANNA, ERIKA, session_for
from tests.gateway.citizen.city import BANK, UTILITY, City, pseudonym_of
from tests.gateway.citizen.consent_town import (
    CALLBACK,
    PURPOSE,
    SERVICE,
    approve,
    ask,
    asking,
    call,
    code_of,
    erika_at_the_bank,
    state_of,
)
from tests.gateway.citizen.test_consents import payload_of

# -- getConsentGroupReference and the decision ------------------------------------------------------------------------


async def test_a_request_a_decision_and_what_each_side_may_know(town: City) -> None:
    async with town.browser() as browser:
        group = await ask(town)
        # The link survives the login that comes in between.
        page = await browser.log_in(start=f"/consent-request?reference={group}")
        assert page.url.path == "/consent-request"
        assert "So that we work out your loan." in page.text
        assert "Sparkasse &lt;i&gt;Musterstadt&lt;/i&gt;" in page.text
        assert "&lt;script&gt;" in page.text
        assert "<script>alert" not in page.text
        assert BANK.encoded in page.text
        assert "60 days from today" in page.text
        reference = page.text.partition('name="decision-')[2].partition('"')[0]
        form = {"csrf": page.field("csrf"), "reference": group}
        # Nothing is decided by leaving the choice open, nor by another site.
        assert (await browser.post("/consent-request", form)).status == 400
        assert (await browser.post("/consent-request", form | {"csrf": "wrong"})).status == 403
        done = await browser.post("/consent-request", form | {f"decision-{reference}": "give"})
        assert done.status == 200
        assert 'href="https://sparkasse.example/zurueck?vorgang=7"' in done.text
        assert "Go on to sparkasse.example" in done.text
        # The link is spent.
        assert (await browser.get(f"/consent-request?reference={group}")).status == 404
    pushed = payload_of(town.road.of("datenwegConsent")[-1])
    assert pushed["client"] == BANK.encoded
    assert pushed["service"] == SERVICE["service"]
    assert pushed["subject"] == pseudonym_of(town, ERIKA, UTILITY.member)
    assert pushed["expires_ms"] - pushed["given_ms"] == 60 * 86_400_000
    assert [event["state"].rpartition("#")[2] for event in pushed["events"]] == ["ConsentRequested", "ConsentGiven"]
    found = await call(town, BANK, "POST", "consent/reference", asking(town, callback=None))
    assert found == (200, {"pd-kredit": reference})
    status, known = await call(town, BANK, "GET", "consent/validation/client", query=f"consentReference={reference}")
    assert status == 200
    assert known["consentExpiration"] == "2027-01-21T12:00:00.000Z"
    assert (known["idCode"], known["purposeDeclarationId"]) == (erika_at_the_bank(town), "pd-kredit")
    assert known["subject"] == pushed["subject"]
    status, there = await call(
        town, UTILITY, "GET", "consent/validation/dataprovider", query=f"consentReference=%20{reference}"
    )
    assert there == {
        "consentReference": reference,
        "consentExpiration": "2027-01-21T12:00:00.000Z",
        "idCode": pseudonym_of(town, ERIKA, UTILITY.member),
        "clientSubsystemIdentifier": BANK.encoded,
        "serviceDeclarationId": "sd-verbrauch",
    }


async def test_refusing_is_told_to_nobody_but_the_one_who_asked(town: City) -> None:
    group = await ask(town)
    request = await town.accounts.consent_requests.open(session_for(town), group)
    reference = request.asked[0].consent.reference
    await town.accounts.consent_requests.decide(session_for(town), group, (), language="de")
    assert await state_of(town, reference) is ConsentState.DECLINED
    assert town.road.of("datenwegConsent") == []
    status, listed = await call(
        town, BANK, "POST", "consent/filter-by-status",
        {"consentStatus": ["INVALID"], "consentReferences": [reference]},
    )  # fmt: skip
    assert (status, listed["consent"][0]["consentStatus"]) == (200, "DECLINED")


async def test_only_the_person_meant_opens_the_link_and_it_counts_once(town: City) -> None:
    group = await ask(town)
    async with town.browser() as browser:
        await browser.log_in("anna.probe")
        unknown = await browser.get("/consent-request?reference=00000000-0000-4000-8000-000000000000")
        another = await browser.get(f"/consent-request?reference={group}")
        assert (another.status, unknown.status) == (404, 404)
        strip = lambda text: text.replace(group, "").replace("00000000-0000-4000-8000-000000000000", "")  # noqa: E731
        assert strip(another.text) == strip(unknown.text)
    # A newer link takes the older one's place.
    newer = await ask(town)
    requests, session = town.accounts.consent_requests, session_for(town)
    with pytest.raises(Exception, match=group):
        await requests.open(session, group)
    reference = (await requests.open(session, newer)).asked[0].consent.reference
    results = await asyncio.gather(
        *(requests.decide(session, newer, {reference}, language="de") for _ in range(4)), return_exceptions=True
    )
    assert sum(not isinstance(result, Exception) for result in results) == 1
    assert len(town.road.of("datenwegConsent")) == 1


async def test_a_weak_login_does_not_give_data_away(town: City) -> None:
    group = await ask(town)
    weak = replace(session_for(town), level=IdentityLevel.LOW)
    with pytest.raises(LevelTooLow):
        await town.accounts.consent_requests.decide(weak, group, (), language="de")


async def test_a_provider_may_want_to_know_more_surely_who_gives_a_consent(town: City) -> None:
    wanted = SERVICE | {"identityLevel": "high"}
    assert (await call(town, UTILITY, "PUT", "declarations/service/sd-hoch", wanted))[0] == 200
    purpose = PURPOSE | {"serviceDeclaration": "sd-hoch"}
    assert (await call(town, BANK, "PUT", "declarations/purpose/pd-hoch", purpose))[0] == 200
    asked = asking(town, purposeDeclarationBusinessIdentifiers=["pd-hoch"])
    group = (await call(town, BANK, "POST", "consent", asked))[1]["consentGroupReference"]
    requests, session = town.accounts.consent_requests, session_for(town)
    reference = (await requests.open(session, group)).asked[0].consent.reference
    weaker = replace(session, level=IdentityLevel.SUBSTANTIAL)
    with pytest.raises(LevelTooLow, match="high"):
        await requests.decide(weaker, group, {reference}, language="de")
    # The link isn't spent by that; given at the level, the signed copy says so.
    await requests.decide(session, group, {reference}, language="de")
    assert payload_of(town.road.of("datenwegConsent")[-1])["identity_level"] == "high"
    town.clock.advance(days=1)
    with pytest.raises(LevelTooLow, match="high"):
        await town.citizen.consents.extend(weaker, reference)
    assert (await town.citizen.consents.extend(session, reference)).state is ConsentState.VALID
    # To refuse, nobody has to be known more surely: the page leaves that choice, and shows the way to the other.
    service = (await town.citizen.catalogues.current()).find("kontostand")
    await town.citizen.consents.introduce(session_for(town, ANNA), service)
    asked |= {"idCode": pseudonym_of(town, ANNA, BANK.member)}
    group = (await call(town, BANK, "POST", "consent", asked))[1]["consentGroupReference"]
    async with town.browser() as browser:
        page = await browser.log_in("anna.probe", start=f"/consent-request?reference={group}")
        assert 'value="give"' not in page.text
        assert "/login?level=high&amp;return_to=" in page.text
        form = {"csrf": page.field("csrf"), "reference": group}
        (decision,) = set(re.findall(r'name="(decision-[^"]+)"', page.text))
        forced = await browser.post("/consent-request", form | {decision: "give"})
        assert forced.status == 403
        assert (await browser.post("/consent-request", form | {decision: "refuse"})).status == 200
    assert await state_of(town, decision.removeprefix("decision-"), ANNA) is ConsentState.DECLINED


async def test_a_link_lapses(town: City) -> None:
    group = await ask(town)
    town.clock.advance(days=8)
    with pytest.raises(Exception, match=group):
        await town.accounts.consent_requests.open(session_for(town), group)
    consents = await town.citizen.consents.of(session_for(town))
    assert [consent.state for consent in consents] == [ConsentState.EXPIRED]


NO_REQUESTS: list[tuple[dict[str, Any], tuple[int, str]]] = [
    ({"idCode": None}, (400, "VALIDATION")),
    ({"idCode": 7}, (400, "VALIDATION")),
    ({"idCode": "zu kurz"}, (400, "VALIDATION")),
    ({"callback": None}, (400, "VALIDATION")),
    ({"callback": "javascript:alert(1)"}, (400, "VALIDATION")),
    ({"callback": "http://sparkasse.example/"}, (400, "VALIDATION")),
    ({"callback": "https://user@sparkasse.example/"}, (400, "VALIDATION")),
    ({"callback": 'https://sparkasse.example/"><script>'}, (400, "VALIDATION")),
    ({"purposeDeclarationBusinessIdentifiers": []}, (400, "VALIDATION")),
    ({"purposeDeclarationBusinessIdentifiers": "pd-kredit"}, (400, "VALIDATION")),
    ({"purposeDeclarationBusinessIdentifiers": ["x"] * 21}, (400, "VALIDATION")),
    ({"unbekannt": 1}, (400, "VALIDATION")),
    ({"idCode": "A" * 42 + "B"}, (422, "ID_CODE_INVALID")),
    ({"idCode": "A" * 43}, (422, "DATA_SUBJECT_ERROR")),
    (
        {"purposeDeclarationBusinessIdentifiers": ["pd-kredit", "pd-fremd"]},
        (404, "REQUESTED_CONSENTS_NOT_RELATED_TO_ANY_DECLARATIONS"),
    ),
]


async def test_requests_that_are_none(town: City) -> None:
    for changes, expected in NO_REQUESTS:
        assert code_of(await call(town, BANK, "POST", "consent", asking(town, **changes))) == expected, changes


NO_BODIES = [b"", b"[]", b"{", b'"x"', b"[" * 100_000, b"\xff"]


async def test_bodies_that_are_none(town: City) -> None:
    for body in NO_BODIES:
        for path in ("consent", "consent/reference", "consent/representation", "consent/filter-by-status"):
            assert code_of(await call(town, BANK, "POST", path, body)) == (400, "VALIDATION")


async def test_anothers_declaration_is_as_unknown_as_none(town: City) -> None:
    asked = asking(town) | {"idCode": pseudonym_of(town, ERIKA, UTILITY.member)}
    service = (await town.citizen.catalogues.current()).find("strom")
    await town.citizen.consents.introduce(session_for(town), service)
    foreign = await call(town, UTILITY, "POST", "consent", asked)
    unknown = await call(
        town, UTILITY, "POST", "consent", asked | {"purposeDeclarationBusinessIdentifiers": ["nie-gesehen"]}
    )
    assert foreign == unknown
    assert code_of(foreign) == (404, "REQUESTED_CONSENTS_NOT_RELATED_TO_ANY_DECLARATIONS")


async def test_everything_is_approved_already(town: City) -> None:
    await approve(town)
    answer = await call(town, BANK, "POST", "consent", asking(town))
    assert code_of(answer) == (409, "ALL_REQUESTED_CONSENTS_HAVE_ALREADY_BEEN_APPROVED")


async def test_a_withdrawn_declaration_takes_no_requests(town: City) -> None:
    assert (await call(town, BANK, "DELETE", "declarations/purpose/pd-kredit"))[0] == 200
    answer = await call(town, BANK, "POST", "consent", asking(town))
    assert code_of(answer) == (409, "REQUESTED_CONSENTS_RELATED_TO_INVALID_DECLARATIONS")
    assert answer[1]["errorDescription"] == "pd-kredit"


# -- getConsentGroupReferenceRepresentable ----------------------------------------------------------------------------

CHILD = "5d1c2f3a-8a64-4f0e-9a53-0b6f2c7d1e77"


def representing(city: City, **changes: Any) -> dict[str, Any]:
    return {
        "representativeIdCode": erika_at_the_bank(city),
        "representeeIdCode": pseudonym_of(city, CHILD, BANK.member),
        "relationType": "LAPS",
        "callback": CALLBACK,
        "purposeDeclarationBusinessIdentifiers": ["pd-kredit"],
    } | changes


async def test_a_parent_decides_for_a_child(town: City) -> None:
    refused = await call(town, BANK, "POST", "consent/representation", representing(town))
    assert code_of(refused) == (422, "RR_REPRESENTATION_ERROR")
    until_ms = town.clock.now_ms() + 86_400_000
    await town.citizen.relations.register(
        issuer=town.issuer_url, representative=ERIKA, represented=CHILD, role="parent", name="Kim", until_ms=until_ms
    )
    status, answer = await call(town, BANK, "POST", "consent/representation", representing(town))
    assert status == 200
    requests = town.accounts.consent_requests
    request = await requests.open(session_for(town), answer["consentGroupReference"])
    assert request.represented == "Kim"
    for other in (CHILD, ANNA):
        with pytest.raises(Exception, match=request.reference):
            await requests.open(session_for(town, other), request.reference)
    reference = request.asked[0].consent.reference
    await requests.decide(session_for(town), request.reference, {reference}, language="de")
    # The consent is the child's, at the provider, too; the parent is named in it.
    assert payload_of(town.road.of("datenwegConsent")[-1])["subject"] == pseudonym_of(town, CHILD, UTILITY.member)
    consent = await town.citizen.consents.get(session_for(town, CHILD), reference)
    assert consent.representative == town.citizen.person(session_for(town))
    assert not consent.extendable
    # Of age, the child is nobody's to decide for.
    town.clock.advance(days=2)
    grown = await call(town, BANK, "POST", "consent/representation", representing(town))
    assert code_of(grown) == (422, "REPRESENTED_PERSON_NOT_MINOR")


async def test_representations_that_are_none(town: City) -> None:
    async def represent(**changes: Any) -> tuple[int, str]:
        return code_of(await call(town, BANK, "POST", "consent/representation", representing(town, **changes)))

    assert await represent(relationType="NACHBAR") == (400, "RELATION_TYPE_INVALID")
    assert await represent(representativeIdCode="A" * 43) == (422, "DATA_SUBJECT_ERROR")
    assert await represent(representeeIdCode="A" * 42 + "B") == (422, "ID_CODE_INVALID")
    assert await represent(representeeIdCode="x") == (400, "VALIDATION")
    assert await represent(relationType="CHILD") == (422, "RR_REPRESENTATION_ERROR")
