"""Rights of every kind on real sockets: subsystem, local and global group, whole services and single endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gateway.store.model import AccessRight, Client, ClientState, Endpoint, Group, RightSubject, Service, ServiceType
from gateway.store.repository import Repository
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, answering, fault_of
from tests.gateway.exchange.town import APP, GROUP, GUEST, UTILITY, path_of, service
from trust.identifiers import LocalGroupId, SubsystemId

pytestmark = pytest.mark.asyncio(loop_scope="module")

DENIED = "server.serverproxy.access_denied"
FOREIGN = SubsystemId("ANDERSWO", "GOV", "X", "y")
FRIENDS = Group(UTILITY.subsystem, "freunde", "", frozenset({GUEST, FOREIGN}))


async def settle(pair: GatewayPair, repository: Repository) -> None:
    revision = (await repository.revision()).configuration
    await pair.until(lambda: pair.provider.gateway.node.directory.configuration_revision == revision)


@pytest_asyncio.fixture(loop_scope="module")
async def repository(pair: GatewayPair) -> AsyncIterator[Repository]:
    """The provider's; the service `teile` has four endpoints and no rights yet."""
    found = Repository(pair.provider.gateway.engine)
    backend = next(s.url for s in await found.services() if s.code == "echo")
    offered = Service(UTILITY.subsystem, "teile", ServiceType.OPENAPI3, backend)
    paths = (("GET", "/echo/*"), ("POST", "/echo/*/fotos"), ("*", "/echo/frei/**"), ("GET", "/echo/a b"))
    await found.upsert_service(offered, generated=[Endpoint(offered.key, *path, True) for path in paths])
    await found.upsert_group(FRIENDS)
    yield found
    await found.remove_service(offered.identifier)
    await found.remove_group(FRIENDS.owner, FRIENDS.code)


async def outcome(pair: GatewayPair, path: str, method: str = "GET", client: SubsystemId = APP) -> str:
    answer = await pair.request(method, path_of(service("teile"), path), client=client)
    return answer.headers.get("X-Road-Error", "ok").replace(DENIED, "denied")


async def test_a_right_to_endpoints_opens_these_alone(pair: GatewayPair, repository: Repository) -> None:
    opened = (("GET", "/echo/*"), ("POST", "/echo/*/fotos"), ("*", "/echo/frei/**"), ("GET", "/echo/a b"))
    await repository.grant(*(AccessRight(service("teile"), APP, *endpoint) for endpoint in opened))
    await settle(pair, repository)
    for method, path, expected in (
        ("GET", "/echo/1", "ok"),
        ("GET", "/echo/%31?frage=/x", "ok"),
        ("GET", "/echo/", "ok"),
        ("GET", "/echo", "denied"),
        ("GET", "", "denied"),
        ("GET", "/", "denied"),
        ("GET", "/echo/1/2", "denied"),
        ("GET", "/echo/1%2F2", "denied"),
        ("POST", "/echo/1", "denied"),
        ("POST", "/echo/1/fotos", "ok"),
        ("DELETE", "/echo/frei/ganz/gleich", "ok"),
        ("GET", "/echo/a%20b", "ok"),
        ("GET", "/echo/x/../1", "ok"),
        ("GET", "/echo/frei/../../geheim", "denied"),
        ("GET", "/echo/frei/%2e%2e/%2e%2e/geheim", "denied"),
        ("GET", "/echo/frei/../../../geheim", "denied"),
        ("GET", "//echo/1", "denied"),
        ("GET", "/ECHO/1", "denied"),
    ):
        assert await outcome(pair, path, method) == expected, (method, path)
    assert await outcome(pair, "/echo/1", client=GUEST) == "denied"
    await repository.grant(AccessRight(service("teile"), APP))
    await settle(pair, repository)
    assert await outcome(pair, "/irgendwas", "PUT") == "ok"


@pytest.mark.parametrize("subject", [GUEST, LocalGroupId("freunde")], ids=str)
async def test_each_subject(pair: GatewayPair, repository: Repository, subject: RightSubject) -> None:
    right = AccessRight(service("teile"), subject)
    await repository.grant(right)
    await settle(pair, repository)
    assert (await outcome(pair, "/echo", client=GUEST), await outcome(pair, "/echo")) == ("ok", "denied")
    await repository.revoke(right)
    await settle(pair, repository)
    assert await outcome(pair, "/echo", client=GUEST) == "denied"


async def test_a_global_group_and_its_absence(pair: GatewayPair, repository: Repository) -> None:
    await repository.grant(AccessRight(service("teile"), GROUP, "GET", "/echo/*"))
    await settle(pair, repository)
    assert (await outcome(pair, "/echo/1"), await outcome(pair, "/echo/1", client=GUEST)) == ("ok", "denied")


async def test_who_leaves_a_local_group_loses_its_rights(pair: GatewayPair, repository: Repository) -> None:
    await repository.grant(AccessRight(service("teile"), LocalGroupId("freunde")))
    await repository.change_group(UTILITY.subsystem, "freunde", add=frozenset({APP}), remove=frozenset({GUEST}))
    await settle(pair, repository)
    assert (await outcome(pair, "/echo"), await outcome(pair, "/echo", client=GUEST)) == ("ok", "denied")


async def test_an_endpoint_that_is_gone_opens_nothing(pair: GatewayPair, repository: Repository) -> None:
    await repository.grant(AccessRight(service("teile"), APP, "GET", "/echo/*"))
    offered = next(s for s in await repository.services() if s.code == "teile")
    await repository.upsert_service(offered, generated=[Endpoint(offered.key, "GET", "/neu", True)])
    await settle(pair, repository)
    assert await outcome(pair, "/echo/1") == "denied"


async def test_a_right_counts_for_every_version(pair: GatewayPair, repository: Repository) -> None:
    pair.backend.soap = answering()
    backend = next(s.url for s in await repository.services() if s.code == "echo")
    versions = [
        Service(UTILITY.subsystem, "auskunft2", ServiceType.WSDL, f"{backend}/soap", version=version)
        for version in (None, "v2")
    ]
    await repository.upsert_services(versions, grant_to=[AccessRight(versions[1].identifier, APP)])
    await settle(pair, repository)
    try:
        for version, expected in ((None, ""), ("v1", ""), ("v2", ""), ("v3", "server.serverproxy.unknown_service")):
            sent = Message("auskunft2", version).encoded()
            answer = await pair.request("POST", "/", client=None, headers={"Content-Type": TEXT_XML}, body=sent)
            assert (fault_of(answer.body) if b"faultcode" in answer.body else "") == expected, (version, answer.body)
        sent = Message("auskunft2", "v2", client=GUEST).encoded()
        answer = await pair.request("POST", "/", client=None, headers={"Content-Type": TEXT_XML}, body=sent)
        assert fault_of(answer.body) == DENIED
    finally:
        for version in versions:
            await repository.remove_service(version.identifier)


@pytest.mark.parametrize("state", [state for state in ClientState if state is not ClientState.REGISTERED])
async def test_only_a_registered_provider_is_there(
    pair: GatewayPair, repository: Repository, state: ClientState
) -> None:
    await repository.upsert_client(Client(UTILITY.subsystem, state=state))
    await settle(pair, repository)
    try:
        answer = await pair.call("echo")
        assert answer.headers["X-Road-Error"] == "server.serverproxy.unknown_member"
    finally:
        await repository.upsert_client(Client(UTILITY.subsystem))
        await settle(pair, repository)
