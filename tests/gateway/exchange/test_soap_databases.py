"""SOAP on both databases: exchanges, faults, consent, quota, slow services, and peers that sign hash chains."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from gateway.exchange.quotas import Quotas
from gateway.messages import transport
from gateway.messages.transport import HashChain
from gateway.store.model import AccessRight, LegalBasisKind
from gateway.store.repository import Repository
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.records import logged, require_sound
from tests.gateway.exchange.rogue import status_of
from tests.gateway.exchange.soap_messages import DATENWEG, TEXT_XML, Message, answering, fault_of, hash_of, without_hash
from tests.gateway.exchange.test_soap import FAULT, SWA, digest, post, related, request_id_of
from tests.gateway.exchange.test_soap_peers import Sending, decoded
from tests.gateway.exchange.town import APP, UTILITY, soap_services
from trust.hashchain import verify_hash_chain
from trust.xades import SignatureBuilder, SignedPart, parse_signature

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("pair", ["sqlite", "postgres"], indirect=True, scope="module"),
]
PART = b"Content-Type: text/xml\r\n\r\n"


async def summaries(pair: GatewayPair, message_id: str) -> list[list[tuple[str, str, list[tuple[str, str | None]]]]]:
    found = []
    for node in (pair.consumer, pair.provider):
        request_id = await request_id_of(node, message_id)
        found.append([entry.summary for entry in await logged(node.gateway, request_id)])
        await require_sound(node.gateway)
    return found


async def test_an_exchange_with_attachments(pair: GatewayPair) -> None:
    pair.backend.soap = answering(content_type=SWA)
    message = Message(message_id=str(uuid.uuid4()))
    sent = message.encoded()
    answer = await post(pair, related([PART + sent, b"Content-Type: a/b\r\n\r\nInhalt"]), SWA)
    assert hash_of(answer.body) == digest(sent)
    good = [("request", "ok", []), ("response", "ok", [("delivered", None)])]
    assert await summaries(pair, message.message_id) == [good, good]


async def test_a_services_fault(pair: GatewayPair) -> None:
    pair.backend.soap = answering(lambda _: FAULT)
    message = Message(message_id=str(uuid.uuid4()))
    assert (await post(pair, message.encoded())).body == FAULT
    consumer, provider = await summaries(pair, message.message_id)
    assert [entry[:2] for entry in consumer] == [("request", "ok"), ("response", "service_fault")]
    assert [entry[:2] for entry in provider] == [("request", "ok"), ("response", "service_fault")]


async def test_a_denial_and_a_quota(pair: GatewayPair) -> None:
    pair.backend.soap = answering()
    message = Message(message_id=str(uuid.uuid4()))
    node = pair.provider.gateway.node
    before, node.quotas = node.quotas, Quotas(1)
    try:
        assert b"requestHash" in (await post(pair, Message().encoded())).body
        refused = await post(pair, message.encoded())
    finally:
        node.quotas = before
    code = "server.serverproxy.quota_exceeded"
    assert (refused.status, fault_of(refused.body)) == (200, code)
    consumer, provider = await summaries(pair, message.message_id)
    assert consumer == [("request", "ok", []), ("response", code, [("denied", code)])]
    assert provider == [("request", code, [("denied", code)])]


async def test_consent(pair: GatewayPair) -> None:
    entry = replace(
        soap_services(soap_url(pair))[0],
        code="auskunftKonto",
        version=None,
        legal_basis_kind=LegalBasisKind.CONSENT,
        legal_basis="Art. 6 Abs. 1 lit. a DSGVO",
    )
    await Repository(pair.provider.gateway.engine).upsert_service(entry, grant_to=[AccessRight(entry.identifier, APP)])
    await pair.until(lambda: pair.provider.gateway.node.directory.offer(entry.identifier) is not None)
    pair.backend.soap = answering()
    reference = await pair.give_consent(service=entry.identifier.encoded)
    token = {"X_Datenweg_Citizen": pair.token()}
    without = Message(code="auskunftKonto", version=None)
    assert fault_of((await post(pair, without.encoded(), **token)).body) == "server.serverproxy.consent_required"
    named = f'<c:consent xmlns:c="{DATENWEG}">{reference}</c:consent>'
    with_consent = replace(without, message_id=str(uuid.uuid4()), more=named)
    assert b"requestHash" in (await post(pair, with_consent.encoded(), **token)).body
    consumer, provider = await summaries(pair, with_consent.message_id)
    assert consumer[1][2] == provider[1][2] == [("delivered", None)]


def soap_url(pair: GatewayPair) -> str:
    """Where the town's services are."""
    offer = pair.provider.gateway.node.directory.services_of(UTILITY.subsystem)[0]
    assert offer.registered is not None
    return offer.registered.url.removesuffix("/soap")


async def test_a_service_that_is_too_slow(pair: GatewayPair) -> None:
    release = asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        await release.wait()
        return web.Response()

    message = Message(code="auskunftLangsam", version=None, message_id=str(uuid.uuid4()))
    pair.backend.answer = wait
    try:
        answer = await post(pair, message.encoded())
    finally:
        pair.backend.answer = None
        release.set()
    code = "server.serverproxy.service_failed.io_error"
    assert fault_of(answer.body) == code
    consumer, provider = await summaries(pair, message.message_id)
    assert consumer == provider == [("request", "ok", []), ("response", code, [("failed", code)])]


async def test_a_peer_that_signs_hash_chains(pair: GatewayPair, peer: Peer) -> None:
    """The form of X-Road 7: a chain over message and attachments; the answer has the request's form."""
    pair.backend.soap = answering(
        lambda _: related([PART + Message().response().encode(), b"Content-Type: a/b\r\n\r\nzurueck"]), content_type=SWA
    )
    message, file = Message(message_id=str(uuid.uuid4())).encoded(), b"Inhalt"
    parts = [
        SignedPart(name, hashlib.sha512(data).digest())
        for name, data in (("/message.xml", message), ("/attachment1", file))
    ]
    city = peer.city
    own = status_of(city.authority, city.signing)
    (signed,) = SignatureBuilder(city.signing).build_batch((parts,), signing_time=datetime.now(UTC), ocsp_response=own)
    assert signed.hash_chain_result is not None
    assert signed.hash_chain is not None
    boundary = transport.boundary_from(os.urandom(30))
    body = transport.encode_soap_message(
        message,
        signed.document,
        boundary=boundary,
        headers=(("content-type", TEXT_XML),),
        attachments=(transport.Attachment((("content-type", "a/b"),), file),),
        ocsp_responses=(status_of(city.authority, city.authentication),),
        hash_chain=HashChain(signed.hash_chain_result, signed.hash_chain),
    )
    sending = Sending(peer, headers={"x-original-content-type": SWA})
    answer = decoded(*await sending.raw(transport.content_type(boundary), body))
    assert answer.fault is None, answer.fault
    assert answer.hash_chain is not None
    assert answer.signature is not None
    assert parse_signature(answer.signature).has_hash_chain
    assert answer.message is not None
    assert without_hash(answer.message) == Message().response().encode()
    files = {"/message.xml": answer.message, "/attachment1": b"zurueck"}
    assert verify_hash_chain(answer.hash_chain.result, answer.hash_chain.chain, files).covered == tuple(files)
    await require_sound(pair.provider.gateway)
