"""A city where one institution offers data and another asks for them, and the calls of its consent service."""

from __future__ import annotations

import json
from typing import Any

from gateway.citizen.consent import ConsentState
from tests.gateway.citizen.citizens import ERIKA, session_for
from tests.gateway.citizen.city import BANK, UTILITY, City, pseudonym_of
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
