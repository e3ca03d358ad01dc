"""What the client's own gateway refuses: routes, connections, configuration, signing, logging, and what others answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

from aiohttp import web

from gateway.exchange.quotas import TokenBuckets
from gateway.messages.faults import Fault, Hop, soap_fault
from gateway.registry import membership
from gateway.store.model import Client, ConnectionType
from gateway.store.repository import Repository
from tests.conformance.stage import Case, Do, Form, Row, Stage, Told, post, rest, rest_target, soap, told_rest
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.pair import MAX_BODY
from tests.gateway.exchange.rogue import Arrived, Signed, forged, reply, sign, status_of
from tests.gateway.exchange.soap_messages import Message
from tests.gateway.exchange.test_configuration import later
from tests.gateway.exchange.test_database import broken
from tests.gateway.exchange.test_rogue_provider import _forget_peers, _revoked
from tests.gateway.exchange.test_soap_peers import answered, question
from tests.gateway.exchange.town import GUEST, ROGUE, ROGUE_SERVICE, STRAY, UTILITY, path_of
from trust.identifiers import MemberId, SecurityServerId, SubsystemId

CONSUMER, PROVIDER = Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY
REST, SOAP = Form.REST, Form.SOAP
PREFIX = "server.clientproxy"
NOBODY = MemberId("DE-TEST", "GOV", "NIEMAND")
NOWHERE = SubsystemId("DE-TEST", "COM", "NIEMAND", "x")


def _ours(row: Row, situation: str, leaf: str, do: Do, form: Form = REST, **options: object) -> Case:
    return Case(row, form, situation, f"{PREFIX}.{leaf}", CONSUMER, do, **options)  # type: ignore[arg-type]


def _both(row: Row, situation: str, leaf: str, over_rest: Do, over_soap: Do) -> list[Case]:
    return [_ours(row, situation, leaf, over_rest), _ours(row, situation, leaf, over_soap, SOAP)]


ECHO, ASK = rest("echo"), soap(Message())


def _wrapped(make: Callable[[Stage, Do], Awaitable[Told]]) -> tuple[Do, Do]:
    """The same situation over REST and over SOAP."""
    return (lambda stage: make(stage, ECHO)), (lambda stage: make(stage, ASK))


# -- connections and routes


async def _must_use_tls(stage: Stage, _: Do, *, over: Form) -> Told:
    pair, repository = stage.pair, Repository(stage.pair.consumer.gateway.engine)
    await repository.upsert_client(Client(GUEST, ConnectionType.HTTPS))
    await pair.until(lambda: pair.consumer.client_type(GUEST) is ConnectionType.HTTPS)
    try:
        if over is REST:
            return told_rest(await pair.call("echo", client=GUEST))
        return await post(stage, Message(client=GUEST).encoded())
    finally:
        await repository.upsert_client(Client(GUEST))
        await pair.until(lambda: pair.consumer.client_type(GUEST) is ConnectionType.HTTP)


async def _stopped(stage: Stage, ask: Do) -> Told:
    await stage.pair.provider.stop()
    try:
        return await ask(stage)
    finally:
        await stage.pair.provider.start()


async def _maintenance(stage: Stage, ask: Do) -> Told:
    pair = stage.pair
    pair.registry.state.update(lambda p: membership.set_maintenance(p, UTILITY.server, "bis 14 Uhr"))
    await pair.publish()
    try:
        told = await ask(stage)
    finally:
        pair.registry.state.update(lambda p: membership.set_maintenance(p, UTILITY.server, None))
        await pair.publish()
    assert "bis 14 Uhr" in told.message
    return told


async def _outdated(stage: Stage, ask: Do) -> Told:
    async with later(stage.pair.consumer, timedelta(minutes=11)):
        return await ask(stage)


async def without_own_statuses(node: RunningNode, stage: Stage, ask: Do) -> Told:
    """The gateway has no current OCSP answer of its own certificates."""
    own = node.gateway.node.own_certificates
    kept = dict(own._current)
    own._current.clear()
    try:
        return await ask(stage)
    finally:
        own._current.update(kept)


async def _not_logged(stage: Stage, ask: Do) -> Told:
    async with broken(stage.pair.consumer.gateway, "request"):
        return await ask(stage)


async def _not_stamped(stage: Stage, ask: Do) -> Told:
    async with stage.replaced(stage.pair.consumer.gateway.node, stamper=SimpleNamespace(refusing=True)):
        return await ask(stage)


async def _overloaded(stage: Stage, ask: Do) -> Told:
    async with stage.with_settings("consumer", concurrency_limit=0):
        return await ask(stage)


async def _client_quota(stage: Stage, ask: Do) -> Told:
    async with stage.replaced(stage.pair.consumer.gateway.node, client_quotas=TokenBuckets(1)):
        await stage.pair.call("echo")
        return await ask(stage)


async def _no_pseudonym_key(stage: Stage) -> Told:
    async with stage.replaced(stage.pair.consumer.gateway.node, pseudonym_key=None):
        return told_rest(await stage.pair.call("echo", headers=stage.pair.citizen()))


async def _no_issuer(stage: Stage) -> Told:
    tokens = stage.pair.consumer.gateway.node.citizen_tokens
    assert tokens is not None
    keys, tokens._keys, tokens._fetched = tokens._keys, None, None
    stage.pair.issuer.available = False
    try:
        return told_rest(await stage.pair.call("echo", headers=stage.pair.citizen(jti=str(uuid.uuid4()))))
    finally:
        stage.pair.issuer.available, tokens._keys = True, keys


# -- gateways that answer wrongly


async def ask_rogue(stage: Stage) -> Told:
    """A REST request to the rogue's service."""
    return told_rest(await stage.pair.request("POST", path_of(ROGUE_SERVICE, "/"), body=b"frage"))


