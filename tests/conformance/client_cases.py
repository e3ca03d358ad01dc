"""The client's own mistakes, over SOAP and REST."""

from __future__ import annotations

import re

import aiohttp

from gateway.messages.faults import Hop
from gateway.messages.headers import REPRESENTING
from tests.conformance.stage import Case, Do, Stage, Told, rest, rest_target, soap, told_fault, told_rest
from tests.conformance.words import CONSUMER, GATEWAY, PROVIDER, REST, SOAP, Form, Row
from tests.gateway.exchange.pair import MAX_BODY
from tests.gateway.exchange.soap_messages import Message
from tests.gateway.exchange.test_soap import FAULT, SWA, related
from tests.gateway.exchange.town import APP, GUEST

GOOD = Message().encoded()
ID = b"<xrd:id>frage-1</xrd:id>"


def _with_method(method: str) -> Do:
    async def do(stage: Stage) -> Told:
        answer = await stage.pair.request(method, "/", client=None)
        return told_fault(SOAP, answer.status, answer.body, answer)

    return do


async def _peer_get(stage: Stage) -> Told:
    connector = aiohttp.TCPConnector(ssl=stage.peer.city.context(), force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(stage.peer.url) as answer:
        return told_fault(GATEWAY, answer.status, await answer.read())


def _client(row: Row, situation: str, leaf: str, do: Do, form: Form = SOAP, **options: object) -> Case:
    return Case(row, form, situation, f"client.{leaf}", Hop.CLIENT, do, **options)  # type: ignore[arg-type]


def _cut(what: bytes) -> bytes:
    return re.sub(rb"<env:%b>.*</env:%b>" % (what, what), b"", GOOD, flags=re.DOTALL)


def _changed(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new)


_PART = b"Content-Type: text/xml\r\n\r\n"


async def _for_another(stage: Stage) -> Told:
    headers = stage.pair.citizen() | {REPRESENTING: "niemand"}
    return told_rest(await stage.pair.call("echo", headers=headers))


CASES: list[Case] = [
    *(
        _client(Row.METHOD, f"{method} to the SOAP interface", "invalid_http_method", _with_method(method))
        for method in ("GET", "PUT", "DELETE")
    ),
    Case(
        Row.METHOD,
        GATEWAY,
        "GET to the message port",
        "server.serverproxy.invalid_http_method",
        PROVIDER,
        _peer_get,
    ),
    _client(Row.CONTENT, "no Content-Type", "invalid_content_type", soap(GOOD, None)),
    _client(Row.CONTENT, "JSON to the SOAP interface", "invalid_content_type", soap(GOOD, "application/json")),
    _client(
        Row.CONTENT,
        "an attachment without Content-Type",
        "invalid_content_type",
        soap(related([_PART + GOOD, b"\r\nx"]), SWA),
    ),
    _client(
        Row.CONTENT,
        "the first part is no SOAP",
        "invalid_content_type",
        soap(related([b"Content-Type: text/plain\r\n\r\n" + GOOD]), SWA),
    ),
    _client(Row.CONTENT, "multipart without parts", "missing_soap", soap(b"", SWA)),
    _client(Row.CONTENT, "an empty body", "invalid_soap", soap(b"")),
    _client(Row.CONTENT, "no XML", "invalid_soap", soap(b"kein XML")),
    _client(Row.CONTENT, "XML that is no SOAP", "invalid_soap", soap(b"<a/>")),
    _client(
        Row.CONTENT,
        "a document type declaration",
        "invalid_soap",
        soap(GOOD.replace(b"\n", b'\n<!DOCTYPE a [<!ENTITY b "c">]>', 1)),
    ),
    _client(
        Row.CONTENT,
        "an identifier without objectType",
        "invalid_xml",
        soap(_changed(b'iden:objectType="SERVICE"', b"")),
    ),
    _client(
        Row.CONTENT,
        "an identifier that lacks an element",
        "invalid_xml",
        soap(_changed(b"<iden:serviceCode>auskunft</iden:serviceCode>", b"")),
    ),
    _client(
        Row.CONTENT,
        "a client whose objectType contradicts its elements",
        "invalid_client_identifier",
        soap(_changed(b'iden:objectType="SUBSYSTEM"', b'iden:objectType="MEMBER"')),
    ),
    _client(Row.HEADER, "no header", "missing_header", soap(_cut(b"Header"))),
    *(
        _client(Row.HEADER, f"no {name}", "missing_header_field", soap(Message(leave_out={name})))
        for name in ("client", "service", "id", "protocolVersion")
    ),
    _client(
        Row.HEADER,
        "an attachment's message lacks an entry",
        "missing_header_field",
        soap(related([_PART + Message(leave_out={"id"}).encoded()]), SWA),
    ),
    _client(Row.HEADER, "id twice", "duplicate_header_field", soap(_changed(ID, ID * 2))),
    _client(
        Row.HEADER,
        "X-Road-Client twice",
        "duplicate_header_field",
        rest("echo", client=None, headers=[("X-Road-Client", APP.encoded), ("X-Road-Client", GUEST.encoded)]),
        REST,
    ),
    _client(Row.BODY, "no body", "missing_body", soap(_cut(b"Body"))),
    _client(Row.BODY, "a body without an element", "invalid_body", soap(Message(body=" "))),
    _client(Row.BODY, "a body with two elements", "invalid_body", soap(Message(body="<a/><a/>"))),
    _client(Row.BODY, "two bodies", "invalid_body", soap(_changed(b"</env:Body>", b"</env:Body><env:Body/>"))),
    _client(
        Row.BODY, "the body's element isn't the service's", "inconsistent_headers", soap(Message(body="<andere/>"))
    ),
    _client(Row.VERSION_AND_ACTION, "version 3.1", "invalid_protocol_version", soap(Message(protocol_version="3.1"))),
    _client(Row.VERSION_AND_ACTION, "an empty version", "invalid_protocol_version", soap(Message(protocol_version=""))),
    *(
        _client(Row.VERSION_AND_ACTION, what, "invalid_soap_action", soap(GOOD, SOAPAction=action))
        for what, action in (
            ("SOAPAction without quotes", "urn:muster"),
            ("SOAPAction with two closing quotes", '"urn:a""'),
            ("SOAPAction with a blank before its closing quote", '"urn:a "'),
        )
    ),
    _client(
        Row.REST,
        "more headers than a message may have",
        "bad_request",
        rest("echo", headers={f"X-Viel-{n}": "1" for n in range(130)}),
        REST,
    ),
    Case(
        Row.REST,
        REST,
        "no X-Road-Client",
        "server.clientproxy.invalid_client_identifier",
        CONSUMER,
        rest("echo", client=None),
    ),
    *(
        Case(Row.REST, REST, what, "server.clientproxy.internal_error", CONSUMER, do)
        for what, do in (
            ("an X-Road-Client of two segments", rest("echo", client="DE-TEST/GOV")),
            ("an X-Road-Client that isn't percent-encoded", rest("echo", client="DE-TEST/GOV/MUSTER%ZZ/app")),
            ("a path without a service", rest_target("/r1/invalid")),
            ("a path that isn't percent-encoded", rest_target("/r1/DE-TEST/COM/%XY/kundenservice/echo")),
            ("a verb that isn't of the protocol", rest("echo", method="PURGE")),
            ("a verb that HTTP's register doesn't have", rest("echo", method="HOLE")),
            ("a security server of three segments", rest("echo", headers={"X-Road-Security-Server": "A/B/C"})),
            ("a represented party of three segments", rest("echo", headers={"X-Road-Represented-Party": "A/B/C"})),
        )
    ),
    Case(
        Row.ECHO,
        SOAP,
        "a fault with the code CODE",
        "client.code",
        Hop.CLIENT,
        soap(FAULT.replace(b"s:Server", b"CODE")),
        reworded=True,
    ),
    _client(Row.OTHERS, "multipart that is cut", "mime_parsing_failed", soap(related([_PART + GOOD])[:-13], SWA)),
    _client(Row.OURS, "a body over the limit", "body_too_large", soap(b" " * (512 * 1024))),
    _client(
        Row.OURS,
        "a body over the limit",
        "body_too_large",
        rest("echo", method="POST", body=bytes(MAX_BODY + 1)),
        REST,
    ),
    _client(
        Row.OURS,
        "a header that only the road sets",
        "reserved_header",
        rest("echo", headers={"X-Datenweg-Audit-Receipt": "x"}),
        REST,
    ),
    _client(
        Row.OURS,
        "a citizen's token that doesn't hold",
        "citizen_token_invalid",
        rest("echo", headers={"X-Datenweg-Citizen": "kein.to.ken"}),
        REST,
    ),
    Case(
        Row.OURS,
        REST,
        "a citizen who may not act for whom they name",
        "client.representation_refused",
        Hop.CLIENT,
        _for_another,
    ),
]
