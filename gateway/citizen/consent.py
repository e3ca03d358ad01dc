"""A consent as a value: its states, its events, its signed copy. A core. The receipt is in `consent_receipt`.

States after the Estonian consent service, events in DPV's words (ISO/IEC TS 27560:2023). The signed copy is a JWS (RFC
7515, ES256) that carries the city's road certificate; providers decide by it alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from joserfc import jws
from joserfc.jwk import ECKey

from gateway.citizen.context import ConsentKey
from gateway.messages.headers import IdentityLevel

ALGORITHM: Final = "ES256"
# Giving somebody's data away is no smaller a step than looking at them.
REQUIRED_LEVEL: Final = IdentityLevel.SUBSTANTIAL
DPV: Final = "https://w3id.org/dpv#"


class ConsentState(StrEnum):
    """What the citizen sees. `pending`: not acknowledged by the provider; `withdrawing`: the withdrawal isn't, yet."""

    REQUESTED = "requested"
    PENDING = "pending"
    VALID = "valid"
    DECLINED = "declined"
    WITHDRAWING = "withdrawing"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class EventState(StrEnum):
    """DPV's consent states, as far as they occur here."""

    REQUESTED = "ConsentRequested"
    GIVEN = "ConsentGiven"
    RENEWED = "RenewedConsentGiven"
    REFUSED = "ConsentRefused"
    WITHDRAWN = "ConsentWithdrawn"
    TERMINATED = "ConsentTerminated"
    EXPIRED = "ConsentExpired"


class EndReason(StrEnum):
    """Why a consent ended: by the citizen, with the account's link, or because a declaration was withdrawn."""

    NONE = ""
    CITIZEN = "citizen"
    UNLINKED = "unlinked"
    DECLARATION = "declaration"


class ServiceStatus(StrEnum):
    """The Estonian consent service's states."""

    REQUESTED = "REQUESTED"
    APPROVED = "APPROVED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"
    INAPPLICABLE = "INAPPLICABLE"


@dataclass(frozen=True, slots=True)
class ConsentEvent:
    """Something that happened to a consent. `representative`: who did it in the person's place, or empty."""

    state: EventState
    at_ms: int
    representative: str = ""


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
    recipient_service: str = ""
    controller_name: str = ""
    processor_name: str = ""
    # By how much the citizen may extend it; 0: not at all.
    extension_days: int = 0
    # Where the recipient keeps the data, if it said so.
    storage_location: str = ""
    # How surely whoever decides has to be identified; what institutions ask for has it in the service's declaration.
    identity_level: str = IdentityLevel.NONE.word


@dataclass(frozen=True, slots=True)
class Transmitted:
    """How often data were handed over on a consent, as its provider reported, and when lastly.

    Milliseconds since 1970, UTC, newest first, a few of them.
    """

    count: int = 0
    latest_ms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Consent:
    """One citizen's consent for one purpose. `subject` is their pseudonym at the provider.

    One that an institution asked for names the person as that institution does (`client_subject`), and how surely
    whoever gave it was identified (`identity_level`): the person isn't there when the institution uses it.
    """

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
    client_subject: str = ""
    identity_level: str = ""
    service_declaration: str = ""
    group_reference: str = ""
    representative: str = ""
    reason: EndReason = EndReason.NONE
    transmitted: Transmitted = Transmitted()

    @property
    def provider_knows(self) -> bool:
        """Whether the provider has acknowledged the newest state."""
        return self.acknowledged >= self.sequence

    @property
    def usable(self) -> bool:
        """Whether data may be asked for on it."""
        return self.state is ConsentState.VALID

    @property
    def in_force(self) -> bool:
        """Whether the citizen can take it back."""
        return self.state in (ConsentState.PENDING, ConsentState.VALID)

    @property
    def extendable(self) -> bool:
        """Whether the provider lets it be extended. A representative can't extend."""
        return self.state is ConsentState.VALID and self.declaration.extension_days > 0 and not self.representative

    @property
    def service_status(self) -> ServiceStatus:
        """The state as the Estonian service names it. Given but not acknowledged isn't approved yet."""
        match self.state:
            case ConsentState.REQUESTED | ConsentState.PENDING:
                return ServiceStatus.REQUESTED
            case ConsentState.VALID:
                return ServiceStatus.APPROVED
            case ConsentState.DECLINED:
                return ServiceStatus.DECLINED
            case ConsentState.EXPIRED:
                return ServiceStatus.EXPIRED
            case ConsentState.WITHDRAWING | ConsentState.WITHDRAWN:
                ended = self.reason is EndReason.DECLARATION
                return ServiceStatus.INAPPLICABLE if ended else ServiceStatus.DECLINED


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
    identity_level: str = "",
) -> str:
    """The signed copy for the provider, as a compact JWS."""
    payload: dict[str, Any] = {
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
    if identity_level:
        payload["identity_level"] = identity_level
    return sign_document(key, "datenweg-consent+jwt", payload)


def sign_document(key: ConsentKey, kind: str, document: Mapping[str, Any]) -> str:
    """A document as a compact JWS (RFC 7515) of type `kind`, with the city's certificates in its header."""
    header = {
        "alg": ALGORITHM,
        "typ": kind,
        "kid": base64.urlsafe_b64encode(hashlib.sha256(key.certificates[0]).digest()).rstrip(b"=").decode(),
        "x5c": [base64.b64encode(certificate).decode() for certificate in key.certificates],
    }
    private = ECKey.import_key(key.private_key)
    return jws.serialize_compact(header, json.dumps(document).encode(), private, algorithms=[ALGORITHM])
