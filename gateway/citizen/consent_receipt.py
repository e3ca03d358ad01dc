"""The receipt of a consent: ISO/IEC TS 27560:2023 in DPV's profile for the GDPR, as JSON-LD, signed. A core.

The event list is the record's heart: what was asked, given, renewed, withdrawn, each with its time and who did it. The
signature is a compact JWS (RFC 7515) over the very document, so that the file proves itself; the signed copy that the
provider holds is in it, too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from gateway.citizen.consent import DPV, Consent, ConsentEvent, EventState, sign_document
from gateway.citizen.context import ConsentKey

CONFORMS_TO: Final = "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr"
SCHEMA_VERSION: Final = "ISO/IEC TS 27560:2023"
RECEIPT_TYPE: Final = "datenweg-consent-receipt+jwt"
_CONTEXT: Final = {
    "dpv": DPV,
    "dct": "http://purl.org/dc/terms/",
    "dcat": "http://www.w3.org/ns/dcat#",
    "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    # What is ours: the signed copy, the signature, and times in milliseconds.
    "@vocab": "urn:datenweg:receipt:",
}
# DPV's words for who stands in a person's place.
_ROLES: Final = {"parent": "dpv:ParentOfDataSubject", "guardian": "dpv:GuardianOfDataSubject"}
_BY_NOBODY: Final = (EventState.EXPIRED,)
_BY_INSTITUTION: Final = (EventState.REQUESTED, EventState.TERMINATED)
_DECIDED: Final = "form in the citizen account, after login"
_TOLD: Final = "message over the data road, signed"


def build_receipt(
    consent: Consent,
    *,
    controller: str,
    exercised_at: str,
    represented: str = "",
    representative: str = "",
    role: str = "",
) -> dict[str, Any]:
    """The receipt's document. `controller`: the name of who answers for our own consents. `exercised_at`: the page on
    which the consent is taken back.

    Where somebody decided for the person: the names of both, and as what, as far as the reader knows them.
    """
    declaration = consent.declaration
    recipient = declaration.recipient_name or controller
    receipt: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "dpv:ConsentReceipt",
        "dct:conformsTo": CONFORMS_TO,
        "dct:hasVersion": SCHEMA_VERSION,
        "dct:identifier": consent.reference,
        "dpv:hasRecordIdentifier": f"{consent.reference}#{consent.sequence}",
        "dpv:hasDataSubject": consent.subject or consent.client_subject,
        "dpv:hasDataController": _controllers(consent, recipient),
        "dpv:hasJurisdiction": "DE",
        "dpv:hasApplicableLaw": "eu-gdpr:GDPR",
        "dpv:hasLegalBasis": "eu-gdpr:A6-1-a",
        "dpv:hasProcess": _process(consent, recipient),
        "dpv:hasNotice": {
            "@type": "dpv:ConsentNotice",
            "dct:language": declaration.language,
            "dct:coverage": "DE",
            **({"dct:source": declaration.privacy_url} if declaration.privacy_url else {}),
        },
        "dpv:hasConsentControl": [
            {"@type": f"dpv:{control}", "dpv:isExercisedAt": {"@id": exercised_at}}
            for control in ("ProvideConsent", "WithdrawConsent")
        ],
        "dpv:hasRight": ["eu-gdpr:A7-3", "eu-gdpr:A15", "eu-gdpr:A17"],
        "dpv:hasDuration": {
            "@type": "dpv:TemporalDuration",
            "dcat:startDate": _moment(consent.given_ms),
            "dcat:endDate": _moment(consent.expires_ms),
        },
        "dpv:hasConsentStatus": [_status(consent, event) for event in consent.events],
        "signedCopy": consent.jws,
    }
    if declaration.processor_name:
        receipt["dpv:hasDataProcessor"] = {"dct:title": declaration.processor_name}
    if consent.representative:
        receipt["dpv:hasRepresentative"] = _representative(consent, represented, representative, role)
    return receipt


def _controllers(consent: Consent, recipient: str) -> list[dict[str, str]]:
    parties = [{"@type": "dpv:DataController", "dct:title": recipient, "dct:identifier": consent.client}]
    if consent.declaration.controller_name:
        parties.append({"@type": "dpv:DataController", "dct:title": consent.declaration.controller_name})
    return parties


def _process(consent: Consent, recipient: str) -> dict[str, Any]:
    declaration = consent.declaration
    return {
        "@type": "dpv:Process",
        "dct:title": declaration.title,
        "dct:identifier": consent.service,
        "dct:description": declaration.provider_text,
        "dpv:hasDataSource": declaration.provider_name,
        "dpv:hasRecipient": recipient,
        "dpv:hasPurpose": {"dct:identifier": consent.purpose, "dct:description": declaration.purpose_text},
        "dpv:hasPersonalData": list(declaration.data_categories),
        "dpv:hasStorageCondition": _storage(consent),
    }


def _representative(consent: Consent, represented: str, representative: str, role: str) -> dict[str, Any]:
    person = {"dct:identifier": consent.subject or consent.client_subject}
    return {
        "@type": _ROLES.get(role, "dpv:Representative"),
        "dct:identifier": consent.representative,
        **({"dct:title": representative} if representative else {}),
        "dpv:isRepresentativeFor": person | ({"dct:title": represented} if represented else {}),
    }


def build_signed_receipt(
    consent: Consent,
    *,
    controller: str,
    exercised_at: str,
    key: ConsentKey,
    represented: str = "",
    representative: str = "",
    role: str = "",
) -> dict[str, Any]:
    """The receipt with the city's signature over all the rest of it, under `signature`."""
    receipt = build_receipt(
        consent,
        controller=controller,
        exercised_at=exercised_at,
        represented=represented,
        representative=representative,
        role=role,
    )
    return receipt | {"signature": sign_document(key, RECEIPT_TYPE, receipt)}


def _storage(consent: Consent) -> list[dict[str, Any]]:
    """How long, and where as far as the recipient has declared it."""
    conditions: list[dict[str, Any]] = [
        {"@type": "dpv:StorageDuration", "dcat:endDate": _moment(consent.expires_ms)},
    ]
    if consent.declaration.storage_location:
        location = {"@type": "dpv:StorageLocation", "dct:title": consent.declaration.storage_location}
        conditions.append(location)
    return conditions


def _status(consent: Consent, event: ConsentEvent) -> dict[str, Any]:
    status: dict[str, Any] = {
        "@type": "dpv:" + event.state.value,
        "at_ms": event.at_ms,
        "dpv:isIndicatedAtTime": _moment(event.at_ms),
    }
    if event.state in _BY_INSTITUTION:
        status |= {"dpv:isIndicatedBy": consent.client, "dpv:hasIndicationMethod": _TOLD}
    elif event.state not in _BY_NOBODY:
        status["dpv:isIndicatedBy"] = event.representative or consent.subject or consent.client_subject
        status["dpv:hasIndicationMethod"] = _DECIDED
    return status


def _moment(milliseconds: int) -> dict[str, str]:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return {"@type": "xsd:dateTime", "@value": moment}
