"""Keys and certificates change while two gateways run: nothing is lost, nothing that is revoked goes on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509

from gateway.exchange.signer import signed_parts
from gateway.messages.faults import Hop
from gateway.registry import membership
from gateway.store.model import AccessRight, Client
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.key_rings import new_certificate, ring_of
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.refusals import check_refusal, watch
from tests.gateway.exchange.town import APP, CITY, INSTANCE, UTILITY, path_of, service_at
from tests.trust.softhsm import MODULE, PIN, make_token
from trust.certificates import CertificateUsage
from trust.identifiers import MemberId, ServiceId, SubsystemId
from trust.testca.ocsp_responder import OCSPResponder
from trust.tokens import KeyKind
from trust.xades.parse import parse_signature

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIGNING, AUTHENTICATION = CertificateUsage.SIGNING, CertificateUsage.AUTHENTICATION
FRESHNESS = timedelta(seconds=120)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        async with gateway_pair(tmp_path_factory.mktemp("pair"), output) as running:
            yield running


@asynccontextmanager
async def traffic(pair: GatewayPair) -> AsyncIterator[list[str]]:
    """Exchanges without a pause during the block, one after the other; at its end each has succeeded."""
    statuses: list[str] = []
    stop = asyncio.Event()

    async def run() -> None:
        while not stop.is_set():
            answer = await pair.call("echo")
            statuses.append("ok" if answer.status == 200 else answer.json["type"])

    tasks = [asyncio.create_task(run()) for _ in range(2)]
    try:
        yield statuses
    finally:
        stop.set()
        await asyncio.gather(*tasks)
    assert set(statuses) == {"ok"}
    assert len(statuses) > 2


def signing_certificate(node: RunningNode, member: MemberId | None = None) -> bytes:
    """The certificate that the node signs with now."""
    document = node.gateway.node.signer.sign(signed_parts(b"x", None), member=member)
    return parse_signature(document).certificate


async def test_a_signing_certificate_follows_another_without_a_lost_message(pair: GatewayPair) -> None:
    for node, party in ((pair.consumer, CITY), (pair.provider, UTILITY)):
        before = signing_certificate(node)
        async with traffic(pair) as statuses:
            new = new_certificate(node, pair.authority, SIGNING, party.member)
            await pair.until(lambda node=node, new=new: signing_certificate(node) == new.certificate)
            seen = len(statuses)
            await pair.until(lambda seen=seen, statuses=statuses: len(statuses) > seen + 3)
            # The one before is taken out of use, and later destroyed.
            old = hashlib.sha256(before).hexdigest()
            ring_of(node).set_active(old, active=False, at=datetime.now().astimezone())
            await pair.until(lambda node=node: len(node.gateway.node.own_certificates.keys.all) == 2)
            seen = len(statuses)
            await pair.until(lambda seen=seen, statuses=statuses: len(statuses) > seen + 3)
        assert signing_certificate(node) == new.certificate


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.RSA_2048], ids=lambda kind: kind.value)
async def test_an_authentication_certificate_follows_another_once_the_registry_has_it(
    pair: GatewayPair, kind: KeyKind
) -> None:
    for node, party in ((pair.consumer, CITY), (pair.provider, UTILITY)):
        contexts = node.gateway.contexts
        before = contexts.authentication.certificate_der
        async with traffic(pair) as statuses:
            new = new_certificate(node, pair.authority, AUTHENTICATION, party.member, kind=kind)
            own = node.gateway.node.own_certificates
            await pair.until(lambda own=own: len(own.keys.authentication) == 2 and own.complete)
            seen = len(statuses)
            await pair.until(lambda seen=seen, statuses=statuses: len(statuses) > seen + 2)
            # The registry doesn't know it: peers are still shown the old one.
            assert contexts.authentication.certificate_der == before
            pair.registry.state.update(
                lambda p, party=party, new=new: membership.register_certificate(p, party.server, new.certificate)
            )
            await pair.publish()
            # A peer may go on with the configuration before until that expires.
            follower = node.gateway.keys
            assert follower._settled_at[new.certificate] > node.clock.now() + timedelta(minutes=9)
            seen = len(statuses)
            await pair.until(lambda seen=seen, statuses=statuses: len(statuses) > seen + 2)
            assert contexts.authentication.certificate_der == before
            follower._settled_at[new.certificate] = node.clock.now()
            await pair.until(lambda c=contexts, new=new: c.authentication.certificate_der == new.certificate)
            seen = len(statuses)
            await pair.until(lambda seen=seen, statuses=statuses: len(statuses) > seen + 2)
            # Now the old one goes, at the gateway first, then at the registry.
            old = hashlib.sha256(before).hexdigest()
            ring_of(node).set_active(old, active=False, at=datetime.now().astimezone())
            await pair.until(lambda own=own: len(own.keys.authentication) == 1)
            digest = hashlib.sha256(before).digest()
            pair.registry.state.update(
                lambda p, party=party, digest=digest: replace(
                    p,
                    security_servers=tuple(
                        replace(s, authentication_hashes=s.authentication_hashes - {digest})
                        if s.id == party.server
                        else s
                        for s in p.security_servers
                    ),
                )
            )
            await pair.publish()
            seen = len(statuses)
            await pair.until(lambda seen=seen, statuses=statuses: len(statuses) > seen + 3)
    # A restart begins with what is in use.
    await pair.provider.restart()
    assert (await pair.call("echo")).status == 200


async def test_the_gateway_signs_for_every_member_whose_key_it_has(pair: GatewayPair) -> None:
    school = SubsystemId(INSTANCE, "GOV", "SCHULE", "sekretariat")
    daughter = SubsystemId(INSTANCE, "COM", "TOCHTER", "dienst")
    offered = ServiceId(daughter, "echo2")
    for subsystem, server in ((school, CITY.server), (daughter, UTILITY.server)):
        pair.registry.state.update(
            lambda p, s=subsystem, server=server: membership.register_client(
                membership.add_subsystem(membership.add_member(p, s.member, s.member_code), s, s.subsystem_code),
                server,
                s,
            )
        )
    await pair.publish()
    echo = next(s for s in await pair.provider.gateway.node.repository.services() if s.code == "echo")
    await pair.consumer.gateway.node.repository.upsert_client(Client(school))
    await pair.provider.gateway.node.repository.upsert_client(Client(daughter))
    added = replace(service_at("echo2", echo.url), provider=daughter)
    rights = [AccessRight(offered, subject) for subject in (APP, school)]
    await pair.provider.gateway.node.repository.upsert_service(added, grant_to=rights)
    await pair.until(lambda: pair.provider.gateway.node.directory.offer(offered) is not None)
    await pair.until(lambda: pair.consumer.gateway.node.directory.client(school) is not None)

    # Without the members' keys nothing is signed in their names, neither request nor response.
    answer = await pair.request("GET", path_of(offered, "/x"), client=school)
    assert answer.json["type"] == "server.clientproxy.cannot_create_signature"
    answer = await pair.request("GET", path_of(offered, "/x"), client=APP)
    assert answer.json["type"] == "server.serverproxy.cannot_create_signature"

    new_certificate(pair.consumer, pair.authority, SIGNING, school.member)
    new_certificate(pair.provider, pair.authority, SIGNING, daughter.member)
    for node, member in ((pair.consumer, school.member), (pair.provider, daughter.member)):
        own = node.gateway.node.own_certificates
        await pair.until(lambda own=own, member=member: member in own.keys.signing and own.complete)
    for client in (school, APP):
        assert (await pair.request("GET", path_of(offered, "/x"), client=client)).status == 200
    # The owner's own exchanges go on under the owner's key.
    assert (await pair.call("echo")).status == 200


async def test_a_device_signs_and_the_key_before_helps_out_when_it_is_gone(
    pair: GatewayPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", str(make_token(tmp_path, "road")))
    monkeypatch.setenv("DATENWEG_PKCS11_PIN", PIN)
    import pkcs11

    pkcs11.unload(str(MODULE))
    old_settings, owner = pair.provider.settings, UTILITY.member
    software = signing_certificate(pair.provider)
    pair.provider.settings = old_settings.model_copy(update={"pkcs11_module": MODULE, "pkcs11_token": "road"})
    try:
        await pair.provider.restart()
        ring = pair.provider.gateway.keys.ring
        new = new_certificate(pair.provider, pair.authority, SIGNING, owner, token="road", ring=ring)
        await pair.until(lambda: signing_certificate(pair.provider) == new.certificate)
        assert (await pair.call("echo")).status == 200
        ring.tokens["road"].logout()
        assert signing_certificate(pair.provider) == software
        assert (await pair.call("echo")).status == 200
        ring.tokens["road"].login(PIN)
        assert signing_certificate(pair.provider) == new.certificate
        ring.set_active(new.fingerprint, active=False, at=datetime.now().astimezone())
    finally:
        pair.provider.settings = old_settings
        await pair.provider.restart()
        pkcs11.unload(str(MODULE))
    assert (await pair.call("echo")).status == 200


# Status


@asynccontextmanager
async def short_freshness(pair: GatewayPair) -> AsyncIterator[datetime]:
    """Within the block answers are fresh for two minutes; gives the end of the newest of the consumer's."""

    async def publish(seconds: int) -> None:
        pair.registry.state.update(lambda p: replace(p, ocsp_freshness_seconds=seconds))
        await pair.publish()

    before = pair.consumer.gateway.node.trust.latest.configuration.parameters.ocsp_freshness_seconds
    await publish(int(FRESHNESS.total_seconds()))
    try:
        for node in (pair.consumer, pair.provider):
            node.gateway.node.statuses._kept.clear()
            await node.gateway.node.own_certificates.refresh()
        kept = pair.consumer.gateway.node.statuses._kept.values()
        yield min(entry.status.good_until for entry in kept)
    finally:
        for node in (pair.consumer, pair.provider):
            node.clock.ahead = timedelta(0)
        await publish(before)
        for node in (pair.consumer, pair.provider):
            node.gateway.node.statuses._kept.clear()
            await node.gateway.node.own_certificates.refresh()


