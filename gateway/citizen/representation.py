"""Who may act for whom: by the issuer's claim `represents`, or by a relation that the city registered. Nobody else.

A represented person is named to their representative by a reference, a MAC that only this city can make: no subject
identifier of another person leaves this application, and a reference means nothing to anybody else.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.dialects import insert_into
from gateway.citizen import tables
from gateway.citizen.sealing import Sealer
from gateway.clock import Clock
from gateway.exchange.citizen_tokens import VerifiedCitizen
from gateway.exchange.pseudonyms import pseudonym
from gateway.exchange.representation import NotRepresented, Represented
from gateway.messages.headers import ROLES
from trust.identifiers import MemberId

_USE: Final = "relation"


@dataclass(frozen=True, slots=True)
class RegisteredRelation:
    """A relation as the operator sees it."""

    reference: str
    role: str
    since_ms: int
    until_ms: int


class Relations:
    """Registered relations, and the answer to who may act for whom. Safe for concurrent use.

    `key` is the city's pseudonym key, `member` the city, whose pseudonyms the tables use.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, *, key: bytes, member: MemberId) -> None:
        self._engine = engine
        self._clock = clock
        self._key = key
        self._member = member
        self._sealer = Sealer(key, _USE)

    async def of(self, citizen: VerifiedCitizen) -> tuple[Represented, ...]:
        """Everybody whom the citizen may act for now, each once."""
        claimed = [
            Represented(
                self._reference(citizen.issuer, citizen.subject, claim.subject),
                citizen.issuer,
                claim.subject,
                claim.role,
                claim.name,
                None,
            )
            for claim in citizen.represents
            # A role that we don't know gives no right; nobody represents themselves.
            if claim.role in ROLES and claim.subject != citizen.subject
        ]
        now_ms = self._clock.now_ms()
        known = await self.registered(self._person(citizen.issuer, citizen.subject))
        ended = {one.reference for one in known if one.until_ms is not None and one.until_ms <= now_ms}
        # Where the city's register says that it is over, an issuer that hasn't heard of it yet doesn't count.
        return tuple({one.reference: one for one in (*claimed, *known) if one.reference not in ended}.values())

    async def registered(self, person: str) -> tuple[Represented, ...]:
        """Everybody whom the city registered `person` (a pseudonym at the city) for, ended relations too."""
        row, now_ms = tables.relation, self._clock.now_ms()
        query = select(row).where(row.c.person == person, row.c.since_ms <= now_ms)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        registered = []
        for found in rows:
            content = self._sealer.open(found.sealed, row=found.reference)
            person_of = (content["issuer"], content["subject"], found.role, content["name"])
            registered.append(Represented(found.reference, *person_of, found.until_ms))
        return tuple(registered)

    async def resolve(self, citizen: VerifiedCitizen, reference: str) -> Represented:
        """The person that `reference` names to this citizen. Raises NotRepresented."""
        for represented in await self.of(citizen):
            if hmac.compare_digest(represented.reference.encode(), reference.encode("utf-8", "replace")):
                return represented
        raise NotRepresented

    async def register(
        self, *, issuer: str, representative: str, represented: str, role: str, name: str, until_ms: int
    ) -> RegisteredRelation:
        """Says that `representative` may act for `represented` (both `sub` at `issuer`); durable when it returns."""
        reference = self._reference(issuer, representative, represented)
        now_ms = self._clock.now_ms()
        content = {"issuer": issuer, "subject": represented, "name": name}
        values = {
            "person": self._person(issuer, representative),
            "role": role,
            "sealed": self._sealer.seal(content, row=reference),
            "since_ms": now_ms,
            "until_ms": until_ms,
        }
        async with self._engine.begin() as connection:
            await connection.execute(
                insert_into(tables.relation, self._engine.dialect)
                .values(reference=reference, **values)
                .on_conflict_do_update(index_elements=[tables.relation.c.reference], set_=values)
            )
        return RegisteredRelation(reference, role, now_ms, until_ms)

    async def listed(self) -> tuple[RegisteredRelation, ...]:
        """All registered relations, by reference: whose they are isn't shown."""
        row = tables.relation
        query = select(row.c.reference, row.c.role, row.c.since_ms, row.c.until_ms).order_by(row.c.reference)
        async with self._engine.connect() as connection:
            return tuple(RegisteredRelation(*found) for found in (await connection.execute(query)).all())

    async def remove(self, reference: str) -> bool:
        """Ends a relation; False if there was none."""
        row = tables.relation
        async with self._engine.begin() as connection:
            return (await connection.execute(delete(row).where(row.c.reference == reference))).rowcount == 1

    def _person(self, issuer: str, subject: str) -> str:
        return pseudonym(self._key, self._member, issuer, subject)

    def _reference(self, issuer: str, representative: str, represented: str) -> str:
        message = f"{issuer}\0{representative}\0{represented}".encode()
        digest = hmac.digest(self._key, b"datenweg/relation/v1\0" + message, "sha256")
        return base64.urlsafe_b64encode(digest[:18]).decode()
