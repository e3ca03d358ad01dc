"""What institutions declare to the consent service, and what becomes of consents when a declaration ends."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.citizen.consent import ConsentState
from gateway.citizen.notices import NoticeKind
from gateway.exchange.consents import parse_consent, verify_consent
from gateway.store.model import ConsentStatus
from tests.gateway.citizen.citizens import session_for
from tests.gateway.citizen.city import BANK, UTILITY, City
from tests.gateway.citizen.consent_town import PURPOSE, SERVICE, STRANGER, approve, asking, call, code_of
from tests.gateway.citizen.test_consents import payload_of

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
