"""Time-stamps (RFC 3161) over a log's public checkpoints, kept beside them.

A token says from outside when a tree existed, and still says so when the log's keys are lost or in other hands. Who
gives tokens and verifies them isn't this package's business: here they are stored, found and handed out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.checkpoint import parse_checkpoint
from audit.note import parse_note
from audit.store import checkpoint_stamp


@dataclass(frozen=True, slots=True)
class CheckpointStamp:
    """A token over SHA-512 of a public checkpoint's bytes, and the time in it (ms, UTC)."""

    log: int
    note: bytes
    token: bytes
    time_ms: int
    authority: str


async def store_checkpoint_stamp(engine: AsyncEngine, stamp: CheckpointStamp) -> None:
    """Keep a stamp that the caller has verified; durable on return."""
    values = {
        "log": stamp.log,
        "time_ms": stamp.time_ms,
        "size": parse_checkpoint(parse_note(stamp.note).text).size,
        "note": stamp.note.decode(),
        "token": stamp.token,
        "authority": stamp.authority,
    }
    async with engine.begin() as connection:
        await connection.execute(insert(checkpoint_stamp).values(values))


async def newest_stamp(connection: AsyncConnection, log: int) -> CheckpointStamp | None:
    """The newest stamp of a log; None before the first."""
    query = select(checkpoint_stamp).where(checkpoint_stamp.c.log == log).order_by(checkpoint_stamp.c.time_ms.desc())
    row = (await connection.execute(query.limit(1))).first()
    return None if row is None else _stamp(row)


async def stamps_of(connection: AsyncConnection, log: int) -> list[CheckpointStamp]:
    """All stamps of a log, oldest first."""
    query = select(checkpoint_stamp).where(checkpoint_stamp.c.log == log).order_by(checkpoint_stamp.c.time_ms)
    return [_stamp(row) for row in await connection.execute(query)]


def _stamp(row: Row[Any]) -> CheckpointStamp:
    return CheckpointStamp(row.log, row.note.encode(), bytes(row.token), row.time_ms, row.authority)
