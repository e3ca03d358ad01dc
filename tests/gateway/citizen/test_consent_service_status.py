"""What institutions ask about consents that are there, and what they report: each call with its errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.citizen.notices import NoticeKind
from gateway.rate import RateLimit
from tests.gateway.citizen.citizens import session_for
from tests.gateway.citizen.city import APP, BANK, UTILITY, City
from tests.gateway.citizen.consent_town import PURPOSE, STRANGER, approve, ask, asking, call, code_of, erika_at_the_bank
from trust.identifiers import SubsystemId

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
    # In the city's own time.
    assert moved.index("13:02") < moved.index("13:01")


async def test_reports_that_are_none(town: City) -> None:
    good = {"transmissionTimestamp": "2026-11-22T12:00:00Z", "consentReference": await approve(town)}

    async def report(client: SubsystemId, **changes: Any) -> tuple[int, str]:
        body = {name: value for name, value in (good | changes).items() if value is not None}
        return code_of(await call(town, client, "POST", "reporting/consent", body, code="reporting"))

    assert await report(BANK) == (404, "HTTP_NOT_FOUND")
    assert await report(UTILITY, consentReference="00000000-0000-4000-8000-000000000000") == (404, "HTTP_NOT_FOUND")
    # Neither what is still to come, nor what was before there was a consent.
    for moment in (None, 7, "gestern", "2026-11-22T12:00:00", "2026-11-23T12:00:00Z", "2026-11-22T11:54:59Z"):
        assert await report(UTILITY, transmissionTimestamp=moment) == (400, "VALIDATION")
    assert await report(UTILITY, consentReference=None) == (400, "VALIDATION")
    # Elsewhere there is no such call.
    answer = await call(town, UTILITY, "POST", "reporting/consent", good)
    assert code_of(answer) == (404, "HTTP_NOT_FOUND")


async def test_a_provider_fills_the_citizens_page_no_faster_than_data_can_move(town: City) -> None:
    reference = await approve(town)
    service = town.accounts.consent_service
    service._reported = RateLimit(burst=2, refill_ms=1_000)
    codes = []
    for second in range(4):
        body = {"transmissionTimestamp": f"2026-11-22T12:00:0{second}Z", "consentReference": reference}
        codes.append((await call(town, UTILITY, "POST", "reporting/consent", body, code="reporting"))[0])
    # Told to come again, which its gateway does; nothing that was handed over is lost.
    assert codes == [200, 200, 429, 429]
    town.clock.advance(seconds=5)
    assert (await call(town, UTILITY, "POST", "reporting/consent", body, code="reporting"))[0] == 200
