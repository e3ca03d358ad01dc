"""What the client's own gateway refuses by itself: routes, connections, configuration, signing, logging."""

from __future__ import annotations

import uuid

from gateway.exchange.own_keys import OwnKey
from gateway.exchange.places import Places
from gateway.exchange.quotas import TokenBuckets
from gateway.registry import membership
from gateway.store.model import Client, ConnectionType
from gateway.store.repository import Repository
from tests.conformance.situations import AT_CONSUMER, Situation
from tests.conformance.stage import Case, Do, Stage, Told, post, rest, rest_target, soap, told_rest
from tests.conformance.words import REST, SOAP, Form, Row
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.soap_messages import Message
from tests.gateway.exchange.test_client_tls import ask_over_tls
from tests.gateway.exchange.test_service_tls import self_signed
from tests.gateway.exchange.town import GUEST, ROGUE, STRAY, UTILITY
from trust.errors import KeyUnavailable
from trust.identifiers import MemberId, SecurityServerId, SubsystemId
from trust.keys import SoftwareKey

NOBODY = MemberId("DE-TEST", "GOV", "NIEMAND")
NOWHERE = SubsystemId("DE-TEST", "COM", "NIEMAND", "x")


ECHO, ASK = rest("echo"), soap(Message())


def _wrapped(make: Situation) -> tuple[Do, Do]:
    """The same situation over REST and over SOAP."""
    return (lambda stage: make(stage, ECHO)), (lambda stage: make(stage, ASK))


async def _must_use_tls(stage: Stage, _: Do, *, over: Form) -> Told:
    pair, repository = stage.pair, Repository(stage.pair.consumer.gateway.engine)
    await repository.upsert_client(Client(GUEST, ConnectionType.HTTPS))
    await pair.until(lambda: pair.consumer.client_type(GUEST) is ConnectionType.HTTPS)
    try:
        if over is REST:
            return told_rest(await pair.call("echo", client=GUEST))
        return await post(stage, Message(client=GUEST).encoded())
    finally:
        await repository.upsert_client(Client(GUEST))
        await pair.until(lambda: pair.consumer.client_type(GUEST) is ConnectionType.HTTP)


def _over_tls(system: SoftwareKey | None) -> Do:
    """Over TLS, as a client that is known by another certificate."""

    async def do(stage: Stage) -> Told:
        pair, repository = stage.pair, Repository(stage.pair.consumer.gateway.engine)
        known = Client(GUEST, ConnectionType.HTTPS, certificates=frozenset({self_signed().certificate_der}))
        await repository.upsert_client(known)
        await pair.until(lambda: pair.consumer.client_type(GUEST) is ConnectionType.HTTPS)
        try:
            return told_rest(await ask_over_tls(pair, GUEST, system))
        finally:
            await repository.upsert_client(Client(GUEST))
            await pair.until(lambda: pair.consumer.client_type(GUEST) is ConnectionType.HTTP)

    return do


async def _stopped(stage: Stage, ask: Do) -> Told:
    await stage.pair.provider.stop()
    try:
        return await ask(stage)
    finally:
        await stage.pair.provider.start()


async def _maintenance(stage: Stage, ask: Do) -> Told:
    pair = stage.pair
    pair.registry.state.update(lambda p: membership.set_maintenance(p, UTILITY.server, "bis 14 Uhr"))
    await pair.publish()
    try:
        told = await ask(stage)
    finally:
        pair.registry.state.update(lambda p: membership.set_maintenance(p, UTILITY.server, None))
        await pair.publish()
    assert "bis 14 Uhr" in told.message
    return told


async def without_own_statuses(node: RunningNode, stage: Stage, ask: Do) -> Told:
    """The gateway has no current OCSP answer of its own certificates."""

    def none(_: OwnKey) -> tuple[bytes, ...]:
        raise KeyUnavailable("none")

    async with stage.replaced(node.gateway.node.own_certificates, statuses_of=none):
        return await ask(stage)


async def _client_quota(stage: Stage, ask: Do) -> Told:
    async with stage.replaced(stage.pair.consumer.gateway.node, client_quotas=TokenBuckets(1)):
        await stage.pair.call("echo")
        return await ask(stage)


async def _no_place_left(stage: Stage) -> Told:
    async with stage.replaced(stage.pair.consumer.gateway.node, places_of_asked_peers=Places(0)):
        return await ECHO(stage)


async def _no_pseudonym_key(stage: Stage) -> Told:
    async with stage.replaced(stage.pair.consumer.gateway.node, pseudonym_key=None):
        return told_rest(await stage.pair.call("echo", headers=stage.pair.citizen()))


