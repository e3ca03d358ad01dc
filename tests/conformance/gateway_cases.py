"""Messages of gateways that do wrong: refused at the provider's."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gateway.exchange.places import Places
from gateway.messages import transport
from gateway.messages.transport import Attachment
from tests.conformance.stage import Case, Do, Stage, Told, peer_told, sent, told_fault, with_more
from tests.conformance.words import CONSUMER, GATEWAY, PROVIDER, Row
from tests.gateway.exchange.pair import MAX_BODY
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.rogue import Signed, forged, sign, sign_classic, status_of
from tests.gateway.exchange.soap_messages import DATENWEG, Message
from tests.gateway.exchange.test_soap_peers import FILE, Sending
from tests.gateway.exchange.town import ROGUE, ROGUE_SERVICE, STRAY, service

PREFIX = "server.serverproxy"
TARGET = service("echo")
GOOD_REQUEST = Message().encoded()


async def _old_peer(stage: Stage) -> Told:
    request_id, good = stage.peer.city.request(TARGET)
    async with stage.with_settings("provider", **{MINIMUM_VERSION: "99.0.0"}):
        return await peer_told(stage, request_id, good.encode())


MINIMUM_VERSION = "min_peer_version"


Spoil = Callable[[Peer, Signed], Signed | tuple[str, bytes]]


def spoilt(change: Spoil, *, classic: bool = False, context: str = "", **request: Any) -> Do:
    """A good message of the city's gateway, spoilt before it is sent."""

    async def do(stage: Stage) -> Told:
        peer = stage.peer
        made = {name: value(peer) if callable(value) else value for name, value in request.items()}
        target = made.pop("target", TARGET)
        request_id, good = peer.city.request(target, **made)
        if classic:
            key = peer.city.signing
            document, chain = sign_classic(key, good.message, good.body, status_of(peer.city.authority, key))
            good = replace(good, signature=document, hash_chain=chain)
        found = change(peer, good)
        options: dict[str, Any] = {}
        if context:
            options["context"] = peer.city.context(peer.pair.rogue.authentication)
        return await peer_told(stage, request_id, found.encode() if isinstance(found, Signed) else found, **options)

    return do


def gateway_told(row: Row, situation: str, leaf: str, change: Spoil, **options: Any) -> Case:
    hop = CONSUMER if leaf.startswith("service_failed.") else PROVIDER
    return Case(row, GATEWAY, situation, f"{PREFIX}.{leaf}", hop, spoilt(change, **options))


def soap_gateway_told(row: Row, situation: str, leaf: str, make: Callable[[Peer], Sending]) -> Case:
    hop = CONSUMER if leaf.startswith("service_failed.") else PROVIDER
    return Case(row, GATEWAY, situation, f"{PREFIX}.{leaf}", hop, sent(make))


def _cut(_: Peer, good: Signed) -> tuple[str, bytes]:
    content_type, content = good.encode()
    return content_type, content[:-40]


def same(_: Peer, good: Signed) -> Signed:
    return good


def _message_signed(change: Callable[[bytes], bytes]) -> Spoil:
    """Another message, signed as it should be."""

    def spoil(peer: Peer, good: Signed) -> Signed:
        message = change(good.message)
        own = status_of(peer.city.authority, peer.city.signing)
        return replace(good, message=message, signature=sign(peer.city.signing, message, good.body, own))

    return spoil


async def _replayed(stage: Stage) -> Told:
    request_id, good = stage.peer.city.request(TARGET)
    await stage.peer.city.send(stage.peer.url, request_id, good.encode())
    return await peer_told(stage, request_id, good.encode())


async def _no_place_left(stage: Stage) -> Told:
    request_id, good = stage.peer.city.request(TARGET)
    async with stage.replaced(stage.pair.provider.gateway.node, places_of_asking_peers=Places(0)):
        return await peer_told(stage, request_id, good.encode())


async def _another_id(stage: Stage) -> Told:
    _, good = stage.peer.city.request(TARGET)
    return await peer_told(stage, str(uuid.uuid4()), good.encode())


async def _other_type(stage: Stage) -> Told:
    _, good = stage.peer.city.request(TARGET)
    return await peer_told(stage, str(uuid.uuid4()), ("text/plain", good.body))


async def _raw_soap(stage: Stage, content_type: str, body: bytes) -> Told:
    _, answer = await Sending(stage.peer).raw(content_type, body)
    return told_fault(GATEWAY, 200, answer)


