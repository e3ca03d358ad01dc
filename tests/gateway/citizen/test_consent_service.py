"""The consent service's calls, each with its errors, and the decision between them, on both databases."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.citizen.consent import ConsentState
from gateway.citizen.errors import LevelTooLow
from gateway.citizen.notices import NoticeKind
from gateway.exchange.consents import parse_consent, verify_consent
from gateway.messages.headers import IdentityLevel
from gateway.store.model import ConsentStatus
from tests.gateway.citizen.city import APP, BANK, UTILITY, City, pseudonym_of, run_city
from tests.gateway.citizen.test_consents import ANNA, ERIKA, payload_of, session_for
from trust.identifiers import SubsystemId

STRANGER = SubsystemId("DE-TEST", "COM", "FREMD", "app")
CALLBACK = "https://sparkasse.example/zurueck?vorgang=7"
SERVICE = {
    "name": "Verbrauch <b>Strom</b>",
    "service": f"{UTILITY.encoded}/verbrauch",
    "description": "Ihr Stromverbrauch <script>alert(1)</script>",
    "controllerName": "Stadtwerke Musterstadt",
    "dataCategories": ["consumption"],
    "maxValidityDays": 60,
    "extensionAllowed": True,
}
PURPOSE = {
    "name": "Energiekredit",
    "recipientName": "Sparkasse <i>Musterstadt</i>",
    "tradeName": "Energiekredit",
    "serviceDeclaration": "sd-verbrauch",
    "purpose": "Damit wir Ihren Kredit berechnen.",
    "purposeEn": "So that we work out your loan.",
    "privacyUrl": "https://sparkasse.example/datenschutz",
}


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[City]:
    """A city where the utility offers consumption data, the bank wants them, and Erika uses the bank's service."""
    async with run_city(database_url, tmp_path) as city:
        assert (await call(city, UTILITY, "PUT", "declarations/service/sd-verbrauch", SERVICE))[0] == 200
        assert (await call(city, BANK, "PUT", "declarations/purpose/pd-kredit", PURPOSE))[0] == 200
        service = (await city.citizen.catalogues.current()).find("kontostand")
        await city.citizen.consents.introduce(session_for(city), service)
        yield city


async def call(
    city: City, client: SubsystemId, method: str, path: str, body: Any = None, *, query: str = "", code: str = "consent"
) -> tuple[int, Any]:
    """One call as the road brings it: status and JSON."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await city.accounts.consent_service.answer(client, code, method, f"/api/{path}", query=query, body=data)
    return answer.status, json.loads(answer.body)


def erika_at_the_bank(city: City) -> str:
    return pseudonym_of(city, ERIKA, BANK.member)


def asking(city: City, **changes: Any) -> dict[str, Any]:
    asked = {
        "idCode": erika_at_the_bank(city),
        "callback": CALLBACK,
        "purposeDeclarationBusinessIdentifiers": ["pd-kredit"],
    }
    return {name: value for name, value in (asked | changes).items() if value is not None}


async def ask(city: City) -> str:
    """A request of the bank; its reference."""
    status, answer = await call(city, BANK, "POST", "consent", asking(city))
    assert status == 200, answer
    assert answer["url"] == f"{city.url}/consent-request?reference={answer['consentGroupReference']}"
    return str(answer["consentGroupReference"])


async def approve(city: City) -> str:
    """Asked by the bank, given by Erika on the page; the consent's reference."""
    group = await ask(city)
    asked = (await city.accounts.consent_requests.open(session_for(city), group)).asked[0]
    reference = asked.consent.reference
    await city.accounts.consent_requests.decide(session_for(city), group, {reference}, language="en")
    return reference


async def state_of(city: City, reference: str, subject: str = ERIKA) -> ConsentState:
    return (await city.citizen.consents.get(session_for(city, subject), reference)).state


def code_of(answer: tuple[int, Any]) -> tuple[int, str]:
    """Status and code of an error, which has the Estonian service's key and its description, too."""
    status, document = answer
    assert document["errorKey"].startswith("error.")
    assert document["errorCode"] == document["code"]
    assert document["status"] == status
    return status, document["code"]


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


