"""The road's own header fields: `X-Datenweg-*`, which ride in the signed message and which X-Road carries unchanged.

A client may set Subject, Purpose, Consent, Reason, System and Hidden. Identity-Level and Exchange-Nonce are the
consumer gateway's, made from a verified token and fresh randomness; Audit-Receipt is the provider gateway's.
X-Datenweg-Citizen is the citizen's token: it is read by the first gateway and never forwarded, signed or logged. Forms
only: what a value means is decided elsewhere.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gateway.messages.faults import Fault, Hop, prefix_of

Header = tuple[str, str]

SUBJECT: Final = "X-Datenweg-Subject"
PURPOSE: Final = "X-Datenweg-Purpose"
CONSENT: Final = "X-Datenweg-Consent"
IDENTITY_LEVEL: Final = "X-Datenweg-Identity-Level"
EXCHANGE_NONCE: Final = "X-Datenweg-Exchange-Nonce"
AUDIT_RECEIPT: Final = "X-Datenweg-Audit-Receipt"
CITIZEN: Final = "X-Datenweg-Citizen"
# The data tracker's extension (SOAP: the header entry `pdu`): why, by which system, and whether it is to be withheld.
REASON: Final = "X-Datenweg-Reason"
SYSTEM: Final = "X-Datenweg-System"
HIDDEN: Final = "X-Datenweg-Hidden"
# Whom the citizen acts for (a reference, read by the first gateway and never forwarded), and as what they do.
REPRESENTING: Final = "X-Datenweg-Representing"
REPRESENTATIVE: Final = "X-Datenweg-Representative"
ROLES: Final = ("parent", "guardian")

NAMESPACE: Final = "x-datenweg-"
_CLIENT_MAY_SET: Final = frozenset(name.lower() for name in (SUBJECT, PURPOSE, CONSENT, REASON, SYSTEM, HIDDEN))
_REQUEST_FIELDS: Final = _CLIENT_MAY_SET | {IDENTITY_LEVEL.lower(), EXCHANGE_NONCE.lower(), REPRESENTATIVE.lower()}

_MAX_SUBJECTS: Final = 100
_MAX_SUBJECT: Final = 128
_MAX_PURPOSE: Final = 256
_MAX_CONSENT: Final = 128
_MAX_OCCASION: Final = 256
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}
# One receipt for each subject, each with the name of its log: long, but bounded.
_MAX_RECEIPT: Final = _MAX_SUBJECTS * 320
_NONCE_BYTES: Final = 32
_PSEUDONYM: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


class IdentityLevel(IntEnum):
    """How surely the citizen was identified (eIDAS, Regulation 910/2014, Article 8). NONE: no citizen is present."""

    NONE = 0
    LOW = 1
    SUBSTANTIAL = 2
    HIGH = 3

    @property
    def word(self) -> str:
        """The level as it is written: `low`, `substantial`, `high`."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> IdentityLevel:
        """The level of `low`, `substantial` or `high`, also as eIDAS' URI. Raises UnknownIdentityLevel."""
        try:
            return cls[word.removeprefix("http://eidas.europa.eu/LoA/").upper()]
        except KeyError:
            raise UnknownIdentityLevel from None

    def reaches(self, required: IdentityLevel) -> bool:
        """Whether this level is at least the required one."""
        return self >= required


class UnknownIdentityLevel(Exception):
    """The text names no level of assurance."""


# On the road a level has one spelling only.
_LEVELS: Final = {level.word: level for level in IdentityLevel if level}


@dataclass(frozen=True, slots=True)
class RoadFields:
    """The road's own fields of a request. Nothing here is verified but the form."""

    subjects: tuple[str, ...] = ()
    purpose: str | None = None
    consent: str | None = None
    identity_level: IdentityLevel | None = None
    exchange_nonce: bytes | None = None
    reason: str | None = None
    system: str | None = None
    hidden: bool = False
    representative: str | None = None

    def format(self) -> list[Header]:
        """The fields that are set, as headers. Raises Fault when a value breaks the form."""
        headers: list[Header] = []
        if self.subjects:
            headers.append((SUBJECT, format_subjects(self.subjects)))
        if self.purpose is not None:
            headers.append((PURPOSE, _text(PURPOSE, self.purpose, _MAX_PURPOSE, "client")))
        if self.consent is not None:
            headers.append((CONSENT, _text(CONSENT, self.consent, _MAX_CONSENT, "client")))
        if self.reason is not None:
            headers.append((REASON, _text(REASON, self.reason, _MAX_OCCASION, "client")))
        if self.system is not None:
            headers.append((SYSTEM, _text(SYSTEM, self.system, _MAX_OCCASION, "client")))
        if self.hidden:
            headers.append((HIDDEN, "true"))
        if self.identity_level:  # NONE says no more than a missing header
            headers.append((IDENTITY_LEVEL, self.identity_level.word))
        if self.representative is not None:
            headers.append((REPRESENTATIVE, self.representative))
        if self.exchange_nonce is not None:
            headers.append((EXCHANGE_NONCE, format_nonce(self.exchange_nonce)))
        return headers


NO_FIELDS: Final = RoadFields()


def parse_client_fields(values: Mapping[str, str]) -> RoadFields:
    """The fields that a client sent to its own gateway (names in lower case, without X-Datenweg-Citizen).

    Raises Fault: `client.reserved_header` for a field that only the road sets, `client.bad_request` for a bad value.
    """
    for name in values:
        if name not in _CLIENT_MAY_SET:
            raise Fault("client.reserved_header", name)
    return _parse(values, "client", "client.bad_request")


