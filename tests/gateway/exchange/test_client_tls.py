"""Clients' systems over TLS: the kind of connection that a subsystem is registered with is the only one that it has."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from gateway.node_keys import load_keys
from gateway.store.model import Client, ConnectionType
from gateway.store.repository import Repository
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import Answer, GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.test_service_tls import self_signed
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


async def ask_over_tls(pair: GatewayPair, client: SubsystemId, system: SoftwareKey | None, **more: str) -> Answer:
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
    headers = {"X-Road-Client": client.encoded} | {name.replace("_", "-"): value for name, value in more.items()}
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
            assert (await ask_over_tls(pair, APP, system)).headers.get("X-Road-Error") == expected, (kind, system)


async def test_a_plain_client_is_not_whoever_comes_from_another_machine(
    pair: GatewayPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a certificate a client over TLS is anybody, unless only this machine reaches the port."""
    await Repository(pair.consumer.gateway.engine).upsert_client(Client(APP, ConnectionType.HTTP))
    await pair.until(lambda: pair.consumer.client_type(APP) is ConnectionType.HTTP)
    assert (await ask_over_tls(pair, APP, None)).status == 200
    monkeypatch.setattr(pair.consumer.gateway.node, "client_tls_is_local", False)
    refused = await ask_over_tls(pair, APP, None)
    assert refused.headers["X-Road-Error"] == "server.clientproxy.ssl_authentication_failed"
    assert (await pair.call("gruppe")).status == 200


async def test_nobody_vouches_over_tls(pair: GatewayPair) -> None:
    """Our own application asks at the plain port: a voucher from anywhere else is one that got out."""
    node, key = pair.consumer.gateway.node, ECKey.generate_key("P-256")
    await Repository(pair.consumer.gateway.engine).upsert_client(Client(APP, ConnectionType.HTTP))
    await pair.until(lambda: pair.consumer.client_type(APP) is ConnectionType.HTTP)
    assert node.vouchers is not None
    token = pair.token(cnf={"jkt": key.thumbprint()})
    voucher = node.vouchers.issue(token, "GET", path_of(service("gruppe"), "/echo"))
    refused = await ask_over_tls(pair, APP, None, X_Datenweg_Citizen=token, DPoP=voucher)
    assert refused.headers["X-Road-Error"] == "client.citizen_token_invalid"
    there = await pair.call("gruppe", "/echo", headers={"X-Datenweg-Citizen": token, "DPoP": voucher})
    assert there.status == 200


async def test_a_pinned_certificate_that_has_expired_counts(pair: GatewayPair) -> None:
    expired = self_signed(-1)
    client = Client(GUEST, ConnectionType.HTTPS, certificates=frozenset({expired.certificate_der}))
    await Repository(pair.consumer.gateway.engine).upsert_client(client)
    await pair.until(lambda: expired.certificate_der in pair.consumer.gateway.node.directory.client_certificates)
    # The guest is let in, and has no right to the service.
    assert (await ask_over_tls(pair, GUEST, expired)).headers["X-Road-Error"] == "server.serverproxy.access_denied"


async def test_a_certificate_that_nobody_pins(pair: GatewayPair, tmp_path: Path) -> None:
    """Whoever shows it is told why; where none is asked for, it doesn't matter."""
    stranger = _system(tmp_path / "c")
    repository = Repository(pair.consumer.gateway.engine)
    for kind, expected in (
        (ConnectionType.HTTPS, "server.clientproxy.ssl_authentication_failed"),
        (ConnectionType.HTTPS_NO_AUTH, None),
    ):
        await repository.upsert_client(Client(APP, kind, certificates=frozenset({self_signed(1).certificate_der})))
        await pair.until(lambda kind=kind: pair.consumer.client_type(APP) is kind)  # type: ignore[misc]
        for system in (stranger, self_signed(1), self_signed(-1)):
            assert (await ask_over_tls(pair, APP, system)).headers.get("X-Road-Error") == expected
