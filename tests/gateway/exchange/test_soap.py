"""SOAP over the road, on real sockets through both gateways: what goes through unchanged, and what is added."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import hashlib
import re
from email.message import EmailMessage
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select

from audit.message_reader import MessageReader, OpenedMessage
from audit.store import message_record
from tests.gateway.exchange.backend import Call
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.pair import CANARY, Answer, GatewayPair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.records import logged, require_sound, view_of
from tests.gateway.exchange.soap_messages import (
    DATENWEG,
    TEXT_XML,
    Message,
    answering,
    fault_of,
    hash_of,
    response_to,
    without_hash,
)
from tests.gateway.exchange.town import CITY, UTILITY

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def post(
    pair: GatewayPair, data: bytes, content_type: str | None = TEXT_XML, *, path: str = "/", **headers: str
) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        sent["Content-Type"] = content_type
    return await pair.request("POST", path, client=None, headers=sent, body=data)


async def records_of(node: RunningNode, message_id: str) -> list[Any]:
    """The rows of the message log for the last exchange with this id."""
    query = select(message_record).where(message_record.c.message_id == message_id).order_by(message_record.c.id)
    async with node.gateway.engine.connect() as connection:
        return list((await connection.execute(query)).all())[-2:]


async def request_id_of(node: RunningNode, message_id: str) -> str:
    return str((await records_of(node, message_id))[-1].request_id)


async def opened(node: RunningNode, message_id: str) -> list[OpenedMessage]:
    """The request and the response with this id, as the message log has them."""
    view = view_of(node.gateway)
    reader = MessageReader(view.engine, view.messages)
    return list(await reader.open(await reader.of_request(await request_id_of(node, message_id))))


def digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha512(data).digest()).decode()


async def test_a_message_and_its_answer_pass_byte_for_byte(pair: GatewayPair) -> None:
    pair.backend.soap = answering()
    sent = Message().encoded()
    answer = await post(pair, sent, SOAPAction='"urn:muster/auskunft"')
    assert answer.status == 200
    assert answer.headers["Content-Type"] == TEXT_XML
    call = pair.backend.calls[-1]
    assert (call.method, call.target, call.body) == ("POST", "/dienst/soap", sent)
    assert call.headers["Content-Type"] == TEXT_XML
    assert call.headers["SOAPAction"] == '"urn:muster/auskunft"'
    assert without_hash(answer.body) == response_to(sent)
    assert hash_of(answer.body) == digest(sent)
    assert b"</xrd:id><xrd:requestHash algorithmId=" in answer.body
    assert not [name for name in answer.headers if name.lower().startswith("x-")]


# -- what passes unchanged


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blanks", lambda s: s.replace("<xrd:id>", "<xrd:id  >").replace("</xrd:id>", "</xrd:id\n >")),
        ("comments", lambda s: s.replace("<env:Body>", "<!-- <xrd:id>9</xrd:id> --><env:Body><!--a-->")),
        ("cdata", lambda s: s.replace("<frage>", "<frage><![CDATA[<&>]]>")),
        ("references", lambda s: s.replace("<frage>", "<frage>&#228;&lt;&amp;")),
        ("instruction", lambda s: s.replace("<env:Body>", "<?muster a?><env:Body>")),
        ("no-declaration", lambda s: s.partition("\n")[2]),
        ("other-prefixes", lambda s: s.replace("env:", "soapenv:").replace(":env", ":soapenv").replace("xrd", "ro")),
        (
            "default-namespace",
            lambda s: s.replace("<xrd:id>", '<id xmlns="http://x-road.eu/xsd/xroad.xsd">').replace(
                "</xrd:id>", "</id>"
            ),
        ),
        ("crlf", lambda s: s.replace("\n", "\r\n")),
        ("one-line", lambda s: s.replace("\n", "")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_spelling_of_the_xml_is_nobodys_business(pair: GatewayPair, name: str, change: object) -> None:
    pair.backend.soap = answering()
    sent = change(Message().text()).encode()  # type: ignore[operator]
    answer = await post(pair, sent)
    assert pair.backend.calls[-1].body == sent
    assert without_hash(answer.body) == response_to(sent)
    assert hash_of(answer.body) == digest(sent)


@pytest.mark.parametrize(
    ("codec", "declaration", "content_type"),
    [
        ("iso-8859-1", '<?xml version="1.0" encoding="ISO-8859-1"?>', "text/xml; charset=ISO-8859-1"),
        ("iso-8859-1", "", "text/xml; charset=ISO-8859-1"),
        ("iso-8859-15", '<?xml version="1.0" encoding="ISO-8859-15"?>', "text/xml"),
        ("utf-8", "", "text/xml"),
        ("utf-8", "", "text/xml; charset=iso-8859-1"),
        ("utf-8-sig", '<?xml version="1.0" encoding="UTF-8"?>', TEXT_XML),
        ("utf-16", '<?xml version="1.0" encoding="UTF-16"?>', "text/xml; charset=UTF-16"),
        ("windows-1252", '<?xml version="1.0" encoding="windows-1252"?>', 'text/xml;charset="windows-1252"'),
    ],
)
async def test_character_encodings(pair: GatewayPair, codec: str, declaration: str, content_type: str) -> None:
    message = Message(declaration=declaration, user_id="DEÄ1")
    replied = message.response().encode(codec)
    pair.backend.soap = answering(lambda _: replied, content_type=content_type)
    sent = message.encoded(codec)
    answer = await post(pair, sent, content_type)
    assert answer.headers["Content-Type"] == content_type
    assert pair.backend.calls[-1].body == sent
    plain = "utf-8" if codec == "utf-8-sig" else codec
    marker = "<xrd:requestHash".encode(plain).removeprefix(b"\xff\xfe")
    assert marker in answer.body
    text = answer.body.decode(plain)
    assert without_hash(text.encode()).decode() == replied.decode(plain)
    assert hash_of(text.encode()) == digest(sent)


@pytest.mark.parametrize("action", [None, "", '""', '"urn:muster"', '"https://muster.example/a?b#c"'])
async def test_soap_action_is_passed_on(pair: GatewayPair, action: str | None) -> None:
    pair.backend.soap = answering()
    answer = await post(pair, Message().encoded(), **({} if action is None else {"SOAPAction": action}))
    assert b"requestHash" in answer.body
    assert pair.backend.calls[-1].headers.get("SOAPAction") == action


@pytest.mark.parametrize("path", ["/", "/irgendwo/tief?x=1", "http://irgendwer.example/", "http://irgendwer.example"])
async def test_any_path_and_absolute_targets(pair: GatewayPair, path: str) -> None:
    pair.backend.soap = answering()
    body = Message().encoded()
    head = f"POST {path} HTTP/1.1\r\nHost: irgendwer.example\r\nContent-Type: text/xml\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection(HOST, pair.consumer.settings.client_port)
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"requestHash" in answer


async def test_the_extensions(pair: GatewayPair) -> None:
    token = (
        '<t:securityToken xmlns:t="http://x-road.eu/xsd/security-token.xsd" '
        'tokenType="urn:ietf:params:oauth:token-type:jwt">abc.def.ghi</t:securityToken>'
    )
    pdu = '<d:pdu xmlns:d="http://x-road.eu/xsd/pdu.xsd"><d:reason>Prüfung</d:reason></d:pdu>'
    pair.backend.soap = answering()
    message = Message(party=("COM", "VERTRETEN"), issue="Akte 7", server=UTILITY.server, more=token + pdu)
    sent = message.encoded()
    answer = await post(pair, sent)
    assert without_hash(answer.body) == response_to(sent)


async def test_an_occasion_without_end_is_one_line_in_the_record(pair: GatewayPair) -> None:
    """The message says what it says; the record, of which each person has one, is bounded and can be shown."""
    reason = "Prüfung\u202e\n" + "x" * 20_000
    pdu = f'<d:pdu xmlns:d="http://x-road.eu/xsd/pdu.xsd"><d:reason>{reason}</d:reason><d:system>{reason}</d:system>'
    message = Message(more=f"{pdu}</d:pdu>", message_id="mit-anlass")
    pair.backend.soap = answering()
    await post(pair, message.encoded())
    assert pair.backend.calls[-1].body == message.encoded()
    for node in (pair.consumer, pair.provider):
        *_, response = await logged(node.gateway, await request_id_of(node, "mit-anlass"))
        for said in (response.accesses[0]["occasion"], response.accesses[0]["system"]):
            assert said.startswith("Prüfung  x")
            assert len(said) == 256


async def test_a_hash_that_the_service_sent_is_replaced(pair: GatewayPair) -> None:
    forged = '<xrd:requestHash algorithmId="x">AAAA</xrd:requestHash>'
    message = Message()
    pair.backend.soap = answering(
        lambda _: message.response().replace("</env:Header>", f"{forged}</env:Header>").encode()
    )
    answer = await post(pair, message.encoded())
    assert hash_of(answer.body) == digest(message.encoded())
    assert without_hash(answer.body) == message.response().encode()


# -- attachments


def related(parts: list[bytes], boundary: str = "grenze", newline: bytes = b"\r\n") -> bytes:
    delimiter = newline + b"--" + boundary.encode()
    return delimiter.removeprefix(newline) + newline + (delimiter + newline).join(parts) + delimiter + b"--" + newline


def parsed(answer: Answer) -> list[EmailMessage]:
    whole = b"Content-Type: " + answer.headers["Content-Type"].encode() + b"\r\n\r\n" + answer.body
    return list(email.message_from_bytes(whole, policy=email.policy.HTTP).iter_parts())


SWA = 'multipart/related; type="text/xml"; start="<wurzel>"; boundary="grenze"'
MTOM = 'multipart/related; type="application/xop+xml"; start="<wurzel>"; start-info="text/xml"; boundary=grenze'
ROOTS = {SWA: b"text/xml; charset=UTF-8", MTOM: b'application/xop+xml; charset=UTF-8; type="text/xml"'}
BINARY = bytes(range(256)) * 40 + b"\r\n--andere\r\n\r\n"


@pytest.mark.parametrize("content_type", [SWA, MTOM])
async def test_attachments_pass_byte_for_byte(pair: GatewayPair, content_type: str) -> None:
    root = b"Content-Type: " + ROOTS[content_type] + b"\r\nContent-ID: <wurzel>\r\n\r\n"
    files = [
        b"Content-Type: application/octet-stream\r\nContent-Id: <Datei-1>\r\nContent-Transfer-Encoding: binary\r\n"
        b'X-Eigenes: a;  b="c"\r\n\r\n' + BINARY,
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=innen\r\n\r\n--innen\r\n\r\ntief\r\n--innen--",
    ]
    message = Message(message_id=f"anhang-{len(content_type)}")
    sent = related([root + message.encoded(), *files])

    def reply(call: Call) -> web.Response:
        body = related([root + message.response().encode(), *files])
        return web.Response(body=body, headers={"Content-Type": content_type})

    pair.backend.soap = reply
    answer = await post(pair, sent, content_type)
    assert answer.headers["Content-Type"] == content_type
    call = pair.backend.calls[-1]
    assert call.headers["Content-Type"] == content_type
    for body in (call.body, answer.body):
        assert body.startswith(b"--grenze\r\ncontent-type:" + ROOTS[content_type])
        for file in files:
            headers, _, data = file.partition(b"\r\n\r\n")
            assert b"\r\n\r\n" + data + b"\r\n--grenze" in body
            for line in headers.split(b"\r\n")[1:]:
                assert b"\r\n" + line + b"\r\n" in body
    first, *others = parsed(answer)
    assert [part["Content-ID"] for part in (first, others[0])] == ["<wurzel>", "<Datei-1>"]
    # X-Road's hash is over the SOAP message alone, as it stands in the part.
    assert f">{digest(message.encoded())}</".encode() in answer.body
    for node in (pair.consumer, pair.provider):
        for record in await opened(node, message.message_id):
            assert list(record.attachments) == [file.partition(b"\r\n\r\n")[2] for file in files]


async def test_lenient_multipart(pair: GatewayPair) -> None:
    """A preamble, LF alone, a folded header and an epilogue: what X-Road's MIME reader takes."""
    message = Message()
    root = b"Content-Type: text/xml;\n  charset=utf-8\n\n"
    sent = (
        b"Vorwort\n"
        + related([root + message.encoded(), b"Content-Type: text/plain\n\nanhang"], newline=b"\n")
        + b"Nachwort"
    )
    pair.backend.soap = answering(lambda _: message.response().encode())
    answer = await post(pair, sent, "Multipart/Related; boundary=grenze")
    assert hash_of(answer.body) == digest(message.encoded())
    assert pair.backend.calls[-1].body == (
        b"--grenze\r\ncontent-type:text/xml; charset=utf-8\r\n\r\n"
        + message.encoded()
        + b"\r\n--grenze\r\ncontent-type:text/plain\r\n\r\nanhang\r\n--grenze--\r\n"
    )


