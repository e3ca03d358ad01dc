"""What an exchange leaves behind: the record that a citizen will read, and the entries of the access log.

A record is JSON with sorted keys. It names organisations, systems and purposes, never staff; the person is not in it,
since it lies under their own key. `result` is `delivered` (the service gave what was asked for), `denied` (the road
refused) or `failed` (the service or the way to it did; with a `status` the service's own refusal was passed on).
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal

from audit.entry import Entry
from audit.leaf import exchange_id
from audit.tag import SubjectKey
from gateway.messages.headers import RoadFields
from gateway.messages.soap_fields import PDU
from gateway.store.model import Service
from trust.globalconf import VerifiedConfiguration
from trust.identifiers import ClientId, ServiceId

# One encoder for all: `json.dumps` with options builds a new one each time.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_DAY_MS: Final = 86_400_000


class Result(StrEnum):
    """How an access ended."""

    DELIVERED = "delivered"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Access:
    """One exchange as it is to be recorded. Digests are SHA-512 of the signed messages."""

    role: str
    client: ClientId
    service: ServiceId
    fields: RoadFields
    message_id: str
    request_id: str
    request_digest: bytes
    result: Result
    time_ms: int
    reason: str | None = None
    status: int | None = None
    response_digest: bytes | None = None
    registered: Service | None = None
    extension: PDU = field(default_factory=PDU)
    withheld: bool = False


def exchange_of(access: Access) -> bytes:
    """`m`, the same in both gateways' logs.

    A peer that sent no nonce gives an id that others could compute: noted there.
    """
    return exchange_id(access.fields.exchange_nonce or bytes(32), access.message_id, access.request_digest)


def build_entries(
    access: Access, subjects: Sequence[SubjectKey], configuration: VerifiedConfiguration, retention_days: int
) -> list[Entry]:
    """The leaves of an exchange: one for each person, or a single one of the exchange when it touches none."""
    record = build_record(access, configuration)
    expires_ms = access.time_ms + retention_days * _DAY_MS
    exchange = exchange_of(access)
    if not subjects:
        return [Entry("exchange", None, exchange, record, expires_ms)]
    kind: Literal["access", "withheld"] = "withheld" if access.withheld else "access"
    return [Entry(kind, subject, exchange, record, expires_ms) for subject in subjects]


def build_record(access: Access, configuration: VerifiedConfiguration) -> bytes:
    """The record's bytes: what the leaf commits to."""
    provider = access.service.provider
    record: dict[str, Any] = {
        "v": 1,
        "time": datetime.fromtimestamp(access.time_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "role": access.role,
        "client": {"id": access.client.encoded, "name": configuration.client_name(access.client)},
        "provider": {"id": provider.encoded, "name": configuration.client_name(provider)},
        "service": {"id": access.service.encoded},
        "result": access.result.value,
        "messageId": access.message_id,
        "requestId": access.request_id,
        "requestDigest": b64encode(access.request_digest).decode(),
    }
    optional: dict[str, Any] = {
        "reason": access.reason,
        "status": access.status,
        "purposeDeclaration": access.fields.purpose,
        "occasion": access.extension.reason,
        "system": access.extension.system,
        "consent": access.fields.consent,
        "identityLevel": access.fields.identity_level.word if access.fields.identity_level else None,
        "representative": access.fields.representative,
        "responseDigest": b64encode(access.response_digest).decode() if access.response_digest else None,
    }
    record |= {name: value for name, value in optional.items() if value is not None}
    if (service := access.registered) is not None:
        # A service written for X-Road declares nothing: the citizen reads that, and the service's code.
        if service.title_de or service.title_en:
            record["service"] |= {"title": {"de": service.title_de, "en": service.title_en}}
        if service.purpose_de or service.purpose_en:
            record["purpose"] = {"de": service.purpose_de, "en": service.purpose_en}
        record["legalBasis"] = {"kind": service.legal_basis_kind.value, "text": service.legal_basis}
        record["dataCategories"] = list(service.data_categories)
    return _ENCODER.encode(record).encode()
