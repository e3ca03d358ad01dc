"""What a verified request must satisfy: each check alone, and that an earlier one hides what a later one would say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.exchange.directory import build_directory
from gateway.exchange.quotas import Quotas
from gateway.exchange.rights import Demand, Policy, authorise
from gateway.messages.faults import Fault
from gateway.messages.headers import IdentityLevel
from gateway.store.model import (
    AccessRight,
    Client,
    ClientState,
    ConsentCopy,
    ConsentStatus,
    Group,
    LegalBasisKind,
    NodeConfiguration,
    RequiredIdentityLevel,
    Revision,
    RightSubject,
    Service,
    ServiceType,
)
from tests.gateway.exchange.town import APP, CITY, GROUP, GUEST, UTILITY, service, services
from trust.identifiers import GlobalGroupId, LocalGroupId, MemberId, ServiceId, SubsystemId

FOREIGN = SubsystemId("ANDERSWO", "GOV", "X", "y")
FRIENDS = Group(UTILITY.subsystem, "freunde", "", frozenset({GUEST, FOREIGN}))
REFERENCE = "0b8f4a51-54a5-4f0e-8b0f-3f6cf5b6f6f4"
COPY = ConsentCopy(REFERENCE, APP, "person", service("echo"), 2000, ConsentStatus.VALID, 1, "")
DEMAND = Demand(
    client=APP,
    client_groups=frozenset(),
    service=service("echo"),
    subjects=("person",),
    identity_level=IdentityLevel.HIGH,
    consent=REFERENCE,
    consent_copy=COPY,
    at_ms=1000,
    method="GET",
    path="/",
)


def policy(
    *,
    granted: bool = True,
    client: bool = True,
    quota: int | None = None,
    **changes: Any,
) -> Policy:
    """A gateway with one service that demands everything."""
    everything: dict[str, Any] = {
        "legal_basis_kind": LegalBasisKind.CONSENT,
        "identity_level": RequiredIdentityLevel.SUBSTANTIAL,
    }
    offered: Service = replace(services("http://127.0.0.1:1")[0], **(everything | changes))
    configuration = NodeConfiguration(
        Revision(1, 0),
        (Client(UTILITY.subsystem, state=ClientState.REGISTERED if client else ClientState.DISABLED),),
        (offered,),
        (AccessRight(service("echo"), APP if granted else GUEST),),
    )
    return Policy(build_directory(configuration), frozenset({CITY.member}), Quotas(quota))


def refused(demand: Demand, decided_by: Policy) -> str:
    """The leaf of the refusal's code."""
    with pytest.raises(Fault) as caught:
        authorise(demand, decided_by)
    return caught.value.code.removeprefix("server.serverproxy.")


def passes(demand: Demand, decided_by: Policy) -> bool:
    """True, or the Fault."""
    return authorise(demand, decided_by).identifier == demand.service


def test_a_demand_that_satisfies_everything() -> None:
    assert authorise(DEMAND, policy()).identifier == service("echo")


def test_a_right_by_group() -> None:
    by_group = policy()
    offers = dict(by_group.directory.offers)
    offers[service("echo")] = replace(offers[service("echo")], granted=frozenset({GROUP}))
    by_group = replace(by_group, directory=replace(by_group.directory, offers=offers))
    assert refused(DEMAND, by_group) == "access_denied"
    assert passes(replace(DEMAND, client_groups=frozenset({GROUP})), by_group)


@pytest.mark.parametrize(
    ("demand", "changes", "code"),
    [
        ({"service": service("unbekannt")}, {}, "unknown_service"),
        ({}, {"client": False}, "unknown_member"),
        ({"service": service("unbekannt")}, {"client": False}, "unknown_member"),
        ({}, {"service_type": ServiceType.WSDL}, "service_type"),
        ({}, {"granted": False}, "access_denied"),
        ({}, {"enabled": False}, "service_disabled"),
        ({"identity_level": None}, {}, "identity_level_too_low"),
        ({"identity_level": IdentityLevel.LOW}, {}, "identity_level_too_low"),
        ({"consent": None}, {}, "consent_required"),
        ({"subjects": ()}, {}, "subject_required"),
        ({"subjects": ("person", "noch eine")}, {}, "subject_required"),
        ({"subjects": ("andere",)}, {}, "consent_invalid"),
        ({"consent_copy": None}, {}, "consent_invalid"),
        ({"consent_copy": replace(COPY, client=GUEST)}, {}, "consent_invalid"),
        ({"consent_copy": replace(COPY, service=service("hoch"))}, {}, "consent_invalid"),
        ({"consent_copy": replace(COPY, status=ConsentStatus.WITHDRAWN)}, {}, "consent_withdrawn"),
        ({"at_ms": 2000}, {}, "consent_expired"),
    ],
)
def test_each_refusal(demand: dict[str, Any], changes: dict[str, Any], code: str) -> None:
    assert refused(replace(DEMAND, **demand), policy(**changes)) == code


def test_the_last_millisecond_of_a_consent() -> None:
    assert passes(replace(DEMAND, at_ms=1999), policy())


def test_a_quota_is_used_up_by_allowed_requests_only() -> None:
    decided_by = policy(quota=10)
    for _ in range(5):
        assert refused(replace(DEMAND, consent=None), decided_by) == "consent_required"
    assert passes(DEMAND, decided_by)
    assert refused(DEMAND, decided_by) == "quota_exceeded"


