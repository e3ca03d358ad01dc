"""Services over TLS: the subsystem's pinned certificates decide, and the gateway shows its own."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.exchange.service_tls import ServiceContexts
from gateway.node_keys import load_keys
from gateway.serve import Listener, listening
from gateway.store.model import AccessRight, Client, Service, ServiceType
from gateway.store.repository import Repository
from tests.gateway.exchange.pair import Answer, GatewayPair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, fault_of
from tests.gateway.exchange.town import APP, UTILITY, path_of, service
from trust.keys import SoftwareKey
from trust.keystore import load_into_tls
from trust.self_signed import build_self_signed

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNTRUSTED = "server.serverproxy.service_failed.ssl_authentication_failed"


def self_signed(days: int = 1) -> SoftwareKey:
    """A key with a certificate that is valid until `days` from now (before that: expired)."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    since, until, names = now - timedelta(days=30), now + timedelta(days=days), [x509.IPAddress(ip_address(HOST))]
    return SoftwareKey(key, build_self_signed(key, "dienst", since=since, until=until, names=names))


class TLSService:
    """A service over TLS that demands a client certificate which it knows, or none."""

    def __init__(self, key: SoftwareKey, *, caller: SoftwareKey | None) -> None:
        self.port = free_port()
        self.asked: list[str] = []
        self.shown: list[bytes] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_into_tls(self.context, key)
        if caller is not None:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(cadata=caller.certificate_der)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request.raw_path)
        assert request.transport is not None
        tls = request.transport.get_extra_info("ssl_object")
        self.shown.append(tls.getpeercert(binary_form=True) or b"")
        return web.Response(text="von innen")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys() -> dict[str, SoftwareKey]:
    return {"good": self_signed(), "other": self_signed(), "expired": self_signed(-1)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(pair: GatewayPair, keys: dict[str, SoftwareKey]) -> AsyncIterator[dict[str, TLSService]]:
    """A service for each key, known to the gateway under the key's name."""
    caller = load_keys(pair.provider.settings).internal_tls
    found = {name: TLSService(key, caller=caller) for name, key in keys.items()}
    repository = Repository(pair.provider.gateway.engine)
    for name, server in found.items():
        url = f"https://{HOST}:{server.port}/basis/"
        for offered in (
            Service(UTILITY.subsystem, name, ServiceType.REST, url),
            Service(UTILITY.subsystem, f"{name}-ungeprueft", ServiceType.REST, url, verify_tls=False),
            Service(UTILITY.subsystem, f"{name}-soap", ServiceType.WSDL, url),
        ):
            await repository.upsert_service(offered, grant_to=[AccessRight(offered.identifier, APP)])
    listeners = [Listener(web.Server(s.handle), HOST, s.port, s.context) for s in found.values()]
    async with listening(listeners, shutdown_seconds=1):
        yield found


async def pinned(pair: GatewayPair, *certificates: SoftwareKey) -> None:
    repository = Repository(pair.provider.gateway.engine)
    pins = frozenset(key.certificate_der for key in certificates)
    await repository.upsert_client(Client(UTILITY.subsystem, certificates=pins))
    revision = (await repository.revision()).configuration
    await pair.until(lambda: pair.provider.gateway.node.directory.configuration_revision == revision)


async def ask(pair: GatewayPair, code: str) -> Answer:
    return await pair.request("GET", path_of(service(code), "/a?b=c"))


def code_of(answer: Answer) -> str:
    return answer.headers.get("X-Road-Error", "ok")


async def test_only_a_pinned_certificate_is_taken(
    pair: GatewayPair, running: dict[str, TLSService], keys: dict[str, SoftwareKey]
) -> None:
    await pinned(pair)
    assert code_of(await ask(pair, "good")) == UNTRUSTED  # no list, no service
    await pinned(pair, keys["other"])
    assert code_of(await ask(pair, "good")) == UNTRUSTED
    assert running["good"].asked == []  # not a byte of the request was sent
    await pinned(pair, keys["other"], keys["good"])
    answer = await ask(pair, "good")
    assert (code_of(answer), answer.body) == ("ok", b"von innen")
    assert running["good"].asked == ["/basis/a?b=c"]
    # Taken off the list, it isn't called over the connection that is still open either.
    await pinned(pair, keys["other"])
    assert code_of(await ask(pair, "good")) == UNTRUSTED
    assert code_of(await ask(pair, "other")) == "ok"


async def test_the_pin_is_all_there_is(
    pair: GatewayPair, running: dict[str, TLSService], keys: dict[str, SoftwareKey]
) -> None:
    """As in X-Road: whoever pins a certificate means it, also when its time has passed; nothing else makes it good."""
    await pinned(pair, keys["expired"])
    assert code_of(await ask(pair, "expired")) == "ok"
    await pinned(pair, keys["good"])
    assert code_of(await ask(pair, "expired")) == UNTRUSTED


async def test_the_gateway_shows_its_internal_certificate(pair: GatewayPair, running: dict[str, TLSService]) -> None:
    await pinned(pair)
    assert code_of(await ask(pair, "good-ungeprueft")) == "ok"
    assert running["good"].shown[-1] == load_keys(pair.provider.settings).internal_tls.certificate_der


async def test_soap_services_are_verified_alike(
    pair: GatewayPair, running: dict[str, TLSService], keys: dict[str, SoftwareKey]
) -> None:
    sent = Message("good-soap", None).encoded()
    for pins, expected in (
        ((), UNTRUSTED),
        ((keys["good"],), "server.serverproxy.service_failed.invalid_content_type"),
    ):
        await pinned(pair, *pins)
        answer = await pair.request("POST", "/", client=None, headers={"Content-Type": TEXT_XML}, body=sent)
        assert fault_of(answer.body) == expected


async def test_a_service_that_demands_another_caller(pair: GatewayPair, keys: dict[str, SoftwareKey]) -> None:
    server = TLSService(keys["good"], caller=keys["other"])
    repository = Repository(pair.provider.gateway.engine)
    offered = Service(UTILITY.subsystem, "fremd", ServiceType.REST, f"https://{HOST}:{server.port}/")
    await repository.upsert_service(offered, grant_to=[AccessRight(offered.identifier, APP)])
    await pinned(pair, keys["good"])
    async with listening([Listener(web.Server(server.handle), HOST, server.port, server.context)], shutdown_seconds=1):
        assert code_of(await ask(pair, "fremd")).startswith("server.serverproxy.service_failed.")
    assert server.asked == []


async def test_contexts_are_kept_apart_by_pins_and_bounded(tmp_path: Path) -> None:
    contexts = ServiceContexts(None)
    assert contexts.context(None) is contexts.context(None)
    assert contexts.context(frozenset({b"a"})) is not contexts.context(frozenset())
    assert contexts.context(frozenset({b"a"})) is contexts.context(frozenset({b"a"}))
