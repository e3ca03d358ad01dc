"""Cosignatures: C2SP tlog-cosignature, Ed25519 (type 0x04).

A witness signs `cosignature/v1`, the time in POSIX seconds, and the whole checkpoint text: as of then, this is the
largest consistent tree that it saw for this origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.errors import MalformedInput
from audit.note import COSIGNATURE, Note, NoteKey, NoteSignature, verify_ed25519

_BYTES: Final = 8 + 64


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A verified cosignature: who, and when (POSIX seconds)."""

    witness: str
    time: int


class CosignatureSigner:
    """A witness's key under its name."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = NoteKey(name, COSIGNATURE, key.public_key().public_bytes_raw())

    def sign(self, text: str, *, time: int) -> NoteSignature:
        """The cosignature of a checkpoint's text."""
        signature = time.to_bytes(8, "big") + self._key.sign(_message(text, time))
        return NoteSignature(self.verifier.name, self.verifier.key_id, signature)


def verify_cosignatures(note: Note, witnesses: Sequence[NoteKey]) -> tuple[Cosignature, ...]:
    """The cosignatures by known witnesses, possibly none. Raises ProofInvalid if one of theirs does not hold."""
    known = {(key.name, key.key_id): key for key in witnesses if key.kind == COSIGNATURE}
    found = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if len(signature.signature) != _BYTES:
            raise MalformedInput("a cosignature has 72 bytes")
        time = int.from_bytes(signature.signature[:8], "big")
        verify_ed25519(key, signature.signature[8:], _message(note.text, time))
        found.append(Cosignature(key.name, time))
    return tuple(found)


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
