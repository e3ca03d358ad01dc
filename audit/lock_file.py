"""The checkpoint lock file: the last checkpoint that was signed, kept apart from the database.

A database restored from an old backup would grow a second history under checkpoints that are already in other hands.
So the last signed checkpoint lives in a small file on another disk, is never restored from a backup, and is replaced
by compare-and-swap, durably, before a new checkpoint is published. A database behind it refuses to start.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import LockFileMoved, LogRolledBack
from audit.note import parse_note
from audit.store import log_head
from audit.tree_reader import root_at


@dataclass(frozen=True, slots=True)
class Signed:
    """What the lock file holds: the checkpoint, and the note that signs it."""

    checkpoint: Checkpoint
    note: bytes


def read_signed(path: Path) -> Signed | None:
    """The last signed checkpoint with its note; None if none was ever signed. Raises MalformedInput."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return Signed(parse_checkpoint(parse_note(data).text), data)


def read_lock_file(path: Path) -> Checkpoint | None:
    """The last signed checkpoint; None if none was ever signed. Raises MalformedInput."""
    signed = read_signed(path)
    return None if signed is None else signed.checkpoint


def swap_lock_file(path: Path, *, expected: Checkpoint | None, note: bytes) -> None:
    """Replace the checkpoint, if it is still the expected one; durable on return. Raises LockFileMoved."""
    with _exclusively(path):
        if read_lock_file(path) != expected:
            raise LockFileMoved("another publisher has signed meanwhile")
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, note)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _exclusively(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


async def require_not_behind(engine: AsyncEngine, origin: str, path: Path) -> Checkpoint | None:
    """The last signed checkpoint, verified to be a prefix of the stored log. Raises LogRolledBack otherwise."""
    signed = read_signed(path)
    return None if signed is None else await require_prefix(engine, origin, signed.checkpoint)


async def require_prefix(engine: AsyncEngine, origin: str, signed: Checkpoint) -> Checkpoint:
    """The signed checkpoint, verified to be a prefix of the stored log of this origin. Raises LogRolledBack."""
    if signed.origin != origin:
        raise LogRolledBack("the lock file is another log's: each log has one of its own")
    async with engine.connect() as connection:
        query = select(log_head.c.log, log_head.c.size).where(log_head.c.origin == origin)
        head = (await connection.execute(query)).first()
        if head is None or head.size < signed.size:
            raise LogRolledBack("the database is behind the last signed checkpoint: restore the newer one")
        if await root_at(connection, head.log, signed.size) != signed.root:
            raise LogRolledBack("the database holds another history than the last signed checkpoint")
    return signed
