"""The publisher: signs a checkpoint whenever the log has grown, once a second at most.

Order of durable steps: the lock file takes the new checkpoint, then the database, then the world. So a checkpoint that
anyone has seen is in the lock file, and a database behind it refuses to start. Never signs inside an append.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.checkpoint import Checkpoint
from audit.cosignature import Cosigner, verify_checkpoint
from audit.dialects import insert_into
from audit.errors import LockFileMoved, LogRolledBack, LogUnavailable, OutOfRange
from audit.lock_file import read_signed, require_prefix, swap_lock_file
from audit.note import NoteKey, NoteSigner
from audit.store import checkpoint, log_head

INTERVAL_SECONDS: Final = 1.0
_ATTEMPTS: Final = 10


class Publisher:
    """Publishes one log's checkpoints. Use each from one event loop; several processes may share a lock file."""

    def __init__(
        self,
        engine: AsyncEngine,
        signer: NoteSigner,
        *,
        lock_file: Path,
        origin: str,
        clock_ms: Callable[[], int],
        on_failure: Callable[[Exception], None] | None = None,
        witnessed: bool = False,
        cosigner: Cosigner | None = None,
        old_signer: NoteSigner | None = None,
    ) -> None:
        """`on_failure` is told of a publication that failed; the next second tries again.

        `witnessed`: the public sees only checkpoints that `show` is given, those that a quorum has cosigned.

        `cosigner`: a second key of the log (ML-DSA-44), whose line stands in each checkpoint after the first one's.
        `old_signer`: the key before the present one, which signs beside it until nobody knows it alone.
        """
        verifiers = [signer.verifier]
        verifiers += [] if old_signer is None else [old_signer.verifier]
        verifiers += [] if cosigner is None else [cosigner.verifier]
        if {verifier.name for verifier in verifiers} != {origin}:
            raise ValueError("a log signs under its origin")
        self._verifiers = tuple(verifiers)
        self._engine = engine
        self._signer = signer
        self._cosigner = cosigner
        self._old_signer = old_signer
        self._lock_file = lock_file
        self._origin = origin
        self._clock_ms = clock_ms
        self._on_failure = on_failure
        self._witnessed = witnessed
        self._note: bytes | None = None
        self._signed: Checkpoint | None = None
        self._shown: tuple[Checkpoint, bytes] | None = None
        self._covered_at: float | None = None
        self._log = 0
        self._publishing = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def verifier(self) -> NoteKey:
        return self._signer.verifier

    @property
    def verifiers(self) -> tuple[NoteKey, ...]:
        """All keys that sign this log's checkpoints, the present Ed25519 key first."""
        return self._verifiers

    @property
    def origin(self) -> str:
        return self._origin

    @property
    def log(self) -> int:
        """The log's id in the store."""
        return self._log

    async def start(self) -> None:
        """Check the database against the lock file, publish, and keep publishing. Start the sequencer first.

        Raises LogRolledBack if the database is behind what was signed.
        """
        await self.publish()
        self._task = asyncio.create_task(self._run(), name="publisher")

    async def close(self) -> None:
        """Publish what is there, then stop."""
        self._stopping.set()
        if self._task is not None:
            await self._task
            self._task = None
            await self.publish()

    async def latest(self) -> bytes:
        """The newest public checkpoint, as a signed note, with the cosignatures of its witnesses if there are any."""
        return self._public()[1]

    @property
    def published(self) -> Checkpoint:
        """The newest public checkpoint. Proofs to outsiders end here, not at the log's head."""
        return self._public()[0]

    @property
    def is_public(self) -> bool:
        """Whether there is a public checkpoint: of a witnessed log there is none before a first quorum."""
        return (self._shown if self._witnessed else self._signed) is not None

    @property
    def newest_note(self) -> bytes:
        """The newest checkpoint that was signed, whether witnesses have seen it or not."""
        if self._note is None:
            raise LogUnavailable("nothing has been published yet")
        return self._note

    def show(self, note: bytes) -> None:
        """Put a checkpoint of ours that a quorum has cosigned before the public."""
        checkpoint = verify_checkpoint(note, self._verifiers)
        if self._shown is None or checkpoint.size >= self._shown[0].size:
            self._shown = checkpoint, note

    def _public(self) -> tuple[Checkpoint, bytes]:
        if self._witnessed:
            shown = self._shown
        else:
            shown = None if self._signed is None or self._note is None else (self._signed, self._note)
        if shown is None:
            raise LogUnavailable("nothing has been published yet")
        return shown

    @property
    def behind_seconds(self) -> float:
        """For how long at most the log's head may have been ahead of the newest checkpoint; infinite before any."""
        return inf if self._covered_at is None else monotonic() - self._covered_at

    async def publish(self) -> bytes:
        """Sign and publish the head now, if it has grown; durable on return. Returns the newest note.

        tlog-checkpoint: never signs what is inconsistent with anything signed before, by this process or another one
        with the same lock file. Raises LogRolledBack then.
        """
        async with self._publishing:
            started = monotonic()
            for _ in range(_ATTEMPTS):
                # Who finds the lock file moved has lost to another publisher, so together they get on.
                with suppress(LockFileMoved):
                    note = await self._publish_head()
                    self._covered_at = started
                    return note
            raise LockFileMoved("other publishers sign all the time")

    async def _publish_head(self) -> bytes:
        # Read once: what was verified to be a prefix is what the swap expects, and what is put before the world.
        found = read_signed(self._lock_file)
        if found is not None:
            await require_prefix(self._engine, self._origin, found.checkpoint)
        head = await self._head()
        if found is not None and found.checkpoint != self._signed:
            # Signed by a process that ended before it could publish it, or by one beside us.
            await self._publish(found.checkpoint, found.note)
        if found is not None and head.size == found.checkpoint.size:
            return self.newest_note
        note = self._signer.sign(head.text)
        if self._old_signer is not None:
            note += self._old_signer.signature(head.text).line.encode()
        if self._cosigner is not None:
            note += self._cosigner.sign(head.text, time=self._clock_ms() // 1000).line.encode()
        expected = None if found is None else found.checkpoint
        await asyncio.to_thread(swap_lock_file, self._lock_file, expected=expected, note=note)
        await self._publish(head, note)
        return note

    async def _publish(self, signed: Checkpoint, note: bytes) -> None:
        """Put a checkpoint that is in the lock file before the world."""
        # Signed by the present key, or by the one before it.
        if verify_checkpoint(note, self._verifiers) != signed:
            raise LogRolledBack("the note is not the checkpoint's")
        row = {"log": self._log, "size": signed.size, "note": note.decode(), "published_ms": self._clock_ms()}
        async with self._engine.begin() as connection:
            await connection.execute(insert_into(checkpoint, self._engine.dialect).values(row).on_conflict_do_nothing())
        self._signed, self._note = signed, note

    async def _head(self) -> Checkpoint:
        async with self._engine.connect() as connection:
            query = select(log_head.c.log, log_head.c.size, log_head.c.root).where(log_head.c.origin == self._origin)
            row = (await connection.execute(query)).first()
        if row is None:
            raise OutOfRange("no such log")
        self._log = row.log
        return Checkpoint(self._origin, row.size, bytes(row.root))

    async def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), INTERVAL_SECONDS)
            try:
                await self.publish()
            except Exception as error:  # noqa: BLE001 - a database that is away for a moment must not end publishing
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        if self._on_failure is not None:
            self._on_failure(error)
