"""Persons' keys: kept wrapped, found again, destroyed for good."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.errors import LogUnavailable
from audit.store import open_engine
from audit.subject_keys import SubjectKeys, subject_key

KEK, INDEX = os.urandom(32), os.urandom(32)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(database_url)
    await SubjectKeys(engine, KEK, INDEX).create_schema()
    yield engine
    await engine.dispose()


def _tag(key: object) -> bytes:
    return key.month("o", "2026-11").tag  # type: ignore[attr-defined, no-any-return]


async def test_a_person_keeps_their_key_over_restarts(engine: AsyncEngine) -> None:
    first = await SubjectKeys(engine, KEK, INDEX).key_for("erika")
    again = SubjectKeys(engine, KEK, INDEX)
    assert _tag(await again.key_for("erika")) == _tag(first)
    assert _tag(await again.key_for("max")) != _tag(first)
    assert await again.existing("nobody") is None


async def test_two_processes_that_create_at_once_agree(engine: AsyncEngine) -> None:
    stores = [SubjectKeys(engine, KEK, INDEX) for _ in range(6)]
    keys = await asyncio.gather(*[store.key_for("erika") for store in stores])
    assert len({_tag(key) for key in keys}) == 1


async def test_the_table_names_nobody_and_shows_no_key(engine: AsyncEngine) -> None:
    await SubjectKeys(engine, KEK, INDEX).key_for("erika")
    async with engine.connect() as connection:
        row = (await connection.execute(select(subject_key))).one()
    assert b"erika" not in row.ref
    with pytest.raises(LogUnavailable):
        await SubjectKeys(engine, os.urandom(32), INDEX).existing("erika")


async def test_an_erased_key_is_gone_and_a_new_one_opens_nothing_old(engine: AsyncEngine) -> None:
    keys = SubjectKeys(engine, KEK, INDEX)
    old = await keys.key_for("erika")
    await keys.erase("erika", at_ms=5)
    assert await keys.existing("erika") is None
    async with engine.connect() as connection:
        row = (await connection.execute(select(subject_key))).one()
    assert (row.wrapped, row.erased_ms) == (None, 5)
    assert _tag(await keys.key_for("erika")) != _tag(old)


def _files(folder: Path) -> bytes:
    """Everything that somebody who takes the disk away has of the database."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_a_key_opens_in_its_own_row_only(engine: AsyncEngine) -> None:
    """Who has the database can't give one person another's key, and with it the sight of their accesses."""
    keys = SubjectKeys(engine, KEK, INDEX)
    await keys.key_for("erika")
    await keys.key_for("max")
    async with engine.begin() as connection:
        first, second = (await connection.execute(select(subject_key))).all()
        for row, other in ((first, second), (second, first)):
            await connection.execute(
                update(subject_key).where(subject_key.c.ref == row.ref).values(wrapped=other.wrapped)
            )
    for person in ("erika", "max"):
        with pytest.raises(LogUnavailable):
            await SubjectKeys(engine, KEK, INDEX).existing(person)


async def test_its_files_are_nobody_elses_to_read(sqlite_url: str, tmp_path: Path) -> None:
    """By their own mode: the folder may be one that an operator has made, open to all."""
    engine = open_engine(sqlite_url)
    keys = SubjectKeys(engine, KEK, INDEX)
    await keys.create_schema()
    await keys.key_for("erika")
    modes = _modes(tmp_path)
    await engine.dispose()
    assert modes == {"log.sqlite": 0o600, "log.sqlite-wal": 0o600, "log.sqlite-shm": 0o600}


_LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM entry").fetchone()[0])
connection.close()
"""


async def test_opened_twice_it_keeps_its_write_ahead_log_from_other_programs(tmp_path: Path) -> None:
    """A file that a process closes loses all of the process's locks on it, and the next program to leave the database
    would delete the write-ahead log that is still written to: everything committed after that would be gone.
    """
    path = tmp_path / "log.sqlite"
    url = f"sqlite+aiosqlite:///{path}"
    first = open_engine(url)
    async with first.begin() as connection:
        await connection.execute(text("CREATE TABLE entry (id INTEGER PRIMARY KEY)"))
    async with first.begin() as connection:
        await connection.execute(text("INSERT INTO entry VALUES (1)"))
    # The doctor of a running gateway, the demo's own look at a log.
    second = open_engine(url)
    for count in (1, 2):
        looked = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", _LOOK, str(path)], capture_output=True, text=True, check=True
        )
        assert looked.stdout == f"{count}\n"
        assert path.with_name("log.sqlite-wal").is_file()
        async with first.begin() as connection:
            await connection.execute(text(f"INSERT INTO entry VALUES ({count + 1})"))
    await second.dispose()
    await first.dispose()


async def test_an_erased_key_is_in_no_file_any_more(sqlite_url: str, tmp_path: Path) -> None:
    engine = open_engine(sqlite_url)
    keys = SubjectKeys(engine, KEK, INDEX)
    await keys.create_schema()
    await keys.key_for("erika")
    async with engine.connect() as connection:
        wrapped = (await connection.execute(select(subject_key.c.wrapped))).scalar_one()
    assert wrapped in _files(tmp_path)
    await keys.erase("erika", at_ms=5)
    assert wrapped not in _files(tmp_path)
    await engine.dispose()


async def test_an_erasure_that_a_reader_keeps_in_a_file_says_so(sqlite_url: str, tmp_path: Path) -> None:
    engine = open_engine(sqlite_url)
    event.listen(engine.sync_engine, "connect", _impatient)
    keys = SubjectKeys(engine, KEK, INDEX)
    await keys.create_schema()
    await keys.key_for("erika")
    with closing(sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        (wrapped,) = reader.execute("SELECT wrapped FROM subject_key").fetchone()
        with pytest.raises(LogUnavailable, match="still holds it"):
            await keys.erase("erika", at_ms=5)
        assert wrapped in _files(tmp_path)
        assert await keys.existing("erika") is None
    await engine.dispose()
    # What the error told to do: with the last connection the write-ahead log goes.
    assert wrapped not in _files(tmp_path)


def _impatient(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA busy_timeout=20")


async def test_the_cache_is_bounded(engine: AsyncEngine) -> None:
    keys = SubjectKeys(engine, KEK, INDEX, cached=2)
    for name in ("a", "b", "c"):
        await keys.key_for(name)
    assert len(keys._cache) == 2
    assert len([key async for key in keys.everyone()]) == 3
