"""Erasure of records and of persons, on both databases: what is gone, what stays provable, and what a backup gives."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.access import accesses
from audit.entry import Entry
from audit.erasing import erase_person, erase_records
from audit.erasure import Erasure, index_ranges, parse_erasure
from audit.errors import MalformedInput, OutOfRange
from audit.note import NoteSigner
from audit.person_records import records_of
from audit.publisher import Publisher
from audit.releasing import release_person
from audit.store import log_entry, open_engine, record
from audit.subject_keys import SubjectKeys, withheld
from audit.verify import verify_log
from tests.audit.factory import NOVEMBER_MS, ORIGIN, OpenLog, access, exchange, open_log
from tests.databases import fresh_database

BASIS = "Art. 17 Abs. 1 lit. d DSGVO"
KEK, INDEX = os.urandom(32), os.urandom(32)


@pytest.fixture
def keys_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of their own for the keys, of the kind that the log's is."""
    of_log = request.getfixturevalue("database_url") if "database_url" in request.fixturenames else "sqlite"
    if not of_log.startswith("postgresql"):
        yield f"sqlite+aiosqlite:///{tmp_path}/keys.db"
        return
    with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.fixture
async def keys(keys_url: str) -> AsyncIterator[SubjectKeys]:
    """Persons' keys, in a database of their own."""
    engine = open_engine(keys_url)
    store = SubjectKeys(engine, KEK, INDEX)
    await store.create_schema()
    yield store
    await engine.dispose()


async def backup(engine: AsyncEngine) -> list[dict[str, object]]:
    """The deletable part of the log's database, as an operator's backup has it."""
    async with engine.connect() as connection:
        return [dict(row._mapping) for row in await connection.execute(select(record))]


async def restore(engine: AsyncEngine, rows: list[dict[str, object]]) -> None:
    """Brings back what the database lacks."""
    async with engine.begin() as connection:
        there = set((await connection.execute(select(record.c.idx))).scalars())
        await connection.execute(insert(record), [row for row in rows if row["idx"] not in there])


async def count(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(select(func.count()).select_from(record))).scalar_one())


async def seen_by(log: OpenLog, keys: SubjectKeys, person: str, folder: Path) -> tuple[int, int]:
    """How many accesses the person is shown, and how many of them with their record."""
    key = Ed25519PrivateKey.generate()
    publisher = Publisher(
        log.engine, NoteSigner(ORIGIN, key), lock_file=folder / os.urandom(4).hex(), origin=ORIGIN, clock_ms=log.clock
    )
    await publisher.publish()
    bundle = await accesses(log.engine, keys, person, "2026-11", publisher=publisher)
    return len(bundle.accesses), sum(shown.record is not None for shown in bundle.accesses)


async def test_a_person_s_erasure_outlives_a_restored_backup(
    database_url: str, keys: SubjectKeys, tmp_path: Path
) -> None:
    """The drill: erase, bring back yesterday's backup of the log, and nothing opens."""
    async with open_log(database_url) as log:
        for _ in range(3):
            await log.append(access(await keys.key_for("erika"), why="secret"), access(await keys.key_for("max")))
        hidden = Entry("withheld", await keys.key_for(withheld("erika")), os.urandom(32), b'{"v":1}', NOVEMBER_MS + 1)
        await log.append(hidden)
        yesterday = await backup(log.engine)
        assert await seen_by(log, keys, "erika", tmp_path) == (3, 3)
        erasure, receipt = await erase_person(log.engine, log.sequencer, keys, "erika", basis=BASIS, at_ms=NOVEMBER_MS)
        assert erasure == Erasure(BASIS, ((ORIGIN, ((0, 0), (2, 2), (4, 4), (6, 6))),), person=True)
        assert receipt.index == 7
        await restore(log.engine, yesterday)
        assert await count(log.engine) == len(yesterday) + 1
        # Nobody finds the entries, not even the person under a new key; and no key there is opens one of them.
        assert await seen_by(log, keys, "erika", tmp_path) == (0, 0)
        assert await records_of(log.engine, keys, "erika") == []
        await keys.key_for("erika")
        assert await seen_by(log, keys, "erika", tmp_path) == (0, 0)
        report = (await verify_log(log.engine, origin=ORIGIN, keys=keys)).require_sound()
        # Max's three and the erasure itself.
        assert report.records_opened == 4
        assert await seen_by(log, keys, "max", tmp_path) == (3, 3)