async def move(node: RunningNode, to: datetime) -> None:
    """Sets a gateway's clock, and lets it do what it does in the background."""
    node.clock.ahead += to - node.clock.now()
    own = node.gateway.node.own_certificates
    await own.refresh()
    await asyncio.gather(*node.gateway.node.statuses._asking.values(), return_exceptions=True)
    await own.refresh()


async def test_a_dead_responder_is_survived_as_long_as_its_last_answers_are_fresh(
    pair: GatewayPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: object) -> bytes:
        raise ConnectionError("dead")

    async with short_freshness(pair) as end:
        with monkeypatch.context() as patch:
            patch.setattr(OCSPResponder, "answer", dead)
            await move(pair.consumer, end - timedelta(seconds=3))
            assert (await pair.call("echo")).status == 200
            await move(pair.consumer, end + timedelta(seconds=1))
            seen = watch(pair)
            answer = await pair.call("echo")
            code = "server.clientproxy.cannot_create_signature"
            await check_refusal(seen, answer, code, 500, Hop.CONSUMER_GATEWAY)
        # Alive again, and so are the exchanges. (Its clock is the machine's.)
        await move(pair.consumer, datetime.now().astimezone())
        assert (await pair.call("echo")).status == 200


async def test_the_other_side_does_not_take_an_answer_for_longer_either(pair: GatewayPair) -> None:
    async with short_freshness(pair) as end:
        await move(pair.provider, end - timedelta(seconds=3))
        assert (await pair.call("echo")).status == 200
        await move(pair.provider, end + FRESHNESS)
        answer = await pair.call("echo")
        assert answer.json["type"] == "server.serverproxy.ssl_authentication_failed"