# -- getConsentReferences, validateConsentFor…, postConsentFilterByStatus ---------------------------------------------


async def test_references_of_valid_consents_only(town: City) -> None:
    asked = asking(town, callback=None)
    assert code_of(await call(town, BANK, "POST", "consent/reference", asked)) == (404, "HTTP_NOT_FOUND")
    await ask(town)
    assert code_of(await call(town, BANK, "POST", "consent/reference", asked)) == (404, "HTTP_NOT_FOUND")
    reference = await approve(town)
    assert (await call(town, BANK, "POST", "consent/reference", asked))[1] == {"pd-kredit": reference}
    assert code_of(await call(town, STRANGER, "POST", "consent/reference", asked)) == (404, "HTTP_NOT_FOUND")
    bad = asked | {"idCode": "A" * 42 + "B"}
    assert code_of(await call(town, BANK, "POST", "consent/reference", bad)) == (422, "ID_CODE_INVALID")
    await town.citizen.consents.withdraw(session_for(town), reference)
    assert code_of(await call(town, BANK, "POST", "consent/reference", asked)) == (404, "HTTP_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "theirs", "others"),
    [
        ("consent/validation/client", BANK, (UTILITY, STRANGER, APP)),
        ("consent/validation/dataprovider", UTILITY, (BANK, STRANGER, APP)),
    ],
)
async def test_validation_and_its_errors(
    town: City, path: str, theirs: SubsystemId, others: tuple[SubsystemId, ...]
) -> None:
    reference = await approve(town)
    query = f"consentReference={reference}"
    assert (await call(town, theirs, "GET", path, query=query))[0] == 200
    for other in others:
        assert code_of(await call(town, other, "GET", path, query=query)) == (404, "HTTP_NOT_FOUND")
    for unknown in ("00000000-0000-4000-8000-000000000000", "keine-uuid"):
        answer = await call(town, theirs, "GET", path, query=f"consentReference={unknown}")
        assert code_of(answer) == (404, "HTTP_NOT_FOUND")
    for bad in ("", "consentReference=", f"{query}&{query}", f"{query}&mehr=1"):
        assert code_of(await call(town, theirs, "GET", path, query=bad)) == (400, "VALIDATION")
    town.clock.advance(days=60)
    answer = await call(town, theirs, "GET", path, query=query)
    assert code_of(answer) == (409, "CONSENT_VALIDATE_INVALID_STATUS")


async def test_a_consent_is_not_approved_before_its_provider_knows(town: City) -> None:
    town.road.consent_status = 500
    reference = await approve(town)
    answer = await call(town, BANK, "GET", "consent/validation/client", query=f"consentReference={reference}")
    assert code_of(answer) == (409, "CONSENT_VALIDATE_INVALID_STATUS")
    town.road.consent_status = 204
    town.clock.advance(seconds=30)
    await town.citizen.consents.push_due()
    answer = await call(town, BANK, "GET", "consent/validation/client", query=f"consentReference={reference}")
    assert answer[0] == 200


