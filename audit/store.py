"""The tables of the log, and how to open the database that holds them.

One database may hold several logs (one per gateway and year), told apart by `log`, the id of their row in `log_head`.
That row is the one point where writers meet: who appends, locks it first. Entries, full tiles and their order never
change; records and message bodies are the deletable part. Partial tiles and the frontier are never stored: they
follow from the entries.
"""

from __future__ import annotations

import os
from contextlib import suppress
from sqlite3 import Connection as SQLiteConnection
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from audit.errors import LogUnavailable
from audit.tiles import TILE_BYTES

metadata = MetaData()
_Number: Final = BigInteger().with_variant(Integer, "sqlite")

log_head = Table(
    "log_head",
    metadata,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("origin", Text, nullable=False, unique=True),
    Column("size", _Number, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("last_ms", _Number, nullable=False),
    Column("messages", _Number, nullable=False),
    Column("message_link", LargeBinary, nullable=False),
    sqlite_strict=True,
)
log_entry = Table(
    "log_entry",
    metadata,
    Column("log", Integer, nullable=False),
    Column("idx", _Number, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    # Both NULL for a leaf about no person.
    Column("tag", LargeBinary),
    Column("n", _Number),
    PrimaryKeyConstraint("log", "idx"),
    UniqueConstraint("tag", "n"),
    sqlite_strict=True,
)
log_tile = Table(
    "log_tile",
    metadata,
    Column("log", Integer, nullable=False),
    Column("level", Integer, nullable=False),
    Column("idx", _Number, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("log", "level", "idx"),
    CheckConstraint(f"length(body) = {TILE_BYTES}", name="full_tile"),
    sqlite_strict=True,
)
subject_head = Table(
    "subject_head",
    metadata,
    Column("tag", LargeBinary, primary_key=True),
    Column("log", Integer, nullable=False),
    Column("n", _Number, nullable=False),
    Column("head", LargeBinary, nullable=False),
    sqlite_strict=True,
)
record = Table(
    "record",
    metadata,
    Column("log", Integer, nullable=False),
    Column("idx", _Number, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("expires_ms", _Number, nullable=False),
    PrimaryKeyConstraint("log", "idx"),
    Index("record_expiry", "expires_ms"),
    sqlite_strict=True,
)
# What joins an entry with its record.
RECORD_OF_ENTRY: Final = (record.c.log == log_entry.c.log) & (record.c.idx == log_entry.c.idx)
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("log", Integer, nullable=False),
    Column("size", _Number, nullable=False),
    Column("note", Text, nullable=False),
    Column("published_ms", _Number, nullable=False),
    PrimaryKeyConstraint("log", "size"),
    sqlite_strict=True,
)
message_record = Table(
    "message_record",
    metadata,
    Column("log", Integer, nullable=False),
    Column("id", _Number, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("time_ms", _Number, nullable=False),
    # The leaves of the same step: entry_count of them from entry_from on.
    Column("entry_from", _Number, nullable=False),
    Column("entry_count", Integer, nullable=False),
    # NULL once the body's retention has ended; digest and link stay. Sealed unless `key_id` is NULL.
    Column("message", LargeBinary),
    Column("signature", LargeBinary),
    Column("attachments", Integer, nullable=False),
    Column("kept", Text, nullable=False),
    Column("key_id", Text),
    # Of a signature over a hash chain; sealed too, since a digest confirms a guess. NULL with the message.
    Column("hash_chain_result", LargeBinary),
    Column("hash_chain", LargeBinary),
    Column("digest", LargeBinary, nullable=False),
    Column("link", LargeBinary, nullable=False),
    Column("unique_key", LargeBinary, unique=True),
    PrimaryKeyConstraint("log", "id"),
    Index("message_request_id", "request_id"),
    Index("message_message_id", "message_id"),
    sqlite_strict=True,
)
message_attachment = Table(
    "message_attachment",
    metadata,
    Column("log", Integer, nullable=False),
    Column("id", _Number, nullable=False),
    Column("position", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("log", "id", "position"),
    ForeignKeyConstraint(["log", "id"], ["message_record.log", "message_record.id"]),
    sqlite_strict=True,
)
# What is known of messages later than they were logged stands beside their rows, which never change.
time_stamp = Table(
    "time_stamp",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("log", Integer, nullable=False),
    Column("token", LargeBinary, nullable=False),
    Column("time_ms", _Number, nullable=False),
    Column("stored_ms", _Number, nullable=False),
    Column("authority", Text, nullable=False),
    # Of a batch: the stamped hash chain result, and the inputs of the chain (SHA-512 each). NULL when one was stamped.
    Column("result", LargeBinary),
    Column("inputs", LargeBinary),
    sqlite_strict=True,
)
message_archive = Table(
    "message_archive",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False, unique=True),
    Column("grouping", Text, nullable=False),
    # The last linking digest in it, which the group's next archive begins with.
    Column("digest", Text, nullable=False),
    Column("records", Integer, nullable=False),
    Column("created_ms", _Number, nullable=False),
    Column("transferred_ms", _Number),
    sqlite_strict=True,
)
message_stamp = Table(
    "message_stamp",
    metadata,
    Column("log", Integer, nullable=False),
    Column("id", _Number, nullable=False),
    Column("stamp", _Number, nullable=False),
    Column("position", Integer, nullable=False),
    Column("archive", _Number),
    PrimaryKeyConstraint("log", "id"),
    ForeignKeyConstraint(["stamp"], ["time_stamp.id"]),
    ForeignKeyConstraint(["archive"], ["message_archive.id"]),
    sqlite_strict=True,
)
# Up to where everything is done, so that nobody looks for the rest among all rows.
message_progress = Table(
    "message_progress",
    metadata,
    Column("log", Integer, primary_key=True, autoincrement=False),
    Column("stamped", _Number, nullable=False),
    Column("archived", _Number, nullable=False),
    Column("emptied", _Number, nullable=False),
    sqlite_strict=True,
)
# Which process does a job of the message log at the moment, and until when at most.
message_lease = Table(
    "message_lease",
    metadata,
    Column("job", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until_ms", _Number, nullable=False),
    sqlite_strict=True,
)
operator_access = Table(
    "operator_access",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("time_ms", _Number, nullable=False),
    Column("operator", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("criteria", Text, nullable=False),
    sqlite_strict=True,
)

# Checkpoints with the cosignatures that made a quorum: what the public sees.
cosigned_checkpoint = Table(
    "cosigned_checkpoint",
    metadata,
    Column("log", Integer, nullable=False),
    Column("size", _Number, nullable=False),
    Column("note", Text, nullable=False),
    Column("cosigned_ms", _Number, nullable=False),
    PrimaryKeyConstraint("log", "size"),
    sqlite_strict=True,
)
# RFC 3161 tokens over public checkpoints: a time that doesn't rest on the log's word, nor on its keys.
checkpoint_stamp = Table(
    "checkpoint_stamp",
    metadata,
    Column("log", Integer, nullable=False),
    Column("time_ms", _Number, nullable=False),
    Column("size", _Number, nullable=False),
    Column("note", Text, nullable=False),
    Column("token", LargeBinary, nullable=False),
    Column("authority", Text, nullable=False),
    PrimaryKeyConstraint("log", "time_ms"),
    sqlite_strict=True,
)
# What the log last said about itself, of each kind: its keys, and the page that verifies it (audit.announcements).
announcement = Table(
    "announcement",
    metadata,
    Column("log", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("leaf", _Number, nullable=False),
    Column("record", LargeBinary, nullable=False),
    PrimaryKeyConstraint("log", "kind"),
    sqlite_strict=True,
)
# How many accesses of a day (UTC) the law withholds, counted when the day's index is made.
withheld_day = Table(
    "withheld_day",
    metadata,
    Column("log", Integer, nullable=False),
    Column("day", Text, nullable=False),
    Column("accesses", _Number, nullable=False),
    PrimaryKeyConstraint("log", "day"),
    sqlite_strict=True,
)
# The newest index of each month (audit.period_index), and its rows in the order of their tags.
period_index = Table(
    "period_index",
    metadata,
    Column("log", Integer, nullable=False),
    Column("period", Text, nullable=False),
    Column("upto", _Number, nullable=False),
    Column("rows", _Number, nullable=False),
    # The log's leaf that commits to it.
    Column("leaf", _Number, nullable=False),
    PrimaryKeyConstraint("log", "period"),
    sqlite_strict=True,
)
period_row = Table(
    "period_row",
    metadata,
    Column("log", Integer, nullable=False),
    Column("period", Text, nullable=False),
    Column("position", _Number, nullable=False),
    Column("tag", LargeBinary, nullable=False),
    Column("n", _Number, nullable=False),
    Column("head", LargeBinary, nullable=False),
    PrimaryKeyConstraint("log", "period", "position"),
    sqlite_strict=True,
)
# Our role as a witness: the largest tree that we saw of each other log.
witnessed = Table(
    "witnessed",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("origin_hash", Text, nullable=False, unique=True),
    Column("size", _Number, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    sqlite_strict=True,
)

_FORBID: Final = {
    "sqlite": (
        "CREATE TRIGGER {0}_no_update BEFORE UPDATE ON {0} BEGIN SELECT RAISE(ABORT, 'the log only grows'); END",
        "CREATE TRIGGER {0}_no_delete BEFORE DELETE ON {0} BEGIN SELECT RAISE(ABORT, 'the log only grows'); END",
    ),
    "postgresql": (
        """CREATE OR REPLACE FUNCTION {0}_only_grows() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'the log only grows'; END $$""",
        """CREATE TRIGGER {0}_no_change BEFORE UPDATE OR DELETE ON {0}
           FOR EACH STATEMENT EXECUTE FUNCTION {0}_only_grows()""",
    ),
}


def _forbid_changes(table: Table, connection: Connection, **_options: Any) -> None:
    for statement in _FORBID[connection.dialect.name]:
        connection.exec_driver_sql(statement.format(table.name))


# A guard rail against slips, not a defence against the operator: that is what checkpoints are for.
for _table in (log_entry, log_tile, operator_access):
    event.listen(_table, "after_create", _forbid_changes)

SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # What is deleted (expired records, erased keys) is overwritten too.
    "PRAGMA secure_delete=ON",
    "PRAGMA busy_timeout=10000",
    # Index pages are written back once for many commits: 5 % less CPU a step. The write-ahead log grows to 32 MiB.
    "PRAGMA wal_autocheckpoint=8000",
)


def open_engine(url: str | URL) -> AsyncEngine:
    """An engine for `sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`, set up so that a commit is durable."""
    parsed = make_url(url)
    match parsed.drivername:
        case "sqlite+aiosqlite":
            _create_private(parsed.database or "")
            engine = create_async_engine(parsed)
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            return engine
        case "postgresql+asyncpg":
            # A cached generic plan made on an empty table scans it sequentially for ever: a log that started at 5,000
            # entries/s falls to half with seconds of latency. Plans are therefore made for the values at hand.
            settings = {"plan_cache_mode": "force_custom_plan", "synchronous_commit": "on", "jit": "off"}
            return create_async_engine(parsed, connect_args={"server_settings": settings})
        case other:
            raise ValueError(f"no store for {other}: use sqlite+aiosqlite or postgresql+asyncpg")


def _create_private(path: str) -> None:
    """The file exists with its mode before SQLite opens it, so that no other user ever reads it, whatever the folder's.

    The files beside it (-wal, -shm) get the same mode from SQLite.
    """
    if path and not path.startswith((":", "file:")):
        # What can't be made here, SQLite will say. One that is there is never opened here: closing it again would end
        # all locks of this process on it (fcntl), those of SQLite's connections too, and the next program that opens
        # and closes the database would take itself for the last one and delete the write-ahead log under us.
        with suppress(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _prepare_sqlite(connection: SQLiteConnection, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


async def empty_write_ahead_log(engine: AsyncEngine) -> None:
    """On return no file of a SQLite database holds what was deleted: its write-ahead log still had the pages.

    PostgreSQL's is the server's matter. Raises LogUnavailable while somebody goes on reading an older state.
    """
    if engine.dialect.name != "sqlite":
        return
    async with engine.connect() as connection:
        busy, *_ = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()
    if busy:
        raise LogUnavailable(
            "erased, but the database's write-ahead log still holds it, for somebody reads: stop the gateway and "
            "whatever else has the database open, then nothing of it is left"
        )


async def create_schema(engine: AsyncEngine) -> None:
    """Create the tables that don't exist yet."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
