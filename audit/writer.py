"""The database edge of the sequencer: one batch, one transaction.

Written against a synchronous SQLAlchemy connection, so that the same code serves SQLite and, through `run_sync`,
asyncpg. The row in `log_head` is locked first and names the size and root that everything else must agree with:
another process may have appended since, and then its entries are replayed by the same path as our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, Table, Update, any_, bindparam, func, insert, select, update
from sqlalchemy import column as column_named
from sqlalchemy import table as table_named
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect, RootTransaction
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import LargeBinary

from audit.batch import Batch, Beside, Heads, LogState, Step, compute_batch, tags_of
from audit.dialects import insert_into
from audit.driver import execute, execute_many
from audit.errors import AuditError, LogInconsistent, LogRolledBack
from audit.merkle import EMPTY_ROOT, leaf_hash, root_of
from audit.message_log import NO_LINK
from audit.store import log_entry, log_head, log_tile, message_attachment, message_record, record, subject_head
from audit.tiles import WIDTH, TreeEdge, hashes_in

# Beyond this many entries of other writers, reading whole tiles beats replaying leaves.
_CATCH_UP: Final = 4096
_LOCK_HEAD: Final = select(log_head).where(log_head.c.origin == bindparam("name")).with_for_update()
_MOVE_HEAD: Final = (
    update(log_head)
    .where(log_head.c.log == bindparam("key"))
    .values({name: bindparam(f"new_{name}") for name in ("size", "root", "last_ms", "messages", "message_link")})
)
_HEADS: Final = select(subject_head.c.tag, subject_head.c.n, subject_head.c.head)
_HEADS_SQLITE: Final = "SELECT tag, n, head FROM subject_head WHERE tag IN ("
# One array instead of a list: the same statement for any number of tags.
_HEADS_ANY: Final = _HEADS.where(subject_head.c.tag == any_(bindparam("tags", type_=ARRAY(LargeBinary))))


class _Head(NamedTuple):
    """The row of `log_head`, in the order of its columns."""

    log: int
    origin: str
    size: int
    root: bytes
    last_ms: int
    messages: int
    message_link: bytes


class OutcomeUnknown(AuditError):
    """The commit itself failed: the batch may or may not be durable. `LogWriter.settle` finds out."""

    def __init__(self, survivors: list[Step], batch: Batch) -> None:
        super().__init__("the commit failed")
        self.survivors = survivors
        self.batch = batch


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that is written but not committed: the steps that are in it; no transaction when none is."""

    survivors: list[Step]
    batch: Batch
    transaction: RootTransaction | None


