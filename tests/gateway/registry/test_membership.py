"""Who is on the road: each change of the registry's state, and the contradictions that it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from gateway.registry import membership as m
from gateway.registry.membership import RegistrationRefused
from tests.trust.configurations import key
from trust.globalconf import build_registry_state, parse_shared_parameters
from trust.identifiers import ClientId, GlobalGroupId, MemberId, SecurityServerId, SubsystemId
from trust.parameters import ApprovedCA, ApprovedTSA, GlobalGroup, SharedParameters, Subsystem

CITY = MemberId("DE-TEST", "GOV", "MUSTERSTADT")
APP = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
BANK = MemberId("DE-TEST", "COM", "SPARKASSE")
SERVER = SecurityServerId(CITY, "gateway1")
OTHER = SecurityServerId(BANK, "gateway1")
CERTIFICATE = key().certificate_der
CA = ApprovedCA("a", CERTIFICATE)
TSA = ApprovedTSA("t", "http://t", CERTIFICATE)


@pytest.fixture
def city() -> SharedParameters:
    parameters = m.add_member_class(SharedParameters("DE-TEST"), "GOV", "Verwaltung")
    parameters = m.add_member_class(parameters, "COM", "Unternehmen")
    parameters = m.add_member(parameters, CITY, "Stadt")
    parameters = m.add_member(parameters, BANK, "Sparkasse")
    parameters = m.add_subsystem(parameters, APP, "App")
    parameters = m.register_server(parameters, SERVER, "127.0.0.1:5500")
    parameters = m.register_server(parameters, OTHER, "bank.test")
    parameters = m.register_certificate(parameters, SERVER, CERTIFICATE)
    parameters = m.register_client(parameters, SERVER, APP)
    return m.set_group(parameters, "alle", "Alle", [APP, BANK])


def test_everything_registered_is_published(city: SharedParameters) -> None:
    assert parse_shared_parameters(build_registry_state(city)) == city
    server, other = city.security_servers
    assert server.authentication_hashes == {hashlib.sha256(CERTIFICATE).digest()}
    assert server.clients == {APP}
    assert (other.address, other.clients) == ("bank.test", frozenset[ClientId]())
    assert city.groups == (GlobalGroup(GlobalGroupId("DE-TEST", "alle"), "Alle", frozenset({APP, BANK})),)


CHANGES: list[Callable[[SharedParameters], SharedParameters]] = [
    lambda p: m.add_member_class(p, "GOV", "Verwaltung"),
    lambda p: m.add_member(p, CITY, "Stadt"),
    lambda p: m.add_subsystem(p, APP, "App"),
    lambda p: m.register_server(p, SERVER, "127.0.0.1:5500"),
    lambda p: m.register_certificate(p, SERVER, CERTIFICATE),
    lambda p: m.register_client(p, SERVER, APP),
    lambda p: m.set_group(p, "alle", "Alle", [APP, BANK]),
    lambda p: m.approve_ca(p, CA),
    lambda p: m.approve_tsa(p, TSA),
]


@pytest.mark.parametrize("change", CHANGES)
def test_doing_it_twice_changes_nothing(
    city: SharedParameters, change: Callable[[SharedParameters], SharedParameters]
) -> None:
    once = change(city)
    assert change(once) == once


def test_names_and_addresses_change(city: SharedParameters) -> None:
    assert m.add_member(city, CITY, "Neu").members[0].name == "Neu"
    assert m.add_subsystem(city, APP, "Neu").members[0].subsystems == (Subsystem(APP, "Neu"),)
    assert m.register_server(city, SERVER, "neu").security_servers[0].address == "neu"
    assert m.set_maintenance(city, SERVER, "kurz").security_servers[0].maintenance == "kurz"
    assert m.set_maintenance(city, SERVER, None).security_servers[0].maintenance is None


def test_what_is_removed_is_gone_everywhere(city: SharedParameters) -> None:
    without = m.remove_subsystem(city, APP)
    assert without.members[0].subsystems == ()
    assert without.security_servers[0].clients == frozenset()
    assert without.groups[0].members == {BANK}
    without = m.remove_member(m.remove_server(city, SERVER), CITY)
    assert [member.id for member in without.members] == [BANK]
    assert without.groups[0].members == {BANK}
    assert m.remove_certificate(city, SERVER, CERTIFICATE).security_servers[0].authentication_hashes == frozenset()
    assert m.remove_client(city, SERVER, APP).security_servers[0].clients == frozenset()
    assert m.remove_group(city, "alle").groups == ()
    assert m.revoke_ca(m.approve_ca(city, CA), CERTIFICATE).approved_cas == ()
    assert m.approve_tsa(city, TSA).approved_tsas == (TSA,)
    assert parse_shared_parameters(build_registry_state(without)) == without


@pytest.mark.parametrize(
    "change",
    [
        lambda p: m.add_member(p, MemberId("EE", "GOV", "1"), "x"),
        lambda p: m.add_member(p, MemberId("DE-TEST", "ORG", "1"), "x"),
        lambda p: m.add_subsystem(p, SubsystemId("DE-TEST", "GOV", "1", "x"), "x"),
        lambda p: m.remove_member(p, CITY),
        lambda p: m.remove_member(p, MemberId("DE-TEST", "GOV", "1")),
        lambda p: m.register_server(p, SecurityServerId(MemberId("DE-TEST", "GOV", "1"), "s"), "x"),
        lambda p: m.remove_server(p, SecurityServerId(CITY, "nie")),
        lambda p: m.register_certificate(p, SERVER, b"junk"),
        lambda p: m.register_certificate(p, OTHER, CERTIFICATE),
        lambda p: m.register_certificate(p, SecurityServerId(CITY, "nie"), CERTIFICATE),
        lambda p: m.register_client(p, SERVER, SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "nie")),
        lambda p: m.register_client(p, SecurityServerId(CITY, "nie"), APP),
        lambda p: m.set_maintenance(p, SecurityServerId(CITY, "nie"), ""),
        lambda p: m.set_group(p, "g", "", [MemberId("DE-TEST", "GOV", "1")]),
    ],
)
def test_contradictions_are_refused(
    city: SharedParameters, change: Callable[[SharedParameters], SharedParameters]
) -> None:
    with pytest.raises(RegistrationRefused):
        change(city)


def test_clients_of_federated_instances_may_join_groups(city: SharedParameters) -> None:
    foreign = MemberId("EE-TEST", "GOV", "1")
    assert m.set_group(city, "g", "", [foreign]).groups[-1].members == {foreign}
