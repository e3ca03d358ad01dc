"""A consent as a value: its states, its events, its signed copy and its receipt. A core.

States after the Estonian consent service, events in DPV's words (ISO/IEC TS 27560:2023; facts: german-interfaces 3.2,
3.4). The signed copy is a JWS (RFC 7515, ES256) that carries the city's road certificate; providers decide by it
alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from joserfc import jws
from joserfc.jwk import ECKey

from gateway.citizen.context import ConsentKey

ALGORITHM: Final = "ES256"
DPV: Final = "https://w3id.org/dpv#"
CONFORMS_TO: Final = "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr"


class ConsentState(StrEnum):
    """What the citizen sees. `pending`: not acknowledged by the provider; `withdrawing`: the withdrawal isn't, yet."""

    PENDING = "pending"
    VALID = "valid"
    WITHDRAWING = "withdrawing"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class EventState(StrEnum):
    """DPV's consent states, as far as they occur here."""

    REQUESTED = "ConsentRequested"
    GIVEN = "ConsentGiven"
    REFUSED = "ConsentRefused"
    WITHDRAWN = "ConsentWithdrawn"
    EXPIRED = "ConsentExpired"


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """Something that happened to a consent."""

    state: EventState
    at_ms: int


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the citizen was shown when they decided, kept word for word."""

    language: str
    provider_name: str
    recipient_name: str
    title: str
    provider_text: str
    purpose_text: str
    privacy_url: str
    legal_basis: str
    data_categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Consent:
    """One citizen's consent for one purpose. `subject` is their pseudonym at the provider."""

    reference: str
    subject: str
    purpose: str
    client: str
    service: str
    declaration: Declaration
    state: ConsentState
    given_ms: int
    expires_ms: int
    sequence: int
    acknowledged: int
    events: tuple[ConsentEvent, ...]
    jws: str

    @property
    def provider_knows(self) -> bool:
        """Whether the provider has acknowledged the newest state."""
        return self.acknowledged >= self.sequence

    @property
    def usable(self) -> bool:
        """Whether data may be asked for on it."""
        return self.state is ConsentState.VALID


def sign_copy(
    key: ConsentKey,
    *,
    reference: str,
    client: str,
    subject: str,
    service: str,
    purpose: str,
    withdrawn: bool,
    sequence: int,
    given_ms: int,
    expires_ms: int,
    events: tuple[ConsentEvent, ...],
) -> str:
    """The signed copy for the provider, as a compact JWS."""
    payload = {
        "reference": reference,
        "client": client,
        "subject": subject,
        "service": service,
        "purpose": purpose,
        "status": "withdrawn" if withdrawn else "valid",
        "sequence": sequence,
        "given_ms": given_ms,
        "expires_ms": expires_ms,
        "events": [{"state": DPV + event.state.value, "at_ms": event.at_ms} for event in events],
    }
    header = {
        "alg": ALGORITHM,
        "typ": "datenweg-consent+jwt",
        "kid": base64.urlsafe_b64encode(hashlib.sha256(key.certificates[0]).digest()).rstrip(b"=").decode(),
        "x5c": [base64.b64encode(certificate).decode() for certificate in key.certificates],
    }
    private = ECKey.import_key(key.private_key)
    return jws.serialize_compact(header, json.dumps(payload).encode(), private, algorithms=[ALGORITHM])


def build_receipt(consent: Consent, *, controller: str) -> dict[str, Any]:
    """The receipt to keep: DPV's profile of ISO/IEC TS 27560 as JSON-LD, with the signed copy in it."""
    declaration = consent.declaration
    return {
        "@context": {"dpv": DPV, "dct": "http://purl.org/dc/terms/", "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#"},
        "@type": "dpv:ConsentReceipt",
        "dct:conformsTo": CONFORMS_TO,
        "dct:identifier": consent.reference,
        "dpv:hasDataSubject": consent.subject,
        "dpv:hasDataController": {"dct:title": controller, "dct:identifier": consent.client},
        "dpv:hasJurisdiction": "DE",
        "dpv:hasLegalBasis": "eu-gdpr:A6-1-a",
        "dpv:hasProcess": {
            "@type": "dpv:Process",
            "dct:title": declaration.title,
            "dct:identifier": consent.service,
            "dpv:hasDataSource": declaration.provider_name,
            "dpv:hasRecipient": declaration.recipient_name,
            "dpv:hasPurpose": {"dct:identifier": consent.purpose, "dct:description": declaration.purpose_text},
            "dpv:hasPersonalData": list(declaration.data_categories),
        },
        "dpv:hasNotice": {"dct:language": declaration.language, "dct:source": declaration.privacy_url},
        "dpv:hasConsentControl": ["dpv:WithdrawConsent"],
        "dpv:hasRight": "eu-gdpr:A7-3",
        "dpv:hasDuration": {"from_ms": consent.given_ms, "until_ms": consent.expires_ms},
        "dpv:hasConsentStatus": [
            {"@type": "dpv:" + event.state.value, "dpv:isIndicatedBy": consent.subject, "at_ms": event.at_ms}
            for event in consent.events
        ],
        "signedCopy": consent.jws,
    }