def rogue_answers(make: Callable[[Stage, Arrived], web.StreamResponse]) -> Do:
    """The rogue answers a REST request like this."""

    async def do(stage: Stage) -> Told:
        async def script(arrived: Arrived) -> web.StreamResponse:
            return make(stage, arrived)

        async with stage.replaced(stage.pair.rogue, script=script):
            return await ask_rogue(stage)

    return do


def _honest_but(change: Callable[[Stage, Signed], Signed | tuple[str, bytes]]) -> Do:
    def make(stage: Stage, arrived: Arrived) -> web.StreamResponse:
        found = change(stage, stage.pair.rogue.honest(arrived))
        return reply(found.encode() if isinstance(found, Signed) else found)

    return rogue_answers(make)


def soap_rogue(make: Callable[[Stage, Message, bytes], web.StreamResponse]) -> Do:
    """The rogue answers a SOAP request like this."""

    async def do(stage: Stage) -> Told:
        message = question()
        async with stage.replaced(stage.pair.rogue, soap_script=lambda data: make(stage, message, data)):
            return await post(stage, message.encoded())

    return do


def _soap_signed(leave: Callable[[Message], str]) -> Do:
    """Signed as it should be; but what is signed is another message than the answer."""
    return soap_rogue(lambda s, m, d: answered(s.pair, m, d, instead=leave(m).encode()))


async def _hangs_up(stage: Stage) -> Told:
    async def script(_: Arrived) -> web.StreamResponse:
        raise ConnectionAbortedError

    async with stage.replaced(stage.pair.rogue, script=script):
        return await ask_rogue(stage)


class _Cut(web.Response):
    """Says that it is long, and isn't."""

    def __init__(self, content_type: str) -> None:
        super().__init__(body=b"--a\r\n", headers={"Content-Type": content_type})
        self._headers["Content-Length"] = "1000"

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        assert self._req is not None
        assert self._req.transport is not None
        self._req.transport.abort()


def _statuses(change: Callable[[Stage], bytes]) -> Do:
    async def do(stage: Stage) -> Told:
        _forget_peers(stage.pair)
        async with stage.replaced(stage.pair.rogue, status=change(stage)):
            return await ask_rogue(stage)

    return do


async def _silent(stage: Stage) -> Told:
    release = asyncio.Event()

    async def script(_: Arrived) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    peers = stage.pair.consumer.gateway.node.peers
    async with stage.replaced(stage.pair.rogue, script=script), stage.replaced(peers, _timeout_seconds=0.3):
        try:
            return await ask_rogue(stage)
        finally:
            release.set()


def _resigned(status: Callable[[Stage], bytes], *, tls_key: bool = False) -> Do:
    def change(stage: Stage, honest: Signed) -> Signed:
        rogue = stage.pair.rogue
        key = rogue.authentication if tls_key else rogue.signing
        return replace(honest, signature=sign(key, honest.message, honest.body, status(stage)))

    return _honest_but(change)


def _message(old: bytes, new: bytes) -> Do:
    """Another message, signed by the rogue itself."""

    def make(stage: Stage, arrived: Arrived) -> web.StreamResponse:
        honest = stage.pair.rogue.honest(arrived)
        assert old in honest.message
        return reply(stage.pair.rogue.signed(honest.message.replace(old, new, 1), honest.body).encode())

    return rogue_answers(make)


