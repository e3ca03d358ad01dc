"""The statements of every batch, on SQLite without SQLAlchemy in between.

Its work for each execution is 15 µs, three times what SQLite itself takes for a batch's average statement: 4 % of a
gateway's CPU. On PostgreSQL they go through it: it knows by which errors that driver tells of a lost connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection as SQLiteConnection
from sqlite3 import Error as SQLiteError
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

Values = tuple[Any, ...]


def execute(connection: Connection, sql: str, values: Values = ()) -> Sequence[Sequence[Any]]:
    """Executes a statement; the rows that it gives, if it gives any. Raises DBAPIError."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, SQLiteConnection):
        result = connection.exec_driver_sql(sql, values)
        return result.all() if result.returns_rows else ()
    try:
        return driver.execute(sql, values).fetchall()
    except SQLiteError as error:
        raise _wrapped(sql, error) from error


def execute_many(connection: Connection, sql: str, rows: list[Values]) -> None:
    """Executes a statement once for each of the rows. Raises DBAPIError."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, SQLiteConnection):
        connection.exec_driver_sql(sql, rows)
        return
    try:
        driver.executemany(sql, rows)
    except SQLiteError as error:
        raise _wrapped(sql, error) from error


def _wrapped(sql: str, error: SQLiteError) -> DBAPIError:
    """The error as a `Connection` would have raised it; without parameters, which may be messages."""
    wrapped = DBAPIError.instance(sql, None, error, SQLiteError, hide_parameters=True)
    assert isinstance(wrapped, DBAPIError)
    return wrapped