async def test_multipart_without_attachments_stays_multipart(pair: GatewayPair) -> None:
    message = Message()
    pair.backend.soap = answering(lambda _: message.response().encode())
    await post(pair, related([b"Content-Type: text/xml\r\n\r\n" + message.encoded()]), SWA)
    assert pair.backend.calls[-1].headers["Content-Type"] == SWA
    assert pair.backend.calls[-1].body.startswith(b"--grenze\r\ncontent-type:text/xml\r\n\r\n<?xml")


# -- faults of the service

FAULT = (
    b'<?xml version="1.0"?>\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
    b"<faultcode>s:Server</faultcode><faultstring>kaputt</faultstring><detail><d:fehler xmlns:d='urn:m'>7</d:fehler>"
    b"</detail></s:Fault></s:Body></s:Envelope>"
)


@pytest.mark.parametrize("status", [200, 500])
async def test_a_services_fault_passes_unchanged_and_is_logged(pair: GatewayPair, status: int) -> None:
    pair.backend.soap = answering(lambda _: FAULT, content_type="text/xml", status=status)
    message = Message(message_id=f"fehler-{status}")
    answer = await post(pair, message.encoded())
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/xml;charset=utf-8")
    assert answer.body == FAULT
    for node in (pair.consumer, pair.provider):
        request, response = await opened(node, message.message_id)
        assert (request.header.outcome, response.header.outcome) == ("ok", "service_fault")
        assert (response.message, response.signature) == (FAULT, b"")


