"""Peers that sign in the form of X-Road 7: hash chains from them are verified and logged, and they get such answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from audit.message_reader import MessageReader
from gateway.app import Gateway
from gateway.exchange.signer import signed_parts
from gateway.messages.transport import HashChain, TransportMessage
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.records import require_sound, view_of
from tests.gateway.exchange.rogue import Arrived, Signed, reply, sign_classic, status_of
from tests.gateway.exchange.town import ROGUE, ROGUE_SERVICE, path_of, service
from trust.hashchain import build_message_chain, verify_hash_chain
from trust.xades import parse_signature

pytestmark = pytest.mark.asyncio(loop_scope="module")
ECHO = service("echo")
WRAPPED = "server.serverproxy.signature_verification.malformed_signature"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair that signs hash chains for the rogue's gateway."""
    with captured_output() as output:
        server = f"{ROGUE.member.encoded}/ss1"
        folder = tmp_path_factory.mktemp("pair")
        async with gateway_pair(folder, output, hash_chain_servers=(server,)) as running:
            yield running


def classic(peer: Peer, good: Signed) -> Signed:
    key = peer.city.signing
    document, chain = sign_classic(key, good.message, good.body, status_of(peer.city.authority, key))
    return replace(good, signature=document, hash_chain=chain)


async def chains_in_log(gateway: Gateway, request_id: str) -> dict[str, tuple[bytes | None, bytes | None]]:
    view = view_of(gateway)
    reader = MessageReader(view.engine, view.messages)
    opened = await reader.open(await reader.of_request(request_id))
    return {found.header.direction: (found.hash_chain_result, found.hash_chain) for found in opened}


async def test_a_body_that_is_signed_by_a_hash_chain(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    sent = classic(peer, good)
    assert sent.hash_chain is not None
    answer = await peer.city.send(peer.url, request_id, sent.encode())
    assert isinstance(answer, TransportMessage)
    assert answer.body is not None
    assert answer.hash_chain is not None
    # The answer has the request's form.
    assert answer.signature is not None
    assert answer.message is not None
    assert parse_signature(answer.signature).has_hash_chain
    files = {"/message.xml": answer.message, "/attachment1": answer.body}
    assert verify_hash_chain(answer.hash_chain.result, answer.hash_chain.chain, files).covered == tuple(files)
    logged = await chains_in_log(peer.pair.provider.gateway, request_id)
    assert logged == {
        "request": (sent.hash_chain.result, sent.hash_chain.chain),
        "response": (answer.hash_chain.result, answer.hash_chain.chain),
    }
    await require_sound(peer.pair.provider.gateway)


async def test_one_part_in_that_form_has_no_chain_but_its_answer_has(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO, body=b"")
    sent = classic(peer, good)
    assert sent.hash_chain is None
    answer = await peer.city.send(peer.url, request_id, sent.encode())
    assert isinstance(answer, TransportMessage)
    assert (answer.hash_chain is not None) == bool(answer.body)
    assert answer.signature is not None
    assert parse_signature(answer.signature).is_classic


async def test_the_form_of_x_road_8_is_answered_in_it(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    answer = await peer.city.send(peer.url, request_id, good.encode())
    assert isinstance(answer, TransportMessage)
    assert answer.hash_chain is None
    assert answer.signature is not None
    assert not parse_signature(answer.signature).is_classic
    assert await chains_in_log(peer.pair.provider.gateway, request_id) == {
        "request": (None, None),
        "response": (None, None),
    }


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda s: replace(s, body=s.body + b" "), f"{WRAPPED}.invalid_hash_chain"),
        (lambda s: replace(s, body=b""), f"{WRAPPED}.invalid_reference"),
        (lambda s: replace(s, hash_chain=None), WRAPPED.replace("malformed_signature", "invalid_reference")),
        (lambda s: replace(s, hash_chain=HashChain(s.hash_chain.result, b"<a/>")), f"{WRAPPED}.malformed_hash_chain"),
        (
            lambda s: replace(s, hash_chain=HashChain(*build_message_chain(signed_parts(s.message, b"x"))), body=b"x"),
            WRAPPED.replace("malformed_signature", "invalid_signature_value"),
        ),
        (
            lambda s: replace(s, hash_chain=HashChain(*build_message_chain(signed_parts(s.message, b"")))),
            f"{WRAPPED}.hashchain_unused_inputs",
        ),
    ],
    ids=["body", "no body", "no chain", "another chain", "chain of another body", "chain without the body"],
)
async def test_spoilt_on_the_way(peer: Peer, spoil: object, code: str) -> None:
    request_id, good = peer.city.request(ECHO)
    await peer.refused(code, request_id, spoil(classic(peer, good)).encode())  # type: ignore[operator]


async def test_a_chain_that_nobody_signed(peer: Peer) -> None:
    request_id, good = peer.city.request(ECHO)
    chain = HashChain(*build_message_chain(signed_parts(good.message, good.body)))
    code = WRAPPED.replace("malformed_signature", "invalid_reference")
    await peer.refused(code, request_id, replace(good, hash_chain=chain).encode())


async def test_a_named_peer_gets_hash_chains_and_its_own_are_verified(pair: GatewayPair) -> None:
    async def script(arrived: Arrived) -> object:
        honest = pair.rogue.honest(arrived)
        key = pair.rogue.signing
        document, chain = sign_classic(key, honest.message, honest.body, status_of(pair.rogue.authority, key))
        return reply(replace(honest, signature=document, hash_chain=chain).encode())

    pair.rogue.script = script  # type: ignore[assignment]
    try:
        answer = await pair.request("POST", path_of(ROGUE_SERVICE, "/"), body=b"frage", headers=pair.citizen())
    finally:
        pair.rogue.script = None
    assert (answer.status, answer.body) == (200, b"{}")
    received = pair.rogue.arrived[-1].received
    assert received.hash_chain is not None
    files = {"/message.xml": received.message or b"", "/attachment1": b"frage"}
    assert verify_hash_chain(received.hash_chain.result, received.hash_chain.chain, files)
    logged = await chains_in_log(pair.consumer.gateway, answer.request_id)
    assert logged["request"] == (received.hash_chain.result, received.hash_chain.chain)
    assert None not in logged["response"]
