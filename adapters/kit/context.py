"""Who asks, for whom: the headers that the provider gateway sets on each call.

X-Road message protocol for REST 1.0 section 4.3 (X-Road-Client, X-Road-Id) and our own signed headers
(X-Datenweg-*). The provider gateway has verified all of them; the adapter parses them strictly and refuses what it
can't read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from adapters.kit.errors import CallerError
from adapters.kit.problems import CONTEXT_MISSING, SUBJECT_REQUIRED
from trust.identifiers import ClientId, InvalidIdentifier, ServiceId, parse_client_id, parse_service_id

_PSEUDONYM: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,255}")


class IdentityLevel(StrEnum):
    """eIDAS levels of assurance."""

    LOW = "low"
    SUBSTANTIAL = "substantial"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What the gateway says about a call."""

    client: ClientId
    message_id: str
    service: ServiceId | None
    subjects: tuple[str, ...]
    consent: str | None
    identity_level: IdentityLevel | None
    person_address: str | None

    @property
    def subject(self) -> str:
        """The one person's pseudonym. Raises CallerError where the call names none or several."""
        if len(self.subjects) != 1:
            raise CallerError(SUBJECT_REQUIRED)
        return self.subjects[0]

    @property
    def attended(self) -> bool:
        """Whether the person takes part now.

        The consumer gateway sets the identity level only from the person's own verified token, so it is the proof that
        they started this very request.
        """
        return self.identity_level is not None


def parse_context(headers: Mapping[str, str]) -> RequestContext:
    """The context of a call from its headers. Raises CallerError."""
    try:
        client = parse_client_id(headers.get("X-Road-Client", ""))
        service_text = headers.get("X-Road-Service")
        service = None if service_text is None else parse_service_id(service_text)
    except InvalidIdentifier:
        raise CallerError(CONTEXT_MISSING) from None
    message_id = headers.get("X-Road-Id", "")
    if _TOKEN.fullmatch(message_id) is None:
        raise CallerError(CONTEXT_MISSING, fields=("X-Road-Id",))
    subjects = tuple(part.strip() for part in headers.get("X-Datenweg-Subject", "").split(",") if part.strip())
    if len(subjects) > 16 or any(_PSEUDONYM.fullmatch(subject) is None for subject in subjects):
        raise CallerError(CONTEXT_MISSING, fields=("X-Datenweg-Subject",))
    consent = headers.get("X-Datenweg-Consent")
    if consent is not None and _TOKEN.fullmatch(consent) is None:
        raise CallerError(CONTEXT_MISSING, fields=("X-Datenweg-Consent",))
    return RequestContext(
        client=client,
        message_id=message_id,
        service=service,
        subjects=subjects,
        consent=consent,
        identity_level=_identity_level(headers.get("X-Datenweg-Identity-Level")),
        person_address=_address(headers.get("PSU-IP-Address")),
    )


def _identity_level(text: str | None) -> IdentityLevel | None:
    try:
        return None if text is None else IdentityLevel(text)
    except ValueError:
        raise CallerError(CONTEXT_MISSING, fields=("X-Datenweg-Identity-Level",)) from None


def _address(text: str | None) -> str | None:
    try:
        return None if text is None else str(ip_address(text))
    except ValueError:
        raise CallerError(CONTEXT_MISSING, fields=("PSU-IP-Address",)) from None
