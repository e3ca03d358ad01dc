"""Endpoints, groups, versions and descriptions in the store, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.store.errors import UnknownEndpoint, UnknownGroup, UnknownService
from gateway.store.model import AccessRight, Endpoint, Group, Service, ServiceType, parse_right_subject
from gateway.store.repository import Repository
from trust.identifiers import LocalGroupId, ServiceId, SubsystemId

APP = SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
ACCOUNT = SubsystemId("DE-TEST", "COM", "SPARKASSE", "konto")
KEY = ServiceId(ACCOUNT, "konto")
REST = Service(ACCOUNT, "konto", ServiceType.OPENAPI3, "http://127.0.0.1:1", description=b"eins", verify_tls=False)
SOAP = Service(ACCOUNT, "hole", ServiceType.WSDL, "http://127.0.0.1:1", version="v1", description=b"zwei")
FRIENDS = Group(ACCOUNT, "a/b", "nah", frozenset({APP, ACCOUNT}))


def endpoint(method: str, path: str, generated: bool = True) -> Endpoint:
    return Endpoint(KEY, method, path, generated)


async def test_generated_endpoints_are_replaced_and_take_their_rights_along(repository: Repository) -> None:
    await repository.upsert_service(REST, generated=[endpoint("GET", "/a"), endpoint("GET", "/b")])
    await repository.add_endpoint(endpoint("PUT", "/c", generated=False))
    rights = [AccessRight(KEY, APP, method, path) for method, path in (("GET", "/a"), ("GET", "/b"), ("PUT", "/c"))]
    await repository.grant(*rights, AccessRight(KEY, APP))
    await repository.upsert_service(REST, generated=[endpoint("GET", "/b"), endpoint("PUT", "/c")])
    assert set(await repository.endpoints()) == {endpoint("GET", "/b"), endpoint("PUT", "/c", generated=False)}
    assert set(await repository.rights()) == {*rights[1:], AccessRight(KEY, APP)}
    await repository.upsert_service(replace(REST, url="http://127.0.0.1:2"))
    assert len(await repository.endpoints()) == 2
    await repository.remove_endpoint(endpoint("GET", "/b"))
    assert set(await repository.rights()) == {rights[2], AccessRight(KEY, APP)}
    await repository.remove_service(KEY)
    assert (await repository.endpoints(), await repository.rights()) == ((), ())


async def test_endpoints_come_together_or_not_at_all(repository: Repository) -> None:
    await repository.upsert_service(REST)
    before = await repository.revision()
    unknown = Endpoint(ServiceId(ACCOUNT, "fehlt"), "GET", "/x", generated=False)
    with pytest.raises(UnknownService):
        await repository.add_endpoint(endpoint("GET", "/a", generated=False), unknown)
    assert (await repository.endpoints(), await repository.revision()) == ((), before)
    both = (endpoint("GET", "/a", generated=False), endpoint("PUT", "/a", generated=False))
    await repository.add_endpoint(*both)
    assert set(await repository.endpoints()) == set(both)


async def test_versions_share_rights_and_the_last_one_takes_them_along(repository: Repository) -> None:
    versions = [replace(SOAP, version=version) for version in (None, "v1", "v2")]
    await repository.upsert_services(versions, grant_to=[AccessRight(versions[2].identifier, APP)])
    assert await repository.rights() == (AccessRight(ServiceId(ACCOUNT, "hole"), APP),)
    assert await repository.services() == tuple(versions)
    await repository.remove_service(versions[1].identifier)
    await repository.upsert_services((), removed=[versions[0].identifier])
    assert await repository.services() == (versions[2],)
    assert len(await repository.rights()) == 1
    await repository.remove_service(versions[2].identifier)
    assert await repository.rights() == ()


async def test_a_description_is_kept_once_and_as_long_as_it_is_needed(repository: Repository) -> None:
    twin = replace(SOAP, code="gib")
    await repository.upsert_services([SOAP, twin, REST])
    found = {service.code: service for service in await repository.services()}
    assert found["hole"].description is found["gib"].description
    assert found["konto"] == REST
    await repository.upsert_service(replace(SOAP, description=b"neu"))
    await repository.remove_service(REST.identifier)
    assert {s.code: s.description for s in await repository.services()} == {"hole": b"neu", "gib": b"zwei"}
    await repository.upsert_service(replace(twin, description=b""))
    assert {s.code: s.description for s in await repository.services()} == {"hole": b"neu", "gib": b""}


async def test_groups_change_and_take_their_rights_along(repository: Repository) -> None:
    await repository.upsert_service(REST)
    await repository.upsert_group(FRIENDS)
    other = Group(APP, FRIENDS.code)
    await repository.upsert_group(other)
    right = AccessRight(KEY, FRIENDS.identifier)
    await repository.grant(right)
    assert await repository.rights() == (right,)
    foreign = SubsystemId("XX", "A", "B", "c")
    await repository.change_group(ACCOUNT, FRIENDS.code, add=frozenset({foreign}), remove=frozenset({APP}))
    changed = replace(FRIENDS, members=frozenset({ACCOUNT, foreign}))
    assert set(await repository.groups()) == {changed, other}
    assert (await repository.load()).groups == await repository.groups()
    await repository.remove_group(APP, FRIENDS.code)
    assert await repository.rights() == (right,)
    await repository.remove_group(ACCOUNT, FRIENDS.code)
    assert (await repository.groups(), await repository.rights()) == ((), ())


async def test_nothing_is_granted_to_or_for_what_there_is_not(repository: Repository) -> None:
    await repository.upsert_service(REST)
    before = await repository.load()
    for error, work in (
        (UnknownGroup, repository.grant(AccessRight(KEY, LocalGroupId("fehlt")))),
        (UnknownEndpoint, repository.grant(AccessRight(KEY, APP), AccessRight(KEY, APP, "GET", "/x"))),
        (UnknownService, repository.grant(AccessRight(ServiceId(ACCOUNT, "fehlt"), APP))),
        (UnknownService, repository.add_endpoint(Endpoint(ServiceId(ACCOUNT, "fehlt"), "GET", "/x"))),
        (UnknownEndpoint, repository.remove_endpoint(endpoint("GET", "/x"))),
        (UnknownGroup, repository.change_group(ACCOUNT, "fehlt")),
        (UnknownGroup, repository.remove_group(ACCOUNT, "fehlt")),
    ):
        with pytest.raises(error):
            await work
    assert await repository.load() == before


def test_a_local_group_as_a_subject() -> None:
    assert parse_right_subject("LOCALGROUP:a%2Fb") == LocalGroupId("a/b")
