"""The message log: the signed messages themselves, each row linked to the one before.

A row's digest covers everything in it; its link is SHA-256(link before || digest), and the newest link stands in the
log's head. So a row that was changed, dropped or slipped in shows in `verify`, and one time-stamp over a link covers
all messages up to it. When bodies are deleted at the end of their retention, digest and link stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

NO_LINK: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """One message as it was signed. `unique` is a replay key: a second record with it raises DuplicateRecord."""

    request_id: str
    message_id: str
    role: Literal["consumer", "provider"]
    direction: Literal["request", "response"]
    client: str
    service: str
    outcome: str
    time_ms: int
    message: bytes
    signature: bytes
    attachments: tuple[bytes, ...] = ()
    unique: bytes | None = None


def digest_of(record: MessageRecord) -> bytes:
    """SHA-256 over the record's fields, each with its length before it, so that no two records share their bytes."""
    fields = [
        record.request_id.encode(),
        record.message_id.encode(),
        record.role.encode(),
        record.direction.encode(),
        record.client.encode(),
        record.service.encode(),
        record.outcome.encode(),
        str(record.time_ms).encode(),
        b"" if record.unique is None else b"=" + record.unique,
        record.message,
        record.signature,
        *record.attachments,
    ]
    hashed = sha256(b"xgw/message/v1\0")
    hashed.update(b",".join([b"%d" % len(field) for field in fields]) + b"\0")
    for field in fields:
        hashed.update(field)
    return hashed.digest()


def next_link(link: bytes, digest: bytes) -> bytes:
    """The link of the row with this digest, after the row with that link."""
    return sha256(link + digest).digest()
