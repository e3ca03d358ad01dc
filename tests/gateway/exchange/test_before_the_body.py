"""Who calls is decided by a request's head, where it says so; until then a body takes no more than a share."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.store.model import Client, ConnectionType
from gateway.store.repository import Repository
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import free_port
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, fault_of
from tests.gateway.exchange.test_connection_bounds import flooded, is_open, tls_of
from tests.gateway.exchange.test_hostile_http import BINARY, Raw, parse, post
from tests.gateway.exchange.town import APP, CITY, GUEST, STRAY
from trust.identifiers import SubsystemId
from trust.keys import SoftwareKey
from trust.keystore import load_into_tls

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 10
SHARE = 9
LONG = "Content-Length: 200000\r\n"
UNSEEN = "server.clientproxy.ssl_authentication_failed"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """The guest's systems have to show a certificate."""
    with captured_output() as output:
        folder = tmp_path_factory.mktemp("kopf")
        city = {"client_tls_port": free_port(), "client_concurrency_limit": 4}
        async with gateway_pair(folder, output, consumer=city, concurrency_limit=LIMIT) as running:
            await register(running, Client(GUEST, ConnectionType.HTTPS))
            yield running


async def register(pair: GatewayPair, client: Client) -> None:
    await Repository(pair.consumer.gateway.engine).upsert_client(client)
    await pair.until(lambda: pair.consumer.client_type(client.identifier) is client.connection_type)  # type: ignore[arg-type]


def head(client: SubsystemId, more: str = LONG, target: str = BINARY) -> bytes:
    return post(more, target=target, common=f"Host: x\r\nX-Road-Client: {client.encoded}\r\n")


@asynccontextmanager
async def begun(pair: GatewayPair, sent: bytes, *, over_tls: bool = False) -> AsyncIterator[asyncio.StreamReader]:
    """Within the block a request was begun, and no more of it was sent."""
    settings = pair.consumer.settings
    port = settings.client_tls_port if over_tls else settings.client_port
    assert port is not None
    async with flooded(port, 1, sent, tls=tls_of("client_tls") if over_tls else None) as [(reader, _)]:
        yield reader


async def answer_to(reader: asyncio.StreamReader) -> Raw:
    received = bytearray()
    async with asyncio.timeout(5):
        while (answer := parse(bytes(received))) is None or len(answer.body) < int(answer.headers["content-length"]):
            chunk = await reader.read(1 << 16)
            assert chunk
            received += chunk
    return answer


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    ("client", "code"), [(GUEST, UNSEEN), (STRAY, "server.clientproxy.unknown_member")], ids=["other", "unknown"]
)
async def test_whoever_cant_be_the_client_is_refused_by_the_head(
    pair: GatewayPair, client: SubsystemId, code: str, over_tls: bool
) -> None:
    position = pair.position
    async with begun(pair, head(client), over_tls=over_tls) as reader:
        answer = await answer_to(reader)
    assert (answer.status, answer.error) == (500, code)
    (line,) = [line for line in pair.lines(position) if line.get("detail") or line.get("code") == code]
    assert line["code"] == code


@pytest.mark.parametrize("more", [LONG, "Transfer-Encoding: chunked\r\n"])
async def test_whoever_asks_first_need_not_send(pair: GatewayPair, more: str) -> None:
    expecting = f"{more}Expect: 100-continue\r\n"
    async with begun(pair, head(GUEST, expecting)) as reader:
        assert (await answer_to(reader)).status == 500
    async with begun(pair, head(APP, expecting)) as reader, asyncio.timeout(5):
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"


async def test_a_path_without_a_service_needs_no_body(pair: GatewayPair) -> None:
    async with begun(pair, head(APP, target="/r1/kein/dienst")) as reader:
        assert (await answer_to(reader)).error == "server.clientproxy.internal_error"


