"""Other gateways as they are: their TLS, their versions, and what an X-Road security server needs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from aiohttp import web

from gateway.exchange import tls
from gateway.exchange.peer_profile import require_version
from gateway.messages.faults import Fault
from gateway.node_keys import load_keys
from gateway.settings import GatewaySettings
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.rogue import CallingRogue
from tests.gateway.exchange.town import UTILITY, service
from tests.trust.factory import DAY, Holder, common_name, key_usage, make_authority, rsa_key
from trust.identifiers import MemberId, SecurityServerId
from trust.keys import SoftwareKey

ROOT = make_authority()
XROAD_SUITE = "ECDHE-RSA-AES256-SHA384"


def holder(*, rsa: bool) -> Holder:
    now = datetime.now(UTC)
    key = {"key": rsa_key()} if rsa else {}
    return ROOT.issue(common_name("gateway"), key_usage("digital_signature"), since=now - DAY, until=now + DAY, **key)  # type: ignore[arg-type]


async def negotiated(answering: ssl.SSLContext, calling: ssl.SSLContext) -> tuple[str, str]:
    """The version and suite of a connection over which a byte has gone to and fro."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, HOST, 0, ssl=answering)
    try:
        async with asyncio.timeout(5):
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(HOST, port, ssl=calling)
            writer.write(b"x")
            if await reader.read(1) != b"x":
                raise ConnectionResetError
            connection = writer.get_extra_info("ssl_object")
            found = connection.version(), connection.cipher()[0]
            writer.close()
    finally:
        server.close()
    return found


def key_of(one: Holder) -> SoftwareKey:
    return SoftwareKey(one.key, one.certificate)


def as_xroad(context: ssl.SSLContext, suite: str = XROAD_SUITE) -> ssl.SSLContext:
    """As a security server has it: TLS 1.2 and one suite, which isn't an authenticated one (PR-MESSTRANSP 2.1)."""
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{suite}:@SECLEVEL=1")
    return context


