"""The receipt has what ISO/IEC TS 27560:2023 requires, in DPV's words, and every term of it is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.citizen.consent import Consent, ConsentEvent, ConsentState, Declaration, EventState
from gateway.citizen.consent_receipt import build_receipt

CONSENT = Consent(
    reference="0b8f4a51-54a5-4f0e-8b0f-3f6cf5b6f6f4",
    subject="person-dort",
    purpose="pd-kredit",
    client="DE-TEST/COM/SPARKASSE/konto",
    service="DE-TEST/COM/STADTWERKE/kundenservice/verbrauch",
    declaration=Declaration(
        language="de",
        provider_name="Stadtwerke",
        recipient_name="Sparkasse",
        title="Verbrauch",
        provider_text="Ihr Verbrauch",
        purpose_text="Damit wir Ihren Kredit berechnen.",
        privacy_url="https://sparkasse.example/datenschutz",
        legal_basis="",
        data_categories=("consumption",),
        controller_name="Stadtwerke Musterstadt",
        processor_name="Rechenzentrum",
        storage_location="Deutschland",
    ),
    state=ConsentState.WITHDRAWN,
    given_ms=1_795_000_000_000,
    expires_ms=1_795_900_000_000,
    sequence=2,
    acknowledged=2,
    events=(
        ConsentEvent(EventState.REQUESTED, 1_794_990_000_000),
        ConsentEvent(EventState.GIVEN, 1_795_000_000_000),
        ConsentEvent(EventState.WITHDRAWN, 1_795_100_000_000),
        ConsentEvent(EventState.EXPIRED, 1_795_900_000_000),
    ),
    jws="kopf.inhalt.unterschrift",
    client_subject="person-hier",
)
RECEIPT = build_receipt(CONSENT, controller="Musterstadt", exercised_at="https://stadt.example/consents")

# The fields that the specification requires (DPV's guide to it), and where they stand.
REQUIRED: list[tuple[str, tuple[Any, ...], Any]] = [
    ("schema version", ("dct:hasVersion",), "ISO/IEC TS 27560:2023"),
    ("conformance", ("dct:conformsTo",), "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr"),
    ("record id", ("dpv:hasRecordIdentifier",), f"{CONSENT.reference}#2"),
    ("receipt id", ("dct:identifier",), CONSENT.reference),
    ("PII principal", ("dpv:hasDataSubject",), "person-dort"),
    ("PII controller", ("dpv:hasDataController", 0, "dct:identifier"), CONSENT.client),
    ("PII controller's name", ("dpv:hasDataController", 1, "dct:title"), "Stadtwerke Musterstadt"),
    ("processor", ("dpv:hasDataProcessor", "dct:title"), "Rechenzentrum"),
    ("privacy notice", ("dpv:hasNotice", "dct:source"), "https://sparkasse.example/datenschutz"),
    ("its language", ("dpv:hasNotice", "dct:language"), "de"),
    ("its coverage", ("dpv:hasNotice", "dct:coverage"), "DE"),
    ("purpose", ("dpv:hasProcess", "dpv:hasPurpose", "dct:identifier"), "pd-kredit"),
    ("PII", ("dpv:hasProcess", "dpv:hasPersonalData", 0), "consumption"),
    ("recipient", ("dpv:hasProcess", "dpv:hasRecipient"), "Sparkasse"),
    ("retention", ("dpv:hasProcess", "dpv:hasStorageCondition", 0, "@type"), "dpv:StorageDuration"),
    ("storage location", ("dpv:hasProcess", "dpv:hasStorageCondition", 1, "dct:title"), "Deutschland"),
    ("withdrawal", ("dpv:hasConsentControl", 1, "@type"), "dpv:WithdrawConsent"),
    ("where", ("dpv:hasConsentControl", 1, "dpv:isExercisedAt", "@id"), "https://stadt.example/consents"),
    ("jurisdiction", ("dpv:hasJurisdiction",), "DE"),
    ("lawful basis", ("dpv:hasLegalBasis",), "eu-gdpr:A6-1-a"),
    ("rights", ("dpv:hasRight", 0), "eu-gdpr:A7-3"),
    ("validity", ("dpv:hasDuration", "dcat:endDate", "@value"), "2026-11-28T21:06:40.000+00:00"),
    ("event state", ("dpv:hasConsentStatus", 2, "@type"), "dpv:ConsentWithdrawn"),
    ("event time", ("dpv:hasConsentStatus", 2, "dpv:isIndicatedAtTime", "@type"), "xsd:dateTime"),
    ("who asked", ("dpv:hasConsentStatus", 0, "dpv:isIndicatedBy"), CONSENT.client),
    ("who withdrew", ("dpv:hasConsentStatus", 2, "dpv:isIndicatedBy"), "person-dort"),
    ("how", ("dpv:hasConsentStatus", 1, "dpv:hasIndicationMethod"), "form in the citizen account, after login"),
]


@pytest.mark.parametrize(("what", "path", "expected"), REQUIRED, ids=[what for what, *_ in REQUIRED])
def test_required_fields(what: str, path: tuple[Any, ...], expected: Any) -> None:
    value: Any = RECEIPT
    for step in path:
        value = value[step]
    assert value == expected, what


def test_that_it_ran_out_nobody_did() -> None:
    assert "dpv:isIndicatedBy" not in RECEIPT["dpv:hasConsentStatus"][3]


def test_where_data_lie_is_left_out_if_nobody_said_it() -> None:
    (storage,) = build_receipt(
        _without_location(), controller="Musterstadt", exercised_at="https://stadt.example/consents"
    )["dpv:hasProcess"]["dpv:hasStorageCondition"]
    assert storage["@type"] == "dpv:StorageDuration"


def test_every_term_is_one_of_a_vocabulary_that_the_context_names() -> None:
    context = RECEIPT["@context"]
    for name in _names({key: value for key, value in RECEIPT.items() if key != "@context"}):
        prefix, colon, _ = name.partition(":")
        # Without a prefix it is ours: the context has a vocabulary for that, too.
        assert name.startswith("@") or (prefix in context if colon else "@vocab" in context), name


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key == "@type":
                yield inner
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _without_location() -> Consent:
    return replace(CONSENT, declaration=replace(CONSENT.declaration, storage_location=""))
