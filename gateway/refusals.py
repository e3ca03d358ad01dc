"""Turns what goes wrong while a gateway starts into StartRefused: one line that says what is wrong and what to do.

TrustError stays as it is: its text is for the operator already.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from sqlite3 import Error as SQLiteError

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.errors import AuditError, LogInconsistent, LogRolledBack
from audit.store import open_engine
from gateway.citizen.purposes import InvalidPurposes
from gateway.errors import ListenFailed, StartRefused


@contextmanager
def start_refusals() -> Iterator[None]:
    """Within the block an error of ports, files, databases or log becomes StartRefused."""
    try:
        yield
    except ListenFailed as error:
        raise StartRefused(f"can't listen at {error.strerror}: stop what uses it, or change the setting") from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise StartRefused(f"{place}{error.strerror or error}: check the settings and the file's owner") from error
    except SQLAlchemyError as error:
        raise StartRefused(f"the database refused ({_reason(error)}): check it, then start again") from error
    except LogRolledBack as error:
        raise StartRefused(f"{error}; never restore the lock file with it") from error
    except LogInconsistent as error:
        raise StartRefused(f"{error}: run `datenweg log verify`, and restore a sound database") from error
    except AuditError as error:
        raise StartRefused(f"{error}: check the database and the lock file") from error
    except InvalidPurposes as error:
        raise StartRefused(f"citizen_purposes_file: {error}") from error


async def open_database(stack: AsyncExitStack, setting: str, url: str) -> AsyncEngine:
    """The engine of a database that has been reached; the stack disposes of it. Raises StartRefused."""
    try:
        engine = open_engine(url)
    except (ValueError, SQLAlchemyError, ImportError) as error:
        raise StartRefused(f"{setting}: {_reason(error)}") from error
    stack.push_async_callback(engine.dispose)
    try:
        async with engine.connect():
            pass
    except Exception as error:  # a driver raises what it likes while it connects; asyncpg has errors of its own
        raise StartRefused(
            f"{setting}: the database can't be opened ({_reason(error)}): start it, or correct the setting"
        ) from error
    return engine


def operator_line(error: Exception) -> str | None:
    """One line for an error of files, network or database that nobody has explained; None for a defect of ours."""
    if isinstance(error, SQLAlchemyError | SQLiteError) or type(error).__module__.partition(".")[0] == "asyncpg":
        return f"the database refused ({_reason(error)}): check it, then do this again"
    if not isinstance(error, OSError):
        return None
    if error.filename:
        return f"{error.filename}: {error.strerror}: check the settings, the disk and the file's owner"
    return f"{_reason(error)}: check that the databases of the settings, and what else they name, can be reached"


def _reason(error: Exception) -> str:
    # What the driver said, without SQLAlchemy's wrapping, which may quote statements and values.
    said = str(getattr(error, "orig", None) or error).splitlines()
    return said[0] if said else type(error).__name__
