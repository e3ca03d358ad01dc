"""How the sequencer runs a synchronous function over its database.

PostgreSQL: on the event loop over asyncpg, through SQLAlchemy's `run_sync`. SQLite: the statements are called
directly, with a connection of its own. A thread would have to win the interpreter lock back after every statement, and
beside a busy loop each time costs it milliseconds (measured with 64 callers beside a busy loop: 16 steps/s with whole
batches in a thread, 5,700 called directly). The commit, which waits for the disk, runs in a thread where the disk is
slow: then the loop goes on meanwhile. Where it is fast (0.2 ms), the thread costs more than the wait: 528 exchanges/s
with it, 611 without. A batch in which something waits for a device (`run_aside`) is worth one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
from sqlalchemy.util import await_only

from audit.driver import execute
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

    async def run_aside(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`, for a function in which something waits: the loop goes on meanwhile.

        With PostgreSQL only what is given to `aside` may wait, with SQLite all of it.
        """

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

    # `run_sync` gives the loop back at each statement, and `aside` does the same for what waits in between.
    run_aside = run_commit = run

    async def close(self) -> None:
        await self._connection.close()


class _DirectConnection:
    def __init__(self, shared: AsyncEngine) -> None:
        if not shared.url.database or shared.url.database == ":memory:":
            raise ValueError("the log needs a database file")
        # One thread at a time uses the connection: the loop's, or the other one while the loop waits for it.
        engine = create_engine(
            shared.url.set(drivername="sqlite+pysqlite"), poolclass=NullPool, connect_args={"check_same_thread": False}
        )
        event.listen(engine, "connect", _take_over_transactions)
        event.listen(engine, "begin", _begin_immediate)
        self._connection = engine.connect()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log-writer")
        self._disk_seconds = 0.0

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        async def call() -> T:
            return function(self._connection, *args, **kwargs)

        return await _patiently(call)

    async def run_aside(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        call = partial(function, self._connection, *args, **kwargs)
        return await _patiently(lambda: self._in_thread(call))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def run_commit(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        call = partial(self._timed, partial(function, self._connection, *args, **kwargs))
        if self._disk_seconds < _WORTH_A_THREAD_SECONDS:
            return call()
        return await self._in_thread(call)

    def _timed(self, function: Callable[[], T]) -> T:
        started = perf_counter()
        try:
            return function()
        finally:
            self._disk_seconds += (perf_counter() - started - self._disk_seconds) / _REMEMBERED_COMMITS

    async def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._connection.close()


def aside(function: Callable[P, T], engine: AsyncEngine) -> Callable[P, T]:
    """`function`, which waits for something else than the database, as it is to be called within `run_aside`."""
    if engine.dialect.name == "sqlite":
        return function

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        # `run_sync` runs in a greenlet of SQLAlchemy's: there, synchronous code may wait for what is asynchronous.
        return await_only(asyncio.to_thread(function, *args, **kwargs))

    return call


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    deadline = monotonic() + _LOCK_PATIENCE_SECONDS
    while True:
        try:
            return await call()
        except OperationalError as error:
            # Another connection holds the write lock, perhaps one of this very loop: give the loop back, so that it
            # can finish. Waiting inside SQLite would hold both up for ever.
            if not _is_locked(error) or monotonic() > deadline:
                raise
        await asyncio.sleep(_LOCK_RETRY_SECONDS)


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
    execute(connection, "BEGIN IMMEDIATE")
