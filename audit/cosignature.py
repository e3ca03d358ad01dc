"""Cosignatures: C2SP tlog-cosignature, Ed25519 (type 0x04) and ML-DSA-44 (type 0x06).

A witness signs the checkpoint and the time in POSIX seconds: as of then, this is the largest consistent tree that it
saw for this origin. A log may put an ML-DSA-44 line of its own beside its Ed25519 signature, so that its checkpoints
outlast the day on which a quantum computer forges the latter; who doesn't know the key ignores the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import MalformedInput, ProofInvalid
from audit.note import COSIGNATURE, ED25519, SUBTREE, Note, NoteKey, NoteSignature, parse_note, verify_ed25519

_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = {COSIGNATURE: 64, SUBTREE: 2420}
_LABEL: Final = b"subtree/v1\n\0"


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A verified cosignature: who, and when (POSIX seconds)."""

    witness: str
    time: int


class Cosigner(Protocol):
    """Cosigns checkpoints under a name."""

    @property
    def verifier(self) -> NoteKey:
        """The key that its cosignatures are verified with."""
        ...

    def sign(self, text: str, *, time: int) -> NoteSignature:
        """The cosignature of a checkpoint's text."""
        ...


class CosignatureSigner:
    """An Ed25519 key under a witness's name."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._verifier = NoteKey(name, COSIGNATURE, key.public_key().public_bytes_raw())

    @property
    def verifier(self) -> NoteKey:
        return self._verifier

    def sign(self, text: str, *, time: int) -> NoteSignature:
        """The cosignature of a checkpoint's text."""
        signature = time.to_bytes(_TIME_BYTES, "big") + self._key.sign(_message(text, time))
        return NoteSignature(self.verifier.name, self.verifier.key_id, signature)


class MLDSASigner:
    """An ML-DSA-44 key under a log's or a witness's name."""

    def __init__(self, name: str, seed: bytes) -> None:
        """`seed`: 32 random bytes (FIPS 204). Raises ValueError where the library lacks the algorithm."""
        try:
            self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
        except UnsupportedAlgorithm:
            raise ValueError("this machine's cryptography has no ML-DSA-44") from None
        self._verifier = NoteKey(name, SUBTREE, self._key.public_key().public_bytes_raw())

    @property
    def verifier(self) -> NoteKey:
        return self._verifier

    def sign(self, text: str, *, time: int) -> NoteSignature:
        """The cosignature of a checkpoint's text. Extension lines are not under it."""
        message = _subtree_message(self.verifier.name, time, parse_checkpoint(text))
        signature = time.to_bytes(_TIME_BYTES, "big") + self._key.sign(message)
        return NoteSignature(self.verifier.name, self.verifier.key_id, signature)


def verify_cosignatures(note: Note, witnesses: Sequence[NoteKey]) -> tuple[Cosignature, ...]:
    """The cosignatures by known witnesses, possibly none. Raises ProofInvalid if one of theirs does not hold."""
    known = {(key.name, key.key_id): key for key in witnesses if key.kind in _SIGNATURE_BYTES}
    found = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is not None:
            found.append(Cosignature(key.name, _verify(note, signature, key)))
    return tuple(found)


def verify_checkpoint(data: bytes, keys: Sequence[NoteKey]) -> Checkpoint:
    """The checkpoint of a note that a log signed with at least one of these keys, Ed25519 or ML-DSA-44.

    Unknown lines are ignored, a known key whose signature fails rejects the note. Raises MalformedInput, ProofInvalid.
    """
    note = parse_note(data)
    known = {(key.name, key.key_id): key for key in keys if key.kind in (ED25519, SUBTREE)}
    signed = False
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if key.kind == ED25519:
            verify_ed25519(key, signature.signature, note.text.encode())
        else:
            _verify(note, signature, key)
        signed = True
    if not signed:
        raise ProofInvalid("no known key signed this note")
    return parse_checkpoint(note.text)


def _verify(note: Note, signature: NoteSignature, key: NoteKey) -> int:
    """The time that a cosignature states, verified."""
    if len(signature.signature) != _TIME_BYTES + _SIGNATURE_BYTES[key.kind]:
        raise MalformedInput("a cosignature has 72 bytes with Ed25519, 2,428 with ML-DSA-44")
    time = int.from_bytes(signature.signature[:_TIME_BYTES], "big")
    if time >= 2**63:
        raise MalformedInput("a cosignature's time is below 2^63")
    if key.kind == COSIGNATURE:
        verify_ed25519(key, signature.signature[_TIME_BYTES:], _message(note.text, time))
    else:
        _verify_mldsa(
            key, signature.signature[_TIME_BYTES:], _subtree_message(key.name, time, parse_checkpoint(note.text))
        )
    return time


def _verify_mldsa(key: NoteKey, signature: bytes, message: bytes) -> bytes:
    """The message, signed by the key."""
    try:
        MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        raise ProofInvalid("a known key's signature does not hold") from None
    except UnsupportedAlgorithm:
        raise ProofInvalid("this machine can't verify ML-DSA-44") from None
    return message


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _subtree_message(name: str, time: int, checkpoint: Checkpoint) -> bytes:
    """`cosigned_message` of a whole tree: from leaf 0 to the checkpoint's size."""
    parts = [_LABEL, _opaque(name), time.to_bytes(8, "big"), _opaque(checkpoint.origin), bytes(8)]
    return b"".join([*parts, checkpoint.size.to_bytes(8, "big"), checkpoint.root])


def _opaque(text: str) -> bytes:
    """`opaque <1..2^8-1>` of RFC 8446 section 3.4."""
    data = text.encode()
    if not 1 <= len(data) <= 255:
        raise MalformedInput("a name has 1 to 255 bytes")
    return bytes([len(data)]) + data
