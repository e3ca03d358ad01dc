"""Clients' systems over TLS: the kind of connection that a subsystem is registered with is the only one that it has."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.node_keys import load_keys
from gateway.store.model import Client, ConnectionType
from gateway.store.repository import Repository
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import Answer, GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.town import APP, CITY, GUEST, INSTANCE, path_of, service
from trust.identifiers import SubsystemId
from trust.keys import SoftwareKey
from trust.keystore import load_into_tls
from trust.testca.authority import CertificateAuthority

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        async with gateway_pair(
            tmp_path_factory.mktemp("pair"),
            output,
            consumer={"client_tls_port": free_port(), "client_tls_host": HOST},
        ) as running:
            yield running


def _system(folder: Path) -> SoftwareKey:
    """A key and certificate of an information system. Who issued it does not matter: it is pinned."""
    authority = CertificateAuthority.load_or_create(folder, INSTANCE)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue_authentication(
        key.public_key(), CITY.member, member_name="App", server_code="app", common_name="app"
    )
    return SoftwareKey(key, certificate)


async def _ask(pair: GatewayPair, client: SubsystemId, system: SoftwareKey | None) -> Answer:
    """Over TLS, with the system's certificate or without any; the gateway's own is pinned."""
    settings = pair.consumer.settings
    own = load_keys(settings).client_tls
    assert own is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=own.certificate_der)
    if system is not None:
        load_into_tls(context, system)
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    url = f"https://{HOST}:{settings.client_tls_port}{path_of(service('gruppe'), '/echo')}"
    headers = {"X-Road-Client": client.encoded}
    async with aiohttp.ClientSession(connector=connector) as http, http.get(url, headers=headers) as answer:
        return Answer(answer.status, answer.reason or "", answer.headers, await answer.read())


def _registered(pair: GatewayPair, kind: ConnectionType, certificates: set[bytes]) -> bool:
    directory = pair.consumer.gateway.node.directory
    return pair.consumer.client_type(APP) is kind and directory.client_certificates == certificates


async def test_each_kind_of_connection(pair: GatewayPair, tmp_path: Path) -> None:
    repository = Repository(pair.consumer.gateway.engine)
    ours, theirs = _system(tmp_path / "a"), _system(tmp_path / "b")
    await repository.upsert_client(
        Client(GUEST, ConnectionType.HTTPS, certificates=frozenset({theirs.certificate_der}))
    )
    pinned = {ours.certificate_der, theirs.certificate_der}
    await repository.upsert_client(Client(APP, ConnectionType.HTTP, certificates=frozenset({ours.certificate_der})))
    await pair.until(lambda: pinned <= set(pair.consumer.gateway.node.directory.client_certificates))
    refused = "server.clientproxy.ssl_authentication_failed"
    for kind, over_http, without, own, others in (
        (ConnectionType.HTTP, None, None, None, None),
        (ConnectionType.HTTPS_NO_AUTH, refused, None, None, None),
        (ConnectionType.HTTPS, refused, refused, None, refused),
    ):
        await repository.upsert_client(Client(APP, kind, certificates=frozenset({ours.certificate_der})))
        await pair.until(lambda kind=kind: _registered(pair, kind, {ours.certificate_der, theirs.certificate_der}))  # type: ignore[misc]
        assert (await pair.call("gruppe")).headers.get("X-Road-Error") == over_http
        for system, expected in ((None, without), (ours, own), (theirs, others)):
            assert (await _ask(pair, APP, system)).headers.get("X-Road-Error") == expected, (kind, system)


async def test_a_certificate_that_nobody_pins(pair: GatewayPair, tmp_path: Path) -> None:
    with pytest.raises((aiohttp.ClientError, OSError)):
        await _ask(pair, APP, _system(tmp_path / "c"))
