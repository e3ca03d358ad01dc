"""Signed notes: C2SP signed-note, with Ed25519 signatures (type 0x01). Verifier keys of cosigners are read here, too.

A note is text, an empty line, and signature lines `— <name> base64(key id || signature)`. Who verifies, names the
keys they know: signatures by others are ignored, a known key whose signature fails rejects the note.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.errors import MalformedInput, ProofInvalid

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
SUBTREE: Final = 0x06
MAX_NOTE_BYTES: Final = 1 << 16
MAX_SIGNATURES: Final = 64
_KEY_ID_BYTES: Final = 4
# The public key's bytes by type: Ed25519, and ML-DSA-44 (FIPS 204).
_KEY_BYTES: Final = {ED25519: 32, COSIGNATURE: 32, SUBTREE: 1312}
# signed-note: no Unicode space, no plus sign; half a character (a surrogate) is no Unicode at all.
_NAME: Final = re.compile(r"[^\s+\ud800-\udfff]{1,255}")
_SIGNATURE: Final = re.compile(r"\u2014 ([^\s+]{1,255}) ([A-Za-z0-9+/]+={0,2})")
_FORBIDDEN: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line, not verified."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        return f"\u2014 {self.name} {b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note, not verified. `text` ends with a line feed."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class VerifiedNote:
    """A note's text, and the names of the known keys that signed it."""

    text: str
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A verifier key (`vkey`): `name+hex(key id)+base64(type || public key)`."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes([self.kind]) + self.public).decode()}"


class NoteSigner:
    """Signs notes with an Ed25519 key under a name."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError("a signer's name has no space and no plus sign")
        self._key = key
        self.verifier = NoteKey(name, ED25519, key.public_key().public_bytes_raw())

    @property
    def name(self) -> str:
        return self.verifier.name

    def sign(self, text: str) -> bytes:
        """The note with its one signature."""
        return f"{text}\n{self.signature(text).line}".encode()

    def signature(self, text: str) -> NoteSignature:
        """The signature alone, for a note that has others."""
        if not text.endswith("\n") or _FORBIDDEN.search(text):
            raise ValueError("a note's text ends with a line feed and has no control characters")
        return NoteSignature(self.name, self.verifier.key_id, self._key.sign(text.encode()))


def parse_vkey(text: str) -> NoteKey:
    """A verifier key of one of the types above. Raises MalformedInput."""
    parts = text.split("+", 2)
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
        raise MalformedInput("not a verifier key")
    data = _decode(parts[2])
    if not data or len(data) - 1 != _KEY_BYTES.get(data[0]):
        raise MalformedInput("not an Ed25519 or ML-DSA-44 verifier key")
    key = NoteKey(parts[0], data[0], data[1:])
    if key.text != text:
        raise MalformedInput("key id does not match the key")
    return key


def parse_note(data: bytes) -> Note:
    """Split a note at its last empty line. Raises MalformedInput."""
    try:
        whole = data.decode() if len(data) <= MAX_NOTE_BYTES else ""
    except UnicodeDecodeError:
        raise MalformedInput("a note is UTF-8") from None
    at = whole.rfind("\n\n")
    if at < 0 or not whole.endswith("\n") or _FORBIDDEN.search(whole):
        raise MalformedInput("not a signed note")
    lines = whole[at + 2 :].split("\n")[:-1]
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise MalformedInput("a note has 1 to 64 signatures")
    return Note(whole[: at + 1], tuple(parse_signature_line(line) for line in lines))


def parse_signature_line(line: str) -> NoteSignature:
    """One signature line, without its line feed."""
    match = _SIGNATURE.fullmatch(line)
    if match is None:
        raise MalformedInput("not a signature line")
    data = _decode(match[2])
    if len(data) <= _KEY_ID_BYTES:
        raise MalformedInput("signature too short")
    return NoteSignature(match[1], data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def verify_note(data: bytes, keys: Sequence[NoteKey]) -> VerifiedNote:
    """The note's text, signed by at least one of these Ed25519 keys. Raises MalformedInput, ProofInvalid."""
    note = parse_note(data)
    known = {(key.name, key.key_id): key for key in keys if key.kind == ED25519}
    signers = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        verify_ed25519(key, signature.signature, note.text.encode())
        signers.append(key.name)
    if not signers:
        raise ProofInvalid("no known key signed this note")
    return VerifiedNote(note.text, tuple(dict.fromkeys(signers)))


def verify_ed25519(key: NoteKey, signature: bytes, message: bytes) -> bytes:
    """The message, signed by the key."""
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        raise ProofInvalid("a known key's signature does not hold") from None
    return message


def _decode(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        raise MalformedInput("not base64") from None
    if b64encode(data).decode() != text:
        raise MalformedInput("not canonical base64")
    return data
