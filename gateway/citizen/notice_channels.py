"""Where a citizen wants to be told: by e-mail, by web push, of which kinds, in how much detail.

An address counts once its owner has confirmed it with a code that was sent there: nobody has mail sent to others.
Addresses and push subscriptions are sealed in the database. Told by default is nobody; in the page everybody reads all.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.dialects import insert_into
from gateway.citizen import tables
from gateway.citizen.errors import InvalidRequest, UnknownThing
from gateway.citizen.notices import NoticeKind
from gateway.citizen.sealing import Sealer
from gateway.citizen.web_push import Subscription, subscription_from
from gateway.clock import Clock

_CODE_MS: Final = 3_600_000
_MAX_SUBSCRIPTIONS: Final = 10
# RFC 5321 as far as mail is sent here: plain ASCII, nothing quoted, no line could end in it.
_ADDRESS: Final = re.compile(
    r"(?=.{3,254}$)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)


class Channel(StrEnum):
    """A way out of the page."""

    MAIL = "mail"
    PUSH = "push"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a citizen chose for a channel. `detailed`: the institution and the service may be named in it."""

    channel: Channel
    address: str
    confirmed: bool
    language: str
    detailed: bool
    kinds: frozenset[NoticeKind]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A push subscription as its citizen sees it: not where it leads."""

    id: str
    created_ms: int


def is_address(text: str) -> bool:
    """Whether mail can be sent there."""
    return _ADDRESS.fullmatch(text) is not None


class NoticeChannels:
    """Keeps the choices. Safe for concurrent use; several processes may share the database."""

    def __init__(self, engine: AsyncEngine, clock: Clock, *, key: bytes, push_hosts: tuple[str, ...]) -> None:
        """`key` is the city's pseudonym key."""
        self._engine = engine
        self._clock = clock
        self._mail = Sealer(key, "notice-mail")
        self._push = Sealer(key, "notice-push")
        self._push_hosts = push_hosts

    async def of(self, person: str) -> dict[Channel, Choice]:
        """What the person chose."""
        row = tables.notice_channel
        async with self._engine.connect() as connection:
            found = (await connection.execute(select(row).where(row.c.person == person))).all()
        return {Channel(one.channel): self._choice(one) for one in found}

    async def set_mail(self, person: str, address: str, *, language: str) -> str:
        """A new address; the code that its owner has to show. Raises InvalidRequest."""
        if not is_address(address):
            raise InvalidRequest("address")
        code = f"{secrets.randbelow(10**8):08d}"
        values = {
            "address": self._mail.seal({"address": address}, row=person),
            "confirmed": False,
            "code_hash": self._hash(person, code),
            "code_expires_ms": self._clock.now_ms() + _CODE_MS,
            "language": language,
            "failures": 0,
        }
        await self._write(person, Channel.MAIL, values)
        return code

    async def confirm_mail(self, person: str, code: str) -> None:
        """The address is its owner's. Raises InvalidRequest; five wrong codes end the attempt."""
        row = tables.notice_channel
        mine = (row.c.person == person, row.c.channel == Channel.MAIL.value)
        async with self._engine.begin() as connection:
            found = (await connection.execute(select(row).where(*mine))).one_or_none()
            right = (
                found is not None
                and found.code_hash is not None
                and found.failures < 5
                and found.code_expires_ms > self._clock.now_ms()
                and hmac.compare_digest(found.code_hash, self._hash(person, code))
            )
            if right:
                values: dict[str, Any] = {"confirmed": True, "code_hash": None, "code_expires_ms": None, "failures": 0}
                await connection.execute(update(row).where(*mine).values(values))
            else:
                await connection.execute(
                    update(row).where(*mine, row.c.confirmed.is_(False)).values(failures=row.c.failures + 1)
                )
        if not right:
            raise InvalidRequest("code")

    async def remove(self, person: str, channel: Channel) -> None:
        """Tells the person by this way no longer, and forgets the address."""
        row, push, waiting = tables.notice_channel, tables.push_subscription, tables.notice_delivery
        async with self._engine.begin() as connection:
            await connection.execute(delete(row).where(row.c.person == person, row.c.channel == channel.value))
            await connection.execute(
                delete(waiting).where(waiting.c.person == person, waiting.c.channel == channel.value)
            )
            if channel is Channel.PUSH:
                await connection.execute(delete(push).where(push.c.person == person))

    async def choose(
        self, person: str, channel: Channel, *, kinds: Collection[NoticeKind], detailed: bool, language: str
    ) -> None:
        """Which kinds go this way. Raises UnknownThing before the channel was set up."""
        row = tables.notice_channel
        async with self._engine.begin() as connection:
            changed = await connection.execute(
                update(row)
                .where(row.c.person == person, row.c.channel == channel.value)
                .values(kinds=sorted(kind.value for kind in kinds), detailed=detailed, language=language)
            )
        if changed.rowcount != 1:
            raise UnknownThing(channel.value)

    async def subscribe(self, person: str, document: Mapping[str, Any], *, language: str) -> str:
        """A browser's push subscription; its id. Raises InvalidRequest. The oldest beyond ten go."""
        subscription = subscription_from(document, hosts=self._push_hosts)
        identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{person} {subscription.endpoint}"))
        row = tables.push_subscription
        sealed = self._push.seal(subscription.as_json(), row=identifier)
        values = {"sealed": sealed, "created_ms": self._clock.now_ms()}
        async with self._engine.begin() as connection:
            await connection.execute(
                insert_into(row, self._engine.dialect)
                .values(id=identifier, person=person, **values)
                .on_conflict_do_update(index_elements=[row.c.id], set_=values)
            )
            newest = select(row.c.id).where(row.c.person == person).order_by(row.c.created_ms.desc(), row.c.id)
            kept = (await connection.execute(newest.limit(_MAX_SUBSCRIPTIONS))).scalars().all()
            await connection.execute(delete(row).where(row.c.person == person, row.c.id.not_in(kept)))
        await self._write(person, Channel.PUSH, {"confirmed": True, "language": language})
        return identifier

    async def unsubscribe(self, person: str, identifier: str) -> None:
        """Forgets one subscription. Raises UnknownThing, for another's too."""
        row = tables.push_subscription
        async with self._engine.begin() as connection:
            gone = await connection.execute(delete(row).where(row.c.id == identifier, row.c.person == person))
        if gone.rowcount != 1:
            raise UnknownThing(identifier)

    async def subscriptions(self, person: str) -> dict[str, Subscription]:
        """The person's push subscriptions by id."""
        row = tables.push_subscription
        async with self._engine.connect() as connection:
            found = (await connection.execute(select(row).where(row.c.person == person))).all()
        opened = {one.id: self._push.open(one.sealed, row=one.id) for one in found}
        return {identifier: Subscription.from_json(content) for identifier, content in opened.items()}

    async def subscribed(self, person: str) -> tuple[Subscribed, ...]:
        """Which browsers and apps are told, newest first."""
        row = tables.push_subscription
        query = select(row.c.id, row.c.created_ms).where(row.c.person == person)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query.order_by(row.c.created_ms.desc(), row.c.id))).all()
        return tuple(Subscribed(one.id, one.created_ms) for one in found)

    async def subscription(self, person: str, identifier: str) -> Subscribed:
        """One of them. Raises UnknownThing, for another's too."""
        for one in await self.subscribed(person):
            if one.id == identifier:
                return one
        raise UnknownThing(identifier)

    async def count_subscriptions(self, person: str) -> int:
        """How many browsers are told."""
        row = tables.push_subscription
        async with self._engine.connect() as connection:
            query = select(func.count()).select_from(row).where(row.c.person == person)
            return int((await connection.execute(query)).scalar_one())

    async def _write(self, person: str, channel: Channel, values: Mapping[str, Any]) -> None:
        row = tables.notice_channel
        first = {
            "detailed": False, "kinds": sorted(kind.value for kind in NoticeKind), "next_ms": 0, "failures": 0,
            "address": None, "code_hash": None, "code_expires_ms": None,
        } | dict(values)  # fmt: skip
        async with self._engine.begin() as connection:
            mine = (row.c.person == person, row.c.channel == channel.value)
            if (await connection.execute(update(row).where(*mine).values(dict(values)))).rowcount == 0:
                await connection.execute(insert(row).values(person=person, channel=channel.value, **first))

    def _choice(self, row: Row[Any]) -> Choice:
        address = "" if row.address is None else str(self._mail.open(row.address, row=row.person)["address"])
        kinds = frozenset(NoticeKind(kind) for kind in row.kinds)
        return Choice(Channel(row.channel), address, row.confirmed, row.language, row.detailed, kinds)

    @staticmethod
    def _hash(person: str, code: str) -> bytes:
        return hashlib.sha256(f"datenweg/mail-code/v1\0{person}\0{code}".encode()).digest()
