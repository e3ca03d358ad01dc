"""SOAP between gateways that do wrong, with real keys: each is refused for what is wrong with it."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from gateway.messages import soap, transport
from gateway.messages.faults import Hop
from gateway.messages.soap import Reading
from gateway.messages.transport import Attachment, TransportMessage
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.rogue import reply, status_of
from tests.gateway.exchange.soap_messages import DATENWEG, TEXT_XML, Message, answering, fault_of, without_hash
from tests.gateway.exchange.test_soap import SWA, post
from tests.gateway.exchange.town import ROGUE, ROGUE_SERVICE
from trust.keys import SoftwareKey
from trust.xades import SignatureBuilder, SignedPart

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = "server.serverproxy.service_failed"
FILE = Attachment((("content-type", "a/b"),), b"Inhalt")


def sign(key: SoftwareKey, contents: Iterable[bytes], status: bytes) -> bytes:
    names = ("/message.xml", *(f"/attachment{n}" for n in range(1, 9)))
    parts = [SignedPart(name, hashlib.sha512(data).digest()) for name, data in zip(names, contents, strict=False)]
    return SignatureBuilder(key).build(parts, signing_time=datetime.now(UTC), ocsp_response=status)


@dataclass
class Sending:
    """A good message from the city's gateway, to be spoilt."""

    peer: Peer
    message: bytes = field(default_factory=lambda: Message().encoded())
    attachments: tuple[Attachment, ...] = ()
    signature: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self) -> tuple[dict[str, str], bytes]:
        """The headers and the body of what the utility's gateway answers."""
        city = self.peer.city
        own = status_of(city.authority, city.signing)
        signature = self.signature or sign(city.signing, [self.message, *(a.data for a in self.attachments)], own)
        boundary = transport.boundary_from(os.urandom(30))
        body = transport.encode_soap_message(
            self.message,
            signature,
            boundary=boundary,
            headers=(("content-type", TEXT_XML),),
            attachments=self.attachments,
            ocsp_responses=(status_of(city.authority, city.authentication),),
        )
        return await self.raw(transport.content_type(boundary), body)

    async def raw(self, content_type: str, body: bytes) -> tuple[dict[str, str], bytes]:
        headers = {
            "x-road-request-id": str(uuid.uuid4()),
            "Content-Type": content_type,
            "x-original-content-type": SWA if self.attachments else TEXT_XML,
        } | self.headers
        connector = aiohttp.TCPConnector(ssl=self.peer.city.context(), force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(self.peer.url, data=body, headers=headers) as answer,
        ):
            assert answer.status == 200
            return dict(answer.headers), await answer.read()

    async def refused(self) -> str:
        _, body = await self.send()
        return fault_of(body)


def decoded(headers: dict[str, str], body: bytes) -> TransportMessage:
    return transport.decode_small(headers["Content-Type"], body, reader=Hop.CONSUMER_GATEWAY)


async def test_an_x_road_server_gets_what_x_road_sends(pair: GatewayPair, peer: Peer) -> None:
    pair.backend.soap = answering(lambda _: Message().response().encode())
    headers, body = await Sending(peer, attachments=(FILE,)).send()
    received = decoded(headers, body)
    assert received.message is not None
    # No receipt for whoever doesn't ask: not a byte tells this gateway from X-Road's.
    assert without_hash(received.message)
    assert DATENWEG.encode() not in received.message
    assert headers["x-original-content-type"] == TEXT_XML
    assert headers["x-hash-algorithm"] == "SHA-512"


async def test_a_gateway_of_this_road_gets_the_receipt(pair: GatewayPair, peer: Peer) -> None:
    pair.backend.soap = answering()
    received = decoded(*await Sending(peer, headers={"x-datenweg-receipt": "soap"}).send())
    assert received.message is not None
    assert soap.parse_soap(received.message, TEXT_XML, Reading.SIGNED_RESPONSE).receipt


async def test_a_changed_message(peer: Peer) -> None:
    good = Message().encoded()
    signature = sign(peer.city.signing, [good], status_of(peer.city.authority, peer.city.signing))
    spoilt = Sending(peer, message=good.replace(b"EE37702211234", b"EE37702211235"), signature=signature)
    assert await spoilt.refused() == "server.serverproxy.signature_verification.invalid_signature_value"