async def test_filter_by_status(town: City) -> None:
    reference, unknown = await approve(town), "00000000-0000-4000-8000-000000000000"
    own = await town.citizen.consents.give(
        session_for(town), (await town.citizen.catalogues.current()).find("kontostand"), language="de"
    )

    async def listed(*statuses: str) -> Any:
        asked = {"consentStatus": list(statuses), "consentReferences": [reference, unknown, own.reference, unknown]}
        status, answer = await call(town, BANK, "POST", "consent/filter-by-status", asked)
        assert status == 200
        # What isn't there and what isn't theirs look the same.
        assert answer["invalidConsents"] == [unknown, own.reference]
        return answer["consent"]

    valid = await listed("VALID")
    assert valid == [
        {
            "consentReference": reference,
            "consentStatus": "APPROVED",
            "consentExpiration": "2027-01-21T12:00:00.000Z",
            "idCode": erika_at_the_bank(town),
            "purposeDeclarationId": "pd-kredit",
        }
    ]
    assert await listed("INVALID") == []
    await town.citizen.consents.withdraw(session_for(town), reference)
    assert await listed("VALID") == []
    assert [one["consentStatus"] for one in await listed("VALID", "INVALID")] == ["DECLINED"]
    for bad in (
        {},
        {"consentStatus": [], "consentReferences": [reference]},
        {"consentStatus": ["APPROVED"], "consentReferences": [reference]},
        {"consentStatus": ["VALID"], "consentReferences": []},
        {"consentStatus": ["VALID"], "consentReferences": [7]},
        {"consentStatus": [["VALID"]], "consentReferences": [reference]},
        {"consentStatus": ["VALID"], "consentReferences": ["x"] * 5_001},
    ):
        assert code_of(await call(town, BANK, "POST", "consent/filter-by-status", bad)) == (400, "VALIDATION")
    many = {"consentStatus": ["VALID"], "consentReferences": [f"x{number}" for number in range(5_000)]}
    status, answer = await call(town, BANK, "POST", "consent/filter-by-status", many)
    assert (status, len(answer["invalidConsents"])) == (200, 5_000)


# -- reportDataTransmission -------------------------------------------------------------------------------------------


async def test_a_report_tells_the_citizen_of_a_new_institution_once(town: City) -> None:
    reference = await approve(town)
    for minute in (1, 2, 2):
        body = {"transmissionTimestamp": f"2026-11-22T12:0{minute}:00Z", "consentReference": reference}
        answer = await call(town, UTILITY, "POST", "reporting/consent", body, code="reporting")
        assert answer == (200, {"response": "success"})
    person = town.citizen.person(session_for(town))
    told = [one for one in await town.citizen.notices.of(person) if one.kind is NoticeKind.NEW_INSTITUTION]
    assert [(one.facts["institution"], one.count) for one in told] == [(PURPOSE["recipientName"], 2)]
    # The citizen reads when, newest first; what was reported twice moved once.
    async with town.browser() as browser:
        await browser.log_in()
        page = (await browser.get("/consents")).text
        shown = json.loads((await browser.get(f"/api/v1/consents/{reference}")).text)["transmissions"]
    assert shown == {"count": 2, "latestMs": [town.clock.now_ms() + minutes * 60_000 for minutes in (2, 1)]}
    moved = page.partition("Handed over")[2].partition("</details>")[0]
    assert " 2 times" in moved
    assert moved.index("12:02") < moved.index("12:01")


async def test_reports_that_are_none(town: City) -> None:
    good = {"transmissionTimestamp": "2026-11-22T12:00:00Z", "consentReference": await approve(town)}

    async def report(client: SubsystemId, **changes: Any) -> tuple[int, str]:
        body = {name: value for name, value in (good | changes).items() if value is not None}
        return code_of(await call(town, client, "POST", "reporting/consent", body, code="reporting"))

    assert await report(BANK) == (404, "HTTP_NOT_FOUND")
    assert await report(UTILITY, consentReference="00000000-0000-4000-8000-000000000000") == (404, "HTTP_NOT_FOUND")
    for moment in (None, 7, "gestern", "2026-11-22T12:00:00", "2026-11-23T12:00:00Z"):
        assert await report(UTILITY, transmissionTimestamp=moment) == (400, "VALIDATION")
    assert await report(UTILITY, consentReference=None) == (400, "VALIDATION")
    # Elsewhere there is no such call.
    answer = await call(town, UTILITY, "POST", "reporting/consent", good)
    assert code_of(answer) == (404, "HTTP_NOT_FOUND")


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


# -- declarations -----------------------------------------------------------------------------------------------------