def parse_signed_fields(values: Mapping[str, str]) -> RoadFields:
    """The fields of a signed request at the provider gateway (names in lower case).

    Fields that this version doesn't know are left alone; a citizen's token that was forwarded is refused.
    Raises Fault `server.serverproxy.reserved_header` or `server.serverproxy.invalid_message`.
    """
    if not values.keys().isdisjoint((CITIZEN.lower(), AUDIT_RECEIPT.lower(), REPRESENTING.lower())):
        raise Fault("server.serverproxy.reserved_header", "a field that must not be forwarded")
    known = {name: value for name, value in values.items() if name in _REQUEST_FIELDS}
    return _parse(known, prefix_of(Hop.PROVIDER_GATEWAY), "server.serverproxy.invalid_message")


def _parse(values: Mapping[str, str], prefix: str, refusal: str) -> RoadFields:
    if not values:
        return NO_FIELDS
    subjects = values.get(SUBJECT.lower())
    purpose = values.get(PURPOSE.lower())
    consent = values.get(CONSENT.lower())
    level = values.get(IDENTITY_LEVEL.lower())
    nonce = values.get(EXCHANGE_NONCE.lower())
    reason, system = values.get(REASON.lower()), values.get(SYSTEM.lower())
    representative = values.get(REPRESENTATIVE.lower())
    if representative is not None and representative not in ROLES:
        raise Fault(refusal, f"{REPRESENTATIVE} is {' or '.join(ROLES)}")
    hidden = values.get(HIDDEN.lower(), "false")
    if hidden not in _TRUTH:
        # Whoever means to hide an access, and is misread, would show it.
        raise Fault(refusal, f"{HIDDEN} is true or false")
    if level is not None and level not in _LEVELS:
        raise Fault(refusal, f"{IDENTITY_LEVEL} is low, substantial or high")
    return RoadFields(
        subjects=() if subjects is None else parse_subjects(subjects, refusal=refusal),
        purpose=None if purpose is None else _text(PURPOSE, purpose, _MAX_PURPOSE, prefix),
        consent=None if consent is None else _text(CONSENT, consent, _MAX_CONSENT, prefix),
        identity_level=None if level is None else _LEVELS[level],
        exchange_nonce=None if nonce is None else parse_nonce(nonce),
        reason=None if reason is None else _text(REASON, reason, _MAX_OCCASION, prefix),
        system=None if system is None else _text(SYSTEM, system, _MAX_OCCASION, prefix),
        hidden=_TRUTH[hidden],
        representative=representative,
    )


def parse_subjects(value: str, *, refusal: str = "client.bad_request") -> tuple[str, ...]:
    """One or more pseudonyms, comma separated, each once. Raises Fault with the code `refusal`."""
    subjects = tuple(part.strip(" \t") for part in value.split(",", _MAX_SUBJECTS))
    return _checked_subjects(subjects, refusal)


def format_subjects(subjects: tuple[str, ...]) -> str:
    """The header value for these pseudonyms. Raises Fault."""
    return ", ".join(_checked_subjects(subjects, "client.bad_request"))


def _checked_subjects(subjects: tuple[str, ...], refusal: str) -> tuple[str, ...]:
    if not 1 <= len(subjects) <= _MAX_SUBJECTS:
        raise Fault(refusal, f"{SUBJECT} names 1 to {_MAX_SUBJECTS} subjects")
    for subject in subjects:
        # The value itself is a person's pseudonym and stays out of the message.
        if not 0 < len(subject) <= _MAX_SUBJECT or not _PSEUDONYM.issuperset(subject):
            raise Fault(refusal, f"{SUBJECT} holds a value that is no pseudonym")
    if len(set(subjects)) != len(subjects):
        raise Fault(refusal, f"{SUBJECT} names a subject twice")
    return subjects


def parse_nonce(value: str) -> bytes:
    """The exchange nonce: 32 bytes in base64. Raises Fault `server.serverproxy.invalid_message`."""
    try:
        nonce = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != _NONCE_BYTES or base64.b64encode(nonce).decode("ascii") != value:
        raise Fault("server.serverproxy.invalid_message", f"{EXCHANGE_NONCE} is not 32 bytes in base64")
    return nonce


def format_nonce(nonce: bytes) -> str:
    """The header value of an exchange nonce. Raises Fault `server.clientproxy.internal_error` for another length."""
    if len(nonce) != _NONCE_BYTES:
        raise Fault("server.clientproxy.internal_error", "an exchange nonce has 32 bytes")
    return base64.b64encode(nonce).decode("ascii")


def require_receipt(value: str | None) -> str:
    """The text of X-Datenweg-Audit-Receipt, of which `audit` knows the inside.

    Raises Fault `server.clientproxy.receipt_missing` or `receipt_invalid`.
    """
    if not value:
        raise Fault("server.clientproxy.receipt_missing")
    if len(value) > _MAX_RECEIPT or not value.isascii() or not value.isprintable():
        raise Fault("server.clientproxy.receipt_invalid")
    return value


def _text(name: str, value: str, limit: int, prefix: str) -> str:
    if not 0 < len(value) <= limit or not value.isprintable() or value != value.strip():
        leaf = "bad_request" if prefix == "client" else "invalid_message"
        raise Fault(f"{prefix}.{leaf}", f"{name} has 1 to {limit} printable characters")
    return value