@pytest.mark.parametrize(
    "attachments",
    [(), (Attachment(FILE.headers, b"anderer"),), (FILE, FILE)],
    ids=["left out", "changed", "one more"],
)
async def test_changed_attachments(peer: Peer, attachments: tuple[Attachment, ...]) -> None:
    good = Message().encoded()
    signature = sign(peer.city.signing, [good, FILE.data], status_of(peer.city.authority, peer.city.signing))
    code = await Sending(peer, good, attachments, signature, {"x-original-content-type": SWA}).refused()
    assert code.startswith("server.serverproxy.signature_verification.")


async def test_attachments_in_another_order(pair: GatewayPair, peer: Peer) -> None:
    other = Attachment(FILE.headers, b"zweiter")
    good = Message().encoded()
    signature = sign(
        peer.city.signing, [good, FILE.data, other.data], status_of(peer.city.authority, peer.city.signing)
    )
    code = await Sending(peer, good, (other, FILE), signature).refused()
    assert code == "server.serverproxy.signature_verification.invalid_signature_value"


async def test_a_boundary_that_would_make_other_parts_of_what_was_signed(peer: Peer) -> None:
    hidden = Attachment(FILE.headers, b"a\r\n--grenze\r\ncontent-type:text/plain\r\n\r\nb")
    assert await Sending(peer, attachments=(hidden,)).refused() == f"{PREFIX}.invalid_message"


async def test_attachments_of_a_message_that_had_none(peer: Peer) -> None:
    sending = Sending(peer, attachments=(FILE,), headers={"x-original-content-type": TEXT_XML})
    assert await sending.refused() == f"{PREFIX}.invalid_message"


async def test_without_a_signature(peer: Peer) -> None:
    boundary = "xtop" + "a" * 30
    message = b"--%b\r\ncontent-type: text/xml\r\n\r\n%b\r\n--%b--\r\n" % (
        boundary.encode(), Message().encoded(), boundary.encode(),
    )  # fmt: skip
    _, body = await Sending(peer).raw(transport.content_type(boundary), message)
    assert fault_of(body) == "server.serverproxy.missing_signature"


async def test_rest_where_soap_was_announced(peer: Peer) -> None:
    assert await Sending(peer, headers={"x-road-message-type": "REST"}).refused() == "server.serverproxy.missing_rest"


async def test_a_malformed_message_of_a_gateway(peer: Peer) -> None:
    assert (
        await Sending(peer, message=Message(leave_out={"id"}).encoded()).refused() == f"{PREFIX}.missing_header_field"
    )
    assert await Sending(peer, message=b"<a/>").refused() == f"{PREFIX}.invalid_soap"


async def test_a_soap_action_of_a_gateway(peer: Peer) -> None:
    sending = Sending(peer, headers={"x-original-soapaction": "ohne Anführung".encode().decode("latin-1")})
    assert await sending.refused() == "server.serverproxy.invalid_soap_action"


async def test_a_replay_under_another_id(pair: GatewayPair, peer: Peer) -> None:
    pair.backend.soap = answering()
    good = Message(message_id="einmal").encoded()
    signature = sign(peer.city.signing, [good], status_of(peer.city.authority, peer.city.signing))
    first = decoded(*await Sending(peer, good, signature=signature).send())
    assert first.signature is not None
    calls = len(pair.backend.calls)
    assert await Sending(peer, good, signature=signature).refused() == "server.serverproxy.replayed_message"
    assert len(pair.backend.calls) == calls
    # The same question, signed anew, is another request.
    assert decoded(*await Sending(peer, good).send()).signature is not None


async def test_another_server_is_meant(peer: Peer) -> None:
    code = await Sending(peer, message=Message(server=ROGUE.server).encoded()).refused()
    assert code == "server.serverproxy.invalid_security_server"


async def test_a_token_that_was_forwarded_as_a_field(peer: Peer) -> None:
    own = f'<a:auditReceipt xmlns:a="{DATENWEG}">x</a:auditReceipt>'
    assert await Sending(peer, message=Message(more=own).encoded()).refused() == "server.serverproxy.reserved_header"