async def test_a_body_that_is_on_its_way_has_the_clients_place(pair: GatewayPair) -> None:
    port = pair.consumer.settings.client_port
    async with flooded(port, 4, head(APP)):
        await pair.until(lambda: pair.consumer.in_progress == 4)
        async with begun(pair, head(APP)) as reader:
            answer = await answer_to(reader)
        assert (answer.status, answer.error) == (503, "server.clientproxy.overloaded")
        assert "at once" in answer.body.decode()
    await pair.until(lambda: pair.consumer.in_progress == 0)
    answered = await pair.call("echo", "/binary", "POST", body=bytes(200_000))
    assert (answered.status, len(answered.body)) == (200, 200_000)
    assert not pair.consumer.gateway.node.places_of_clients._taken


async def test_a_body_in_pieces_goes_on_once(pair: GatewayPair) -> None:
    """The client is looked at before its body, and again after it, and is charged once."""
    node = pair.consumer.gateway.node
    node.client_quotas = type(node.client_quotas)(600)
    tokens = node.client_quotas._tokens(APP, node.clock.now_ms())
    async with flooded(pair.consumer.settings.client_port, 1, head(APP)) as [(reader, writer)]:
        await pair.until(lambda: pair.consumer.in_progress == 1)
        writer.write(b"x" * 200_000)
        answer = await answer_to(reader)
    assert (answer.status, len(answer.body)) == (200, 200_000)
    assert node.client_quotas._buckets[APP][0] == tokens - 1
    node.client_quotas = type(node.client_quotas)(None)


async def test_what_changed_while_the_body_came_counts(pair: GatewayPair) -> None:
    async with flooded(pair.consumer.settings.client_port, 1, head(APP)) as [(reader, writer)]:
        await pair.until(lambda: pair.consumer.in_progress == 1)
        await register(pair, Client(APP, ConnectionType.HTTPS))
        writer.write(b"x" * 200_000)
        answer = await answer_to(reader)
    await register(pair, Client(APP, ConnectionType.HTTP))
    assert (answer.status, answer.error) == (500, UNSEEN)
    assert (await pair.call("echo")).status == 200


async def test_soap_messages_that_dont_come_to_their_end_leave_places(pair: GatewayPair) -> None:
    """A SOAP message names its client in its body: until that is there, its address has a share."""
    sent = post(f"Content-Type: {TEXT_XML}\r\n{LONG}", "<soap", target="/", common="Host: x\r\n")
    async with flooded(pair.consumer.settings.client_port, 2 * LIMIT, sent) as flood:
        await pair.until(lambda: sum(bool(reader._buffer) for reader, _ in flood) == 2 * LIMIT - SHARE)  # type: ignore[attr-defined]
        assert pair.consumer.in_progress == SHARE
        refused = next(reader for reader, _ in flood if reader._buffer)  # type: ignore[attr-defined]
        answer = await answer_to(refused)
        assert (answer.status, fault_of(answer.body)) == (200, "server.clientproxy.overloaded")
        assert all(is_open(reader) for reader, _ in flood)
        # Whoever sends a whole request has a place.
        whole = Message(code="gibt-es-nicht", message_id="ganz").encoded()
        told = await pair.request("POST", "/", client=None, headers={"Content-Type": TEXT_XML}, body=whole)
        assert fault_of(told.body) == "server.serverproxy.unknown_service"
        assert (await pair.call("echo")).status == 200
    await pair.until(lambda: pair.consumer.in_progress == 0)
    assert not pair.consumer.gateway.node.places_of_bodies._taken


async def test_a_stranger_at_the_peer_port_is_told_by_its_certificate(pair: GatewayPair) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # Of an authority that the road approves, and registered for no gateway.
    key = ec.generate_private_key(ec.SECP256R1())
    issued = pair.authority.issue_authentication(
        key.public_key(), CITY.member, member_name="Musterstadt", server_code="ss9", common_name="ss9"
    )
    load_into_tls(context, SoftwareKey(key, issued))
    sent = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/mixed; boundary=x\r\n{LONG}\r\n".encode()
    async with flooded(pair.consumer.settings.peer_port, 1, sent, tls=context) as [(reader, _)]:
        answer = await answer_to(reader)
    assert (answer.status, fault_of(answer.body)) == (200, "server.serverproxy.ssl_authentication_failed")
