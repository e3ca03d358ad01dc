"""What a witness is asked, and what it answers: C2SP tlog-witness.

Pure: the request's form and the decision about it. That the check and the new state are one durable step is
`witness_store`'s.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.cosignature import verify_checkpoint
from audit.errors import MalformedInput, ProofInvalid, SizeConflict, UnknownLog, UntrustedSignature
from audit.merkle import MAX_PATH, verify_consistency
from audit.note import MAX_NOTE_BYTES, NoteKey, parse_note

MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 4096
SIZE_TYPE: Final = "text/x.tlog.size"
_REQUEST: Final = re.compile(rb"old (0|[1-9]\d{0,18})\n((?:[A-Za-z0-9+/]{43}=\n)*)\n(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign: the size that the log thinks the witness has seen, the proof from there, the new note."""

    old_size: int
    path: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The request's body."""
        return f"old {self.old_size}\n{_lines(self.path)}\n".encode() + self.note


@dataclass(frozen=True, slots=True)
class AcceptedCheckpoint:
    """A checkpoint of a known log that is consistent with everything this witness has cosigned."""

    checkpoint: Checkpoint
    text: str


def origin_hash(origin: str) -> str:
    """The name of an origin in a witness's monitoring paths: hex SHA-256."""
    return sha256(origin.encode()).hexdigest()


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """Read a request. Raises MalformedInput."""
    match = _REQUEST.fullmatch(data) if len(data) <= MAX_REQUEST_BYTES else None
    if match is None:
        raise MalformedInput("not an add-checkpoint request")
    path = tuple(b64decode(line) for line in match[2].split())
    if _lines(path).encode() != match[2] or len(path) > MAX_PATH or int(match[1]) >= 2**63:
        raise MalformedInput("not an add-checkpoint request in canonical form")
    return AddCheckpoint(int(match[1]), path, match[3])


def verify_signed(request: AddCheckpoint, logs: Sequence[NoteKey]) -> AcceptedCheckpoint:
    """The request's checkpoint, signed by the log that its origin names.

    Raises UnknownLog (404), UntrustedSignature (403), MalformedInput (400).
    """
    note = parse_note(request.note)
    checkpoint = parse_checkpoint(note.text)
    keys = [key for log in logs if (key := key_for(log, checkpoint.origin)) is not None]
    if not keys:
        raise UnknownLog("this witness knows no such log")
    try:
        verify_checkpoint(request.note, keys)
    except ProofInvalid:
        raise UntrustedSignature("no trusted signature of the log") from None
    if request.old_size > checkpoint.size:
        raise MalformedInput("the old size is beyond the checkpoint's")
    return AcceptedCheckpoint(checkpoint, note.text)


def key_for(known: NoteKey, origin: str) -> NoteKey | None:
    """The known log's key under this origin, if the origin is the log's: its own name, or that of another year.

    Our logs change over each New Year and keep their key: `…/audit/2026` is followed by `…/audit/2027`.
    """
    if known.name == origin:
        return known
    keeper, _, year = known.name.rpartition("/")
    other, _, stated = origin.rpartition("/")
    if keeper != other or not (_is_year(year) and _is_year(stated)):
        return None
    return NoteKey(origin, known.kind, known.public)


def verify_successor(accepted: AcceptedCheckpoint, request: AddCheckpoint, seen: Checkpoint | None) -> Checkpoint:
    """The checkpoint, consistent with what this witness has seen of the log.

    Raises SizeConflict (409, with the size seen), ProofInvalid (422).
    """
    seen_size = 0 if seen is None else seen.size
    if request.old_size != seen_size:
        raise SizeConflict(seen_size)
    checkpoint = accepted.checkpoint
    if seen is None or seen_size == 0:
        if request.path:
            raise ProofInvalid("from the empty tree there is nothing to prove")
        return checkpoint
    verify_consistency(seen_size, seen.root, checkpoint.size, checkpoint.root, request.path)
    return checkpoint


def _is_year(text: str) -> bool:
    return len(text) == 4 and text.isascii() and text.isdigit()


def _lines(hashes: Sequence[bytes]) -> str:
    return "".join(f"{b64encode(hashed).decode()}\n" for hashed in hashes)
