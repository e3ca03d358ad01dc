"""The secrets that messages at rest are sealed under: kept in the database of the persons' keys, wrapped as those are.

Each has an id; the newest is the current one. Old ones are kept as long as rows sealed under them may be read. The
database of the messages holds none of them, so whoever steals it opens nothing.
"""

from __future__ import annotations

import os
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.errors import LogUnavailable
from audit.message_cipher import SECRET_BYTES, MessageCipher
from audit.subject_keys import metadata

message_key = Table(
    "message_key",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_ms", BigInteger().with_variant(Integer, "sqlite"), nullable=False),
    sqlite_strict=True,
)
_IV_BYTES: Final = 12
_BOUND: Final = b"datenweg/message-key/v1\0"


class MessageKeys:
    """Reads and makes the secrets. Any number of processes at once."""

    def __init__(self, engine: AsyncEngine, kek: bytes) -> None:
        """`kek` is the key-encryption key, 32 bytes."""
        self._engine = engine
        self._wrapper = AESGCM(kek)

    async def create_schema(self) -> None:
        """Create the table if it doesn't exist."""
        async with self._engine.begin() as connection:
            await connection.run_sync(message_key.create, checkfirst=True)

    async def load(self) -> dict[str, bytes]:
        """Every secret by its id, the oldest first. Raises LogUnavailable if one doesn't open."""
        async with self._engine.connect() as connection:
            return await self._read(connection)

    async def cipher(self, *, sealing: bool, now_ms: int) -> MessageCipher:
        """A cipher with every secret there is; makes the first if it is to seal and there is none."""
        known = await self.load()
        if sealing and not known:
            await self.rotate(now_ms=now_ms)
            known = await self.load()
        return MessageCipher(known, _current(known) if sealing else None, os.urandom)

    async def refresh(self, cipher: MessageCipher, *, sealing: bool) -> None:
        """Give the cipher the secrets that were made since."""
        known = await self.load()
        cipher.replace(known, _current(known) if sealing else None)

    async def rotate(self, *, now_ms: int) -> str:
        """A new secret, the current one from now on; its id. Durable on return.

        Running processes take it up when they look the next time.
        """
        name, iv = secrets.token_hex(8), os.urandom(_IV_BYTES)
        wrapped = iv + self._wrapper.encrypt(iv, os.urandom(SECRET_BYTES), _BOUND + name.encode())
        async with self._engine.begin() as connection:
            await connection.execute(insert(message_key).values(id=name, wrapped=wrapped, created_ms=now_ms))
        return name

    async def _read(self, connection: AsyncConnection) -> dict[str, bytes]:
        rows = await connection.execute(select(message_key.c.id, message_key.c.wrapped).order_by(message_key.c.number))
        return {name: self._unwrap(name, bytes(wrapped)) for name, wrapped in rows}

    def _unwrap(self, name: str, wrapped: bytes) -> bytes:
        try:
            return self._wrapper.decrypt(wrapped[:_IV_BYTES], wrapped[_IV_BYTES:], _BOUND + name.encode())
        except InvalidTag:
            raise LogUnavailable("a message key does not open under this key-encryption key") from None


def _current(known: dict[str, bytes]) -> str | None:
    return next(reversed(known), None)