@pytest.mark.parametrize("code", [b"Client.Authentication", b"Server.userException", b"java.lang.RuntimeException"])
async def test_a_services_code_may_hold_dots_and_capitals(pair: GatewayPair, code: bytes) -> None:
    # SOAP 1.1 section 4.4.1: generic codes are refined behind a dot. It looks like the road's older spelling.
    fault = FAULT.replace(b"s:Server", code)
    pair.backend.soap = answering(lambda _: fault, content_type="text/xml", status=500)
    answer = await post(pair, Message().encoded())
    assert (answer.status, answer.body) == (200, fault)


async def test_a_code_that_a_service_made_up_is_in_no_log_line(pair: GatewayPair) -> None:
    position = pair.position
    pair.backend.soap = answering(lambda _: FAULT.replace(b"s:Server", CANARY.encode() + b".name"), status=500)
    assert fault_of((await post(pair, Message().encoded())).body) == f"{CANARY}.name"
    pair.require_discreet(position)
    assert [line["code"] for line in pair.lines(position) if line["event"] == "exchange refused"] == ["service_fault"]


async def test_a_fault_within_multipart_and_latin_1(pair: GatewayPair) -> None:
    latin = FAULT.replace(b"kaputt", "gestört".encode("latin-1"))
    body = related([b"Content-Type: text/xml; charset=iso-8859-1\r\n\r\n" + latin])
    pair.backend.soap = lambda _: web.Response(body=body, headers={"Content-Type": SWA}, status=500)
    answer = await post(pair, Message().encoded())
    assert (answer.headers["Content-Type"], answer.body) == ("text/xml;charset=iso-8859-1", latin)


