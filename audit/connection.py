"""How the sequencer runs a synchronous function over its database.

PostgreSQL: on the event loop over asyncpg, through SQLAlchemy's `run_sync`. SQLite: the statements are called
directly, with a connection of its own. A thread would have to win the interpreter lock back after every statement, and
beside a busy loop each time costs it milliseconds (measured with 64 callers beside a busy loop: 16 steps/s with whole
batches in a thread, 5,700 called directly). The commit, which waits for the disk, runs in a thread where the disk is
slow: then the loop goes on meanwhile. Where it is fast (0.2 ms), the thread costs more than the wait: 528 exchanges/s
with it, 611 without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from sqlite3 import Connection as SQLiteConnection
from sqlite3 import OperationalError as SQLiteOperationalError
from time import monotonic, perf_counter
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import NullPool

from audit.store import SQLITE_PRAGMAS

P = ParamSpec("P")
T = TypeVar("T")
_LOCK_PATIENCE_SECONDS: Final = 10.0
_LOCK_RETRY_SECONDS: Final = 0.001
# Below this a commit costs less than what a thread costs in turns for the interpreter lock.
_WORTH_A_THREAD_SECONDS: Final = 0.003
_REMEMBERED_COMMITS: Final = 16


class WriterConnection(Protocol):
    """A connection that one caller at a time uses."""

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function(connection, …)`, which begins and ends its own transaction."""

    async def run_commit(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that only waits for the disk; the loop goes on meanwhile where that is possible."""

    async def close(self) -> None:
        """Give the connection back, or drop it if it isn't sound."""


async def open_writer_connection(engine: AsyncEngine) -> WriterConnection:
    """A connection of its own to the engine's database."""
    if engine.dialect.name == "sqlite":
        return _DirectConnection(engine)
    return _LoopConnection(await engine.connect())


class _LoopConnection:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._connection.run_sync(function, *args, **kwargs)

    async def run_commit(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._connection.run_sync(function, *args, **kwargs)

    async def close(self) -> None:
        await self._connection.close()


class _DirectConnection:
    def __init__(self, shared: AsyncEngine) -> None:
        if not shared.url.database or shared.url.database == ":memory:":
            raise ValueError("the log needs a database file")
        # One thread at a time uses the connection: the loop's, or the committing one while the loop waits for it.
        engine = create_engine(
            shared.url.set(drivername="sqlite+pysqlite"), poolclass=NullPool, connect_args={"check_same_thread": False}
        )
        event.listen(engine, "connect", _take_over_transactions)
        event.listen(engine, "begin", _begin_immediate)
        self._connection = engine.connect()
        self._committing = ThreadPoolExecutor(1, thread_name_prefix="log-commit")
        self._disk_seconds = 0.0

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        deadline = monotonic() + _LOCK_PATIENCE_SECONDS
        while True:
            try:
                return function(self._connection, *args, **kwargs)
            except OperationalError as error:
                # Another connection holds the write lock, perhaps one of this very loop: give the loop back, so that it
                # can finish. Waiting inside SQLite would hold both up for ever.
                if not _is_locked(error) or monotonic() > deadline:
                    raise
            await asyncio.sleep(_LOCK_RETRY_SECONDS)

    async def run_commit(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        call = partial(self._timed, partial(function, self._connection, *args, **kwargs))
        if self._disk_seconds < _WORTH_A_THREAD_SECONDS:
            return call()
        return await asyncio.get_running_loop().run_in_executor(self._committing, call)

    def _timed(self, function: Callable[[], T]) -> T:
        started = perf_counter()
        try:
            return function()
        finally:
            self._disk_seconds += (perf_counter() - started - self._disk_seconds) / _REMEMBERED_COMMITS

    async def close(self) -> None:
        self._committing.shutdown(wait=True)
        self._connection.close()


def _is_locked(error: OperationalError) -> bool:
    original = error.orig
    return isinstance(original, SQLiteOperationalError) and original.sqlite_errorname.startswith("SQLITE_BUSY")


def _take_over_transactions(connection: SQLiteConnection, _record: Any) -> None:
    # The driver's own BEGIN is deferred and would take the write lock only at the first INSERT.
    connection.isolation_level = None
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma)
    connection.execute("PRAGMA busy_timeout=0")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