# -- a provider's gateway that does wrong


def question() -> Message:
    return Message(
        code=ROGUE_SERVICE.service_code, version=None, provider=ROGUE.subsystem, message_id=str(uuid.uuid4())
    )


RECEIPT = "DE-TEST/COM/FALSCHSPIEL/ss1/audit/2026 0 " + "A" * 43 + "="


def answered(
    pair: GatewayPair,
    message: Message,
    data: bytes,
    *,
    receipt: str | None = RECEIPT,
    key: SoftwareKey | None = None,
    **changes: bytes,
) -> web.Response:
    rogue = pair.rogue
    response = soap.parse_soap(message.response().encode(), TEXT_XML, Reading.SERVICE_ANSWER)
    signed = changes.get("instead") or soap.add_request_hash(response, soap.request_hash(data), receipt)
    used = key or rogue.signing
    signature = sign(used, [signed], status_of(rogue.authority, used))
    boundary = transport.boundary_from(os.urandom(30))
    body = transport.encode_soap_message(changes.get("sent") or signed, signature, boundary=boundary)
    return reply((transport.content_type(boundary), body))


async def test_an_honest_answer(pair: GatewayPair) -> None:
    message = question()
    pair.rogue.soap_script = lambda data: answered(pair, message, data)
    answer = await post(pair, message.encoded())
    assert without_hash(answer.body) == message.response().encode()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda p, m, d: answered(p, m, d + b" "), "server.clientproxy.inconsistent_response"),
        (lambda p, m, d: answered(p, m, d, instead=m.response().encode()), "server.clientproxy.inconsistent_response"),
        (lambda p, m, d: answered(p, m, d, receipt=None), "server.clientproxy.receipt_missing"),
        (lambda p, m, d: answered(p, m, d, receipt="unsinn"), "server.clientproxy.receipt_invalid"),
        (
            lambda p, m, d: answered(p, question(), d),
            "server.clientproxy.service_failed.inconsistent_response",
        ),
        (
            lambda p, m, d: answered(p, m, d, sent=m.response("<antwort>43</antwort>").encode()),
            "server.clientproxy.signature_verification.invalid_signature_value",
        ),
        (
            lambda p, m, d: answered(p, m, d, key=p.rogue.authentication),
            "server.clientproxy.signature_verification.malformed_signature",
        ),
        (lambda p, m, d: answered(p, m, d, instead=b"<a/>"), "server.clientproxy.service_failed.invalid_soap"),
        (lambda p, m, d: reply(("text/xml", m.encoded())), "server.clientproxy.service_failed.invalid_message"),
        (lambda p, m, d: reply(("oih", b"")), "server.clientproxy.service_failed.invalid_content_type"),
        (lambda p, m, d: reply(("multipart/mixed", b"")), "server.clientproxy.service_failed.invalid_content_type"),
        (lambda p, m, d: web.Response(status=503), "server.clientproxy.http_error"),
    ],
)
async def test_wrong_answers(pair: GatewayPair, spoil: object, code: str) -> None:
    message = question()
    pair.rogue.soap_script = lambda data: spoil(pair, message, data)  # type: ignore[operator]
    answer = await post(pair, message.encoded())
    assert fault_of(answer.body) == code


async def test_a_fault_in_the_older_spelling_passes_as_it_came(pair: GatewayPair) -> None:
    message = question()
    fault = (
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>'
        b"Server.ServerProxy.AccessDenied</faultcode><faultstring>nein</faultstring></s:Fault></s:Body></s:Envelope>"
    )
    pair.rogue.soap_script = lambda _: reply(("text/xml", fault))
    # This gateway speaks in the newer spelling, so that its clients find one.
    assert fault_of((await post(pair, message.encoded())).body) == "server.serverproxy.access_denied"
    node = pair.consumer.gateway.node
    before, node.vocabulary = node.vocabulary, type(node.vocabulary).CAMEL
    try:
        assert (await post(pair, message.encoded())).body == fault
    finally:
        node.vocabulary = before