class LogWriter:
    """Writes the batches of one log. One caller at a time; several processes may share a PostgreSQL database."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._state: LogState | None = None

    def open(self, connection: Connection) -> LogState:
        """The log as it is stored, created empty if there is none. Raises LogInconsistent if its root is wrong."""
        with connection.begin():
            missing = connection.execute(_LOCK_HEAD, {"name": self._origin}).first() is None
        if missing:
            # Another process may be creating it at this moment; then its row is as good as ours.
            with suppress(IntegrityError), connection.begin():
                _create_head(connection, self._origin)
        with connection.begin():
            self._state = None
            return self._lock(connection)

    def prepare(self, connection: Connection, steps: list[Step], now_ms: int) -> Prepared:
        """Write the steps in a transaction that is left open for `commit`; nothing is durable yet.

        A step that failed alone has its `failure` set. An exception means that nothing was written.
        """
        try:
            return self._prepare(connection, steps, now_ms, careful=False)
        except IntegrityError:
            # Rare: a replay key that is already stored. Ask for such keys first, and leave their steps out.
            return self._prepare(connection, [step for step in steps if step.failure is None], now_ms, careful=True)

    def commit(self, _connection: Connection, prepared: Prepared) -> None:
        """Make the batch durable. Raises OutcomeUnknown if that failed."""
        if prepared.transaction is None:
            return
        try:
            prepared.transaction.commit()
        except Exception as error:
            self._state = None
            raise OutcomeUnknown(prepared.survivors, prepared.batch) from error
        self._state = prepared.batch.state

    def _prepare(self, connection: Connection, steps: list[Step], now_ms: int, *, careful: bool) -> Prepared:
        transaction = connection.begin()
        try:
            state = self._lock(connection)
            # I4: time never runs backwards in the log.
            time_ms = max(now_ms, state.last_ms)
            heads = _heads(connection, tags_of(steps, state.origin, time_ms))
            survivors, batch = compute_batch(state, steps, heads, time_ms)
            if careful and (taken := _taken(connection, batch)):
                survivors, batch = compute_batch(state, survivors, heads, time_ms, taken)
            if not survivors:
                transaction.rollback()
                return Prepared(survivors, batch, None)
            _insert_batch(connection, batch)
        except BaseException:
            transaction.rollback()
            raise
        return Prepared(survivors, batch, transaction)

    def settle(self, connection: Connection, batch: Batch) -> bool:
        """After OutcomeUnknown, on a fresh connection (I8): is the batch in the log? Reloads the state either way."""
        state = self.open(connection)
        if batch.entries:
            _, index, leaf, *_ = batch.entries[-1]
            entry = select(log_entry.c.leaf).where(log_entry.c.log == state.log, log_entry.c.idx == index)
            return _stored(connection, entry) == bytes(leaf)
        if batch.messages:
            _, number, *_, link, _ = batch.messages[-1]
            where = (message_record.c.log == state.log, message_record.c.id == number)
            return _stored(connection, select(message_record.c.link).where(*where)) == bytes(link)
        return True

    def _lock(self, connection: Connection) -> LogState:
        """Lock the head row; bring the state in memory up to it."""
        rows = _execute(connection, _LOCK_HEAD, {"name": self._origin})
        if not rows:
            raise LogRolledBack("the log is gone from its database")
        head = _Head(*rows[0])
        state = self._state
        if state is not None and (state.size, state.root, state.messages) == (head.size, head.root, head.messages):
            return state
        edge = _edge_at(connection, head, state)
        if edge.root() != head.root:
            raise LogInconsistent("the stored entries do not give the stored root")
        self._state = LogState(
            head.log, head.origin, edge, head.root, head.last_ms, head.messages, bytes(head.message_link)
        )
        return self._state


def _create_head(connection: Connection, origin: str) -> None:
    number = (connection.execute(select(func.max(log_head.c.log))).scalar() or 0) + 1
    row = (number, origin, 0, EMPTY_ROOT, 0, 0, NO_LINK)
    connection.execute(insert(log_head).values(row))


def _edge_at(connection: Connection, head: _Head, known: LogState | None) -> TreeEdge:
    """The tree's right edge at the head: replayed from a known state if that is near, else read from tiles."""
    if known is not None and known.size <= head.size <= known.size + _CATCH_UP:
        edge = known.edge.copy()
    else:
        if known is not None and known.size > head.size:
            raise LogRolledBack("the database is behind this process")
        edge = TreeEdge.from_partial_tiles(head.size, _partial_tiles(connection, head))
        if edge.size == head.size:
            return edge
    rows = connection.execute(
        select(log_entry.c.leaf)
        .where(log_entry.c.log == head.log, log_entry.c.idx >= edge.size, log_entry.c.idx < head.size)
        .order_by(log_entry.c.idx)
    )
    for (leaf,) in rows:
        edge.append(leaf_hash(leaf))
    if edge.size != head.size:
        raise LogInconsistent("entries are missing")
    return edge


