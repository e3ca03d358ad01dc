"""Messages of gateways that do wrong: refused at the provider's."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.exchange.signer import signed_parts
from gateway.messages import transport
from gateway.messages.faults import Hop
from gateway.messages.transport import Attachment, HashChain
from tests.conformance.stage import (
    Case,
    Do,
    Form,
    Row,
    Stage,
    Told,
    peer_told,
    sent,
    told_fault,
    with_another_digest,
)
from tests.gateway.exchange.pair import MAX_BODY
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.rogue import Signed, forged, sign, sign_classic, status_of
from tests.gateway.exchange.soap_messages import DATENWEG, Message
from tests.gateway.exchange.test_soap_peers import FILE, Sending
from tests.gateway.exchange.test_tampering import _flipped, _issued
from tests.gateway.exchange.town import CITY, ROGUE, ROGUE_SERVICE, STRAY, service
from trust.hashchain import build_message_chain
from trust.keys import SoftwareKey

CONSUMER, PROVIDER, SERVICE, ADAPTER = Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY, Hop.SERVICE, Hop.ADAPTER


REST, SOAP, GATEWAY = Form.REST, Form.SOAP, Form.GATEWAY


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


def _gateway(row: Row, situation: str, leaf: str, change: Spoil, **options: Any) -> Case:
    hop = CONSUMER if leaf.startswith("service_failed.") else PROVIDER
    return Case(row, GATEWAY, situation, f"{PREFIX}.{leaf}", hop, spoilt(change, **options))


def _soap_gateway(row: Row, situation: str, leaf: str, make: Callable[[Peer], Sending]) -> Case:
    hop = CONSUMER if leaf.startswith("service_failed.") else PROVIDER
    return Case(row, GATEWAY, situation, f"{PREFIX}.{leaf}", hop, sent(make))


def _same(_: Peer, good: Signed) -> Signed:
    return good


def _message_signed(change: Callable[[bytes], bytes]) -> Spoil:
    """Another message, signed as it should be."""

    def spoil(peer: Peer, good: Signed) -> Signed:
        message = change(good.message)
        own = status_of(peer.city.authority, peer.city.signing)
        return replace(good, message=message, signature=sign(peer.city.signing, message, good.body, own))

    return spoil


def _revoked(peer: Peer) -> SoftwareKey:
    key = _issued(peer, "signing")
    peer.pair.authority.revoke(key.certificate.serial_number)
    return key


def _expired(peer: Peer) -> SoftwareKey:
    key = ec.generate_private_key(ec.SECP256R1())
    issued = peer.pair.authority.issue_signing(
        key.public_key(), CITY.member, member_name="Musterstadt", server_code="ss1", validity=timedelta(seconds=-60)
    )
    return SoftwareKey(key, issued)


def _with_more(_: Peer, good: Signed) -> tuple[str, bytes]:
    content_type, content = good.encode()
    boundary = content_type.rpartition("boundary=")[2].encode()
    more = b"\r\ncontent-type: application/x-road-rest-body\r\n\r\nmehr\r\n--" + boundary + b"--\r\n"
    return content_type, content.removesuffix(b"--\r\n") + more


async def _replayed(stage: Stage) -> Told:
    request_id, good = stage.peer.city.request(TARGET)
    await stage.peer.city.send(stage.peer.url, request_id, good.encode())
    return await peer_told(stage, request_id, good.encode())


async def _another_id(stage: Stage) -> Told:
    _, good = stage.peer.city.request(TARGET)
    return await peer_told(stage, str(uuid.uuid4()), good.encode())


async def _other_type(stage: Stage) -> Told:
    _, good = stage.peer.city.request(TARGET)
    return await peer_told(stage, str(uuid.uuid4()), ("text/plain", good.body))


def _chain(s: Signed, body: bytes) -> HashChain:
    return HashChain(*build_message_chain(signed_parts(s.message, body)))


def _chain_of(s: Signed) -> HashChain:
    assert s.hash_chain is not None
    return s.hash_chain


_SIGNATURE = "signature_verification"


_WRAPPED = f"{_SIGNATURE}.malformed_signature"


_REQUEST = Row.SIGNATURE_OF_REQUESTS


def _signature_of(peer: Peer, message: bytes) -> bytes:
    return sign(peer.city.signing, message, b"", status_of(peer.city.authority, peer.city.signing))


async def _raw_soap(stage: Stage, content_type: str, body: bytes) -> Told:
    _, answer = await Sending(stage.peer).raw(content_type, body)
    return told_fault(GATEWAY, 200, answer)


CASES: list[Case] = [
    _gateway(
        Row.TLS,
        "no OCSP answer of the TLS certificate",
        "ssl_authentication_failed",
        lambda _, good: replace(good, ocsp_responses=()),
    ),
    _gateway(
        Row.TLS,
        "a forged OCSP answer of the TLS certificate",
        "ssl_authentication_failed",
        lambda _, good: replace(good, ocsp_responses=(forged(good.ocsp_responses[0]),)),
    ),
    _gateway(
        Row.TLS,
        "another gateway's TLS certificate",
        "ssl_authentication_failed",
        lambda p, good: replace(good, ocsp_responses=(status_of(p.pair.authority, p.pair.rogue.authentication),)),
        context="rogue",
    ),
    _gateway(
        Row.TLS, "a client that the sending gateway doesn't serve", "ssl_authentication_failed", _same, client=STRAY
    ),
    Case(
        Row.PEER_VERSION,
        GATEWAY,
        "x-proxy-version below the provider's minimum",
        f"{PREFIX}.client_proxy_version_not_supported",
        PROVIDER,
        _old_peer,
    ),
    _gateway(Row.ROUTED_WRONGLY, "a provider of another gateway", "unknown_member", _same, target=ROGUE_SERVICE),
    _gateway(
        Row.ROUTED_WRONGLY,
        "meant for another gateway",
        "invalid_security_server",
        _same,
        headers=(("X-Road-Security-Server", "DE-TEST/COM/STADTWERKE/ss2"),),
    ),
    _soap_gateway(
        Row.ROUTED_WRONGLY,
        "a provider of another gateway, over SOAP",
        "unknown_member",
        lambda p: Sending(p, Message(provider=ROGUE.subsystem, code="auskunft", version=None).encoded()),
    ),
    _soap_gateway(
        Row.ROUTED_WRONGLY,
        "meant for another gateway, over SOAP",
        "invalid_security_server",
        lambda p: Sending(p, Message(server=ROGUE.server).encoded()),
    ),
    _gateway(_REQUEST, "no signature", "missing_signature", lambda _, good: good.unsigned()),
    _gateway(
        _REQUEST,
        "the body was changed",
        f"{_SIGNATURE}.invalid_signature_value",
        lambda _, good: replace(good, body=good.body + b" "),
    ),
    _gateway(
        _REQUEST,
        "the signature value was changed",
        f"{_SIGNATURE}.invalid_signature_value",
        lambda _, good: replace(good, signature=_flipped(good.signature)),
    ),
    _gateway(
        _REQUEST, "the body was left out", f"{_SIGNATURE}.invalid_reference", lambda _, good: replace(good, body=b"")
    ),
    _gateway(_REQUEST, "no signature that can be read", _WRAPPED, lambda _, good: replace(good, signature=b"<a/>")),
    _gateway(
        _REQUEST,
        "signed by another member",
        f"{_SIGNATURE}.incorrect_certificate",
        _same,
        key=lambda p: p.pair.rogue.signing,
    ),
    _gateway(_REQUEST, "signed with a key for TLS", _WRAPPED, _same, key=lambda p: p.city.authentication),
    _gateway(
        _REQUEST,
        "signed under an authority that isn't approved",
        f"{_SIGNATURE}.cannot_create_cert_path",
        _same,
        key=lambda p: p.strangers,
        status=lambda p: status_of(p.pair.authority, p.city.signing),
    ),
    _gateway(_REQUEST, "a revoked certificate", f"{_SIGNATURE}.cert_validation", _same, key=_revoked),
    _gateway(_REQUEST, "a certificate that has expired", f"{_SIGNATURE}.cert_validity_time", _same, key=_expired),
    _gateway(
        _REQUEST,
        "an OCSP answer that can't be read",
        f"{_SIGNATURE}.incorrect_validation_info",
        _same,
        status=lambda _: b"gut",
    ),
    _gateway(
        _REQUEST,
        "a hash chain, and another body",
        f"{_WRAPPED}.invalid_hash_chain",
        lambda _, s: replace(s, body=s.body + b" "),
        classic=True,
    ),
    _gateway(
        _REQUEST,
        "a hash chain that states another digest",
        f"{_WRAPPED}.invalid_hash_chain_ref",
        lambda _, s: replace(s, hash_chain=with_another_digest(_chain_of(s))),
        classic=True,
    ),
    _gateway(
        _REQUEST,
        "a hash chain that can't be read",
        f"{_WRAPPED}.malformed_hash_chain",
        lambda _, s: replace(s, hash_chain=HashChain(_chain_of(s).result, b"<a/>")),
        classic=True,
    ),
    _gateway(
        _REQUEST,
        "a hash chain without the body",
        f"{_WRAPPED}.hashchain_unused_inputs",
        lambda _, s: replace(s, hash_chain=_chain(s, b"")),
        classic=True,
    ),
    _gateway(
        _REQUEST,
        "a hash chain to a body that isn't there",
        f"{_WRAPPED}.invalid_reference",
        lambda _, s: replace(s, body=b""),
        classic=True,
    ),
    _soap_gateway(
        _REQUEST,
        "attachments that weren't signed",
        f"{_SIGNATURE}.invalid_reference",
        lambda p: Sending(p, attachments=(FILE,), signature=_signature_of(p, GOOD_REQUEST)),
    ),
    _soap_gateway(
        _REQUEST,
        "the SOAP message was changed",
        f"{_SIGNATURE}.invalid_signature_value",
        lambda p: Sending(p, GOOD_REQUEST.replace(b"EE3", b"EE4"), signature=_signature_of(p, GOOD_REQUEST)),
    ),
    _gateway(
        Row.MISSING_PART,
        "a response instead of a request",
        "missing_rest",
        lambda _, good: replace(good, kind=transport.PartKind.REST_RESPONSE),
    ),
    _soap_gateway(
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
    _gateway(
        Row.OTHERS,
        "a message that is cut",
        "service_failed.mime_parsing_failed",
        lambda _, good: (good.encode()[0], good.encode()[1][:-40]),
    ),
    _gateway(Row.OTHERS, "a part after the signature", "service_failed.invalid_message", _with_more),
    Case(Row.OTHERS, GATEWAY, "no multipart", f"{PREFIX}.service_failed.invalid_content_type", CONSUMER, _other_type),
    *(
        _soap_gateway(Row.OTHERS, situation, f"service_failed.{leaf}", make)
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
    _gateway(
        Row.OTHERS,
        "a signed message without a client",
        "invalid_client_identifier",
        _message_signed(lambda m: m.replace(b"X-Road-Client:", b"X-Anders:")),
    ),
    _gateway(
        Row.OTHERS,
        "a signed message without an id",
        "missing_header_field",
        _message_signed(lambda m: m.replace(b"x-road-id:", b"x-anders:")),
    ),
    _gateway(
        Row.OTHERS,
        "a signed message with two clients",
        "duplicate_header_field",
        _message_signed(lambda m: m + b"X-Road-Client:DE-TEST/GOV/X/y\r\n"),
    ),
    Case(Row.OURS, GATEWAY, "a message that was received before", f"{PREFIX}.replayed_message", PROVIDER, _replayed),
    _gateway(Row.OURS, "a body over the limit", "body_too_large", _same, body=bytes(MAX_BODY + 1)),
    _gateway(
        Row.OURS,
        "a citizen's token that was forwarded",
        "reserved_header",
        _message_signed(lambda m: m + b"X-Datenweg-Citizen:a.b.c\r\n"),
    ),
    _soap_gateway(
        Row.OURS,
        "an entry that only the provider adds",
        "reserved_header",
        lambda p: Sending(p, Message(more=f'<a:auditReceipt xmlns:a="{DATENWEG}">x</a:auditReceipt>').encoded()),
    ),
]
