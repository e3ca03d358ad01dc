"""What an exchange leaves behind: the record that a citizen will read, and the entries of the access log.

A record is JSON with sorted keys. It names organisations, systems and purposes, never staff; the person is not in it,
since it lies under their own key. `result` is `delivered` (the service gave what was asked for), `denied` (the road
refused) or `failed` (the service or the way to it did; with a `status` the service's own refusal was passed on).
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal

from audit.entry import Entry
from audit.leaf import exchange_id
from audit.tag import SubjectKey
from gateway.messages.headers import RoadFields
from gateway.messages.soap_fields import PDU
from gateway.store.model import Service
from trust.globalconf import VerifiedConfiguration
from trust.identifiers import ClientId, ServiceId

# One encoder for all: `json.dumps` with options builds a new one each time.
_json: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_DAY_MS: Final = 86_400_000


class Result(StrEnum):
    """How an access ended."""

    DELIVERED = "delivered"
    DENIED = "denied"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a record says of a service that is registered here, as JSON texts by the record's names."""

    title: str | None
    purpose: str | None
    legal_basis: str
    data_categories: str


def declare(service: Service) -> Declared:
    """What citizens read of the service. One written for X-Road declares nothing: they read that, and its code."""
    return Declared(
        title=_in_both(service.title_de, service.title_en),
        purpose=_in_both(service.purpose_de, service.purpose_en),
        legal_basis=_json({"kind": service.legal_basis_kind.value, "text": service.legal_basis}),
        data_categories=_json(list(service.data_categories)),
    )


def _in_both(german: str, english: str) -> str | None:
    return _json({"de": german, "en": english}) if german or english else None


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
    declared: Declared | None = None
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
    """The record's bytes: what the leaf commits to. Its names in order, and none without a value."""
    fields, declared, provider = access.fields, access.declared, access.service.provider
    level = fields.identity_level
    title = None if declared is None else declared.title
    service = f'{{"id":{_json(access.service.encoded)}' + ("}" if title is None else f',"title":{title}}}')
    time = datetime.fromtimestamp(access.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    # Written by hand: the encoder took three times as long, for texts that are mostly the same.
    values = (
        ("client", _party(access.client.encoded, configuration.client_name(access.client))),
        ("consent", _text(fields.consent)),
        ("dataCategories", None if declared is None else declared.data_categories),
        ("identityLevel", None if not level else f'"{level.word}"'),
        ("legalBasis", None if declared is None else declared.legal_basis),
        ("messageId", _json(access.message_id)),
        ("occasion", _text(access.extension.reason)),
        ("provider", _party(provider.encoded, configuration.client_name(provider))),
        ("purpose", None if declared is None else declared.purpose),
        ("purposeDeclaration", _text(fields.purpose)),
        ("reason", _text(access.reason)),
        ("representative", _text(fields.representative)),
        ("requestDigest", _base64(access.request_digest)),
        ("requestId", _json(access.request_id)),
        ("responseDigest", _base64(access.response_digest) if access.response_digest else None),
        ("result", f'"{access.result.value}"'),
        ("role", f'"{access.role}"'),
        ("service", service),
        ("status", None if access.status is None else str(access.status)),
        ("system", _text(access.extension.system)),
        ("time", f'"{time}"'),
        ("v", "1"),
    )
    members = [f'"{name}":{value}' for name, value in values if value is not None]
    return ("{" + ",".join(members) + "}").encode()


def _text(value: str | None) -> str | None:
    return None if value is None else _json(value)


def _base64(digest: bytes) -> str:
    return f'"{b2a_base64(digest, newline=False).decode()}"'


# A gateway records the same few parties; the configuration may give one another name.
@lru_cache(maxsize=1024)
def _party(identifier: str, name: str | None) -> str:
    return _json({"id": identifier, "name": name})