def _partial_tiles(connection: Connection, head: _Head) -> list[list[bytes]]:
    """Each level's partial tile: level 0 from the entries, the others from the full tiles below."""
    partials = []
    level = 0
    while level == 0 or head.size >> (8 * level):
        width = head.size >> (8 * level)
        first = width - width % WIDTH
        if level == 0:
            where = (log_entry.c.log == head.log, log_entry.c.idx >= first, log_entry.c.idx < head.size)
            query = select(log_entry.c.leaf).where(*where).order_by(log_entry.c.idx)
            partials.append([leaf_hash(leaf) for (leaf,) in connection.execute(query)])
        else:
            tile = (log_tile.c.log == head.log, log_tile.c.level == level - 1)
            here = (*tile, log_tile.c.idx >= first, log_tile.c.idx < width)
            below = connection.execute(select(log_tile.c.body).where(*here).order_by(log_tile.c.idx))
            partials.append([root_of(hashes_in(body)) for (body,) in below])
        level += 1
    return partials


def _heads(connection: Connection, tags: list[bytes]) -> Heads:
    if not tags:
        return {}
    heads: Heads = {}
    # SQLite takes 32,766 parameters; far fewer keep the statement small.
    for at in range(0, len(tags), 1000):
        some = tags[at : at + 1000]
        rows: Iterable[Sequence[Any]]
        if connection.dialect.name == "postgresql":
            rows = connection.execute(_HEADS_ANY, {"tags": some})
        else:
            # Written out: SQLAlchemy would make the list of placeholders anew for each execution.
            rows = execute(connection, _HEADS_SQLITE + ",".join("?" * len(some)) + ")", tuple(some))
        heads.update({tag: (number, head) for tag, number, head in rows})
    return heads


def _taken(connection: Connection, batch: Batch) -> set[bytes]:
    """The batch's replay keys that are already stored."""
    keys = [row[-1] for row in batch.messages if row[-1] is not None]
    taken: set[bytes] = set()
    for at in range(0, len(keys), 1000):
        query = select(message_record.c.unique_key).where(message_record.c.unique_key.in_(keys[at : at + 1000]))
        taken.update(connection.execute(query).scalars())
    return taken


def _insert_batch(connection: Connection, batch: Batch) -> None:
    state, dialect = batch.state, connection.dialect
    for table, rows in (
        (message_record, batch.messages),
        (message_attachment, batch.attachments),
        (log_entry, batch.entries),
        (record, batch.records),
        (log_tile, batch.tiles),
    ):
        if rows:
            execute_many(connection, _insert_sql(table, dialect), rows)
    for beside in batch.beside:
        _insert_beside(connection, beside)
    if batch.heads:
        execute_many(connection, _upsert_heads_sql(dialect), batch.heads)
    moved = {
        "key": state.log,
        "new_size": state.size,
        "new_root": state.root,
        "new_last_ms": state.last_ms,
        "new_messages": state.messages,
        "new_message_link": state.message_link,
    }
    _execute(connection, _MOVE_HEAD, moved)


def _insert_beside(connection: Connection, beside: Beside) -> None:
    """Few, so written without the care for each microsecond that the log's own rows get."""
    named = table_named(beside.table, *(column_named(name) for name in beside.row))
    connection.execute(insert(named), dict(beside.row))


def _execute(
    connection: Connection, statement: Select[Any] | Update, values: Mapping[str, Any]
) -> Sequence[Sequence[Any]]:
    """Executes one of the statements of every batch, without compiling it each time (5 % of a batch)."""
    sql, names = _driver_sql(statement, connection.dialect)
    return execute(connection, sql, tuple(values[name] for name in names))


@cache
def _driver_sql(statement: Select[Any] | Update, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    return str(compiled), tuple(compiled.positiontup or ())


@cache
def _insert_sql(table: Table, dialect: Dialect) -> str:
    return str(insert(table).compile(dialect=dialect))


@cache
def _upsert_heads_sql(dialect: Dialect) -> str:
    new = insert_into(subject_head, dialect)
    newer = {"n": new.excluded.n, "head": new.excluded.head}
    return str(new.on_conflict_do_update(index_elements=["tag"], set_=newer).compile(dialect=dialect))


def _stored(connection: Connection, query: Select[bytes]) -> bytes | None:
    with connection.begin():
        return connection.execute(query).scalar()