async def test_a_process_that_had_the_key_in_memory_forgets_it(keys: SubjectKeys, tmp_path: Path) -> None:
    beside = SubjectKeys(keys._engine, KEK, INDEX)
    old = await beside.key_for("erika")
    await beside.refresh()
    assert await beside.key_for("erika") is old
    await keys.erase("erika", at_ms=NOVEMBER_MS)
    # Even if the person is back under a new key before it looks.
    new = await keys.key_for("erika")
    await beside.refresh()
    found = await beside.key_for("erika")
    assert found.month(ORIGIN, "2026-11") == new.month(ORIGIN, "2026-11") != old.month(ORIGIN, "2026-11")


async def test_erased_records_are_gone_and_what_others_prove_with_stays(
    database_url: str, keys: SubjectKeys, tmp_path: Path
) -> None:
    async with open_log(database_url) as log:
        person = await keys.key_for("erika")
        own = Entry("policy", None, os.urandom(32), b'{"own":1}', NOVEMBER_MS)
        await log.append(access(person), access(person), own, exchange(), access(person))
        erasure, _ = await erase_records(log.engine, log.sequencer, ORIGIN, (1, 3), basis=BASIS)
        assert erasure.ranges == ((ORIGIN, ((1, 1), (3, 3))),)
        assert await seen_by(log, keys, "erika", tmp_path) == (3, 2)
        async with log.engine.connect() as connection:
            left = set((await connection.execute(select(record.c.idx))).scalars())
        assert left == {0, 2, 4, 5}
        (await verify_log(log.engine, origin=ORIGIN, keys=keys)).require_sound()
        for indices in ((9, 9), (2, 2), (4, 3)):
            with pytest.raises(OutOfRange):
                await erase_records(log.engine, log.sequencer, ORIGIN, indices, basis=BASIS)
        with pytest.raises(ValueError, match="legal basis"):
            await erase_records(log.engine, log.sequencer, ORIGIN, (0, 0), basis=" ")
        with pytest.raises(OutOfRange):
            await erase_person(log.engine, log.sequencer, keys, "nobody", basis=BASIS, at_ms=0)


async def test_a_second_key_for_one_person_is_found(database_url: str, keys: SubjectKeys, tmp_path: Path) -> None:
    """Whoever logs under a key that isn't the person's hides accesses from them; the auditor's check finds it."""
    async with open_log(database_url) as log:
        await log.append(access(await keys.key_for("erika")))
        other = open_engine(f"sqlite+aiosqlite:///{tmp_path}/second.db")
        second = SubjectKeys(other, KEK, INDEX)
        await second.create_schema()
        await log.append(access(await second.key_for("erika")))
        await other.dispose()
        report = await verify_log(log.engine, origin=ORIGIN, keys=keys)
        assert [(found.code, found.index) for found in report.findings] == [("person_without_key", 1)]


async def test_withheld_accesses_are_released_once_with_what_they_were(database_url: str, keys: SubjectKeys) -> None:
    async with open_log(database_url) as log:
        hidden = await keys.key_for(withheld("erika"))
        content = b'{"time":"2026-11-01T00:00:00.000+00:00"}'
        entries = [Entry("withheld", hidden, os.urandom(32), content, NOVEMBER_MS + 1) for _ in range(2)]
        await log.append(access(await keys.key_for("erika")), *entries)
        assert [entry.kind for entry in await records_of(log.engine, keys, "erika")] == ["access"]
        assert len(await release_person(log.engine, log.sequencer, keys, "erika")) == 2
        found = await records_of(log.engine, keys, "erika")
        assert [entry.kind for entry in found] == ["access", "release", "release"]
        async with log.engine.connect() as connection:
            leaf = (await connection.execute(select(log_entry.c.leaf).where(log_entry.c.idx == 1))).scalar_one()
        assert bytes(leaf).replace(b'"', b'\\"') in found[1].content
        with pytest.raises(OutOfRange, match="any more"):
            await release_person(log.engine, log.sequencer, keys, "erika")
        with pytest.raises(OutOfRange, match="withheld"):
            await release_person(log.engine, log.sequencer, keys, "max")
        (await verify_log(log.engine, origin=ORIGIN, keys=keys)).require_sound()


RANGES = st.lists(st.integers(0, 60), max_size=40)


@given(RANGES, st.text(min_size=1, max_size=20), st.booleans())
def test_an_erasure_reads_back_and_covers_what_it_names(indices: list[int], basis: str, person: bool) -> None:
    erasure = Erasure(basis, ((ORIGIN, index_ranges(indices)),), person)
    assert parse_erasure(erasure.encode()) == erasure
    assert {index for index in range(70) if erasure.covers(ORIGIN, index)} == set(indices)
    assert not erasure.covers("another", 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_erasure_or_malformed(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_erasure(data)
