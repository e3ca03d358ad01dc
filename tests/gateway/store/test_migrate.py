"""Migrations: the schema is what the code describes, whoever starts first, and never half there."""

from __future__ import annotations

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect, text

import audit.store
import gateway.citizen.tables
from audit.store import open_engine
from gateway.store import tables
from gateway.store.migrate import HEAD, MIGRATIONS, migrate

MODELS = (tables.metadata, audit.store.metadata)


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


async def test_a_new_database_gets_the_schema_that_the_code_describes(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        await migrate(engine)
        async with engine.connect() as connection:
            assert await connection.run_sync(_differences) == []
            names = set(await connection.run_sync(lambda c: inspect(c).get_table_names()))
    finally:
        await engine.dispose()
    expected = {table.name for model in MODELS for table in model.sorted_tables}
    assert expected | {"alembic_version"} == names
    assert gateway.citizen.tables.metadata is tables.metadata


async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        await migrate(engine)
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO revision (kind, number) VALUES ('configuration', 7)"))
        await migrate(engine)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT number FROM revision"))).scalar_one() == 7
    finally:
        await engine.dispose()


async def test_two_processes_may_start_at_once(postgres_url: str) -> None:
    engines = [open_engine(postgres_url) for _ in range(3)]
    try:
        await asyncio.gather(*(migrate(engine) for engine in engines))
    finally:
        for engine in engines:
            await engine.dispose()


async def test_a_failed_migration_leaves_nothing(database_url: str) -> None:
    engine = open_engine(database_url)
    try:
        async with engine.begin() as connection:
            # An index name that the migration needs is taken: it must fail after it has created other tables.
            await connection.execute(text("CREATE TABLE other (subject TEXT)"))
            await connection.execute(text("CREATE INDEX ix_consent_copy_subject ON other (subject)"))
        failed = False
        try:
            await migrate(engine)
        except Exception:  # noqa: BLE001 - whatever the driver raises
            failed = True
        assert failed
        async with engine.connect() as connection:
            names = await connection.run_sync(lambda c: inspect(c).get_table_names())
        assert names == ["other"]
    finally:
        await engine.dispose()


def _differences(connection: Connection) -> list[object]:
    both = MetaData()
    for model in MODELS:
        for table in model.sorted_tables:
            table.to_metadata(both)
    options = {"include_object": lambda _o, name, kind, *_: not (kind == "table" and name == "alembic_version")}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), both))
