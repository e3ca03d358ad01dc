"""Persons' keys: kept wrapped, found again, destroyed for good."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select
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


async def test_the_cache_is_bounded(engine: AsyncEngine) -> None:
    keys = SubjectKeys(engine, KEK, INDEX, cached=2)
    for name in ("a", "b", "c"):
        await keys.key_for(name)
    assert len(keys._cache) == 2
    assert len([key async for key in keys.everyone()]) == 3
