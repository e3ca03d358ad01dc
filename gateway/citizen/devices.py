"""Devices: the browsers and app keys that a person logs in with. Each new one is told to them; each can be revoked.

An app's device is the key that its tokens are bound to (its RFC 7638 thumbprint), a browser's a random value in a
cookie of its own. A revoked one stays known, so that it stays refused.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.citizen import tables
from gateway.citizen.errors import UnknownThing
from gateway.citizen.notices import NoticeKind, Notices
from gateway.clock import Clock

_SEEN_GRAIN_MS: Final = 60_000
_MAX_NAME: Final = 80
_BROWSERS: Final = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)
_PRINTABLE: Final = re.compile(r"[^\w .,:()/+-]")

Kind = Literal["app", "browser"]


class DeviceRevoked(Exception):
    """The person has revoked this device. It logs in no more."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a person."""

    id: str
    kind: Kind
    thumbprint: str
    name: str
    created_ms: int
    seen_ms: int
    revoked_ms: int | None


def device_name(user_agent: str, kind: Kind) -> str:
    """A few words for a device, from what it says of itself: a help to the eye, no proof of anything."""
    if kind == "app":
        return _PRINTABLE.sub("", user_agent.partition("/")[0])[:_MAX_NAME].strip() or "App"
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "Browser")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser}, {system}" if system else browser


class Devices:
    """Registers, lists and revokes devices. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine, clock: Clock, notices: Notices) -> None:
        self._engine = engine
        self._clock = clock
        self._notices = notices

    async def use(self, person: str, thumbprint: str, *, kind: Kind, user_agent: str) -> Device:
        """The person's device of this thumbprint; a new one is registered, and the person told.

        Raises DeviceRevoked.
        """
        now_ms = self._clock.now_ms()
        if (known := await self.find(person, thumbprint)) is not None:
            if known.revoked_ms is not None:
                raise DeviceRevoked
            if now_ms - known.seen_ms >= _SEEN_GRAIN_MS:
                async with self._engine.begin() as connection:
                    row = tables.device
                    await connection.execute(update(row).where(row.c.id == known.id).values(seen_ms=now_ms))
            return known
        device = Device(str(uuid.uuid4()), kind, thumbprint, device_name(user_agent, kind), now_ms, now_ms, None)
        try:
            async with self._engine.begin() as connection:
                await connection.execute(
                    insert(tables.device).values(
                        id=device.id,
                        person=person,
                        kind=kind,
                        thumbprint=thumbprint,
                        name=device.name,
                        created_ms=now_ms,
                        seen_ms=now_ms,
                    )
                )
        except IntegrityError:
            # Registered by another request at this moment.
            return await self.use(person, thumbprint, kind=kind, user_agent=user_agent)
        await self._notices.add(person, NoticeKind.NEW_DEVICE, {"device": device.id, "name": device.name, "kind": kind})
        return device

    async def find(self, person: str, thumbprint: str) -> Device | None:
        """The person's device of this thumbprint, revoked or not."""
        row = tables.device
        query = select(row).where(row.c.person == person, row.c.thumbprint == thumbprint)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).one_or_none()
        return None if found is None else _device(found)

    async def of(self, person: str) -> tuple[Device, ...]:
        """All of a person's devices, the newest first."""
        row = tables.device
        query = select(row).where(row.c.person == person).order_by(row.c.created_ms.desc(), row.c.id)
        async with self._engine.connect() as connection:
            return tuple(_device(found) for found in (await connection.execute(query)).all())

    async def rename(self, person: str, identifier: str, name: str) -> Device:
        """Gives a device the name that the person wants. Raises UnknownThing."""
        row = tables.device
        async with self._engine.begin() as connection:
            await connection.execute(
                update(row).where(row.c.id == identifier, row.c.person == person).values(name=name[:_MAX_NAME])
            )
        return await self._get(person, identifier)

    async def revoke(self, person: str, identifier: str) -> Device:
        """The device logs in no more and its sessions end; durable when it returns. Raises UnknownThing."""
        row = tables.device
        device = await self._get(person, identifier)
        if device.revoked_ms is not None:
            return device
        async with self._engine.begin() as connection:
            await connection.execute(
                update(row)
                .where(row.c.id == identifier, row.c.person == person)
                .values(revoked_ms=self._clock.now_ms())
            )
            session = tables.session
            await connection.execute(
                delete(session).where(session.c.person == person, session.c.device == device.thumbprint)
            )
        await self._notices.add(person, NoticeKind.DEVICE_REVOKED, {"device": device.id, "name": device.name})
        return await self._get(person, identifier)

    async def _get(self, person: str, identifier: str) -> Device:
        row = tables.device
        query = select(row).where(row.c.id == identifier, row.c.person == person)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).one_or_none()
        if found is None:
            raise UnknownThing(identifier)
        return _device(found)


def browser_thumbprint(cookie: str) -> str:
    """How the database knows a browser: a digest of its device cookie, from which nobody makes the cookie again."""
    return hashlib.sha256(b"datenweg/browser/v1\0" + cookie.encode("utf-8", "replace")).hexdigest()


def _device(row: object) -> Device:
    names = ("id", "kind", "thumbprint", "name", "created_ms", "seen_ms", "revoked_ms")
    return Device(*(getattr(row, name) for name in names))
