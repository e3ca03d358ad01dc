"""The witness: remembers the largest tree that it saw of each log, and cosigns only what extends it.

C2SP tlog-witness. The check and the new memory are one compare-and-swap in the database, committed before the
cosignature is made: otherwise two requests at once could have two histories cosigned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.checkpoint import Checkpoint
from audit.cosignature import CosignatureSigner
from audit.dialects import insert_into
from audit.errors import SizeConflict
from audit.note import NoteKey
from audit.store import witnessed
from audit.witness import AcceptedCheckpoint, origin_hash, parse_add_checkpoint, verify_signed, verify_successor

_ATTEMPTS: Final = 3


class Witness:
    """Cosigns the checkpoints of known logs. Any number of callers and processes at once."""

    def __init__(
        self, engine: AsyncEngine, signer: CosignatureSigner, logs: Sequence[NoteKey], *, clock_ms: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._signer = signer
        self._logs = tuple(logs)
        self._clock_ms = clock_ms

    @property
    def verifier(self) -> NoteKey:
        """The key under which this witness cosigns."""
        return self._signer.verifier

    async def add_checkpoint(self, body: bytes) -> bytes:
        """The cosignature line for a request's checkpoint; what it says is durable on return.

        Raises MalformedInput, UnknownLog, UntrustedSignature, SizeConflict, ProofInvalid.
        """
        request = parse_add_checkpoint(body)
        accepted = verify_signed(request, self._logs)
        for _ in range(_ATTEMPTS):
            seen = await self.seen(accepted.checkpoint.origin)
            verify_successor(accepted, request, seen)
            if await self._remember(accepted, request.note, seen):
                cosignature = self._signer.sign(accepted.text, time=self._clock_ms() // 1000)
                return cosignature.line.encode()
        # Others were quicker each time: the log looks again from what we have seen by now.
        newest = await self.seen(accepted.checkpoint.origin)
        raise SizeConflict(0 if newest is None else newest.size)

    async def seen(self, origin: str) -> Checkpoint | None:
        """The largest tree that this witness saw of a log."""
        async with self._engine.connect() as connection:
            query = select(witnessed.c.size, witnessed.c.root).where(witnessed.c.origin == origin)
            row = (await connection.execute(query)).first()
        return None if row is None else Checkpoint(origin, row.size, bytes(row.root))

    async def note_of(self, origin_digest: str) -> bytes | None:
        """The newest checkpoint that was cosigned, as the log signed it, by the hex SHA-256 of its origin."""
        async with self._engine.connect() as connection:
            query = select(witnessed.c.note).where(witnessed.c.origin_hash == origin_digest)
            note = (await connection.execute(query)).scalar()
        return None if note is None else str(note).encode()

    async def _remember(self, accepted: AcceptedCheckpoint, note: bytes, seen: Checkpoint | None) -> bool:
        checkpoint = accepted.checkpoint
        values = {"size": checkpoint.size, "root": checkpoint.root, "note": note.decode()}
        async with self._engine.begin() as connection:
            if seen is None:
                return await _insert(connection, checkpoint.origin, values)
            where = (
                witnessed.c.origin == checkpoint.origin,
                witnessed.c.size == seen.size,
                witnessed.c.root == seen.root,
            )
            return (await connection.execute(update(witnessed).where(*where).values(values))).rowcount == 1


async def _insert(connection: AsyncConnection, origin: str, values: dict[str, Any]) -> bool:
    row = {"origin": origin, "origin_hash": origin_hash(origin), **values}
    return (
        await connection.execute(insert_into(witnessed, connection.dialect).values(row).on_conflict_do_nothing())
    ).rowcount == 1
