"""Services that can't be called, or answer wrongly."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from aiohttp import web

from gateway.store.model import AccessRight, ServiceType
from gateway.store.repository import Repository
from tests.conformance.stage import Case, Do, Stage, Told, post, rest, soap, told_rest
from tests.conformance.words import ADAPTER, REST, SERVICE, SOAP, Form, Row
from tests.gateway.exchange.backend import Call
from tests.gateway.exchange.pair import MAX_BODY
from tests.gateway.exchange.soap_messages import Message
from tests.gateway.exchange.test_soap import FAULT, SWA, related
from tests.gateway.exchange.test_soap_refusals import replies
from tests.gateway.exchange.town import APP, ROGUE, services

PREFIX = "server.serverproxy"
GOOD = Message().response().encode()


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


async def _slow_rest(stage: Stage) -> Told:
    stage.pair.backend.release.clear()
    try:
        return told_rest(await stage.pair.call("langsam", "/slow"))
    finally:
        stage.pair.backend.release.set()


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


async def _untrusted_service(stage: Stage, *, over_soap: bool = False) -> Told:
    """Another gateway's TLS port in place of the service: nobody has pinned its certificate."""
    pair, kind = stage.pair, ServiceType.WSDL if over_soap else ServiceType.REST
    server = pair.provider.gateway.node.trust.latest.configuration.server(ROGUE.server)
    assert server is not None
    code = f"auskunftTLS{kind.value}"
    entry = replace(services(f"https://{server.address}")[0], code=code, service_type=kind)
    await Repository(pair.provider.gateway.engine).upsert_service(entry, grant_to=[AccessRight(entry.identifier, APP)])
    await pair.until(lambda: pair.provider.gateway.node.directory.offer(entry.identifier) is not None)
    if over_soap:
        return await post(stage, Message(code=code, version=None).encoded())
    return told_rest(await pair.call(code))


def _service(situation: str, leaf: str, do: Do, form: Form = REST) -> Case:
    hop = ADAPTER if leaf in {"unknown_host", "network_error", "io_error", "ssl_authentication_failed"} else SERVICE
    return Case(Row.SERVICE, form, situation, f"{PREFIX}.service_failed.{leaf}", hop, do)


CASES: list[Case] = [
    _service("a host that there isn't", "unknown_host", soap(Message(code="auskunftFremd", version=None)), SOAP),
    _service("nobody listens", "network_error", rest("tot")),
    _service("nobody listens", "network_error", soap(Message(code="auskunftTot", version=None)), SOAP),
    _service("hangs up before it answers", "network_error", rest("echo", "/silent")),
    _service("breaks off in its answer", "io_error", rest("echo", "/cut")),
    _service("breaks off in its answer", "io_error", _cut_soap("text/xml"), SOAP),
    _service("breaks off, and didn't say what it answers", "invalid_content_type", _cut_soap(""), SOAP),
    _service("a certificate that isn't pinned", "ssl_authentication_failed", _untrusted_service),
    _service(
        "a certificate that isn't pinned",
        "ssl_authentication_failed",
        lambda stage: _untrusted_service(stage, over_soap=True),
        SOAP,
    ),
    _service("doesn't answer in time", "io_error", _slow_rest),
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
]