def only_newest(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


@pytest.mark.parametrize("suite", tls.XROAD_CIPHERS.split(":"))
@pytest.mark.parametrize("ours_answers", [True, False])
async def test_a_peer_with_xroads_tls(ours_answers: bool, suite: str) -> None:
    """Each of its suites alone, with the kind of certificate that it is for."""
    rsa = "RSA" in suite
    ours, theirs = key_of(holder(rsa=rsa)), key_of(holder(rsa=rsa))
    if ours_answers:
        found = await negotiated(tls.server_context(ours, [ROOT.der]), as_xroad(tls.client_context(theirs), suite))
    else:
        found = await negotiated(as_xroad(tls.server_context(theirs, [ROOT.der]), suite), tls.client_context(ours))
    assert found == ("TLSv1.2", suite)


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("ours_answers", [True, False])
async def test_a_peer_with_the_newest_tls_alone(ours_answers: bool, modern: bool) -> None:
    ours, theirs = key_of(holder(rsa=False)), key_of(holder(rsa=False))
    if ours_answers:
        context = tls.server_context(ours, [ROOT.der], modern=modern)
        version, _ = await negotiated(context, only_newest(tls.client_context(theirs)))
    else:
        context = only_newest(tls.server_context(theirs, [ROOT.der]))
        version, _ = await negotiated(context, tls.client_context(ours, modern=modern))
    assert version == "TLSv1.3"


async def test_between_two_of_ours_it_is_the_newest() -> None:
    first, second = key_of(holder(rsa=False)), key_of(holder(rsa=True))
    version, _ = await negotiated(tls.server_context(first, [ROOT.der]), tls.client_context(second))
    assert version == "TLSv1.3"


@pytest.mark.parametrize("ours_answers", [True, False])
async def test_where_the_newest_is_demanded_nothing_older_is_spoken(ours_answers: bool) -> None:
    ours, theirs = key_of(holder(rsa=True)), key_of(holder(rsa=True))
    if ours_answers:
        both = tls.server_context(ours, [ROOT.der], modern=True), as_xroad(tls.client_context(theirs))
    else:
        both = as_xroad(tls.server_context(theirs, [ROOT.der])), tls.client_context(ours, modern=True)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await negotiated(*both)


@pytest.mark.parametrize(
    ("sent", "minimum"),
    [("7.6.0", "7.6.0"), ("7.10.0", "7.6.0"), ("8.0.0-beta2", "7.6.0"), ("7.6", "7.6.0"), ("8", "7.6"), (None, None)],
)
def test_new_enough(sent: str | None, minimum: str | None) -> None:
    require_version(sent, minimum)


@pytest.mark.parametrize("sent", [None, "", "7.5.9", "6.26.0", "neu", "7.5.9.1", "7" * 50])
def test_too_old_or_unknown(sent: str | None) -> None:
    with pytest.raises(Fault) as caught:
        require_version(sent, "7.6.0")
    assert caught.value.code == "server.serverproxy.client_proxy_version_not_supported"


def test_settings_name_servers_and_versions(tmp_path) -> None:  # type: ignore[no-untyped-def]
    common = {
        "instance": "DE-TEST",
        "owner": "DE-TEST/GOV/A",
        "server_code": "ss1",
        "data_directory": tmp_path,
        "anchor_file": tmp_path / "a.xml",
    }
    for wrong in ({"xroad_servers": ("nur/drei/teile",)}, {"min_peer_version": "neu"}, {"peer_tls_minimum": "1.1"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            GatewaySettings(**common, **wrong)
    settings = GatewaySettings(
        **common, xroad_servers=("DE-TEST/GOV/B/ss1",), hash_chain_servers=("DE-TEST/GOV/C/ss1",)
    )
    expected = {SecurityServerId(MemberId("DE-TEST", "GOV", code), "ss1") for code in "BC"}
    assert settings.hash_chain_server_ids == expected


# -- between two gateways


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """The consumer takes the utility's gateway for an X-Road security server; the utility demands TLS 1.3 of others."""
    stranger = SecurityServerId(UTILITY.member, "anderer").encoded
    with captured_output() as output:
        async with gateway_pair(
            tmp_path_factory.mktemp("profil"),
            output,
            consumer={"xroad_servers": (UTILITY.server.encoded,)},
            provider={"peer_tls_minimum": "1.3", "xroad_servers": (stranger,), "min_peer_version": "7.6.0"},
        ) as running:
            yield running


@pytest.mark.asyncio(loop_scope="module")
async def test_an_xroad_server_gets_a_connection_for_each_message(
    pair: GatewayPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = pair.provider.gateway.listeners[1].app
    assert isinstance(server, web.Server)
    seen: list[tuple[int, str | None]] = []
    handler = server.request_handler

    async def watched(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        seen.append((port, request.headers.get("Connection")))
        return await handler(request)

    monkeypatch.setattr(server, "request_handler", watched)
    for _ in range(3):
        assert (await pair.call("echo", "/binary", "POST", body=b"x")).body == b"x"
    assert [connection for _, connection in seen] == ["close"] * 3
    assert len({port for port, _ in seen}) == 3


@pytest.mark.asyncio(loop_scope="module")
async def test_who_is_no_xroad_server_must_speak_the_newest(pair: GatewayPair) -> None:
    keys = load_keys(pair.consumer.settings)
    rogue = CallingRogue(keys.signing, keys.authentication, pair.authority)
    url = f"https://{HOST}:{pair.provider.settings.peer_port}/"
    request_id, signed = rogue.request(service("echo"))
    old = tls.client_context(keys.authentication)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    calls = len(pair.backend.calls)
    refused = await rogue.send(url, request_id, signed.encode(), context=old)
    assert isinstance(refused, Fault)
    assert refused.code == "server.serverproxy.ssl_authentication_failed"
    # And with the newest it is refused for want of a version: it sends none.
    refused = await rogue.send(url, request_id, signed.encode())
    assert isinstance(refused, Fault)
    assert refused.code == "server.serverproxy.client_proxy_version_not_supported"
    assert len(pair.backend.calls) == calls