def test_who_has_no_right_learns_nothing_more() -> None:
    """Everything is wrong at once: what is mended first is what is said first."""
    order: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("service_type", {}, {"service_type": ServiceType.REST}),
        ("access_denied", {}, {"granted": True}),
        ("service_disabled", {}, {"enabled": True}),
        ("identity_level_too_low", {"identity_level": IdentityLevel.HIGH}, {}),
        ("consent_required", {"consent": REFERENCE}, {}),
        ("consent_withdrawn", {"consent_copy": COPY}, {}),
    ]
    demand: dict[str, Any] = {
        "identity_level": None,
        "consent": None,
        "consent_copy": replace(COPY, status=ConsentStatus.WITHDRAWN, expires_ms=0),
    }
    changes: dict[str, Any] = {
        "service_type": ServiceType.WSDL,
        "granted": False,
        "enabled": False,
    }
    for code, mended_demand, mended_policy in order:
        assert refused(replace(DEMAND, **demand), policy(**changes)) == code
        demand |= mended_demand
        changes |= mended_policy
    assert passes(replace(DEMAND, **demand), policy(**changes))


def test_a_law_needs_no_consent() -> None:
    by_law = policy(legal_basis_kind=LegalBasisKind.LAW)
    assert passes(replace(DEMAND, consent=None, consent_copy=None, subjects=()), by_law)
    assert passes(replace(DEMAND, consent="erfunden", consent_copy=None), by_law)


# -- whom groups mean, and what a version is


def _subjects(
    client: SubsystemId | MemberId, groups: frozenset[GlobalGroupId] = frozenset()
) -> frozenset[RightSubject]:
    configuration = NodeConfiguration(Revision(1, 0), (Client(UTILITY.subsystem),), (), (), (), (FRIENDS,))
    return build_directory(configuration).subjects_of(client, groups, UTILITY.subsystem)


def test_a_subsystem_of_any_instance_may_be_in_a_local_group() -> None:
    assert _subjects(FOREIGN) == {FOREIGN, LocalGroupId("freunde")}


def test_a_member_without_subsystem_is_in_global_groups_at_most() -> None:
    assert _subjects(APP.member) == frozenset()
    assert _subjects(APP.member, frozenset({GROUP})) == {GROUP}


def test_a_local_group_is_its_owners_alone() -> None:
    other = replace(UTILITY, subsystem_code="anderes").subsystem
    configuration = NodeConfiguration(Revision(1, 0), (Client(other),), (), (), (), (FRIENDS,))
    assert build_directory(configuration).subjects_of(GUEST, frozenset(), other) == {GUEST}


def test_version_one_is_what_a_service_without_version_has() -> None:
    plain = Service(UTILITY.subsystem, "s", ServiceType.WSDL, "http://127.0.0.1:1")
    rest = replace(plain, code="r", service_type=ServiceType.REST)
    found = build_directory(NodeConfiguration(Revision(1, 0), (Client(UTILITY.subsystem),), (plain, rest), ()))
    assert found.offer(ServiceId(UTILITY.subsystem, "s", "v1")) is found.offer(plain.identifier)
    assert found.offer(ServiceId(UTILITY.subsystem, "s", "v2")) is None
    assert found.offer(ServiceId(UTILITY.subsystem, "r", "v1")) is None


THIRD_PARTY = replace(
    COPY, client=GUEST, authority=APP, identity_level=RequiredIdentityLevel.SUBSTANTIAL, service=service("echo")
)
ABSENT = replace(DEMAND, client=GUEST, identity_level=None, consent_copy=THIRD_PARTY)


def test_a_third_partys_consent_says_how_surely_it_was_given() -> None:
    decided_by = policy(granted=False)
    assert passes(ABSENT, decided_by)
    for copy in (
        # The application in which citizens decide has their login: for its requests that alone counts.
        replace(THIRD_PARTY, authority=GUEST),
        replace(THIRD_PARTY, authority=None),
        replace(THIRD_PARTY, identity_level=RequiredIdentityLevel.LOW),
        replace(THIRD_PARTY, identity_level=RequiredIdentityLevel.NONE),
        replace(THIRD_PARTY, subject="andere"),
        replace(THIRD_PARTY, service=service("gruppe")),
        replace(THIRD_PARTY, client=FOREIGN),
        None,
    ):
        assert refused(replace(ABSENT, consent_copy=copy), decided_by) == "identity_level_too_low"
    high = policy(granted=False, identity_level=RequiredIdentityLevel.HIGH)
    assert refused(ABSENT, high) == "identity_level_too_low"
    # A consent that has ended opens nothing, and says why.
    ended = replace(THIRD_PARTY, status=ConsentStatus.WITHDRAWN)
    assert refused(replace(ABSENT, consent_copy=ended), decided_by) == "consent_withdrawn"
    assert refused(replace(ABSENT, at_ms=2000), decided_by) == "consent_expired"
    # Where no consent is asked for, none is looked at: not its level either.
    by_law = policy(granted=False, legal_basis_kind=LegalBasisKind.LAW)
    assert refused(ABSENT, by_law) == "identity_level_too_low"
