"""Which messages are time-stamped, by which token; what is left to stamp; and since when stamping fails.

All of it follows from the database, so it survives a restart and is the same in every process. A token and the rows of
the messages that it stamps are stored in one transaction: a crash before it loses a token that nothing refers to, and
the messages are stamped anew. A message has one stamp: whoever comes second changes nothing.

Of a batch the inputs of its hash chain are stored, 64 bytes a message, not a chain of 4 kB each: every chain follows
from the inputs, and the stored result shows that it is still the one that was stamped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import Select, and_, func, insert, or_, select, update
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.dialects import insert_into
from audit.message_reader import HEADERS, MessageHeader, header_of
from audit.store import log_head, message_lease, message_progress, message_record, message_stamp, time_stamp

INPUT_BYTES: Final = 64
_ROW: Final = message_record.c


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time-stamp of one message, or of a batch over a hash chain. Times in milliseconds."""

    token: bytes
    time_ms: int
    authority: str
    result: bytes | None = None
    inputs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class StampingState:
    """How far stamping has come. Times in milliseconds, None where there is nothing to tell."""

    last_success_ms: int | None
    oldest_unstamped_ms: int | None


async def unstamped(engine: AsyncEngine, log: int, limit: int) -> list[MessageHeader]:
    """The first messages of a log that have a signature and no time-stamp."""
    async with engine.connect() as connection:
        progress = await _progress(connection, log)
        head = (await connection.execute(select(log_head.c.messages).where(log_head.c.log == log))).scalar_one()
        rows = await connection.execute(_unstamped(log, progress.stamped, head).limit(limit))
        return [header_of(row) for row in rows]


async def logs_to_stamp(engine: AsyncEngine) -> list[int]:
    """The logs that have messages beyond those known to be stamped."""
    joined = log_head.outerjoin(message_progress, message_progress.c.log == log_head.c.log)
    query = select(log_head.c.log).select_from(joined)
    behind = log_head.c.messages > func.coalesce(message_progress.c.stamped, 0)
    async with engine.connect() as connection:
        return list((await connection.execute(query.where(behind).order_by(log_head.c.log))).scalars())


async def store_stamp(engine: AsyncEngine, stamp: Stamp, messages: Sequence[MessageHeader], *, stored_ms: int) -> int:
    """Store a verified token and whose it is: one transaction, durable on return. Returns the stamp's id.

    `messages` are in the order of the chain's inputs. One that has a stamp already keeps it.
    """
    values = {
        "log": messages[0].log,
        "token": stamp.token,
        "time_ms": stamp.time_ms,
        "stored_ms": stored_ms,
        "authority": stamp.authority,
        "result": stamp.result,
        "inputs": b"".join(stamp.inputs) or None,
    }
    async with engine.begin() as connection:
        made = insert(time_stamp).values(values).returning(time_stamp.c.id)
        number: int = (await connection.execute(made)).scalar_one()
        rows = [(message.log, message.id, number, position) for position, message in enumerate(messages)]
        # One trip to the driver for all rows: meanwhile nobody else writes.
        await connection.exec_driver_sql(_insert_stamps(connection.dialect), rows)
    return number


@cache
def _insert_stamps(dialect: Dialect) -> str:
    statement = insert_into(message_stamp, dialect).on_conflict_do_nothing()
    return str(statement.compile(dialect=dialect, column_keys=["log", "id", "stamp", "position"]))


async def advance(engine: AsyncEngine, log: int) -> None:
    """Note up to where every message of the log is stamped."""
    async with engine.begin() as connection:
        progress = await _progress(connection, log)
        head = (await connection.execute(select(log_head.c.messages).where(log_head.c.log == log))).scalar_one()
        first = (await connection.execute(_unstamped(log, progress.stamped, head).limit(1))).first()
        reached = head if first is None else first.id
        if reached > progress.stamped:
            where = (message_progress.c.log == log, message_progress.c.stamped < reached)
            await connection.execute(update(message_progress).where(*where).values(stamped=reached))


