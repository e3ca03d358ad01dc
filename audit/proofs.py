"""Proofs that a stored log gives to others: C2SP tlog-proof for a leaf, and a consistency proof in a witness's form."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.checkpoint import parse_checkpoint
from audit.errors import MalformedInput, OutOfRange, ProofInvalid
from audit.merkle import MAX_PATH, verify_inclusion
from audit.note import NoteKey, parse_note, verify_note
from audit.store import checkpoint
from audit.tree_reader import consistency_path, inclusion_path

_PROOF: Final = re.compile(
    rb"c2sp\.org/tlog-proof@v1\n"
    rb"(?:extra [A-Za-z0-9+/]*={0,2}\n)?"
    rb"index (0|[1-9]\d{0,18})\n"
    rb"((?:[A-Za-z0-9+/]{43}=\n)*)\n"
    rb"(.+)",
    re.DOTALL,
)
MAX_PROOF_BYTES: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class LeafProof:
    """A parsed tlog-proof, not verified."""

    index: int
    path: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """tlog-proof: offline-verifiable, `.tlog-proof` as a file."""
        return f"c2sp.org/tlog-proof@v1\nindex {self.index}\n{_lines(self.path)}\n".encode() + self.note


def parse_leaf_proof(data: bytes) -> LeafProof:
    """Read a tlog-proof. Raises MalformedInput."""
    match = _PROOF.fullmatch(data) if len(data) <= MAX_PROOF_BYTES else None
    if match is None:
        raise MalformedInput("not a tlog-proof")
    path = tuple(b64decode(line) for line in match[2].split())
    if _lines(path).encode() != match[2]:
        raise MalformedInput("hashes in canonical base64")
    if len(path) > MAX_PATH:
        raise MalformedInput("a path has at most 63 hashes")
    return LeafProof(int(match[1]), path, match[3])


def verify_leaf_proof(proof: LeafProof, leaf: bytes, *, origin: str, keys: Sequence[NoteKey]) -> int:
    """The size of the signed tree that the leaf hash is in. Raises ProofInvalid, MalformedInput."""
    signed = parse_checkpoint(verify_note(proof.note, keys).text)
    if signed.origin != origin:
        raise ProofInvalid("the checkpoint is of another log")
    verify_inclusion(leaf, proof.index, signed.size, proof.path, signed.root)
    return signed.size


async def leaf_proof(connection: AsyncConnection, log: int, index: int, note: bytes) -> LeafProof:
    """The proof that a leaf is in the tree of a published checkpoint."""
    size = parse_checkpoint(parse_note(note).text).size
    return LeafProof(index, tuple(await inclusion_path(connection, log, index, size)), note)


async def consistency_text(connection: AsyncConnection, log: int, old: int, note: bytes) -> bytes:
    """`old <size>`, base64 lines, an empty line, the checkpoint: byte-equal to a witness's add-checkpoint request."""
    new = parse_checkpoint(parse_note(note).text).size
    path = await consistency_path(connection, log, old, new)
    return f"old {old}\n{_lines(path)}\n".encode() + note


async def published_note(connection: AsyncConnection, log: int, size: int) -> bytes:
    """The checkpoint that was published at exactly this size."""
    query = select(checkpoint.c.note).where(checkpoint.c.log == log, checkpoint.c.size == size)
    note = (await connection.execute(query)).scalar()
    if note is None:
        raise OutOfRange("no checkpoint was published at this size")
    return str(note).encode()


def _lines(hashes: Sequence[bytes]) -> str:
    return "".join(f"{b64encode(hashed).decode()}\n" for hashed in hashes)
