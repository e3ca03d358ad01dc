"""The message log: the signed messages themselves, each row linked to the one before.

A row's digest covers everything in it; its link is SHA-256(link before || digest), and the newest link stands in the
log's head. So a row that was changed, dropped or slipped in shows in `verify`, and one time-stamp over a link covers
all messages up to it. When bodies are deleted at the end of their retention, digest and link stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256, sha512
from typing import Final, Literal, Protocol

NO_LINK: Final = bytes(32)
# An attachment longer than this stands in its record's digest by its own SHA-512 digest, which the signature needs
# anyway: a second digest of the whole costs 0.6 ms a MiB. Part of what the digest means, so never to be changed.
_BY_DIGEST_BYTES: Final = 256 * 1024

# What the log has of a message: all that was signed, or less, by the operator's choice or because it was too large. Of
# one kept by its `digest`, each attachment is the SHA-512 digest of the body that it stands for, as it was signed.
Kept = Literal["whole", "reduced", "truncated", "digest"]


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """One message as it was signed. `unique` is a replay key: a second record with it raises DuplicateRecord.

    Unless it is kept `whole`, the signature is the whole message's, so the record can't be exported as one that
    verifies.
    """

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
    kept: Kept = "whole"
    # Of a signature over a hash chain: the chain's result and the chain (XML), without which it can't be verified.
    hash_chain_result: bytes | None = None
    hash_chain: bytes | None = None
    # The SHA-512 digests of the attachments, where they are known; they say nothing that the attachments don't.
    attachment_digests: tuple[bytes, ...] | None = field(default=None, compare=False)

    @property
    def member(self) -> str:
        """The member whose message this is at this gateway (`INSTANCE/CLASS/CODE`): the client's or the provider's."""
        owner = self.client if self.role == "consumer" else self.service
        return "/".join(owner.split("/", 3)[:3])


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A record's content as it lies in the database: sealed under the key `key_id`, or plain where that is None."""

    message: bytes
    signature: bytes
    attachments: tuple[bytes, ...]
    hash_chain_result: bytes | None
    hash_chain: bytes | None
    key_id: str | None = None


class ContentSealer(Protocol):
    """Seals contents before they are stored. CPU work only; called within the log's transaction."""

    def seal(self, record: MessageRecord, digest: bytes) -> StoredContent:
        """The record's content as it is to be stored; `digest` is the record's, and is stored in the open."""
        ...


def plain_content(record: MessageRecord) -> StoredContent:
    """The record's content, not sealed."""
    return StoredContent(
        record.message, record.signature, record.attachments, record.hash_chain_result, record.hash_chain
    )


def digest_of(record: MessageRecord) -> bytes:
    """SHA-256 over the record's fields and, before them, their lengths, so that no two records share their bytes.

    Of a long attachment its SHA-512 digest stands there, and the attachment's own length.
    """
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
        record.kept.encode(),
        b"" if record.hash_chain_result is None else b"=" + record.hash_chain_result,
        b"" if record.hash_chain is None else b"=" + record.hash_chain,
        record.message,
        record.signature,
    ]
    hashed = sha256(b"xgw/message/v2\0")
    hashed.update(b",".join([b"%d" % len(part) for part in (*fields, *record.attachments)]) + b"\0")
    for part in (*fields, *_hashed_attachments(record)):
        hashed.update(part)
    return hashed.digest()


def _hashed_attachments(record: MessageRecord) -> list[bytes]:
    """Of each attachment what its record's digest is over."""
    known = record.attachment_digests or (None,) * len(record.attachments)
    return [
        body if len(body) <= _BY_DIGEST_BYTES else digest or sha512(body).digest()
        for body, digest in zip(record.attachments, known, strict=True)
    ]


def next_link(link: bytes, digest: bytes) -> bytes:
    """The link of the row with this digest, after the row with that link."""
    return sha256(link + digest).digest()