async def test_who_may_declare_what(town: City) -> None:
    for client, path, body in (
        (STRANGER, "declarations/service/sd-neu", SERVICE),
        (STRANGER, "declarations/purpose/pd-neu", PURPOSE),
    ):
        assert code_of(await call(town, client, "PUT", path, body)) == (403, "DECLARATION_NOT_PERMITTED")
    # Nobody declares another's service, nor withdraws what is another's.
    assert code_of(await call(town, BANK, "PUT", "declarations/service/sd-neu", SERVICE)) == (400, "VALIDATION")
    assert code_of(await call(town, BANK, "DELETE", "declarations/service/sd-verbrauch")) == (404, "HTTP_NOT_FOUND")
    assert code_of(await call(town, UTILITY, "DELETE", "declarations/purpose/pd-kredit")) == (404, "HTTP_NOT_FOUND")
    assert code_of(await call(town, UTILITY, "GET", "declarations/purpose/pd-kredit")) == (404, "HTTP_NOT_FOUND")
    changed = SERVICE | {"maxValidityDays": 61}
    answer = await call(town, UTILITY, "PUT", "declarations/service/sd-verbrauch", changed)
    assert code_of(answer) == (409, "DECLARATION_EXISTS")
    # The same again changes nothing.
    assert (await call(town, UTILITY, "PUT", "declarations/service/sd-verbrauch", SERVICE))[0] == 200
    status, found = await call(town, BANK, "GET", "declarations/service/sd-verbrauch")
    # In the words in which it was declared: whoever reads it can declare it again.
    assert (status, found) == (200, SERVICE | {"id": "sd-verbrauch", "status": "VALID"} | {
        "controllerCode": "", "processorName": "", "processorCode": "", "identityLevel": "substantial",
    })  # fmt: skip
    status, found = await call(town, BANK, "GET", "declarations/purpose/pd-kredit")
    named = {"id": "pd-kredit", "status": "VALID", "recipientCode": "", "storageLocation": ""}
    assert (status, found) == (200, PURPOSE | named)


NO_SERVICES: list[dict[str, Any]] = [
    {"name": ""},
    {"name": 7},
    {"description": "x" * 2_001},
    {"maxValidityDays": 0},
    {"maxValidityDays": 731},
    {"maxValidityDays": True},
    {"maxValidityDays": "60"},
    {"service": "kein/dienst"},
    {"extensionAllowed": "ja"},
    {"identityLevel": "sehr hoch"},
    {"identityLevel": ["high"]},
    {"dataCategories": "alles"},
    {"dataCategories": [""]},
    {"expiry": "irgendwann"},
    {"unbekannt": 1},
]


async def test_service_declarations_that_are_none(city: City) -> None:
    for changes in NO_SERVICES:
        answer = await call(city, UTILITY, "PUT", "declarations/service/sd-neu", SERVICE | changes)
        assert code_of(answer) == (400, "VALIDATION")


NO_PURPOSES: list[dict[str, Any]] = [
    {"privacyUrl": "javascript:alert(1)"},
    {"privacyUrl": "https://"},
    {"serviceDeclaration": "gibt-es-nicht"},
    {"purpose": " "},
    {"recipientName": None},
    {"expiry": "2026-11-22T12:00:00"},
]


async def test_purpose_declarations_that_are_none(town: City) -> None:
    for changes in NO_PURPOSES:
        answer = await call(town, BANK, "PUT", "declarations/purpose/pd-neu", PURPOSE | changes)
        assert code_of(answer) == (400, "VALIDATION")


async def test_a_withdrawn_service_declaration_ends_consents_at_the_providers_too(town: City) -> None:
    reference = await approve(town)
    ended = await call(town, UTILITY, "DELETE", "declarations/service/sd-verbrauch")
    assert ended == (200, {"id": "sd-verbrauch", "status": "INVALID", "consentsEnded": 1})
    last = payload_of(town.road.of("datenwegConsent")[-1])
    assert (last["status"], last["events"][-1]["state"].rpartition("#")[2]) == ("withdrawn", "ConsentTerminated")
    asked = {"consentStatus": ["INVALID"], "consentReferences": [reference]}
    _, listed = await call(town, BANK, "POST", "consent/filter-by-status", asked)
    assert listed["consent"][0]["consentStatus"] == "INAPPLICABLE"
    person = town.citizen.person(session_for(town))
    assert NoticeKind.CONSENT_ENDED in {notice.kind for notice in await town.citizen.notices.of(person)}
    async with town.browser() as browser:
        await browser.log_in()
        assert "The institution withdrew its declaration" in (await browser.get("/consents")).text


