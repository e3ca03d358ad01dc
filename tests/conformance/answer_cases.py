"""A gateway of the provider that answers wrongly, and what the client's gateway makes of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from gateway.messages.faults import Fault, soap_fault
from tests.conformance.situations import AT_CONSUMER
from tests.conformance.stage import Case, Do, Stage, Told, post, told_rest, with_more
from tests.conformance.words import PROVIDER, REST, SOAP, Form, Row
from tests.gateway.exchange.pair import MAX_BODY
from tests.gateway.exchange.rogue import Arrived, Signed, forged, reply, status_of
from tests.gateway.exchange.soap_messages import Message
from tests.gateway.exchange.test_rogue_provider import _forget_peers, _revoked
from tests.gateway.exchange.test_soap_peers import answered, question
from tests.gateway.exchange.town import GUEST, ROGUE_SERVICE, path_of


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


def honest_but(change: Callable[[Stage, Signed], Signed | tuple[str, bytes]]) -> Do:
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


def _message(old: bytes, new: bytes) -> Do:
    """Another message, signed by the rogue itself."""

    def make(stage: Stage, arrived: Arrived) -> web.StreamResponse:
        honest = stage.pair.rogue.honest(arrived)
        assert old in honest.message
        return reply(stage.pair.rogue.signed(honest.message.replace(old, new, 1), honest.body).encode())

    return rogue_answers(make)


FAULT = Fault("server.serverproxy.access_denied", "nein", detail=str(uuid.uuid4()))


PEER_FAILED = f"{AT_CONSUMER.prefix}.service_failed"


_LONG = bytes(5 * MAX_BODY + (2 << 20))


def _peer(situation: str, leaf: str, do: Do, form: Form = REST, row: Row = Row.MISSING_PART) -> Case:
    return Case(row, form, situation, f"{PEER_FAILED}.{leaf}", PROVIDER, do)


def _without(message: Message, what: str) -> str:
    text = message.response()
    begin, end = text.index(f"<env:{what}>"), text.index(f"</env:{what}>")
    return text[:begin] + text[end + len(f"</env:{what}>") :]


CASES: list[Case] = [
    *(
        AT_CONSUMER.case(
            Row.TLS, f"the provider's gateway shows {what}", f"ssl_authentication_failed.{below}", _statuses(make)
        )
        for what, below, make in (
            ("a revoked certificate", "invalid_cert_path.cert_validation", lambda s: _revoked(s.pair)),
            ("no OCSP answer that can be read", "internal_error", lambda _: b"gut"),
            (
                "a forged OCSP answer",
                "invalid_cert_path.incorrect_validation_info",
                lambda s: forged(status_of(s.pair.authority, s.pair.rogue.authentication)),
            ),
        )
    ),
    AT_CONSUMER.case(Row.NETWORK, "the provider's gateway hangs up before it answers", "network_error", _hangs_up),
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
    AT_CONSUMER.case(Row.NETWORK, "the provider's gateway doesn't answer in time", "io_error", _silent),
    *AT_CONSUMER.cases(
        Row.HTTP_STATUS,
        "the provider's gateway answers 503",
        "http_error",
        rogue_answers(lambda *_: web.Response(status=503)),
        soap_rogue(lambda *_: web.Response(status=503)),
    ),
    AT_CONSUMER.case(
        Row.MISSING_PART,
        "an answer without a signature",
        "missing_signature",
        honest_but(lambda _, honest: honest.unsigned()),
    ),
    AT_CONSUMER.case(
        Row.MISSING_PART,
        "an answer without a REST part",
        "missing_rest",
        rogue_answers(lambda *_: reply(("multipart/mixed; boundary=a", b"--a--\r\n"))),
    ),
    AT_CONSUMER.case(
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
            (
                "multipart that is cut",
                "mime_parsing_failed",
                lambda *_: reply(("multipart/mixed; boundary=a", b"--a\r\nx")),
            ),
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
    _peer(
        "an OCSP answer that can't be read before the answer",
        "io_error",
        honest_but(lambda _, honest: replace(honest, ocsp_responses=(b"gut",))),
    ),
    _peer("a part after the signature", "invalid_message", honest_but(lambda _, honest: with_more(honest))),
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
        AT_CONSUMER.case(Row.CONSISTENCY, what, "inconsistent_response", _message(old, new))
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
    AT_CONSUMER.case(
        Row.CONSISTENCY,
        "an answer to another request",
        "inconsistent_response",
        rogue_answers(lambda s, a: reply(s.pair.rogue.honest(replace(a, body=b"andere")).encode())),
    ),
    AT_CONSUMER.case(
        Row.CONSISTENCY,
        "another request's hash",
        "inconsistent_response",
        soap_rogue(lambda s, m, d: answered(s.pair, m, d + b" ")),
        SOAP,
    ),
    AT_CONSUMER.case(
        Row.CONSISTENCY, "no request hash", "inconsistent_response", _soap_signed(lambda m: m.response()), SOAP
    ),
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
    *AT_CONSUMER.cases(
        Row.OURS,
        "an answer without a receipt",
        "receipt_missing",
        rogue_answers(lambda s, a: reply(s.pair.rogue.honest(a, receipt=None).encode())),
        soap_rogue(lambda s, m, d: answered(s.pair, m, d, receipt=None)),
    ),
    *AT_CONSUMER.cases(
        Row.OURS,
        "a receipt that doesn't hold",
        "receipt_invalid",
        rogue_answers(lambda s, a: reply(s.pair.rogue.honest(a, receipt="quittung").encode())),
        soap_rogue(lambda s, m, d: answered(s.pair, m, d, receipt="quittung")),
    ),
    Case(
        Row.RIGHTS,
        REST,
        "a fault of the provider's gateway, passed on",
        FAULT.code,
        PROVIDER,
        rogue_answers(lambda *_: reply(("text/xml", soap_fault(FAULT)))),
    ),
]
