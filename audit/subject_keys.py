"""Where persons' keys are kept: a database apart from the log, with its own backups.

A person stands in it under HMAC(index key, reference), and the key is wrapped with AES-256-GCM under the
key-encryption key, so that neither the table nor a backup of it says who is in it. Erasing a person here turns their
tags and records in the log into noise, in backups of the log too.
"""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.dialects import insert_into
from audit.errors import LogUnavailable
from audit.store import empty_write_ahead_log
from audit.tag import KEY_BYTES, MonthKey, SubjectKey, month_key, month_of

__all__ = [
    "MonthKey", "SubjectKey", "SubjectKeys", "create_schema", "metadata", "month_key", "month_of", "subject_key",
    "withheld",
]  # fmt: skip

metadata = MetaData()
subject_key = Table(
    "subject_key",
    metadata,
    Column("ref", LargeBinary, primary_key=True),
    # NULL once erased.
    Column("wrapped", LargeBinary),
    # Of the last erasure; stays when the person comes back under a new key.
    Column("erased_ms", BigInteger().with_variant(Integer, "sqlite"), index=True),
    sqlite_strict=True,
)
_IV_BYTES: Final = 12
_LAST_ERASURE: Final = select(func.max(subject_key.c.erased_ms))
_FIND: Final = select(subject_key.c.wrapped).where(subject_key.c.ref == bindparam("wanted"))


async def create_schema(engine: AsyncEngine) -> None:
    """Create the table if it doesn't exist."""
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)


def withheld(subject_ref: str) -> str:
    """The reference of the key under which accesses to a person are kept that the law withholds from them.

    Another key gives other tags: nobody sees in the tree whose they are, nor that they are the same person's.
    """
    return f"withheld\0{subject_ref}"


class SubjectKeys:
    """Finds, creates and erases persons' keys. Any number of callers and processes at once."""

    def __init__(self, engine: AsyncEngine, kek: bytes, index_key: bytes, *, cached: int = 10_000) -> None:
        if len(kek) != KEY_BYTES or len(index_key) != KEY_BYTES:
            raise ValueError("the key-encryption key and the index key have 32 bytes")
        self._engine = engine
        self._wrapper = AESGCM(kek)
        self._index_key = index_key
        self._cached = cached
        self._cache: OrderedDict[bytes, SubjectKey] = OrderedDict()
        self._erased_ms: int | None = None

    async def create_schema(self) -> None:
        """Create the table if it doesn't exist."""
        await create_schema(self._engine)

    async def key_for(self, subject_ref: str) -> SubjectKey:
        """The person's key, created on first use; durable on return."""
        ref = self._ref(subject_ref)
        known = self._cached_key(ref)
        if known is not None:
            return known
        async with self._engine.begin() as connection:
            wrapped = (await connection.execute(_FIND, {"wanted": ref})).scalar()
            if wrapped is None:
                wrapped = await self._create(connection, ref)
        return self._remember(ref, wrapped)

    async def existing(self, subject_ref: str) -> SubjectKey | None:
        """The person's key, or None if there is none (any more)."""
        ref = self._ref(subject_ref)
        known = self._cached_key(ref)
        if known is not None:
            return known
        async with self._engine.connect() as connection:
            wrapped = (await connection.execute(_FIND, {"wanted": ref})).scalar()
        return None if wrapped is None else self._remember(ref, wrapped)

    async def erase(self, subject_ref: str, *, at_ms: int) -> None:
        """Destroy the person's keys; irrevocable on return. Other processes drop theirs when they `refresh`.

        Raises LogUnavailable: erased, but a file still holds them.
        """
        refs = [self._ref(subject_ref), self._ref(withheld(subject_ref))]
        async with self._engine.begin() as connection:
            gone = update(subject_key).where(subject_key.c.ref.in_(refs)).values(wrapped=None, erased_ms=at_ms)
            await connection.execute(gone)
        for ref in refs:
            self._cache.pop(ref, None)
        await empty_write_ahead_log(self._engine)

    async def refresh(self) -> None:
        """Forget the keys in memory if another process has erased one. Otherwise it would go on being written under."""
        async with self._engine.connect() as connection:
            erased_ms = (await connection.execute(_LAST_ERASURE)).scalar()
        if erased_ms != self._erased_ms:
            self._cache.clear()
            self._erased_ms = erased_ms

    async def everyone(self) -> AsyncIterator[SubjectKey]:
        """Every key there is, for an auditor who verifies a whole log."""
        async with self._engine.connect() as connection:
            query = select(subject_key.c.ref, subject_key.c.wrapped).where(subject_key.c.wrapped.is_not(None))
            for ref, wrapped in await connection.execute(query):
                yield self._unwrap(ref, wrapped)

    def _ref(self, subject_ref: str) -> bytes:
        return hmac.digest(self._index_key, subject_ref.encode(), "sha256")

    def _cached_key(self, ref: bytes) -> SubjectKey | None:
        known = self._cache.get(ref)
        if known is not None:
            self._cache.move_to_end(ref)
        return known

    def _unwrap(self, ref: bytes, wrapped: bytes) -> SubjectKey:
        try:
            return SubjectKey(self._wrapper.decrypt(wrapped[:_IV_BYTES], wrapped[_IV_BYTES:], ref))
        except InvalidTag:
            raise LogUnavailable("a subject key does not open under this key-encryption key") from None

    def _remember(self, ref: bytes, wrapped: bytes) -> SubjectKey:
        key = self._unwrap(ref, wrapped)
        self._cache[ref] = key
        if len(self._cache) > self._cached:
            self._cache.popitem(last=False)
        return key

    async def _create(self, connection: AsyncConnection, ref: bytes) -> bytes:
        iv = os.urandom(_IV_BYTES)
        wrapped = iv + self._wrapper.encrypt(iv, os.urandom(KEY_BYTES), ref)
        # Another process may be creating it as well: the first wins, both read its key.
        new = insert_into(subject_key, connection.dialect).values(ref=ref, wrapped=wrapped)
        revive = {"wrapped": new.excluded.wrapped}
        await connection.execute(
            new.on_conflict_do_update(index_elements=["ref"], set_=revive, where=subject_key.c.wrapped.is_(None))
        )
        stored: bytes = (await connection.execute(_FIND, {"wanted": ref})).scalar_one()
        return stored
