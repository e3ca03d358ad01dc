"""Two instances that let each other's members in: two registries, two authorities, gateways, all on real sockets.

What a client of the one sees when it calls services of the other, and what it is refused.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.clock import SystemClock
from gateway.instance.plan import InstancePlan, build_plan
from gateway.instance.reading import InvalidTopology, read_topology
from gateway.instance.setup import prepare
from gateway.instance.start import all_answer, running
from gateway.registry.node import Registry
from gateway.serve import Listener, listening
from gateway.settings import RegistrySettings
from tests.gateway.exchange.backend import Backend
from tests.gateway.exchange.ports import HOST, free_port, free_ports
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, answering, fault_of
from trust.asic import verify_container
from trust.asic.configuration import read_verification_configuration
from trust.identifiers import SubsystemId

# The registry, the trust services and two gateways.
_SPAN = 30
SOAP = {"code": "auskunft", "version": "v1", "type": "SOAP"}


def topology(instance: str, other: str, backend: str) -> dict[str, Any]:
    """A member with two gateways: one lets the other instance in and offers services, the other keeps to itself."""
    settings = {"configuration_interval_seconds": 0.2, "peer_timeout_seconds": 5}
    right = {"subsystem": "GOV/STADT/app", "instance": other}
    services = [
        {"code": "offen", "type": "REST", "url": backend, "rights": [right]},
        {"code": "gesperrt", "type": "REST", "url": backend},
        SOAP | {"url": f"{backend}/soap", "rights": [right]},
        SOAP | {"code": "auskunftZu", "url": f"{backend}/soap"},
    ]
    subsystems = [
        {"code": "app", "gateways": ["offen"], "services": services},
        {"code": "inland", "gateways": ["inland"]},
    ]
    return {
        "instance": instance,
        "gateways": {
            "offen": {"owner": "GOV/STADT", "settings": settings | {"allowed_federations": [other]}},
            "inland": {"owner": "GOV/STADT", "settings": settings},
        },
        "members": [{"class": "GOV", "code": "STADT", "name": f"Stadt in {instance}", "subsystems": subsystems}],
    }


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def code(self) -> str:
        """The code of an error, whichever form it has."""
        return str(json.loads(self.body)["type"]) if self.body.startswith(b"{") else fault_of(self.body)


@dataclass(frozen=True)
class Side:
    """One of the instances, as a client of it sees it."""

    plan: InstancePlan
    backend: Backend
    http: aiohttp.ClientSession

    @property
    def instance(self) -> str:
        return self.plan.topology.instance

    @property
    def registry(self) -> RegistrySettings:
        settings = self.plan.all_settings()["registry"]
        assert isinstance(settings, RegistrySettings)
        return settings

    def subsystem(self, code: str = "app") -> SubsystemId:
        return SubsystemId(self.instance, "GOV", "STADT", code)

    async def get(self, target: str, *, client: SubsystemId | None = None, gateway: str = "offen") -> Answer:
        """A GET at a gateway's client port."""
        return await self._send("GET", target, gateway, {} if client is None else {"X-Road-Client": client.encoded})

    async def rest(self, other: Side, code: str, **headers: str) -> Answer:
        """The app of this instance asks a service of the other."""
        sent = {"X-Road-Client": self.subsystem().encoded} | {n.replace("_", "-"): v for n, v in headers.items()}
        return await self._send("POST", f"/r1/{other.subsystem().encoded}/{code}/binary", "offen", sent, b"inhalt")

    async def soap(self, other: Side, code: str) -> Answer:
        """The same over SOAP."""
        message = Message(code=code, client=self.subsystem(), provider=other.subsystem())
        return await self._send("POST", "/", "offen", {"Content-Type": TEXT_XML}, message.encoded())

    async def _send(
        self, method: str, target: str, gateway: str, headers: dict[str, str], body: bytes | None = None
    ) -> Answer:
        url = f"http://{HOST}:{self.plan.ports[gateway].client_http}{target}"
        async with self.http.request(method, url, headers=headers, data=body) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def sees(self, instance: str) -> bool:
        """Whether the gateway knows the other instance's members."""
        return b"faultcode" not in (await self.get(f"/listClients?xRoadInstance={instance}")).body

    def trust(self, other: Side) -> Path:
        """As the registry's operator: the other's external anchor into the folder. Which file it is now."""
        registry = Registry(other.registry, SystemClock())
        self.registry.federation_directory.mkdir(exist_ok=True)
        target = self.registry.federation_directory / f"{other.instance}.xml"
        shutil.copyfile(registry.external_anchor_file, target)
        return target


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what registries and gateways do in the background."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - neither tells anybody of what it does in the background
            await asyncio.sleep(0.02)


