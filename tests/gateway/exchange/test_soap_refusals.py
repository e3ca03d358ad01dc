"""Every refusal over SOAP: a fault in X-Road's shape with HTTP 200, its code, and what is logged of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.gateway.exchange.backend import Call
from tests.gateway.exchange.pair import Answer, GatewayPair
from tests.gateway.exchange.soap_messages import IDENTIFIERS, TEXT_XML, Message, answering, fault_of
from tests.gateway.exchange.test_soap import FAULT, SWA, post, related
from tests.gateway.exchange.town import CITY, GUEST, ROGUE, STRAY, UTILITY
from trust.identifiers import MemberId, SecurityServerId, SubsystemId

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENTED = (Path(__file__).parents[3] / "docs" / "errors.md").read_text("utf-8")
SHAPE = re.compile(
    rb'<\?xml version="1.0" encoding="UTF-8"\?>'
    rb'<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body><SOAP-ENV:Fault>'
    rb"<faultcode>([a-z_.]+)</faultcode><faultstring>([^<]+)</faultstring>(<faultactor>[^<]*</faultactor>)?"
    rb'<detail><faultDetail xmlns="">[0-9a-f-]{36}</faultDetail></detail>'
    rb"</SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>"
)


def require_fault(answer: Answer, code: str, *, documented: bool = True) -> None:
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/xml;charset=utf-8"
    assert "X-Road-Error" not in answer.headers
    assert fault_of(answer.body) == code
    assert SHAPE.fullmatch(answer.body), answer.body
    if documented:
        assert f"`{code}`" in DOCUMENTED


def changed(old: str, new: str, message: Message | None = None) -> bytes:
    text = (message or Message()).text()
    assert old in text
    return text.replace(old, new).encode()


TWICE = "<xrd:id>frage-1</xrd:id>"
CLIENT = [
    (b"", "client.invalid_soap"),
    (b"kein XML", "client.invalid_soap"),
    (b"<a/>", "client.invalid_soap"),
    (Message().encoded()[:-20], "client.invalid_soap"),
    (Message().encoded().replace(b"\n", b'\n<!DOCTYPE a [<!ENTITY b "c">]>', 1), "client.invalid_soap"),
    (
        changed("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"),
        "client.invalid_soap",
    ),
    (Message(declaration="").encoded("utf-32"), "client.invalid_soap"),
    (changed("UTF-8", "UTF-7"), "client.invalid_soap"),
    (Message().encoded().replace("ä".encode(), b"\xff"), "client.invalid_soap"),
    (re.sub(rb"<env:Header>.*</env:Header>", b"", Message().encoded(), flags=re.DOTALL), "client.missing_header"),
    *(
        (Message(leave_out={name}).encoded(), "client.missing_header_field")
        for name in ("client", "service", "id", "protocolVersion")
    ),
    (changed(TWICE, TWICE * 2), "client.duplicate_header_field"),
    (
        changed("<iden:memberCode>STADTWERKE", "<iden:memberCode>A</iden:memberCode><iden:memberCode>STADTWERKE"),
        "client.duplicate_header_field",
    ),
    (changed('iden:objectType="SERVICE"', ""), "client.invalid_xml"),
    (changed('iden:objectType="SUBSYSTEM"', 'iden:objectType="MEMBER"'), "client.invalid_client_identifier"),
    (changed('iden:objectType="SUBSYSTEM"', 'iden:objectType="SERVER"'), "client.invalid_xml"),
    (changed('iden:objectType="SUBSYSTEM"', 'objectType="SUBSYSTEM"'), "client.invalid_xml"),
    (changed("<iden:subsystemCode>app</iden:subsystemCode>", ""), "client.invalid_client_identifier"),
    (changed("<iden:serviceCode>auskunft</iden:serviceCode>", ""), "client.invalid_xml"),
    (Message(client=SubsystemId("DE-TEST", "GOV", "\x85", "app")).encoded(), "client.invalid_xml"),
    (re.sub(rb"<env:Body>.*</env:Body>", b"", Message().encoded(), flags=re.DOTALL), "client.missing_body"),
    (Message(body=" ").encoded(), "client.invalid_body"),
    (Message(body="<a/><a/>").encoded(), "client.invalid_body"),
    (changed("</env:Body>", "</env:Body><env:Body/>"), "client.invalid_body"),
    (Message(body="<andere/>").encoded(), "client.inconsistent_headers"),
    (Message(protocol_version="3.1").encoded(), "client.invalid_protocol_version"),
    (Message(protocol_version="").encoded(), "client.invalid_protocol_version"),
]


@pytest.mark.parametrize(("data", "code"), CLIENT, ids=[f"{n}-{code}" for n, (_, code) in enumerate(CLIENT)])
async def test_the_clients_mistakes(pair: GatewayPair, data: bytes, code: str) -> None:
    before = len(pair.backend.calls)
    require_fault(await post(pair, data), code)
    assert len(pair.backend.calls) == before


@pytest.mark.parametrize(
    ("content_type", "data", "code"),
    [
        (None, Message().encoded(), "client.invalid_content_type"),
        ("", Message().encoded(), "client.invalid_content_type"),
        ("blah", Message().encoded(), "client.invalid_content_type"),
        ("application/json", Message().encoded(), "client.invalid_content_type"),
        ("application/soap+xml", Message().encoded(), "client.invalid_content_type"),
        (
            "multipart/mixed; boundary=grenze",
            related([b"Content-Type: text/xml\r\n\r\n" + Message().encoded()]),
            "client.invalid_content_type",
        ),
        (
            "multipart/related",
            related([b"Content-Type: text/xml\r\n\r\n" + Message().encoded()]),
            "client.invalid_content_type",
        ),
        ('multipart/related; boundary=""', b"", "client.invalid_content_type"),
        (SWA, b"", "client.missing_soap"),
        (SWA, b"--grenze--", "client.missing_soap"),
        (SWA, related([b"Content-Type: text/plain\r\n\r\n" + Message().encoded()]), "client.invalid_content_type"),
        (
            SWA,
            related([b"Content-Type: text/xml\r\n\r\n" + Message().encoded(), b"Cont-Type: a/b\r\n\r\nx"]),
            "client.invalid_content_type",
        ),
        (SWA, related([b"\r\n" + Message().encoded()]), "client.invalid_content_type"),
        (SWA, related([b"Content-Type: text/xml\r\n\r\n" + Message().encoded()])[:-13], "client.mime_parsing_failed"),
        (SWA, related([b"Content-Type: text/xml\r\n\r\nleer"]), "client.invalid_soap"),
        ("text/xml; charset=EBCDIC", b"<a/>", "client.invalid_soap"),
    ],
)
async def test_content_types(pair: GatewayPair, content_type: str | None, data: bytes, code: str) -> None:
    require_fault(await post(pair, data, content_type), code)


@pytest.mark.parametrize("action", ["urn:muster", '"urn:a""', '"mit blank "', '"', '"a<b"'])
async def test_soap_action(pair: GatewayPair, action: str) -> None:
    require_fault(await post(pair, Message().encoded(), SOAPAction=action), "client.invalid_soap_action")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods(pair: GatewayPair, method: str) -> None:
    answer = await pair.request(method, "/", client=None)
    require_fault(answer, "client.invalid_http_method")


async def test_a_clients_fault_comes_back_to_it(pair: GatewayPair) -> None:
    answer = await post(
        pair, FAULT.replace(b"s:Server", b"CODE").replace(b"<detail>", b"<faultactor>ich</faultactor><detail>")
    )
    require_fault(answer, "client.code", documented=False)
    assert b"<faultstring>kaputt</faultstring><faultactor>ich</faultactor>" in answer.body


async def test_too_large(pair: GatewayPair) -> None:
    require_fault(await post(pair, b" " * (512 * 1024)), "client.body_too_large")


UNKNOWN = MemberId("DE-TEST", "GOV", "NIEMAND")
RIGHTS = [
    (Message(client=UNKNOWN), "server.clientproxy.unknown_member"),
    (Message(client=STRAY), "server.clientproxy.unknown_member"),
    (Message(provider=SubsystemId("DE-TEST", "COM", "NIEMAND", "x")), "server.clientproxy.unknown_member"),
    (Message(server=SecurityServerId(UNKNOWN, "ss1")), "server.clientproxy.invalid_security_server"),
    (Message(server=ROGUE.server), "server.clientproxy.invalid_security_server"),
    (Message(code="gibtsnicht"), "server.serverproxy.unknown_service"),
    (Message(version=None), "server.serverproxy.unknown_service"),
    (Message(version="v2"), "server.serverproxy.unknown_service"),
    (Message(code="echo", version=None), "server.serverproxy.service_type"),
    (Message(client=GUEST), "server.serverproxy.access_denied"),
    (Message(code="auskunftAus", version=None), "server.serverproxy.service_disabled"),
    (Message(code="auskunftHoch", version=None), "server.serverproxy.identity_level_too_low"),
    (Message(code="auskunftTot", version=None), "server.serverproxy.service_failed.network_error"),
    (Message(code="auskunftFremd", version=None), "server.serverproxy.service_failed.unknown_host"),
    (Message(code="auskunftOhneAdresse", version=None), "server.serverproxy.service_missing_url"),
    (Message(code="auskunftFalscheAdresse", version=None), "server.serverproxy.service_malformed_url"),
]


@pytest.mark.parametrize(("message", "code"), RIGHTS, ids=[f"{n}-{code}" for n, (_, code) in enumerate(RIGHTS)])
async def test_rights_and_routes(pair: GatewayPair, message: Message, code: str) -> None:
    pair.backend.soap = answering()
    require_fault(await post(pair, message.encoded()), code)


async def test_the_notice_of_a_disabled_service(pair: GatewayPair) -> None:
    answer = await post(pair, Message(code="auskunftAus", version=None).encoded())
    assert b"bis Montag" in answer.body


async def test_rest_to_a_wsdl_service(pair: GatewayPair) -> None:
    assert (await pair.call("auskunftTot")).headers["X-Road-Error"] == "server.serverproxy.service_type"


def replies(data: bytes, content_type: str | None = TEXT_XML, status: int = 200) -> Callable[[Call], web.Response]:
    def reply(_: Call) -> web.Response:
        response = web.Response(body=data, status=status)
        if content_type is None:
            del response.headers["Content-Type"]
        else:
            response.headers["Content-Type"] = content_type
        return response

    return reply


GOOD = Message().response().encode()
PREFIX = "server.serverproxy.service_failed"
SERVICE = [
    (replies(GOOD, status=404), f"{PREFIX}.http_error"),
    (replies(GOOD, status=202), f"{PREFIX}.http_error"),
    (replies(GOOD, status=302), f"{PREFIX}.http_error"),
    (replies(b""), f"{PREFIX}.invalid_soap"),
    (replies(b"<html/>"), f"{PREFIX}.invalid_soap"),
    (replies(GOOD, "text/html"), f"{PREFIX}.invalid_content_type"),
    (replies(GOOD, "blah"), f"{PREFIX}.invalid_content_type"),
    (replies(b"", SWA), f"{PREFIX}.invalid_message"),
    (replies(related([b"Content-Type: text/xml\r\n\r\n" + GOOD, b"\r\nx"]), SWA), f"{PREFIX}.invalid_content_type"),
    (replies(related([b"Content-Type: text/xml\r\n\r\n" + GOOD])[:-15], SWA), f"{PREFIX}.mime_parsing_failed"),
    (replies(Message(leave_out={"id"}).response().encode()), f"{PREFIX}.missing_header_field"),
    (replies(GOOD.replace(TWICE.encode(), TWICE.encode() * 2)), f"{PREFIX}.duplicate_header_field"),
    (replies(re.sub(rb"<env:Header>.*</env:Header>", b"", GOOD, flags=re.DOTALL)), f"{PREFIX}.missing_header"),
    (replies(re.sub(rb"<env:Body>.*</env:Body>", b"", GOOD, flags=re.DOTALL)), f"{PREFIX}.missing_body"),
    (replies(Message(body="<a/><b/>").encoded()), f"{PREFIX}.invalid_body"),
    (replies(Message(body="<a/>").encoded()), f"{PREFIX}.inconsistent_headers"),
    (replies(GOOD.replace(b'iden:objectType="SERVICE"', b"")), f"{PREFIX}.invalid_xml"),
    (replies(Message(protocol_version="5").response().encode()), f"{PREFIX}.invalid_protocol_version"),
    (
        replies(Message(message_id="andere").response().encode()),
        "server.clientproxy.service_failed.inconsistent_response",
    ),
    (replies(Message(user_id=None).response().encode()), "server.clientproxy.service_failed.inconsistent_response"),
    (replies(Message(user_id="DE9").response().encode()), "server.clientproxy.service_failed.inconsistent_response"),
    (replies(Message(issue="neu").response().encode()), "server.clientproxy.service_failed.inconsistent_response"),
    (replies(Message(client=GUEST).response().encode()), "server.clientproxy.service_failed.inconsistent_response"),
    (replies(Message(version="v2").response().encode()), "server.clientproxy.service_failed.inconsistent_response"),
    (
        replies(Message(party=(None, "X")).response().encode()),
        "server.clientproxy.service_failed.inconsistent_response",
    ),
]


@pytest.mark.parametrize(("reply", "code"), SERVICE, ids=[f"{n}-{code}" for n, (_, code) in enumerate(SERVICE)])
async def test_the_services_mistakes(pair: GatewayPair, reply: Callable[[Call], web.Response], code: str) -> None:
    pair.backend.soap = reply
    require_fault(await post(pair, Message().encoded()), code)


async def test_protocol_version_and_security_server_are_not_compared(pair: GatewayPair) -> None:
    pair.backend.soap = replies(Message(protocol_version="4.1").response().encode())
    answer = await post(pair, Message(server=UTILITY.server).encoded())
    assert b"requestHash" in answer.body


async def test_a_service_that_is_too_slow(pair: GatewayPair) -> None:
    pair.backend.soap = None
    answer = await post(pair, Message(code="auskunftLangsam", version=None).encoded())
    # The stand-in breaks off without a script: that, too, is the service's failure.
    assert fault_of(answer.body).startswith(f"{PREFIX}.")


async def test_camel_case(pair: GatewayPair) -> None:
    node = pair.consumer.gateway.node
    before = node.vocabulary
    node.vocabulary = type(before).CAMEL
    try:
        one = await post(pair, b"")
        other = await post(pair, Message(code="gibtsnicht").encoded())
    finally:
        node.vocabulary = before
    assert fault_of(one.body) == "Client.InvalidSoap"
    assert fault_of(other.body) == "Server.ServerProxy.UnknownService"


async def test_nothing_of_a_message_is_in_a_log_line(pair: GatewayPair) -> None:
    pair.require_discreet()
    assert IDENTIFIERS not in pair.output.getvalue()
    assert CITY.member.member_code in Message().text()