async def _no_issuer(stage: Stage) -> Told:
    tokens = stage.pair.consumer.gateway.node.citizen_tokens
    assert tokens is not None
    # As after a start; afterwards nothing of it is left, so that the next case can ask the issuer.
    async with stage.replaced(tokens, _keys=None, _fetched=None, _failed=None):
        stage.pair.issuer.available = False
        try:
            return told_rest(await stage.pair.call("echo", headers=stage.pair.citizen(jti=str(uuid.uuid4()))))
        finally:
            stage.pair.issuer.available = True


CASES: list[Case] = [
    *AT_CONSUMER.cases(
        Row.UNKNOWN_MEMBER,
        "a client that isn't registered",
        "unknown_member",
        rest("echo", client=STRAY),
        soap(Message(client=STRAY)),
    ),
    *AT_CONSUMER.cases(
        Row.UNKNOWN_MEMBER,
        "a client of no member",
        "unknown_member",
        rest("echo", client=NOBODY.encoded),
        soap(Message(client=NOBODY)),
    ),
    *AT_CONSUMER.cases(
        Row.UNKNOWN_MEMBER,
        "a provider without a gateway",
        "unknown_member",
        rest_target(f"/r1/{NOWHERE.encoded}/x"),
        soap(Message(provider=NOWHERE)),
    ),
    *AT_CONSUMER.cases(
        Row.SECURITY_SERVER,
        "a security server that there isn't",
        "invalid_security_server",
        rest("echo", headers={"X-Road-Security-Server": "DE-TEST/COM/STADTWERKE/ss9"}),
        soap(Message(server=SecurityServerId(NOBODY, "ss1"))),
    ),
    *AT_CONSUMER.cases(
        Row.SECURITY_SERVER,
        "another member's security server",
        "invalid_security_server",
        rest("echo", headers={"X-Road-Security-Server": ROGUE.server.encoded}),
        soap(Message(server=ROGUE.server)),
    ),
    *AT_CONSUMER.cases(
        Row.TLS,
        "plain HTTP of a client that must use HTTPS",
        "ssl_authentication_failed",
        lambda stage: _must_use_tls(stage, ECHO, over=REST),
        lambda stage: _must_use_tls(stage, ASK, over=SOAP),
    ),
    AT_CONSUMER.case(
        Row.TLS, "no certificate of a client that must show one", "ssl_authentication_failed", _over_tls(None)
    ),
    AT_CONSUMER.case(
        Row.TLS, "another certificate than the client's", "ssl_authentication_failed", _over_tls(self_signed())
    ),
    *AT_CONSUMER.cases(Row.NETWORK, "no gateway of the provider can be reached", "network_error", *_wrapped(_stopped)),
    *AT_CONSUMER.cases(
        Row.MAINTENANCE, "the provider's gateway is in maintenance", "maintenance_mode", *_wrapped(_maintenance)
    ),
    *AT_CONSUMER.cases(
        Row.OUTDATED, "the configuration has expired here", "global_conf_outdated", *_wrapped(AT_CONSUMER.outdated)
    ),
    *AT_CONSUMER.cases(
        Row.SIGNER,
        "no current OCSP answer of the signing certificate",
        "cannot_create_signature",
        *_wrapped(lambda s, ask: without_own_statuses(s.pair.consumer, s, ask)),
    ),
    *AT_CONSUMER.cases(
        Row.LOGGING, "the message log refuses the request", "logging_failed", *_wrapped(AT_CONSUMER.not_logged)
    ),
    *AT_CONSUMER.cases(
        Row.LOGGING,
        "the log has had no time-stamp for too long",
        "timestamping_failed",
        *_wrapped(AT_CONSUMER.not_stamped),
    ),
    AT_CONSUMER.case(
        Row.OURS,
        "the gateway is at its limit",
        "overloaded",
        lambda stage: AT_CONSUMER.overloaded(stage, ECHO),
        status=503,
    ),
    AT_CONSUMER.case(
        Row.OURS, "the gateway is at its limit", "overloaded", lambda stage: AT_CONSUMER.overloaded(stage, ASK), SOAP
    ),
    AT_CONSUMER.case(
        Row.OURS, "the provider's gateway has all of one's places", "overloaded", _no_place_left, status=503
    ),
    AT_CONSUMER.case(
        Row.OURS,
        "the client has used up its quota here",
        "quota_exceeded",
        lambda stage: _client_quota(stage, ECHO),
        status=429,
    ),
    AT_CONSUMER.case(
        Row.OURS,
        "the client has used up its quota here",
        "quota_exceeded",
        lambda stage: _client_quota(stage, ASK),
        SOAP,
    ),
    AT_CONSUMER.case(Row.OURS, "the citizens' issuer can't be reached", "citizen_issuer_unavailable", _no_issuer),
    AT_CONSUMER.case(
        Row.OTHERS, "a citizen's token, and no key for pseudonyms", "malformed_server_conf", _no_pseudonym_key
    ),
]