def written(folder: Path, document: dict[str, Any]) -> Path:
    """The topology as a file in a folder of its own."""
    folder.mkdir()
    file = folder / "topology.json"
    file.write_text(json.dumps(document), "utf-8")
    return file


@asynccontextmanager
async def side(folder: Path, instance: str, other: str, http: aiohttp.ClientSession) -> AsyncIterator[Side]:
    """One instance, running."""
    backend, port = Backend(soap=answering()), free_port()
    file = written(folder, topology(instance, other, f"http://{HOST}:{port}/dienst"))
    plan = build_plan(read_topology(file), folder / "data", free_ports(_SPAN))
    settings = await prepare(plan, SystemClock())
    async with listening([Listener(web.Server(backend.handle), HOST, port)], shutdown_seconds=1), running(settings):
        await all_answer(settings)
        yield Side(plan, backend, http)


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Side, Side]]:
    """Both, which know nothing of each other yet."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        german = await stack.enter_async_context(side(folder / "de", "DE-TEST", "EE-TEST", http))
        estonian = await stack.enter_async_context(side(folder / "ee", "EE-TEST", "DE-TEST", http))
        yield german, estonian


async def test_two_instances(tmp_path: Path) -> None:
    """One long test: what it takes to start two instances is its cost."""
    async with two(tmp_path) as (home, abroad):
        await nobody_is_known_before(home, abroad)
        # 1. Each registry vouches for the other; their gateways learn of it without a restart.
        for one, other in ((home, abroad), (abroad, home)):
            one.trust(other)
        for one, other in ((home, abroad), (abroad, home)):
            await until(partial(one.sees, other.instance))
        # 2. Then members call each other, both ways, where they have a right.
        for one, other in ((home, abroad), (abroad, home)):
            await members_are_listed(one, other)
            await services_answer(one, other)
            await rights_are_asked_for(one, other)
        await a_gateway_that_lets_nobody_in_knows_nobody(home, abroad)
        await operators_see_it(home, abroad)
        await evidence_holds_by_both_instances(home, abroad)
        # 3. A broken anchor takes the other instance out, and leaves the own one as it was.
        await a_broken_anchor_ends_the_federation_alone(home, abroad)


async def nobody_is_known_before(one: Side, other: Side) -> None:
    assert not await one.sees(other.instance)
    assert (await one.rest(other, "offen")).code == "server.clientproxy.unknown_member"
    assert other.backend.calls == []


async def members_are_listed(one: Side, other: Side) -> None:
    answer = await one.get(f"/listClients?xRoadInstance={other.instance}")
    text = answer.body.decode()
    assert f"<name>Stadt in {other.instance}</name>" in re.sub(r"<(/?)\w+:name>", r"<\1name>", text)
    assert one.instance not in text
    assert one.instance in (await one.get("/listClients")).body.decode()


async def services_answer(one: Side, other: Side) -> None:
    answer = await one.rest(other, "offen")
    assert (answer.status, answer.body) == (200, b"inhalt"), answer.body
    assert answer.headers["X-Road-Service"] == f"{other.subsystem().encoded}/offen"
    (call,) = other.backend.calls
    assert call.headers["X-Road-Client"] == one.subsystem().encoded
    reply = await one.soap(other, "auskunft")
    assert reply.status == 200, reply.body
    assert b"auskunftResponse" in reply.body
    # What the services of the other are, and which of them this client may use, is told over the road, too.
    listed = await one.get(f"/r1/{other.subsystem().encoded}/allowedMethods", client=one.subsystem())
    assert [found["service_code"] for found in json.loads(listed.body)["service"]] == ["offen"]
    assert len(other.backend.calls) == 2


async def rights_are_asked_for(one: Side, other: Side) -> None:
    before = len(other.backend.calls)
    assert (await one.rest(other, "gesperrt")).code == "server.serverproxy.access_denied"
    assert (await one.soap(other, "auskunftZu")).code == "server.serverproxy.access_denied"
    # The right of a namesake in the own instance is nobody's: an identifier begins with its instance.
    assert (await one.rest(one, "offen")).code == "server.serverproxy.access_denied"
    assert len(other.backend.calls) == before


async def a_gateway_that_lets_nobody_in_knows_nobody(one: Side, other: Side) -> None:
    """`allowed_federations` is each gateway's own, whatever the registry vouches for."""
    answer = await one.get(f"/listClients?xRoadInstance={other.instance}", gateway="inland")
    assert answer.code == "server.clientproxy.internal_error"
    target = f"/r1/{other.subsystem().encoded}/offen/"
    refused = await one.get(target, client=one.subsystem("inland"), gateway="inland")
    assert refused.code == "server.clientproxy.unknown_member"