async def stamping_state(engine: AsyncEngine) -> StampingState:
    """How far stamping has come, over all logs of the database."""
    async with engine.connect() as connection:
        last = (
            await connection.execute(select(time_stamp.c.stored_ms).order_by(time_stamp.c.id.desc()).limit(1))
        ).scalar()
        heads = (await connection.execute(select(log_head.c.log, log_head.c.messages))).all()
        oldest: list[int] = []
        for log, messages in heads:
            progress = await _progress(connection, log)
            if messages > progress.stamped:
                first = (await connection.execute(_unstamped(log, progress.stamped, messages).limit(1))).first()
                oldest += [] if first is None else [first.time_ms]
    return StampingState(last, min(oldest, default=None))


async def stamps(engine: AsyncEngine, numbers: Sequence[int]) -> dict[int, Stamp]:
    """The stamps with these ids."""
    row = time_stamp.c
    query = select(row.id, row.token, row.time_ms, row.authority, row.result, row.inputs).where(row.id.in_(numbers))
    async with engine.connect() as connection:
        return {
            found.id: Stamp(
                bytes(found.token),
                found.time_ms,
                found.authority,
                None if found.result is None else bytes(found.result),
                _split(found.inputs),
            )
            for found in await connection.execute(query)
        }


async def take_lease(engine: AsyncEngine, job: str, holder: str, *, now_ms: int, until_ms: int) -> bool:
    """Whether this process may do the job until then. A lease lapses; who holds it, may take it again."""
    row = message_lease.c
    async with engine.begin() as connection:
        new = insert_into(message_lease, connection.dialect).values(job=job, holder=holder, until_ms=until_ms)
        taken = await connection.execute(
            new.on_conflict_do_update(
                index_elements=["job"],
                set_={"holder": new.excluded.holder, "until_ms": new.excluded.until_ms},
                where=or_(row.until_ms <= now_ms, row.holder == holder),
            ).returning(row.holder)
        )
        return taken.scalar() is not None


async def release_lease(engine: AsyncEngine, job: str, holder: str) -> None:
    """Let another process do the job at once."""
    where = (message_lease.c.job == job, message_lease.c.holder == holder)
    async with engine.begin() as connection:
        await connection.execute(update(message_lease).where(*where).values(until_ms=0))


@dataclass(frozen=True, slots=True)
class Progress:
    """Up to which id of a log each job has done its part."""

    stamped: int
    archived: int
    emptied: int


async def _progress(connection: AsyncConnection, log: int) -> Progress:
    row = message_progress.c
    query = select(row.stamped, row.archived, row.emptied).where(row.log == log)
    found = (await connection.execute(query)).first()
    return Progress(0, 0, 0) if found is None else Progress(*found)


async def ensure_progress(engine: AsyncEngine) -> None:
    """A row of progress for each log that has none."""
    async with engine.begin() as connection:
        for log in (await connection.execute(select(log_head.c.log))).scalars().all():
            new = insert_into(message_progress, connection.dialect).values(log=log, stamped=0, archived=0, emptied=0)
            await connection.execute(new.on_conflict_do_nothing())


def _unstamped(log: int, first: int, end: int) -> Select[Any]:
    # What was never signed (the end of an exchange that failed) has nothing to stamp.
    signed = and_(_ROW.signature.is_not(None), func.length(_ROW.signature) > 0)
    where = (_ROW.log == log, _ROW.id >= first, _ROW.id < end, signed, message_stamp.c.stamp.is_(None))
    return HEADERS.where(*where).order_by(_ROW.id)


def _split(inputs: bytes | None) -> tuple[bytes, ...]:
    if inputs is None:
        return ()
    return tuple(bytes(inputs[at : at + INPUT_BYTES]) for at in range(0, len(inputs), INPUT_BYTES))
