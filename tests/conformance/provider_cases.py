"""What the provider's gateway refuses: routes, rights, the service and its answer, and messages of gateways."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.exchange.quotas import Quotas
from gateway.exchange.signer import signed_parts
from gateway.messages import transport
from gateway.messages.faults import Hop
from gateway.messages.transport import Attachment, HashChain
from tests.conformance.road_cases import ASK, ECHO, without_own_statuses
from tests.conformance.stage import (
    Case,
    Do,
    Form,
    Row,
    Stage,
    Told,
    peer_told,
    post,
    rest,
    sent,
    soap,
    told_fault,
    told_rest,
)
from tests.gateway.exchange.backend import Call
from tests.gateway.exchange.pair import MAX_BODY
from tests.gateway.exchange.peer import Peer
from tests.gateway.exchange.rogue import Signed, forged, sign, sign_classic, status_of
from tests.gateway.exchange.soap_messages import DATENWEG, Message, answering
from tests.gateway.exchange.test_configuration import later
from tests.gateway.exchange.test_database import broken
from tests.gateway.exchange.test_soap import FAULT, SWA, related
from tests.gateway.exchange.test_soap_peers import FILE, Sending
from tests.gateway.exchange.test_soap_refusals import replies
from tests.gateway.exchange.test_tampering import _flipped, _issued
from tests.gateway.exchange.town import CITY, GUEST, ROGUE, ROGUE_SERVICE, STRAY, service
from trust.hashchain import build_message_chain
from trust.keys import SoftwareKey

CONSUMER, PROVIDER, SERVICE, ADAPTER = Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY, Hop.SERVICE, Hop.ADAPTER
REST, SOAP, GATEWAY = Form.REST, Form.SOAP, Form.GATEWAY
PREFIX = "server.serverproxy"
TARGET = service("echo")
GOOD = Message().response().encode()


def _theirs(row: Row, situation: str, leaf: str, do: Do, form: Form = REST, **options: Any) -> Case:
    return Case(row, form, situation, f"{PREFIX}.{leaf}", PROVIDER, do, **options)


def _both(row: Row, situation: str, leaf: str, over_rest: Do, over_soap: Do) -> list[Case]:
    return [_theirs(row, situation, leaf, over_rest), _theirs(row, situation, leaf, over_soap, SOAP)]


# -- the provider's gateway in trouble


def _wrapped(make: Callable[[Stage, Do], Awaitable[Told]]) -> tuple[Do, Do]:
    async def ask_soap(stage: Stage) -> Told:
        stage.pair.backend.soap = answering()
        return await make(stage, ASK)

    return (lambda stage: make(stage, ECHO)), ask_soap


async def _outdated(stage: Stage, ask: Do) -> Told:
    async with later(stage.pair.provider, timedelta(minutes=11)):
        return await ask(stage)


async def _not_logged(stage: Stage, ask: Do) -> Told:
    async with broken(stage.pair.provider.gateway, "request"):
        return await ask(stage)


async def _not_stamped(stage: Stage, ask: Do) -> Told:
    async with stage.replaced(stage.pair.provider.gateway.node, stamper=SimpleNamespace(refusing=True)):
        return await ask(stage)


async def _overloaded(stage: Stage, ask: Do) -> Told:
    async with stage.with_settings("provider", concurrency_limit=0):
        return await ask(stage)


async def _quota(stage: Stage, ask: Do) -> Told:
    async with stage.replaced(stage.pair.provider.gateway.node, quotas=Quotas(1)):
        stage.pair.backend.soap = answering()
        await stage.pair.call("echo")
        await stage.pair.request("POST", "/", client=None, headers={"Content-Type": "text/xml"}, body=GOOD_REQUEST)
        return await ask(stage)


GOOD_REQUEST = Message().encoded()


async def _no_database(stage: Stage) -> Told:
    async def fails(_: str) -> None:
        raise OSError

    reference = str(uuid.uuid4())
    async with stage.replaced(stage.pair.provider.gateway.node.consents, current=fails):
        return told_rest(await stage.pair.call("konto", headers={"X-Datenweg-Consent": reference}))


async def _unforeseen(stage: Stage, ask: Do) -> Told:
    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError

    async with stage.replaced(stage.pair.provider.gateway.node.services, call=fails):
        return await ask(stage)


def _consent(**changes: Any) -> Do:
    async def do(stage: Stage) -> Told:
        if "expires" in changes:
            reference = await stage.pair.give_consent(expires_ms=stage.pair.provider.clock.now_ms() - 1)
        elif "withdrawn" in changes:
            reference = await stage.pair.give_consent()
            withdrawal = stage.pair.consent_jws(reference, status="withdrawn", sequence=2)
            assert (await stage.pair.push_consent(withdrawal, reference)).status == 204
        else:
            reference = str(uuid.uuid4()) if changes.get("unknown") else await stage.pair.give_consent()
        who = {} if changes.get("nobody") else stage.pair.citizen()
        return told_rest(await stage.pair.call("konto", headers=who | {"X-Datenweg-Consent": reference}))

    return do


async def _no_consent(stage: Stage) -> Told:
    return told_rest(await stage.pair.call("konto", headers=stage.pair.citizen()))


async def _old_peer(stage: Stage) -> Told:
    request_id, good = stage.peer.city.request(TARGET)
    async with stage.with_settings("provider", **{MINIMUM_VERSION: "99.0.0"}):
        return await peer_told(stage, request_id, good.encode())


MINIMUM_VERSION = "peer_minimum_version"


# -- the service


def serves(reply: Callable[[Call], web.Response], message: Message | None = None) -> Do:
    """The SOAP service answers like this."""

    async def do(stage: Stage) -> Told:
        stage.pair.backend.soap = reply
        return await post(stage, (message or Message()).encoded())

    return do


def _cut_soap(content_type: str) -> Do:
    async def do(stage: Stage) -> Told:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            await request.read()
            assert request.transport is not None
            kind = f"Content-Type: {content_type}\r\n" if content_type else ""
            request.transport.write(f"HTTP/1.1 200 OK\r\n{kind}Content-Length: 1000\r\n\r\n<halb".encode())
            request.transport.close()
            return web.Response()

        async with stage.replaced(stage.pair.backend, answer=answer):
            return await post(stage, Message().encoded())

    return do


async def _slow_soap(stage: Stage) -> Told:
    release = stage.pair.backend.release
    release.clear()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        await release.wait()
        return web.Response()

    async with stage.replaced(stage.pair.backend, answer=answer):
        try:
            return await post(stage, Message(code="auskunftLangsam", version=None).encoded())
        finally:
            release.set()


def _service(situation: str, leaf: str, do: Do, form: Form = REST) -> Case:
    hop = ADAPTER if leaf in {"unknown_host", "network_error", "io_error", "ssl_authentication_failed"} else SERVICE
    return Case(Row.SERVICE, form, situation, f"{PREFIX}.service_failed.{leaf}", hop, do)


# -- messages of gateways

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


def _result(s: Signed) -> bytes:
    assert s.hash_chain is not None
    return s.hash_chain.result


_SIGNATURE = "signature_verification"
_WRAPPED = f"{_SIGNATURE}.malformed_signature"
_REQUEST = Row.SIGNATURE_OF_REQUESTS

CASES: list[Case] = [
    *_both(Row.OUTDATED, "the configuration has expired at the provider", "global_conf_outdated", *_wrapped(_outdated)),
    *_both(
        Row.SIGNER,
        "the provider has no current OCSP answer of its own",
        "cannot_create_signature",
        *_wrapped(lambda s, ask: without_own_statuses(s.pair.provider, s, ask)),
    ),
    *_both(Row.LOGGING, "the provider's message log refuses the request", "logging_failed", *_wrapped(_not_logged)),
    *_both(
        Row.LOGGING,
        "the provider's log has had no time-stamp for too long",
        "timestamping_failed",
        *_wrapped(_not_stamped),
    ),
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
    *_both(Row.RIGHTS, "no such service", "unknown_service", rest("unbekannt"), soap(Message(code="gibtsnicht"))),
    _theirs(Row.RIGHTS, "no such version", "unknown_service", soap(Message(version="v2")), SOAP),
    *_both(
        Row.RIGHTS,
        "a service of the other kind",
        "service_type",
        rest("wsdl"),
        soap(Message(code="echo", version=None)),
    ),
    *_both(
        Row.RIGHTS,
        "a service of the other kind, and no right to it: the kind is said first",
        "service_type",
        rest("wsdl", client=GUEST),
        soap(Message(code="echo", version=None, client=GUEST)),
    ),
    *_both(Row.RIGHTS, "no right", "access_denied", rest("ohne-recht"), soap(Message(client=GUEST))),
    *_both(
        Row.RIGHTS,
        "no right to a service that is switched off: the right is said first",
        "access_denied",
        rest("aus", client=GUEST),
        soap(Message(code="auskunftAus", version=None, client=GUEST)),
    ),
    _theirs(Row.RIGHTS, "a path that leads out of the service", "access_denied", rest("echo", "/a/../../%2e%2e/x")),
    *_both(
        Row.RIGHTS, "switched off", "service_disabled", rest("aus"), soap(Message(code="auskunftAus", version=None))
    ),
    _theirs(
        Row.SERVICE_URL,
        "no address",
        "service_missing_url",
        soap(Message(code="auskunftOhneAdresse", version=None)),
        SOAP,
    ),
    *_both(
        Row.SERVICE_URL,
        "an address of another scheme",
        "service_malformed_url",
        rest("falsche-adresse"),
        soap(Message(code="auskunftFalscheAdresse", version=None)),
    ),
    _service("a host that there isn't", "unknown_host", soap(Message(code="auskunftFremd", version=None)), SOAP),
    _service("nobody listens", "network_error", rest("tot")),
    _service("nobody listens", "network_error", soap(Message(code="auskunftTot", version=None)), SOAP),
    _service("hangs up before it answers", "network_error", rest("echo", "/silent")),
    _service("breaks off in its answer", "io_error", rest("echo", "/cut")),
    _service("breaks off in its answer", "io_error", _cut_soap("text/xml"), SOAP),
    _service("doesn't answer in time", "io_error", rest("langsam", "/slow")),
    _service("doesn't answer in time", "io_error", _slow_soap, SOAP),
    *(
        _service(f"answers {status}", "http_error", serves(replies(GOOD, status=status)), SOAP)
        for status in (202, 302, 404, 503)
    ),
    _service("headers that HTTP doesn't allow", "http_error", rest("echo", "/many-headers/10")),
    _service("no HTTP", "invalid_message", rest("echo", "/garbage")),
    _service("an answer over the limit", "body_too_large", rest("echo", f"/large/{MAX_BODY + 1}")),
    *(
        _service(situation, leaf, serves(reply), SOAP)
        for situation, leaf, reply in (
            ("answers HTML", "invalid_content_type", replies(GOOD, "text/html")),
            (
                "an attachment without Content-Type",
                "invalid_content_type",
                replies(related([b"Content-Type: text/xml\r\n\r\n" + GOOD, b"\r\nx"]), SWA),
            ),
            ("multipart without parts", "invalid_message", replies(b"", SWA)),
            (
                "multipart that is cut",
                "mime_parsing_failed",
                replies(related([b"Content-Type: text/xml\r\n\r\n" + GOOD])[:-15], SWA),
            ),
            ("an empty answer", "invalid_soap", replies(b"")),
            ("an answer that is no SOAP", "invalid_soap", replies(b"<html/>")),
            ("an answer out of its schema", "invalid_xml", replies(GOOD.replace(b'iden:objectType="SERVICE"', b""))),
            (
                "an answer without a header",
                "missing_header",
                replies(re.sub(rb"<env:Header>.*</env:Header>", b"", GOOD, flags=re.DOTALL)),
            ),
            (
                "an answer that lacks an entry",
                "missing_header_field",
                replies(Message(leave_out={"id"}).response().encode()),
            ),
            (
                "an answer with an entry twice",
                "duplicate_header_field",
                replies(GOOD.replace(b"<xrd:id>frage-1</xrd:id>", b"<xrd:id>a</xrd:id><xrd:id>a</xrd:id>")),
            ),
            (
                "an answer without a body",
                "missing_body",
                replies(re.sub(rb"<env:Body>.*</env:Body>", b"", GOOD, flags=re.DOTALL)),
            ),
            ("an answer with two elements in its body", "invalid_body", replies(Message(body="<a/><b/>").encoded())),
            ("an answer to another service", "inconsistent_headers", replies(Message(body="<a/>").encoded())),
            (
                "an answer of another version",
                "invalid_protocol_version",
                replies(Message(protocol_version="5").response().encode()),
            ),
        )
    ),
    Case(
        Row.SERVICE, SOAP, "the service's own fault passes", "s:Server", SERVICE, serves(replies(FAULT)), reworded=True
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
        "a hash chain that can't be read",
        f"{_WRAPPED}.malformed_hash_chain",
        lambda _, s: replace(s, hash_chain=HashChain(_result(s), b"<a/>")),
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
    _soap_gateway(
        Row.OTHERS,
        "a SOAPAction that isn't valid",
        "invalid_soap_action",
        lambda p: Sending(p, headers={"x-original-soapaction": "ohne"}),
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
    _theirs(Row.OTHERS, "a metaservice without its parameter", "invalid_request", rest("getOpenAPI", "")),
    _theirs(
        Row.OTHERS, "an OpenAPI description that there isn't", "internal_error", rest("getOpenAPI", "?serviceCode=echo")
    ),
    *_both(Row.OTHERS, "what nobody has foreseen", "internal_error", *_wrapped(_unforeseen)),
    _theirs(Row.OTHERS, "the store can't be read", "database_error", _no_database),
    _theirs(Row.OURS, "no consent where one is needed", "consent_required", _no_consent),
    _theirs(Row.OURS, "a consent that nobody gave", "consent_invalid", _consent(unknown=True)),
    _theirs(Row.OURS, "a consent that has expired", "consent_expired", _consent(expires=True)),
    _theirs(Row.OURS, "a consent that was withdrawn", "consent_withdrawn", _consent(withdrawn=True)),
    _theirs(Row.OURS, "a consent, and no person", "subject_required", _consent(nobody=True)),
    *_both(
        Row.OURS,
        "a service that needs a known citizen",
        "identity_level_too_low",
        rest("hoch"),
        soap(Message(code="auskunftHoch", version=None)),
    ),
    _theirs(Row.OURS, "the client has used up its quota", "quota_exceeded", lambda s: _quota(s, ECHO), status=429),
    _theirs(Row.OURS, "the client has used up its quota", "quota_exceeded", lambda s: _quota(s, ASK), SOAP),
    _theirs(
        Row.OURS, "the provider's gateway is at its limit", "overloaded", lambda s: _overloaded(s, ECHO), status=503
    ),
    _theirs(Row.OURS, "the provider's gateway is at its limit", "overloaded", lambda s: _overloaded(s, ASK), SOAP),
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


def _signature_of(peer: Peer, message: bytes) -> bytes:
    return sign(peer.city.signing, message, b"", status_of(peer.city.authority, peer.city.signing))


async def _raw_soap(stage: Stage, content_type: str, body: bytes) -> Told:
    _, answer = await Sending(stage.peer).raw(content_type, body)
    return told_fault(GATEWAY, 200, answer)