def _by_another(stage: Stage, honest: Signed) -> Signed:
    city = stage.peer.city
    own = status_of(city.authority, city.signing)
    return replace(honest, signature=sign(city.signing, honest.message, honest.body, own))


def _by_a_stranger(stage: Stage, honest: Signed) -> Signed:
    own = status_of(stage.pair.authority, stage.pair.rogue.signing)
    return replace(honest, signature=sign(stage.peer.strangers, honest.message, honest.body, own))


FAULT = Fault("server.serverproxy.access_denied", "nein", detail=str(uuid.uuid4()))
PEER_FAILED = f"{PREFIX}.service_failed"
_LONG = bytes(5 * MAX_BODY + (2 << 20))


def _peer(situation: str, leaf: str, do: Do, form: Form = REST, row: Row = Row.MISSING_PART) -> Case:
    return Case(row, form, situation, f"{PEER_FAILED}.{leaf}", PROVIDER, do)


CASES: list[Case] = [
    *_both(
        Row.UNKNOWN_MEMBER,
        "a client that isn't registered",
        "unknown_member",
        rest("echo", client=STRAY),
        soap(Message(client=STRAY)),
    ),
    *_both(
        Row.UNKNOWN_MEMBER,
        "a client of no member",
        "unknown_member",
        rest("echo", client=NOBODY.encoded),
        soap(Message(client=NOBODY)),
    ),
    *_both(
        Row.UNKNOWN_MEMBER,
        "a provider without a gateway",
        "unknown_member",
        rest_target(f"/r1/{NOWHERE.encoded}/x"),
        soap(Message(provider=NOWHERE)),
    ),
    *_both(
        Row.SECURITY_SERVER,
        "a security server that there isn't",
        "invalid_security_server",
        rest("echo", headers={"X-Road-Security-Server": "DE-TEST/COM/STADTWERKE/ss9"}),
        soap(Message(server=SecurityServerId(NOBODY, "ss1"))),
    ),
    *_both(
        Row.SECURITY_SERVER,
        "another member's security server",
        "invalid_security_server",
        rest("echo", headers={"X-Road-Security-Server": ROGUE.server.encoded}),
        soap(Message(server=ROGUE.server)),
    ),
    *_both(
        Row.TLS,
        "plain HTTP of a client that must use HTTPS",
        "ssl_authentication_failed",
        lambda stage: _must_use_tls(stage, ECHO, over=REST),
        lambda stage: _must_use_tls(stage, ASK, over=SOAP),
    ),
    *(
        _ours(Row.TLS, f"the provider's gateway shows {what}", "ssl_authentication_failed", _statuses(make))
        for what, make in (
            ("a revoked certificate", lambda s: _revoked(s.pair)),
            ("no OCSP answer that can be read", lambda _: b"gut"),
            ("a forged OCSP answer", lambda s: forged(status_of(s.pair.authority, s.pair.rogue.authentication))),
        )
    ),
    *_both(Row.NETWORK, "no gateway of the provider can be reached", "network_error", *_wrapped(_stopped)),
    _ours(Row.NETWORK, "the provider's gateway hangs up before it answers", "network_error", _hangs_up),
    _peer(
        "the provider's gateway breaks off in the middle of a fault",
        "io_error",
        rogue_answers(lambda *_: _Cut("text/xml")),
        row=Row.NETWORK,
    ),
    _peer(
        "the provider's gateway breaks off in the middle of a message",
        "io_error",
        rogue_answers(lambda *_: _Cut("multipart/mixed; boundary=a")),
        row=Row.NETWORK,
    ),
    _peer(
        "the provider's gateway breaks off in the middle of a message",
        "io_error",
        soap_rogue(lambda *_: _Cut("multipart/mixed; boundary=a")),
        SOAP,
        Row.NETWORK,
    ),
    _ours(Row.NETWORK, "the provider's gateway doesn't answer in time", "io_error", _silent),
    *_both(
        Row.HTTP_STATUS,
        "the provider's gateway answers 503",
        "http_error",
        rogue_answers(lambda *_: web.Response(status=503)),
        soap_rogue(lambda *_: web.Response(status=503)),
    ),
    *_both(Row.MAINTENANCE, "the provider's gateway is in maintenance", "maintenance_mode", *_wrapped(_maintenance)),
    *_both(Row.OUTDATED, "the configuration has expired here", "global_conf_outdated", *_wrapped(_outdated)),
    *_both(
        Row.SIGNER,
        "no current OCSP answer of the signing certificate",
        "cannot_create_signature",
        *_wrapped(lambda s, ask: without_own_statuses(s.pair.consumer, s, ask)),
    ),
    *_both(Row.LOGGING, "the message log refuses the request", "logging_failed", *_wrapped(_not_logged)),
    *_both(Row.LOGGING, "the log has had no time-stamp for too long", "timestamping_failed", *_wrapped(_not_stamped)),
    _ours(
        Row.MISSING_PART,
        "an answer without a signature",
        "missing_signature",
        _honest_but(lambda _, honest: honest.unsigned()),
    ),
    _ours(
        Row.MISSING_PART,
        "an answer without a REST part",
        "missing_rest",
        rogue_answers(lambda *_: reply(("multipart/mixed; boundary=a", b"--a--\r\n"))),
    ),
    _ours(
        Row.MISSING_PART,
        "an answer without a SOAP part",
        "missing_soap",
        soap_rogue(lambda *_: reply(("multipart/mixed; boundary=a", b"--a--\r\n"))),
        SOAP,
    ),
    *(
        _peer(what, leaf, rogue_answers(make))
        for what, leaf, make in (
            ("an answer of another content type", "invalid_content_type", lambda *_: web.Response(text="hallo")),
            ("multipart without a boundary", "invalid_content_type", lambda *_: reply(("multipart/mixed", b""))),
            ("multipart that is cut", "mime_parsing_failed", lambda *_: reply(("multipart/mixed; boundary=a", b"x"))),
            ("an empty fault", "invalid_soap", lambda *_: reply(("text/xml", b""))),
            ("a fault that is another message", "invalid_message", lambda *_: reply(("text/xml", Message().encoded()))),
            (
                "a fault without a body",
                "missing_body",
                lambda *_: reply(("text/xml", b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"/>')),
            ),
            (
                "a fault with two elements in its body",
                "invalid_body",
                lambda *_: reply(("text/xml", Message(body="<a/><b/>").encoded())),
            ),
            ("a fault larger than any answer", "body_too_large", lambda *_: reply(("text/xml", _LONG))),
        )
    ),
    _peer("a part after the signature", "invalid_message", _honest_but(lambda _, honest: _with_more(honest))),
    _peer(
        "an answer that is the request",
        "invalid_message",
        rogue_answers(lambda s, a: reply(s.pair.rogue.signed(a.message, a.body).encode())),
    ),
    _peer("an answer that lacks an X-Road header", "missing_header_field", _message(b"x-road-id:", b"x-andere-id:")),
    _peer(
        "an answer with an X-Road header twice",
        "duplicate_header_field",
        _message(b"x-road-id:", b"x-road-id:a\r\nx-road-id:"),
    ),
    *(
        _peer(what, leaf, _soap_signed(make), SOAP)
        for what, leaf, make in (
            ("a signed answer that is no SOAP", "invalid_soap", lambda _: "<a/>"),
            ("a signed answer without a header", "missing_header", lambda m: _without(m, "Header")),
            (
                "a signed answer that lacks an entry",
                "missing_header_field",
                lambda m: replace(m, leave_out={"id"}).response(),
            ),
            (
                "a signed answer with an entry twice",
                "duplicate_header_field",
                lambda m: m.response().replace("<xrd:protocolVersion>", "<xrd:id>x</xrd:id><xrd:protocolVersion>", 1),
            ),
            ("a signed answer without a body", "missing_body", lambda m: _without(m, "Body")),
            ("a signed answer with two elements in its body", "invalid_body", lambda m: m.text("<a/><b/>")),
            ("a signed answer to another service", "inconsistent_headers", lambda m: m.text("<anderes/>")),
            (
                "a signed answer of another version",
                "invalid_protocol_version",
                lambda m: replace(m, protocol_version="5").response(),
            ),
            (
                "a signed answer out of its schema",
                "invalid_xml",
                lambda m: m.response().replace('iden:objectType="SERVICE"', ""),
            ),
        )
    ),
    *(
        _ours(Row.SIGNATURE_OF_ANSWERS, what, f"signature_verification.{leaf}", do)
        for what, leaf, do in (
            (
                "the body was changed",
                "invalid_signature_value",
                _honest_but(lambda _, honest: replace(honest, body=b'{"saldo":1}')),
            ),
            ("the body was left out", "invalid_reference", _honest_but(lambda _, honest: replace(honest, body=b""))),
            (
                "no signature that can be read",
                "malformed_signature",
                _honest_but(lambda _, honest: replace(honest, signature=b"<a/>")),
            ),
            ("signed by another member", "incorrect_certificate", _honest_but(_by_another)),
            ("signed under an authority that isn't approved", "cannot_create_cert_path", _honest_but(_by_a_stranger)),
            ("an OCSP answer that can't be read", "incorrect_validation_info", _resigned(lambda _: b"gut")),
            (
                "another certificate's OCSP answer",
                "cert_validation",
                _resigned(lambda s: status_of(s.pair.authority, s.pair.rogue.authentication)),
            ),
        )
    ),
    _ours(
        Row.SIGNATURE_OF_ANSWERS,
        "the message was changed",
        "signature_verification.invalid_signature_value",
        soap_rogue(lambda s, m, d: answered(s.pair, m, d, sent=m.response("<antwort>43</antwort>").encode())),
        SOAP,
    ),
    *(
        _ours(Row.CONSISTENCY, what, "inconsistent_response", _message(old, new))
        for what, old, new in (
            (
                "an answer for another client",
                b"x-road-client:DE-TEST/GOV/MUSTERSTADT/app",
                b"x-road-client:DE-TEST/GOV/MUSTERSTADT/gast",
            ),
            ("an answer of another service", b"/auskunft", b"/anderes"),
            ("an answer with another id", b"x-road-id:DE-TEST-", b"x-road-id:DE-TEST+"),
        )
    ),
    _ours(
        Row.CONSISTENCY,
        "an answer to another request",
        "inconsistent_response",
        rogue_answers(lambda s, a: reply(s.pair.rogue.honest(replace(a, body=b"andere")).encode())),
    ),
    _ours(
        Row.CONSISTENCY,
        "another request's hash",
        "inconsistent_response",
        soap_rogue(lambda s, m, d: answered(s.pair, m, d + b" ")),
        SOAP,
    ),
    _ours(Row.CONSISTENCY, "no request hash", "inconsistent_response", _soap_signed(lambda m: m.response()), SOAP),
    *(
        _peer(
            f"an answer with another {what}",
            "inconsistent_response",
            soap_rogue(lambda s, m, d, c=changes: answered(s.pair, replace(m, **c), d)),
            SOAP,
            Row.CONSISTENCY,
        )
        for what, changes in (
            ("id", {"message_id": "andere"}),
            ("userId", {"user_id": "DE9"}),
            ("issue", {"issue": "neu"}),
            ("client", {"client": GUEST}),
            ("represented party", {"party": (None, "X")}),
        )
    ),
    _ours(Row.OURS, "the gateway is at its limit", "overloaded", lambda stage: _overloaded(stage, ECHO), status=503),
    _ours(Row.OURS, "the gateway is at its limit", "overloaded", lambda stage: _overloaded(stage, ASK), SOAP),
    _ours(
        Row.OURS,
        "the client has used up its quota here",
        "quota_exceeded",
        lambda stage: _client_quota(stage, ECHO),
        status=429,
    ),
    _ours(
        Row.OURS,
        "the client has used up its quota here",
        "quota_exceeded",
        lambda stage: _client_quota(stage, ASK),
        SOAP,
    ),
    *_both(
        Row.OURS,
        "an answer without a receipt",
        "receipt_missing",
        rogue_answers(lambda s, a: reply(s.pair.rogue.honest(a, receipt=None).encode())),
        soap_rogue(lambda s, m, d: answered(s.pair, m, d, receipt=None)),
    ),
    *_both(
        Row.OURS,
        "a receipt that doesn't hold",
        "receipt_invalid",
        rogue_answers(lambda s, a: reply(s.pair.rogue.honest(a, receipt="quittung").encode())),
        soap_rogue(lambda s, m, d: answered(s.pair, m, d, receipt="quittung")),
    ),
    _ours(Row.OURS, "the citizens' issuer can't be reached", "citizen_issuer_unavailable", _no_issuer),
    _ours(Row.OTHERS, "a citizen's token, and no key for pseudonyms", "malformed_server_conf", _no_pseudonym_key),
    Case(
        Row.RIGHTS,
        REST,
        "a fault of the provider's gateway, passed on",
        FAULT.code,
        PROVIDER,
        rogue_answers(lambda *_: reply(("text/xml", soap_fault(FAULT)))),
    ),
]


def _with_more(honest: Signed) -> tuple[str, bytes]:
    content_type, content = honest.encode()
    boundary = content_type.rpartition("boundary=")[2].encode()
    more = b"\r\ncontent-type: application/x-road-rest-body\r\n\r\nmehr\r\n--" + boundary + b"--\r\n"
    return content_type, content.removesuffix(b"--\r\n") + more


def _without(message: Message, what: str) -> str:
    text = message.response()
    begin, end = text.index(f"<env:{what}>"), text.index(f"</env:{what}>")
    return text[:begin] + text[end + len(f"</env:{what}>") :]
