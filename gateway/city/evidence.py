"""Checks an exchange anew, from what the gateways kept: the signatures that both message logs hold.

Reads the databases as an auditor would, with the global configuration of the day; trusts nothing that the journey was
told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.store import message_attachment, message_record, open_engine
from gateway.city.plan import CITY, Organisation, Plan
from gateway.city.setup import REGISTRY, gateway_settings
from gateway.clock import Clock
from gateway.exchange.signer import signed_parts
from trust.certificates import CertificateVerifier
from trust.configuration_store import ConfigurationStore
from trust.errors import TrustError
from trust.globalconf import parse_anchor
from trust.parameters import SharedParameters
from trust.xades import verify_signature


@dataclass(frozen=True, slots=True)
class _Logged:
    direction: str
    message: bytes
    signature: bytes
    attachments: tuple[bytes, ...]


class SignaturesDiffer(Exception):
    """The gateways don't hold the same signed message, or one of them holds two."""


async def count_verified_signatures(plan: Plan, provider: Organisation, request_id: str, clock: Clock) -> int:
    """How many signatures of the exchange hold and stand in both logs.

    2 for a request and its response, 1 for a request that was refused. Raises TrustError for a signature that doesn't
    hold and SignaturesDiffer if one gateway holds another message.
    """
    certificates = CertificateVerifier(_parameters(plan))
    logs: list[dict[str, bytes]] = []
    for organisation in (CITY, provider):
        held: dict[str, bytes] = {}
        for logged in await _messages(plan, organisation, request_id):
            if not logged.signature:
                continue
            signer = CITY.member if logged.direction == "request" else provider.member
            body = logged.attachments[0] if logged.attachments else None
            verify_signature(
                logged.signature,
                signed_parts(logged.message, body),
                signer=signer,
                certificates=certificates,
                at=clock.now(),
            )
            digest = hashlib.sha256(logged.signature).digest()
            if held.setdefault(logged.direction, digest) != digest:
                raise SignaturesDiffer(logged.direction)
        logs.append(held)
    return found_in_both(*logs)


def found_in_both(consumer: Mapping[str, bytes], provider: Mapping[str, bytes]) -> int:
    """How many directions both logs hold a signature of, given its digest by direction. Raises SignaturesDiffer."""
    both = consumer.keys() & provider.keys()
    for direction in sorted(both):
        if consumer[direction] != provider[direction]:
            raise SignaturesDiffer(direction)
    return len(both)


def _parameters(plan: Plan) -> SharedParameters:
    anchor = parse_anchor((plan.folder(REGISTRY) / "configuration-anchor.xml").read_bytes())
    stored = ConfigurationStore(plan.folder(CITY.folder) / "configuration", anchor).load()
    if stored is None:
        raise TrustError("the city's gateway has no global configuration")
    return stored.configuration.parameters


async def _messages(plan: Plan, organisation: Organisation, request_id: str) -> list[_Logged]:
    engine = open_engine(gateway_settings(plan, organisation).database_url)
    try:
        return await _read(engine, request_id)
    finally:
        await engine.dispose()


async def _read(engine: AsyncEngine, request_id: str) -> list[_Logged]:
    record, attachment = message_record.c, message_attachment.c
    query = select(record.log, record.id, record.direction, record.message, record.signature).where(
        record.request_id == request_id
    )
    found = []
    async with engine.connect() as connection:
        for log, number, direction, message, signature in (await connection.execute(query)).all():
            bodies = select(attachment.body).where(attachment.log == log, attachment.id == number)
            rows = (await connection.execute(bodies.order_by(attachment.position))).scalars()
            found.append(_Logged(direction, bytes(message), bytes(signature), tuple(bytes(row) for row in rows)))
    return found
