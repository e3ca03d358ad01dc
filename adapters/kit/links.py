"""The link store: which pseudonym is which customer of the institution.

One SQLite file per adapter, readable by its user alone. A link is (subject, name) -> JSON payload: the utility and
the bank keep one link per person, the appointment office one per appointment. The pseudonym is this provider's own,
so two institutions' stores can't be joined.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    MetaData,
    String,
    Table,
    Text,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

_metadata: Final = MetaData()
_link: Final = Table(
    "link",
    _metadata,
    Column("subject", String(128), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("payload", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)


class LinkExists(Exception):
    """The person already has a link of that name."""


@dataclass(frozen=True, slots=True)
class Link:
    """A stored link."""

    subject: str
    name: str
    payload: Mapping[str, object]
    created_ms: int


class LinkStore:
    """An asynchronous context manager. Every method returns when the change is on disk (synchronous=FULL)."""

    def __init__(self, directory: Path, *, clock: Callable[[], datetime]) -> None:
        self._directory = directory
        self._clock = clock
        self._open_engine: AsyncEngine | None = None

    async def __aenter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / "links.sqlite"
        # The file exists with its mode before SQLite opens it, so that others never can read it, not even briefly. One
        # that is there isn't opened: closing it would end the locks that another store of this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        event.listen(engine.sync_engine, "connect", _make_durable)
        async with engine.begin() as connection:
            await connection.run_sync(_metadata.create_all)
        self._open_engine = engine
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open_engine is not None:
            await self._open_engine.dispose()
            self._open_engine = None

    async def add(self, subject: str, name: str, payload: Mapping[str, object]) -> Link:
        """Stores a new link. Raises LinkExists."""
        created_ms = int(self._clock().timestamp() * 1000)
        row = {"subject": subject, "name": name, "payload": _text_of(payload), "created_ms": created_ms}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(_link), row)
        except IntegrityError:
            raise LinkExists from None
        return Link(subject, name, payload, created_ms)

    async def replace(self, link: Link, payload: Mapping[str, object]) -> Link | None:
        """Changes a link's payload; None if it is no longer as `link` has it, because another call was faster."""
        async with self._engine.begin() as connection:
            changed = update(_link).where(*_is_still(link)).values(payload=_text_of(payload))
            result = await connection.execute(changed)
        return Link(link.subject, link.name, payload, link.created_ms) if result.rowcount == 1 else None

    async def remove(self, link: Link) -> None:
        """Forgets a link; nothing happens if it is no longer as `link` has it."""
        async with self._engine.begin() as connection:
            await connection.execute(delete(_link).where(*_is_still(link)))

    async def find(self, subject: str, name: str) -> Link | None:
        """The person's link of that name."""
        links = await self._select(subject, name)
        return links[0] if links else None

    async def all_of(self, subject: str) -> tuple[Link, ...]:
        """The person's links, oldest first."""
        return await self._select(subject, None)

    async def _select(self, subject: str, name: str | None) -> tuple[Link, ...]:
        query = select(_link).where(_link.c.subject == subject).order_by(_link.c.created_ms, _link.c.name)
        if name is not None:
            query = query.where(_link.c.name == name)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(Link(row.subject, row.name, json.loads(row.payload), row.created_ms) for row in rows)

    @property
    def _engine(self) -> AsyncEngine:
        if self._open_engine is None:
            raise RuntimeError("the link store is not open")
        return self._open_engine


def _text_of(payload: Mapping[str, object]) -> str:
    return json.dumps(dict(payload), sort_keys=True)


def _is_still(link: Link) -> tuple[ColumnElement[bool], ...]:
    return (_link.c.subject == link.subject, _link.c.name == link.name, _link.c.payload == _text_of(link.payload))


def _make_durable(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=5000")
    # Deleted links are overwritten: removing a link means that the customer number is gone from the file.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()
