"""Checks an exchange anew, from what the gateways kept: the signatures that both message logs hold.

Reads the databases as an auditor would, with the global configuration of the day; trusts nothing that the journey was
told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from audit.message_keys import MessageKeys
from audit.message_reader import MessageReader, OpenedMessage
from audit.store import open_engine
from gateway.city.plan import CITY, Organisation, Plan
from gateway.city.setup import gateway_settings
from gateway.clock import Clock
from gateway.exchange.signer import signed_parts
from gateway.instance.plan import REGISTRY
from gateway.node_keys import read_random_key
from trust.certificates import CertificateVerifier
from trust.configuration_store import ConfigurationStore
from trust.errors import TrustError
from trust.globalconf import parse_anchor
from trust.parameters import SharedParameters
from trust.xades import SignedPart, parse_signature, verify_signature


class SignaturesDiffer(Exception):
    """The gateways don't hold the same signed message, or one of them holds two."""


async def count_verified_signatures(
    plan: Plan, provider: Organisation, request_id: str, clock: Clock, *, consumer: Organisation = CITY
) -> int:
    """How many signatures of the exchange hold and stand in both logs.

    2 for a request and its response, 1 for a request that was refused. Raises TrustError for a signature that doesn't
    hold and SignaturesDiffer if one gateway holds another message.
    """
    certificates = CertificateVerifier(_parameters(plan))
    logs: list[dict[str, bytes]] = []
    for organisation in (consumer, provider):
        held: dict[str, bytes] = {}
        for logged in await _messages(plan, organisation, request_id):
            if not logged.signature:
                continue
            direction = logged.header.direction
            signer = consumer.member if direction == "request" else provider.member
            verify_signature(
                logged.signature,
                _parts(logged),
                signer=signer,
                certificates=certificates,
                at=clock.now(),
                hash_chain_result=logged.hash_chain_result,
                hash_chain=logged.hash_chain,
            )
            digest = hashlib.sha256(logged.signature).digest()
            if held.setdefault(direction, digest) != digest:
                raise SignaturesDiffer(direction)
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


async def _messages(plan: Plan, organisation: Organisation, request_id: str) -> list[OpenedMessage]:
    settings = gateway_settings(plan, organisation)
    engine, key_engine = open_engine(settings.database_url), open_engine(settings.subject_key_database_url)
    try:
        keys = MessageKeys(key_engine, read_random_key(settings.record_key_file))
        reader = MessageReader(engine, await keys.cipher(sealing=False, now_ms=0))
        return await reader.open(await reader.of_request(request_id))
    finally:
        await engine.dispose()
        await key_engine.dispose()


def _parts(logged: OpenedMessage) -> list[SignedPart]:
    if logged.header.kept == "whole":
        return signed_parts(logged.message, logged.attachments[0] if logged.attachments else None)
    # Where the log may not keep bodies, it has their digests still, under the signature.
    return [SignedPart(reference.name, reference.digest) for reference in parse_signature(logged.signature).references]