async def test_an_expired_declaration_bounds_its_consents(town: City) -> None:
    soon = SERVICE | {"expiry": "2026-12-01T00:00:00Z"}
    assert (await call(town, UTILITY, "PUT", "declarations/service/sd-kurz", soon))[0] == 200
    purpose = PURPOSE | {"serviceDeclaration": "sd-kurz"}
    assert (await call(town, BANK, "PUT", "declarations/purpose/pd-kurz", purpose))[0] == 200
    asked = asking(town, purposeDeclarationBusinessIdentifiers=["pd-kurz"])
    group = (await call(town, BANK, "POST", "consent", asked))[1]["consentGroupReference"]
    request = await town.accounts.consent_requests.open(session_for(town), group)
    assert request.asked[0].expires_ms == 1_796_083_200_000
    town.clock.advance(days=9)
    answer = await call(town, BANK, "POST", "consent", asked)
    assert code_of(answer) == (409, "REQUESTED_CONSENTS_RELATED_TO_INVALID_DECLARATIONS")


# -- extension, receipts ----------------------------------------------------------------------------------------------


async def test_extension(town: City) -> None:
    reference = await approve(town)
    town.clock.advance(days=50)
    async with town.browser() as browser:
        await browser.log_in()
        page = await browser.submit("/consents", f"/consents/{reference}/extend")
        assert "Extended" in page.text
    pushed = payload_of(town.road.of("datenwegConsent")[-1])
    assert (pushed["status"], pushed["sequence"]) == ("valid", 2)
    assert pushed["expires_ms"] == town.clock.now_ms() + 60 * 86_400_000
    jws_bytes = town.road.of("datenwegConsent")[-1].body
    unverified = parse_consent(jws_bytes)
    copy = verify_consent(unverified, x509.load_der_x509_certificate(unverified.certificate))
    assert copy.status is ConsentStatus.VALID
    # Twice at once lasts no longer than once.
    with pytest.raises(Exception, match=reference):
        await town.citizen.consents.extend(session_for(town), reference)


async def test_an_extension_that_the_provider_has_not_heard_of_is_told_again(town: City) -> None:
    reference = await approve(town)
    town.clock.advance(days=1)
    town.road.consent_status = 500
    extended = await town.citizen.consents.extend(session_for(town), reference)
    assert extended.state is ConsentState.VALID
    assert not extended.provider_knows
    town.road.consent_status = 204
    town.clock.advance(seconds=30)
    assert await town.citizen.consents.push_due() == 1
    assert (await town.citizen.consents.get(session_for(town), reference)).provider_knows


async def test_the_receipt_proves_itself(town: City) -> None:
    reference = await approve(town)
    async with town.browser() as browser:
        await browser.log_in()
        receipt = json.loads((await browser.get(f"/consents/{reference}/receipt")).text)
        alone = (await browser.get(f"/consents/{reference}/receipt.jws")).text
    signature = receipt.pop("signature")
    assert receipt["dct:hasVersion"] == "ISO/IEC TS 27560:2023"
    assert receipt["dpv:hasProcess"]["dpv:hasRecipient"] == PURPOSE["recipientName"]
    for token in (signature, alone):
        header = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
        certificate = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0]))
        registry = jws.JWSRegistry(algorithms=["ES256"])
        registry.max_header_length = 1 << 15
        verified = jws.deserialize_compact(token, ECKey.import_key(certificate.public_key()), registry=registry)  # type: ignore[arg-type]
        assert json.loads(verified.payload) == receipt
        # A receipt is no consent: its type says so.
        with pytest.raises(Exception, match="not a consent"):
            parse_consent(token.encode())