async def operators_see_it(one: Side, other: Side) -> None:
    operations = f"http://{HOST}:{one.plan.ports['offen'].operations}"
    async with one.http.get(f"{operations}/healthz?full") as answer:
        findings = (await answer.json())["findings"]
    (found,) = [finding for finding in findings if finding["subject"] == other.instance]
    assert (found["check"], found["state"]) == ("configuration", "ok")
    async with one.http.get(f"{operations}/metrics") as answer:
        metrics = await answer.text()
    left = re.search(
        rf'^datenweg_federated_configuration_expiry_seconds{{instance="{other.instance}"}} (\S+)$',
        metrics,
        re.MULTILINE,
    )
    assert left is not None
    assert float(left.group(1)) > 0


async def evidence_holds_by_both_instances(one: Side, other: Side) -> None:
    """A message of one's own and the answer from abroad: each signer by the authorities of their own instance."""
    assert (await one.rest(other, "offen", X_Road_Id="beleg-1")).status == 200
    who = "xRoadInstance={}&memberClass={}&memberCode={}&subsystemCode={}".format(*one.subsystem().segments)
    containers = await one.get(f"/asic?queryId=beleg-1&{who}&force")
    assert containers.status == 200, containers.body
    published = await one.get("/verificationconf")
    configuration = read_verification_configuration(published.body)
    with zipfile.ZipFile(io.BytesIO(containers.body)) as archive:
        found = [
            verify_container(archive.read(name), configuration, at=datetime.now(UTC)) for name in archive.namelist()
        ]
    assert {verified.member.instance for verified in found} == {one.instance, other.instance}


async def a_broken_anchor_ends_the_federation_alone(one: Side, other: Side) -> None:
    anchor = one.registry.federation_directory / f"{other.instance}.xml"
    anchor.write_text("<kein/>")

    async def gone() -> bool:
        return not await one.sees(other.instance)

    await until(gone)
    assert (await one.rest(other, "offen")).code == "server.clientproxy.unknown_member"
    assert (await one.get("/listClients")).status == 200
    # The other side hasn't turned away: it still knows who is here.
    assert await other.sees(one.instance)
    one.trust(other)
    await until(partial(one.sees, other.instance))
    assert (await one.rest(other, "offen")).status == 200


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ({"group": "apps", "instance": "EE-TEST"}, "instance is for a subsystem"),
        ({"subsystem": "GOV/STADT", "instance": "EE-TEST"}, "is not CLASS/MEMBER/SUBSYSTEM"),
        ({"subsystem": "GOV/STADT/anders", "instance": "DE-TEST"}, "there is no GOV/STADT/anders"),
    ],
)
def test_a_right_of_another_instance_in_a_file(tmp_path: Path, right: dict[str, str], said: str) -> None:
    document = topology("DE-TEST", "EE-TEST", f"http://{HOST}:9")
    document["members"][0]["subsystems"][0]["services"][0]["rights"] = [right]
    with pytest.raises(InvalidTopology, match=said):
        read_topology(written(tmp_path / "de", document))