# -- what is ours


async def test_a_client_that_sends_fields_of_ours(pair: GatewayPair) -> None:
    pseudonym = pair.pseudonym()
    own = f'<dw:subject xmlns:dw="{DATENWEG}">{pseudonym}</dw:subject>'
    own += f'<dw:purpose xmlns:dw="{DATENWEG}">zweck</dw:purpose>'
    pair.backend.soap = answering()
    message = Message(more=own, message_id="mit-person")
    answer = await post(pair, message.encoded())
    assert pair.backend.calls[-1].body == message.encoded()
    # The receipt travels under the signature, and to the client beside the answer.
    assert b"auditReceipt" not in answer.body
    assert answer.headers["X-Datenweg-Audit-Receipt"].startswith(UTILITY.server.encoded)
    assert answer.headers["X-Datenweg-Consumer-Receipt"].startswith(CITY.server.encoded)
    for node in (pair.consumer, pair.provider):
        *_, response = await logged(node.gateway, await request_id_of(node, "mit-person"))
        assert [access["purposeDeclaration"] for access in response.accesses] == ["zweck"]
        assert b"<dw:auditReceipt" in response.message


async def test_a_citizens_token_is_turned_into_signed_entries(pair: GatewayPair) -> None:
    pair.backend.soap = answering()
    message = Message(code="auskunftHoch", version=None, message_id="mit-token")
    answer = await post(pair, message.encoded(), X_Datenweg_Citizen=pair.token(acr="high"))
    assert b"requestHash" in answer.body
    reached = pair.backend.calls[-1].body
    assert f">{pair.pseudonym()}</dw:subject>".encode() in reached
    assert b">high</dw:identityLevel>" in reached
    added = re.sub(rb"<dw:\w+ xmlns:dw=[^>]*>[^<]*</dw:\w+>", b"", reached)
    assert added == message.encoded()
    pair.require_discreet()


async def test_too_low_a_level(pair: GatewayPair) -> None:
    message = Message(code="auskunftHoch", version=None)
    answer = await post(pair, message.encoded(), X_Datenweg_Citizen=pair.token(acr="low"))
    assert fault_of(answer.body) == "server.serverproxy.identity_level_too_low"


@pytest.mark.parametrize("name", ["identityLevel", "exchangeNonce", "auditReceipt"])
async def test_what_only_the_road_may_say(pair: GatewayPair, name: str) -> None:
    answer = await post(pair, Message(more=f'<a:{name} xmlns:a="{DATENWEG}">high</a:{name}>').encoded())
    assert fault_of(answer.body) == "client.reserved_header"


async def test_both_logs_name_the_exchange_alike(pair: GatewayPair) -> None:
    pair.backend.soap = answering()
    await post(pair, Message(message_id="beide").encoded())
    found = [
        (await logged(node.gateway, await request_id_of(node, "beide")))[-1].accesses
        for node in (pair.consumer, pair.provider)
    ]
    assert found[0][0]["requestDigest"] == found[1][0]["requestDigest"]
    for node in (pair.consumer, pair.provider):
        await require_sound(node.gateway)
