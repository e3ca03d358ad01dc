"""The registry as its gateways meet it: what it publishes and serves, and what survives a restart."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer, unused_port

from gateway.registry import membership
from gateway.registry.app import PUBLISHER, build_app
from gateway.registry.membership import RegistrationRefused
from gateway.registry.node import EXTERNAL_PATH, Registry
from gateway.registry.publication import Publication, next_sequence
from gateway.settings import RegistrySettings
from tests.clocks import ManualClock
from trust.configuration_client import ConfigurationClient
from trust.errors import ConfigurationInvalid, KeyUnavailable
from trust.globalconf import SHARED_PARAMETERS, Anchor, parse_anchor
from trust.globalconf_directory import verify_directory
from trust.identifiers import MemberId, SecurityServerId, SubsystemId

CITY = MemberId("DE-TEST", "GOV", "MUSTERSTADT")
APP = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
SERVER = SecurityServerId(CITY, "gateway1")


@pytest.fixture
def time() -> ManualClock:
    return ManualClock()


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    return RegistrySettings(instance="DE-TEST", data_directory=tmp_path / "registry", port=unused_port())


def with_city(registry: Registry) -> None:
    registry.state.update(lambda p: membership.add_member_class(p, "GOV", "Verwaltung"))
    registry.state.update(lambda p: membership.add_member(p, CITY, "Stadt Musterstadt"))
    registry.state.update(lambda p: membership.add_subsystem(p, APP, "App"))
    registry.state.update(lambda p: membership.register_server(p, SERVER, "127.0.0.1:5500"))
    registry.state.update(lambda p: membership.register_client(p, SERVER, APP))


Served = TestClient[Any, Any]


@pytest.fixture
async def served(settings: RegistrySettings, time: ManualClock) -> AsyncIterator[Served]:
    server = TestServer(build_app(settings, clock=time), port=settings.port)
    async with TestClient(server) as client:
        yield client


async def test_a_gateway_follows_from_the_anchor_on(
    served: Served, settings: RegistrySettings, time: ManualClock, tmp_path: Path
) -> None:
    publisher = served.server.app[PUBLISHER]  # type: ignore[attr-defined]
    anchor = parse_anchor((settings.data_directory / "configuration-anchor.xml").read_bytes())
    client = ConfigurationClient(served.session, anchor, tmp_path / "gateway", time.now)
    first = await client.refresh()
    assert first.parameters.instance == "DE-TEST"
    assert first.private is None
    assert first.expires == time.now() + timedelta(seconds=600)
    with_city(publisher.registry)
    await publisher.publish()
    second = await client.refresh()
    assert second.has_client(APP)
    assert second.private is not None
    assert second.private.management_provider == CITY
    assert [server.id for server in second.servers_of(APP)] == [SERVER]
    assert second.parameters.sources[0].address == f"127.0.0.1:{settings.port}"


async def test_only_what_is_offered_is_served(served: Served) -> None:
    for path in ("/internalconf?version=6", "/externalconf?version=6", "/internalconf", "/healthz"):
        assert (await served.get(path)).status == 200, path
    for version in ("6", "5", "4", "3", "2"):
        for conf in ("internalconf", "externalconf"):
            answer = await served.get(f"/{conf}?version={version}")
            assert answer.status == 200, version
            assert f"Version: {version}\r\n" in await answer.text()
    assert "Version: 2\r\n" in await (await served.get("/internalconf")).text(), (
        "as X-Road's registry without a version"
    )
    for version in ("1", "7", "06", "x", "", "6&version=5"):
        assert (await served.get(f"/internalconf?version={version}")).status == 404, version
    for path in ("/V6/1/shared-params.xml", "/V6/..%2F..%2Fgeneration/x", "/V6/%2e%2e/generation", "/registry.xml"):
        assert (await served.get(path)).status == 404, path


async def test_the_external_configuration_has_the_shared_parameters_only(
    served: Served, settings: RegistrySettings
) -> None:
    publisher = served.server.app[PUBLISHER]  # type: ignore[attr-defined]
    with_city(publisher.registry)
    await publisher.publish()
    external = parse_anchor((settings.data_directory / "external-configuration-anchor.xml").read_bytes())
    assert external.sources[0].url.endswith(EXTERNAL_PATH)
    document = await (await served.get("/externalconf?version=6")).read()
    directory = verify_directory(document, instance="DE-TEST", certificates=external.certificates)
    assert [part.identifier for part in directory.parts] == [SHARED_PARAMETERS]
    assert (await served.get(directory.parts[0].location)).status == 200


async def test_it_publishes_when_something_changes_and_when_time_passes(
    served: Served, time: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = served.server.app[PUBLISHER]  # type: ignore[attr-defined]
    publish, published = publisher.publish, asyncio.Queue[Publication]()

    async def observed() -> None:
        await published.put(await publish())

    monkeypatch.setattr(publisher, "publish", observed)
    first = publisher.latest
    async with asyncio.timeout(10):
        publisher.registry.state.update(lambda p: membership.add_member_class(p, "GOV", "x"))
        second = await published.get()
        time.time += timedelta(seconds=60)
        third = await published.get()
    assert first.sequence < second.sequence < third.sequence
    assert publisher.latest is third


async def test_generations_just_replaced_are_still_served(served: Served, settings: RegistrySettings) -> None:
    publisher = served.server.app[PUBLISHER]  # type: ignore[attr-defined]
    old = next(iter(publisher.latest.files))
    for _ in range(5):
        await publisher.publish()
    assert (await served.get(old)).status == 200
    for _ in range(10):
        await publisher.publish()
    assert (await served.get(old)).status == 404


async def test_it_is_ill_when_it_has_nothing_current(
    served: Served, time: ManualClock, settings: RegistrySettings
) -> None:
    settings.registry_file.write_bytes(b"<broken/>")
    time.time += timedelta(seconds=601)
    assert (await served.get("/healthz")).status == 503


async def test_numbers_grow_over_restarts_and_clock_changes(settings: RegistrySettings, time: ManualClock) -> None:
    first = await Registry(settings, time).publish()
    time.time -= timedelta(days=1)
    second = await Registry(settings, time).publish()
    assert second.sequence == first.sequence + 1
    (settings.data_directory / "generation").write_text("x")
    with pytest.raises(ConfigurationInvalid):
        await Registry(settings, time).publish()


def test_sequences_are_written_as_x_road_does() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    assert next_sequence(at, 0) == 20260102030405678901000
    assert next_sequence(at, 20260102030405678901000) == 20260102030405678901001


def test_the_registry_is_set_up_once(settings: RegistrySettings, time: ManualClock) -> None:
    registry = Registry(settings, time)
    with_city(registry)
    again = Registry(settings, time)
    assert again.key.certificate_der == registry.key.certificate_der
    assert again.state.read().members[0].id == CITY
    assert parse_anchor(registry.anchor_file.read_bytes()) == registry.anchor()
    assert isinstance(registry.anchor(), Anchor)
    assert settings.signing_key_file.stat().st_mode & 0o077 == 0
    assert settings.pin_file.stat().st_mode & 0o077 == 0


def test_a_lost_pin_is_not_replaced(settings: RegistrySettings, time: ManualClock) -> None:
    Registry(settings, time)
    settings.pin_file.unlink()
    with pytest.raises(KeyUnavailable):
        Registry(settings, time)


def test_the_state_of_another_instance_is_refused(settings: RegistrySettings, time: ManualClock) -> None:
    registry = Registry(settings, time)
    data = settings.registry_file.read_bytes()
    settings.registry_file.write_bytes(data.replace(b"DE-TEST", b"EE-TEST"))
    with pytest.raises(ConfigurationInvalid):
        registry.state.read()
    settings.registry_file.unlink()
    with pytest.raises(ConfigurationInvalid):
        registry.state.read()


def test_a_refused_change_leaves_the_state(settings: RegistrySettings, time: ManualClock) -> None:
    registry = Registry(settings, time)
    before = settings.registry_file.read_bytes()
    with pytest.raises(RegistrationRefused):
        registry.state.update(lambda p: membership.add_member(p, CITY, "keine Klasse"))
    with pytest.raises(ConfigurationInvalid):
        registry.state.update(lambda p: membership.add_member_class(p, "G\x00", "x"))
    assert settings.registry_file.read_bytes() == before


def test_changes_at_once_are_all_kept(settings: RegistrySettings, time: ManualClock) -> None:
    registry = Registry(settings, time)

    def add(number: int) -> None:
        Registry(settings, time).state.update(lambda p: membership.add_member_class(p, f"C{number}", "x"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert {known.code for known in registry.state.read().member_classes} == {f"C{number}" for number in range(8)}