@pytest.mark.parametrize("usage", [SIGNING, AUTHENTICATION], ids=lambda usage: usage.value)
async def test_revoking_a_certificate_stops_its_exchanges_within_the_freshness(
    pair: GatewayPair, usage: CertificateUsage
) -> None:
    """The holder stops at its next question; whoever goes on with the old answer is refused when that lapses."""
    node = pair.consumer.gateway.node
    keys = node.own_certificates.keys
    used = keys.signing[CITY.member][0] if usage is SIGNING else keys.authentication[0]
    async with short_freshness(pair) as end:
        pair.authority.revoke(x509.load_der_x509_certificate(used.certificate).serial_number)
        assert (await pair.call("echo")).status == 200  # the answer at hand is still fresh
        await move(pair.consumer, end - FRESHNESS / 2 + timedelta(seconds=5))
        answer = await pair.call("echo")
        assert answer.status == 500
        expected = {"server.clientproxy.cannot_create_signature", "server.clientproxy.ssl_authentication_failed"}
        assert answer.json["type"] in expected
    # A new certificate makes it good.
    new = new_certificate(pair.consumer, pair.authority, usage, CITY.member)
    ring_of(pair.consumer).set_active(
        hashlib.sha256(used.certificate).hexdigest(), active=False, at=datetime.now().astimezone()
    )
    if usage is AUTHENTICATION:
        pair.registry.state.update(lambda p: membership.register_certificate(p, CITY.server, new.certificate))
        await pair.publish()
        contexts = pair.consumer.gateway.contexts
        await pair.until(lambda: contexts.authentication.certificate_der == new.certificate)
    else:
        await pair.until(lambda: node.own_certificates.keys.signing[CITY.member][0].certificate == new.certificate)
        await pair.until(lambda: node.own_certificates.complete)
    assert (await pair.call("echo")).status == 200
