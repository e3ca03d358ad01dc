"""Registries that change their key, have several nodes, or are federated, as gateways that follow them see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer, unused_port
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.exchange.trust_state import TrustState, require_server
from gateway.messages.faults import Fault, Hop
from gateway.registry import membership
from gateway.registry.app import PUBLISHER, Publisher, build_app
from gateway.registry.membership import RegistrationRefused
from gateway.registry.node import Registry
from gateway.settings import RegistrySettings
from tests.clocks import ManualClock
from trust.configuration_client import ConfigurationClient
from trust.costs import CostStrategy
from trust.errors import CertificateUntrusted, ConfigurationExpired, ConfigurationInvalid, FetchFailed, TrustError
from trust.federation import FederatedConfiguration, federated_anchors, parse_allowed_federations
from trust.federation_client import FederationClient
from trust.globalconf import parse_anchor
from trust.identifiers import MemberId, SecurityServerId, SubsystemId
from trust.ocsp import build_request
from trust.testca.authority import CertificateAuthority
from trust.testca.ocsp_responder import OCSPResponder


def settings_of(folder: Path, instance: str = "DE-TEST", **changes: object) -> RegistrySettings:
    values: dict[str, object] = {"instance": instance, "data_directory": folder, "port": unused_port()}
    return RegistrySettings(**(values | {"interval_seconds": 3600} | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def running(settings: RegistrySettings, time: ManualClock) -> AsyncIterator[Publisher]:
    app = build_app(settings, clock=time)
    async with TestServer(app, port=settings.port):
        yield app[PUBLISHER]


def populate(registry: Registry, code: str) -> None:
    """One member with a subsystem at one gateway."""
    instance = registry.state.read().instance
    member = MemberId(instance, "GOV", code)
    subsystem = SubsystemId(instance, "GOV", code, "dienst")
    server = SecurityServerId(member, "ss1")
    registry.state.update(lambda p: membership.add_member_class(p, "GOV", "Verwaltung"))
    registry.state.update(lambda p: membership.add_member(p, member, code))
    registry.state.update(lambda p: membership.add_subsystem(p, subsystem, "Dienst"))
    registry.state.update(lambda p: membership.register_server(p, server, "127.0.0.1:5500"))
    registry.state.update(lambda p: membership.register_client(p, server, subsystem))


@pytest.fixture
def time() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def client_of(anchor: Path, folder: Path, session: aiohttp.ClientSession, time: ManualClock) -> ConfigurationClient:
    return ConfigurationClient(session, parse_anchor(anchor.read_bytes()), folder, time.now)


async def test_a_key_is_changed_without_new_anchors(
    tmp_path: Path, session: aiohttp.ClientSession, time: ManualClock
) -> None:
    settings = settings_of(tmp_path / "registry")
    async with running(settings, time) as publisher:
        registry = publisher.registry
        client = client_of(registry.anchor_file, tmp_path / "gateway", session, time)
        stranger = parse_anchor(registry.anchor_file.read_bytes())
        old = registry.key.certificate_der
        await client.refresh()
        with pytest.raises(RegistrationRefused, match="no successor"):
            registry.keys.activate(time.now())
        # 1. The successor is announced, under the old key.
        registry.keys.make_successor(time.now())
        registry.announce()
        with pytest.raises(RegistrationRefused, match="announced already"):
            registry.keys.make_successor(time.now())
        with pytest.raises(RegistrationRefused, match="once a running registry has published it"):
            registry.keys.activate(time.now())
        await publisher.publish()
        announced = await client.refresh()
        (source,) = announced.parameters.sources
        assert source.internal_certificates == registry.keys.certificates
        assert source.internal_certificates[0] == old
        with pytest.raises(RegistrationRefused, match="after 2026-11-22T12:10:00Z"):
            registry.keys.activate(time.now())
        # 2. When everybody must have seen it, the registry switches; the running one takes up the new key.
        time.advance(seconds=600)
        registry.keys.activate(time.now())
        registry.announce()
        await publisher.publish()
        assert registry.key.certificate_der == source.internal_certificates[1]
        assert (await client.refresh()).parameters.sources[0].internal_certificates == (registry.key.certificate_der,)
        # A restart finds the accepted one; who was away all the while needs the new anchor.
        again = client_of(registry.anchor_file, tmp_path / "new", session, time)
        assert (await again.refresh()).sequence == client.current.sequence  # type: ignore[union-attr]
        assert await ConfigurationClient(session, stranger, tmp_path / "gateway", time.now).load() is not None
        late = ConfigurationClient(session, stranger, tmp_path / "late", time.now)
        with pytest.raises(ConfigurationInvalid) as refused:
            await late.refresh()
        assert refused.value.code == "global_conf_missing_verification_cert"


async def test_a_key_known_to_others_is_changed_at_once(tmp_path: Path, time: ManualClock) -> None:
    registry = Registry(settings_of(tmp_path / "registry"), time)
    before = registry.key.certificate_der
    registry.keys.make_successor(time.now())
    registry.keys.activate(time.now(), at_once=True)
    registry.announce()
    assert registry.key.certificate_der != before
    assert parse_anchor(registry.anchor_file.read_bytes()).certificates == (registry.key.certificate_der,)
    folder = registry._settings.signing_key_file.parent
    assert {f.name for f in folder.iterdir()} == {"configuration.p12", "configuration-old.p12", "pin"}
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())


async def test_nodes_of_one_registry_stand_in_for_each_other(
    tmp_path: Path, session: aiohttp.ClientSession, time: ManualClock
) -> None:
    shared = {"registry_file": tmp_path / "shared" / "registry.xml"}
    one, two = settings_of(tmp_path / "one", **shared), settings_of(tmp_path / "two", **shared)
    behind = ManualClock()
    behind.advance(seconds=-5)
    async with running(one, time) as first:
        anchor = tmp_path / "anchor.xml"
        anchor.write_bytes(first.registry.anchor_file.read_bytes())
        client = client_of(anchor, tmp_path / "gateway", session, time)
        populate(first.registry, "STADT")
        async with running(two, behind) as second:
            await first.publish()
            await second.publish()
            assert first.latest is not None
            assert second.latest is not None
            assert second.latest.sequence < first.latest.sequence, "its clock is behind"
            configuration = await client.refresh()
            # The anchor names the first node alone; the second is known from the configuration.
            assert {s.address for s in configuration.parameters.sources} == {
                f"127.0.0.1:{settings.port}" for settings in (one, two)
            }
            assert len(parse_anchor(second.registry.anchor_file.read_bytes()).sources) == 2
        # The second stopped: nothing happens.
        assert (await client.refresh()).sequence == configuration.sequence
    # The first stopped, the second is back: its own key, the same content, a moment behind.
    async with running(two, behind) as second:
        assert (await client.refresh()).sequence == configuration.sequence
        behind.advance(seconds=60)
        time.advance(seconds=60)
        await second.publish()
        newer = await client.refresh()
        assert newer.sequence is not None
        assert configuration.sequence is not None
        assert newer.sequence > configuration.sequence
        assert newer.has_client(SubsystemId("DE-TEST", "GOV", "STADT", "dienst"))
        assert client.reports[0].url == f"http://127.0.0.1:{two.port}/internalconf"
    with pytest.raises(FetchFailed):
        await client.refresh()
    time.advance(seconds=600)
    assert client.current is not None
    with pytest.raises(ConfigurationExpired):
        client.current.require_current(time.now())


async def test_a_registry_that_moved_is_named_once(tmp_path: Path, time: ManualClock) -> None:
    settings = settings_of(tmp_path / "registry")
    Registry(settings, time)
    moved = Registry(settings.model_copy(update={"port": unused_port()}), time)
    assert len(moved.state.read().sources) == 1
    assert len(parse_anchor(moved.anchor_file.read_bytes()).sources) == 1


@asynccontextmanager
async def federated(tmp_path: Path, time: ManualClock) -> AsyncIterator[tuple[Publisher, Publisher]]:
    """Two instances; DE-TEST knows the anchor of EE-TEST."""
    home, abroad = settings_of(tmp_path / "de"), settings_of(tmp_path / "ee", "EE-TEST")
    async with running(abroad, time) as foreign, running(home, time) as own:
        authority = CertificateAuthority.load_or_create(tmp_path / "ca", "EE-TEST", clock=time.now)
        foreign.registry.state.update(lambda p: membership.approve_ca(p, authority.approved_ca("http://127.0.0.1:1/")))
        populate(own.registry, "STADT")
        populate(foreign.registry, "LINN")
        home.federation_directory.mkdir()
        anchor = foreign.registry.external_anchor_file.read_bytes()
        (home.federation_directory / "ee.xml").write_bytes(anchor)
        await foreign.publish()
        await own.publish()
        yield own, foreign


STADT = SubsystemId("DE-TEST", "GOV", "STADT", "dienst")
LINN = SubsystemId("EE-TEST", "GOV", "LINN", "dienst")


async def test_members_of_a_federated_instance_are_found(
    tmp_path: Path, session: aiohttp.ClientSession, time: ManualClock
) -> None:
    folder = tmp_path / "gateway"
    failures: list[tuple[str, TrustError]] = []

    def failed(instance: str, error: TrustError) -> None:
        failures.append((instance, error))

    async with federated(tmp_path, time) as (own, foreign):
        client = client_of(own.registry.anchor_file, folder, session, time)
        home = await client.refresh()
        federation = FederationClient(session, folder, time.now, parse_allowed_federations(["EE-test"]))
        (abroad,) = await federation.refresh(home, failed)
        assert abroad.private is None, "the external configuration has the shared parameters only"
        assert (folder / "EE-TEST" / "shared-params.xml").is_file()
        assert (folder / "instance-identifier").read_text() == "DE-TEST"
        both = FederatedConfiguration(home, [abroad])
        assert both.has_client(STADT)
        assert both.has_client(LINN)
        assert not both.has_client(replace(LINN, subsystem_code="anders"))
        assert both.client_name(LINN) == "Dienst"
        assert both.member_name(LINN.member) == "LINN"
        (server,) = both.servers_of(LINN)
        assert both.server(server.id) == server
        assert len(both.approved_cas) == 1
        assert home.approved_cas == ()
        # The foreign registry changes its key, and its instance stays.
        foreign.registry.keys.make_successor(time.now())
        foreign.registry.announce()
        await foreign.publish()
        await federation.refresh(home, failed)
        foreign.registry.keys.activate(time.now(), at_once=True)
        foreign.registry.announce()
        await foreign.publish()
        await federation.refresh(home, failed)
        assert failures == []
        # Federation that ends, or isn't wanted here, leaves nothing behind.
        for allowed in ((), ["none"], ["FI-TEST"], ["all", "none"]):
            nobody = FederationClient(session, folder, time.now, parse_allowed_federations(allowed))
            assert await nobody.refresh(home, failed) == ()
            assert not (folder / "EE-TEST").exists()
        assert (folder / "DE-TEST").exists()
        everybody = FederationClient(session, folder, time.now, parse_allowed_federations(["all"]))
        assert [a.instance for a in federated_anchors(home, parse_allowed_federations(["all"]))] == ["EE-TEST"]
        # After the change of key the anchor of before is no longer enough: a new gateway needs the new one.
        assert await everybody.refresh(home, failed) == ()
        assert [(instance, error.code) for instance, error in failures] == [
            ("EE-TEST", "global_conf_missing_verification_cert")
        ]


async def test_each_instances_authorities_vouch_for_its_own_members_alone(
    tmp_path: Path, session: aiohttp.ClientSession, time: ManualClock
) -> None:
    folder = tmp_path / "gateway"
    async with federated(tmp_path, time) as (own, foreign):
        authority = CertificateAuthority.load_or_create(tmp_path / "ca", "EE-TEST", clock=time.now)
        (server,) = foreign.registry.state.read().security_servers
        public_keys = [ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(2)]
        signing = authority.issue_signing(public_keys[0], LINN.member, member_name="Linn", server_code="ss1")
        tls = authority.issue_authentication(public_keys[1], LINN.member, member_name="Linn", server_code="ss1")
        der, tls_der = (certificate.public_bytes(Encoding.DER) for certificate in (signing, tls))
        foreign.registry.state.update(lambda p: membership.register_certificate(p, server.id, tls_der))
        await foreign.publish()
        home = await client_of(own.registry.anchor_file, folder, session, time).refresh()
        federation = FederationClient(session, folder, time.now, parse_allowed_federations(["all"]))
        trust = TrustState(home, time)
        trust.replace(home, await federation.refresh(home))
        trusted = trust.current(Hop.PROVIDER_GATEWAY)
        answer = OCSPResponder(authority).answer(build_request(signing, authority.root.certificate))
        abroad = trusted.certificates_of(LINN.instance)
        assert abroad.verify_signing(der, ocsp_response=answer, at=time.now()).member == LINN.member
        with pytest.raises(CertificateUntrusted):
            trusted.certificates_of(STADT.instance).verify_signing(der, ocsp_response=answer, at=time.now())
        assert require_server(trusted, tls_der, LINN).id == server.id
        with pytest.raises(Fault):
            require_server(trusted, tls_der, STADT)


async def test_a_federated_instance_expires_by_itself(
    tmp_path: Path, session: aiohttp.ClientSession, time: ManualClock
) -> None:
    folder = tmp_path / "gateway"
    failures: list[str] = []
    async with federated(tmp_path, time) as (own, _):
        client = client_of(own.registry.anchor_file, folder, session, time)
        home = await client.refresh()
        federation = FederationClient(session, folder, time.now, parse_allowed_federations(["all"]))
        others = await federation.refresh(home)
        trust = TrustState(home, time, ocsp_costs=CostStrategy.FREE_FIRST)
        assert trust.latest.certificates.policy.costs is CostStrategy.FREE_FIRST
        trust.replace(home, others)
        before = trust.current(Hop.CONSUMER_GATEWAY)
        assert before.configuration.has_client(LINN)
        assert before.certificates_of("EE-TEST") is not before.certificates
        assert before.certificates_of("FI-TEST") is before.certificates
        # Nothing new of the parameters: what was verified stays verified.
        trust.replace(home, others)
        assert trust.latest.certificates_of("EE-TEST") is before.certificates_of("EE-TEST")
        # The own registry goes on, the foreign one has stopped publishing.
        time.advance(seconds=599)
        await own.publish()
        home = await client.refresh()
        others = await federation.refresh(home, lambda _, error: failures.append(error.code))
        trust.replace(home, others)
        assert trust.current(Hop.CONSUMER_GATEWAY).configuration.has_client(LINN)
        time.advance(seconds=2)
        current = trust.current(Hop.CONSUMER_GATEWAY)
        assert current.configuration.has_client(STADT), "the own instance doesn't depend on others"
        assert not current.configuration.has_client(LINN)
        assert current.configuration.servers_of(LINN) == ()
        assert current.certificates.policy.costs is CostStrategy.FREE_FIRST, "whatever replaces the configuration"
        assert current.certificates_of("EE-TEST") is current.certificates
        assert await federation.refresh(home, lambda _, error: failures.append(error.code)) == others
        assert failures == ["global_conf_outdated"]
        time.advance(seconds=600)
        with pytest.raises(Fault) as stopped:
            trust.current(Hop.CONSUMER_GATEWAY)
        assert stopped.value.code == "server.clientproxy.global_conf_outdated"


def test_allowed_federations_are_read_as_in_x_road() -> None:
    assert not parse_allowed_federations([]).permits("EE")
    assert not parse_allowed_federations(["none", "EE"]).permits("EE")
    assert not parse_allowed_federations(["all", "NONE"]).permits("EE")
    assert parse_allowed_federations(["ALL"]).permits("EE")
    assert parse_allowed_federations([" ee ", "FI"]).permits("EE")
    assert not parse_allowed_federations(["ee"]).permits("FI")


async def test_optional_parts_and_management_services_are_published(
    tmp_path: Path, session: aiohttp.ClientSession, time: ManualClock
) -> None:
    settings = settings_of(
        tmp_path / "registry",
        monitoring_client="DE-TEST/GOV/STADT",
        ocsp_fetch_interval_seconds=300,
        verify_next_update=False,
        management_provider="DE-TEST/GOV/STADT/verwaltung",
        management_url="https://registry.test:4001/managementservice/",
        time_stamping_interval_seconds=30,
    )
    async with running(settings, time) as publisher:
        configuration = await client_of(publisher.registry.anchor_file, tmp_path / "gateway", session, time).refresh()
    assert configuration.monitoring_client == MemberId("DE-TEST", "GOV", "STADT")
    assert configuration.ocsp_fetch_interval_seconds == 300
    assert configuration.verify_next_update is False
    assert configuration.private is not None
    assert configuration.private.management_provider == SubsystemId("DE-TEST", "GOV", "STADT", "verwaltung")
    assert configuration.private.registration_address == "https://registry.test:4001/managementservice/"
    assert configuration.private.time_stamping_interval_seconds == 30
