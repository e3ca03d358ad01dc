"""Brings a node's database to the schema of this version.

The migrations (gateway/store/migrations) create the node's configuration and the audit log's tables alike. One
transaction: a migration that fails leaves the database as it was. Two processes that start at once on one database wait
for each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

MIGRATIONS: Final = Path(__file__).with_name("migrations")

# The newest migration. Known without loading Alembic, so that a start on a current database costs one query.
HEAD: Final = "0001"

# An arbitrary constant that all processes of this software agree on.
_ADVISORY_LOCK: Final = 0x6461_7465_6E77_6567


async def migrate(engine: AsyncEngine) -> None:
    """Creates or upgrades the schema; on a current database it does nothing. Durable when it returns."""
    if await version_of(engine) == HEAD:
        return
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade)


async def version_of(engine: AsyncEngine) -> str | None:
    """The schema's version; None for an empty database."""
    async with engine.connect() as connection:
        return await connection.run_sync(_version)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(connection: Connection) -> None:
    # Alembic costs a fifth of a second to import and is needed at an upgrade only.
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    elif not getattr(connection.connection.driver_connection, "in_transaction", False):
        # sqlite3 opens no transaction before DDL by itself; an engine that opens its own is left alone.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