CASES: list[Case] = [
    gateway_told(
        Row.TLS,
        "no OCSP answer of the TLS certificate",
        "ssl_authentication_failed",
        lambda _, good: replace(good, ocsp_responses=()),
    ),
    gateway_told(
        Row.TLS,
        "a forged OCSP answer of the TLS certificate",
        "ssl_authentication_failed",
        lambda _, good: replace(good, ocsp_responses=(forged(good.ocsp_responses[0]),)),
    ),
    gateway_told(
        Row.TLS,
        "another gateway's TLS certificate",
        "ssl_authentication_failed",
        lambda p, good: replace(good, ocsp_responses=(status_of(p.pair.authority, p.pair.rogue.authentication),)),
        context="rogue",
    ),
    gateway_told(
        Row.TLS, "a client that the sending gateway doesn't serve", "ssl_authentication_failed", same, client=STRAY
    ),
    Case(
        Row.PEER_VERSION,
        GATEWAY,
        "x-proxy-version below the provider's minimum",
        f"{PREFIX}.client_proxy_version_not_supported",
        PROVIDER,
        _old_peer,
    ),
    gateway_told(Row.ROUTED_WRONGLY, "a provider of another gateway", "unknown_member", same, target=ROGUE_SERVICE),
    gateway_told(
        Row.ROUTED_WRONGLY,
        "meant for another gateway",
        "invalid_security_server",
        same,
        headers=(("X-Road-Security-Server", "DE-TEST/COM/STADTWERKE/ss2"),),
    ),
    soap_gateway_told(
        Row.ROUTED_WRONGLY,
        "a provider of another gateway, over SOAP",
        "unknown_member",
        lambda p: Sending(p, Message(provider=ROGUE.subsystem, code="auskunft", version=None).encoded()),
    ),
    soap_gateway_told(
        Row.ROUTED_WRONGLY,
        "meant for another gateway, over SOAP",
        "invalid_security_server",
        lambda p: Sending(p, Message(server=ROGUE.server).encoded()),
    ),
    gateway_told(
        Row.MISSING_PART,
        "a response instead of a request",
        "missing_rest",
        lambda _, good: replace(good, kind=transport.PartKind.REST_RESPONSE),
    ),
    soap_gateway_told(
        Row.MISSING_PART,
        "REST announced, SOAP sent",
        "missing_rest",
        lambda p: Sending(p, headers={"x-road-message-type": "REST"}),
    ),
    Case(
        Row.MISSING_PART,
        GATEWAY,
        "SOAP announced, nothing sent",
        f"{PREFIX}.missing_soap",
        PROVIDER,
        lambda stage: _raw_soap(stage, "multipart/mixed; boundary=a", b"--a--\r\n"),
    ),
    Case(
        Row.MISSING_PART,
        GATEWAY,
        "SOAP announced, and sent without the boundary",
        f"{PREFIX}.missing_soap",
        PROVIDER,
        lambda stage: _raw_soap(stage, "multipart/mixed; boundary=a", Message().encoded()),
    ),
    gateway_told(
        Row.OTHERS,
        "a message that is cut",
        "service_failed.mime_parsing_failed",
        _cut,
    ),
    gateway_told(
        Row.OTHERS,
        "no OCSP answer that can be read",
        "service_failed.io_error",
        lambda _, good: replace(good, ocsp_responses=(b"gut",)),
    ),
    gateway_told(
        Row.OTHERS, "a part after the signature", "service_failed.invalid_message", lambda _, good: with_more(good)
    ),
    Case(Row.OTHERS, GATEWAY, "no multipart", f"{PREFIX}.service_failed.invalid_content_type", CONSUMER, _other_type),
    *(
        soap_gateway_told(Row.OTHERS, situation, f"service_failed.{leaf}", make)
        for situation, leaf, make in (
            ("a message that is no SOAP", "invalid_soap", lambda p: Sending(p, b"<a/>")),
            (
                "a message that lacks an entry",
                "missing_header_field",
                lambda p: Sending(p, Message(leave_out={"id"}).encoded()),
            ),
            (
                "attachments that would make other parts",
                "invalid_message",
                lambda p: Sending(
                    p, attachments=(Attachment(FILE.headers, b"a\r\n--grenze\r\ncontent-type:text/plain\r\n\r\nb"),)
                ),
            ),
        )
    ),
    Case(Row.OTHERS, GATEWAY, "another id in the transport", f"{PREFIX}.invalid_message", PROVIDER, _another_id),
    Case(
        Row.OTHERS,
        GATEWAY,
        "a SOAPAction that isn't valid",
        f"{PREFIX}.invalid_soap_action",
        CONSUMER,
        sent(lambda p: Sending(p, headers={"x-original-soapaction": "ohne"})),
    ),
    gateway_told(
        Row.OTHERS,
        "a signed message without a client",
        "invalid_client_identifier",
        _message_signed(lambda m: m.replace(b"X-Road-Client:", b"X-Anders:")),
    ),
    gateway_told(
        Row.OTHERS,
        "a signed message without an id",
        "missing_header_field",
        _message_signed(lambda m: m.replace(b"x-road-id:", b"x-anders:")),
    ),
    gateway_told(
        Row.OTHERS,
        "a signed message with two clients",
        "duplicate_header_field",
        _message_signed(lambda m: m + b"X-Road-Client:DE-TEST/GOV/X/y\r\n"),
    ),
    Case(Row.OURS, GATEWAY, "a message that was received before", f"{PREFIX}.replayed_message", PROVIDER, _replayed),
    Case(Row.OURS, GATEWAY, "a gateway that has all of its places", f"{PREFIX}.overloaded", PROVIDER, _no_place_left),
    gateway_told(Row.OURS, "a body over the limit", "body_too_large", same, body=bytes(MAX_BODY + 1)),
    gateway_told(
        Row.OURS,
        "a citizen's token that was forwarded",
        "reserved_header",
        _message_signed(lambda m: m + b"X-Datenweg-Citizen:a.b.c\r\n"),
    ),
    soap_gateway_told(
        Row.OURS,
        "an entry that only the provider adds",
        "reserved_header",
        lambda p: Sending(p, Message(more=f'<a:auditReceipt xmlns:a="{DATENWEG}">x</a:auditReceipt>').encoded()),
    ),
]
