"""INSERT with ON CONFLICT, which SQLite and PostgreSQL write alike and SQLAlchemy builds for each apart."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect


def insert_into(table: Table, dialect: Dialect) -> postgresql.Insert | sqlite.Insert:
    """An insert that can say `on_conflict_do_nothing` or `on_conflict_do_update`, for a database of this dialect."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)
