"""Clients and services that know nothing of this road, on `datenweg instance --topology` as a process.

zeep, aiohttp and raw HTTP; what real clients of X-Road depend on is checked one by one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import socket
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import aiohttp
import pytest
from lxml import etree
from yarl import URL
from zeep import Client
from zeep.transports import Transport

from tests.conformance.services import NAMESPACE, Received, Services, services
from tests.gateway.exchange.soap_messages import IDENTIFIERS, XROAD, Message
from tests.gateway.instance.road import Answer, Road, road
from trust.identifiers import SubsystemId
from trust.xml import parse

APP = SubsystemId("DE-TEST", "GOV", "1234", "app")
PROVIDER = SubsystemId("DE-TEST", "COM", "5678", "s/ub")
OWNER = ("DE-TEST", "COM", "5678")
FILE = """
instance = "DE-TEST"
[gateways.ss1]
owner = "GOV/1234"
[gateways.ss2]
owner = "COM/5678"
[[members]]
class = "GOV"
code = "1234"
[[members.subsystems]]
code = "app"
gateways = ["ss1"]
[[members]]
class = "COM"
code = "5678"
[[members.subsystems]]
code = "s/ub"
gateways = ["ss2"]
[[members.subsystems.services]]
code = "pruefeBelege"
type = "WSDL"
url = "@URL@/soap"
description = "belege.wsdl"
rights = [{ subsystem = "GOV/1234/app" }]
[[members.subsystems.services]]
code = "belege"
type = "OPENAPI3"
url = "@URL@/rest"
description = "belege.json"
rights = [{ subsystem = "GOV/1234/app" }]
[[members.subsystems.services]]
code = "bär"
type = "REST"
url = "@URL@/rest/"
rights = [{ subsystem = "GOV/1234/app" }]
"""
WSDL = f"""<?xml version="1.0" encoding="UTF-8"?>
<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:b="{NAMESPACE}" xmlns:xrd="{XROAD}"
    targetNamespace="{NAMESPACE}">
  <wsdl:types><xs:schema targetNamespace="{NAMESPACE}" elementFormDefault="qualified">
    <xs:element name="pruefeBelege"><xs:complexType><xs:sequence>
      <xs:element name="aktenzeichen" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
    <xs:element name="pruefeBelegeResponse"><xs:complexType><xs:sequence>
      <xs:element name="anzahl" type="xs:int"/></xs:sequence></xs:complexType></xs:element>
  </xs:schema></wsdl:types>
  <wsdl:message name="frage"><wsdl:part name="body" element="b:pruefeBelege"/></wsdl:message>
  <wsdl:message name="antwort"><wsdl:part name="body" element="b:pruefeBelegeResponse"/></wsdl:message>
  <wsdl:portType name="Pruefung"><wsdl:operation name="pruefeBelege">
    <wsdl:input message="b:frage"/><wsdl:output message="b:antwort"/></wsdl:operation></wsdl:portType>
  <wsdl:binding name="Bindung" type="b:Pruefung">
    <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <wsdl:operation name="pruefeBelege"><xrd:version>v1</xrd:version><soap:operation soapAction=""/>
      <wsdl:input><soap:body use="literal"/></wsdl:input><wsdl:output><soap:body use="literal"/></wsdl:output>
    </wsdl:operation></wsdl:binding>
  <wsdl:service name="Dienst"><wsdl:port name="Port" binding="b:Bindung">
    <soap:address location="http://intern.muster/soap"/></wsdl:port></wsdl:service>
</wsdl:definitions>
"""
OPENAPI = {
    "openapi": "3.0.3",
    "info": {"title": "Belege", "version": "1"},
    "servers": [{"url": "https://intern.muster/rest"}],
    "paths": {"/belege": {"post": {"operationId": "sende", "responses": {"201": {"description": "da"}}}}},
}
CONTENTS = (b"%PDF-1.7 eins\r\n--keine-grenze\r\n\x00\xff", bytes(range(256)) * 400)


@dataclass
class Town:
    road: Road
    services: Services

    @property
    def url(self) -> str:
        """The client port of the client's gateway."""
        return str(self.road.gateway("ss1")["client_http_url"]).rstrip("/")

    @property
    def last(self) -> Received:
        return self.services.received[-1]

    def rest(self, code: str, path: str = "", method: str = "GET", **options: Any) -> Answer:
        options.setdefault("client", APP.encoded)
        return self.road.call(method, f"/r1/{PROVIDER.encoded}/{code}{path}", **options)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("fremd")
    (folder / "belege.wsdl").write_text(WSDL)
    (folder / "belege.json").write_text(json.dumps(OPENAPI))
    with services() as running:
        (folder / "road.toml").write_text(FILE.replace("@URL@", running.url))
        with road(folder / "road.toml", "--directory", str(folder / "data")) as found:
            yield Town(found, running)


def message(code: str, body: str = "", **changes: Any) -> Message:
    content = {"body": body} if body else {}
    values: dict[str, Any] = {"code": code, "client": APP, "provider": PROVIDER, "version": "v1"} | content | changes
    return Message(message_id=str(uuid.uuid4()), **values)


# -- zeep


def soap_headers() -> list[etree._Element]:
    def identifier(tag: str, kind: str, values: tuple[str, ...], *more: str) -> etree._Element:
        names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode", "serviceCode", "serviceVersion")
        element = etree.Element(f"{{{XROAD}}}{tag}", {f"{{{IDENTIFIERS}}}objectType": kind})
        for name, value in zip(names, (*values, *more), strict=False):
            etree.SubElement(element, f"{{{IDENTIFIERS}}}{name}").text = value
        return element

    def plain(tag: str, value: str) -> etree._Element:
        element = etree.Element(f"{{{XROAD}}}{tag}")
        element.text = value
        return element

    return [
        identifier("client", "SUBSYSTEM", APP.segments),
        identifier("service", "SERVICE", PROVIDER.segments, "pruefeBelege", "v1"),
        plain("id", str(uuid.uuid4())),
        plain("userId", "EE37702211234"),
        plain("protocolVersion", "4.0"),
    ]


def zeep_client(town: Town) -> tuple[Client, Any]:
    """A client of the WSDL as the road hands it out."""
    instance, member_class, member_code, subsystem = PROVIDER.segments
    query = urlencode(
        {
            "xRoadInstance": instance,
            "memberClass": member_class,
            "memberCode": member_code,
            "subsystemCode": subsystem,
            "serviceCode": "pruefeBelege",
            "version": "v1",
            "unbekannt": "egal",
        }
    )
    client = Client(f"{town.url}/wsdl?{query}", transport=Transport(timeout=20, operation_timeout=20))
    return client, client.create_service(f"{{{NAMESPACE}}}Bindung", f"{town.url}/")


def test_zeep_loads_the_wsdl_from_the_road_and_calls(town: Town) -> None:
    _, service = zeep_client(town)
    answer = service.pruefeBelege(aktenzeichen="4711", _soapheaders=soap_headers())
    assert (answer.body.anzahl if hasattr(answer, "body") else answer) == 0
    assert town.last.values("SOAPAction") == ['""']


def test_zeep_with_attachments(town: Town) -> None:
    """zeep reads attachments but doesn't write them: the body is built by hand, as its users do."""
    client, service = zeep_client(town)
    envelope = client.create_message(service, "pruefeBelege", aktenzeichen="4711", _soapheaders=soap_headers())
    root = etree.tostring(envelope, xml_declaration=True, encoding="utf-8")
    parts = [b"Content-Type: text/xml; charset=UTF-8\r\nContent-ID: <wurzel>\r\n\r\n" + root]
    parts += [
        b"Content-Type: application/pdf\r\nContent-ID: <datei%d>\r\n"
        b"Content-Transfer-Encoding: binary\r\n\r\n%b" % (number, data)
        for number, data in enumerate(CONTENTS)
    ]
    body = b"".join(b"--zeep-grenze\r\n" + part + b"\r\n" for part in parts) + b"--zeep-grenze--\r\n"
    kind = 'multipart/related; type="text/xml"; start="<wurzel>"; boundary="zeep-grenze"'
    response = client.transport.post(f"{town.url}/", body, {"Content-Type": kind, "SOAPAction": '""'})
    binding = service._binding
    pack = binding.process_reply(client, binding.get("pruefeBelege"), response)
    assert {part.content_id: part.content for part in pack.attachments} == {
        "<datei0>": CONTENTS[0],
        "<datei1>": CONTENTS[1],
    }
    found = re.search(rb"<(?:\w+:)?requestHash[^>]*>([^<]+)<", response.content)
    assert found is not None
    assert base64.b64decode(found[1]) == hashlib.sha512(root).digest()
    # The service got each byte as it was sent, under the client's own boundary.
    assert town.last.values("Content-Type") == [kind]
    assert root in town.last.body
    assert all(data in town.last.body for data in CONTENTS)


# -- aiohttp


@pytest.mark.asyncio
async def test_aiohttp_calls_what_the_description_says_with_attachments(town: Town) -> None:
    base = f"{town.url}/r1/{PROVIDER.encoded}"
    async with aiohttp.ClientSession(headers={"X-Road-Client": APP.encoded}) as http:
        async with http.get(URL(f"{base}/getOpenAPI?serviceCode=belege", encoded=True)) as answer:
            described = await answer.json()
        assert "intern.muster" not in described["servers"][0]["url"]
        ((path, methods),) = described["paths"].items()
        ((method, _),) = methods.items()
        form = aiohttp.FormData()
        for number, data in enumerate(CONTENTS):
            form.add_field(f"datei{number}", data, filename=f"{number}.pdf", content_type="application/pdf")
        async with http.request(method, URL(f"{base}/belege{path}", encoded=True), data=form) as answer:
            assert answer.status == 201
            echoed = await answer.read()
            assert len(base64.b64decode(answer.headers["x-road-request-hash"])) == 64
            assert answer.headers["Content-Type"].startswith("multipart/form-data")
    assert all(data in echoed for data in CONTENTS)
    assert echoed == town.last.body


# -- REST, detail by detail


@pytest.mark.parametrize("method", ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"])
def test_every_verb(town: Town, method: str) -> None:
    answer = town.rest("b%C3%A4r", "/ding", method, headers={"X-Road-Id": "eins"})
    assert answer.status == 200
    assert (town.last.method, town.last.target) == (method, "/rest/ding")
    assert answer.headers["x-road-id"] == "eins"
    assert answer.headers["x-road-service"] == f"{PROVIDER.encoded}/b%C3%A4r"
    if method == "HEAD":
        assert answer.body == b""
    else:
        assert answer.json["method"] == method


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/rest/"),
        ("/", "/rest/"),
        ("/a%2Fb;c=%20?x=%C3%B6&y", "/rest/a%2Fb;c=%20?x=%C3%B6&y"),
        ("/path%3B/", "/rest/path%3B/"),
        ("?nur=frage", "/rest/?nur=frage"),
    ],
)
def test_paths_arrive_as_they_were_sent(town: Town, path: str, target: str) -> None:
    assert town.rest("b%C3%A4r", path).status == 200
    assert town.last.target == target


def test_headers_both_ways(town: Town) -> None:
    sent = {
        "Authorization": "Bearer a.b.c",
        "Cookie": "k=v",
        "Accept": "application/json;q=0.1",
        "X-Eigenes": "ja",
        "User-Agent": "muster/1",
        "Keep-Alive": "300",
        "TE": "trailers",
        "Proxy-Authorization": "Basic x",
        "x-road-request-hash": "falsch",
        "x-road-request-id": "falsch",
        "X-Road-UserId": "EE1",
        "X-Road-Issue": "Az 1",
        "X-Road-Represented-Party": "COM/99",
    }
    answer = town.rest("b%C3%A4r", "/kopf", headers=sent)
    for name in ("Authorization", "Cookie", "Accept", "X-Eigenes", "X-Road-UserId", "X-Road-Issue"):
        assert town.last.values(name) == [sent[name]]
    assert town.last.values("X-Road-Client") == [APP.encoded]
    assert town.last.values("X-Road-Represented-Party") == ["COM/99"]
    for name in ("User-Agent", "Keep-Alive", "TE", "Proxy-Authorization", "x-road-request-hash"):
        assert town.last.values(name) == []
    assert uuid.UUID(town.last.values("x-road-request-id")[0])
    assert "keep-alive" not in answer.headers
    assert answer.headers["server"] != "musterserver/1.0"
    for name in ("x-road-id", "x-road-client", "x-road-service", "x-road-request-id", "x-road-request-hash"):
        assert answer.headers[name]
    assert answer.headers["x-road-id"].startswith("DE-TEST-")
    assert "x-road-error" not in answer.headers


def raw(town: Town, head: str, body: bytes = b"") -> tuple[bytes, list[bytes]]:
    """What comes back on the wire: the head's lines, and the status line."""
    address = urlsplit(town.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        received = b""
        while b"\r\n\r\n" not in received and (chunk := connection.recv(65536)):
            received += chunk
    status, *lines = received.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return status, lines


def test_one_date_and_the_length_is_kept(town: Town) -> None:
    head = f"POST /r1/{PROVIDER.encoded}/belege/belege HTTP/1.1\nHost: x\nX-Road-Client: {APP.encoded}"
    status, lines = raw(town, f"{head}\nContent-Type: text/plain\nContent-Length: 5\nConnection: close", b"hallo")
    assert status == b"HTTP/1.1 201 Created"
    names = [line.partition(b":")[0].lower() for line in lines]
    assert names.count(b"date") == 1
    assert b"content-length: 5" in [line.lower() for line in lines]
    assert b"transfer-encoding" not in names
    # As aiohttp's and X-Road's services see it: with its length, not in chunks.
    assert town.last.values("Content-Length") == ["5"]
    assert town.last.values("Transfer-Encoding") == []
    assert len(town.last.values("Content-Type")) == 1


def test_a_target_in_absolute_form(town: Town) -> None:
    head = f"GET http://irgendwo.example/r1/{PROVIDER.encoded}/belege/x HTTP/1.1\nHost: irgendwo.example"
    status, lines = raw(town, f"{head}\nX-Road-Client: {APP.encoded}\nConnection: close")
    assert (status, b"X-Road-Error" in b"".join(lines)) == (b"HTTP/1.1 200 OK", False)
    data = message("pruefeBelege").encoded()
    head = f"POST http://irgendwo.example/ HTTP/1.1\nHost: x\nContent-Type: text/xml\nContent-Length: {len(data)}"
    status, lines = raw(town, f"{head}\nConnection: close", data)
    assert status == b"HTTP/1.1 200 OK"
    assert town.last.body == data


@pytest.mark.parametrize("status", [400, 404, 418, 500, 503])
def test_the_services_status_passes_without_the_roads_header(town: Town, status: int) -> None:
    answer = town.rest("b%C3%A4r", f"/status/{status}")
    assert (answer.status, answer.json) == (status, {"title": "Muster"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-road-error" not in answer.headers


def test_a_redirect_is_passed_on(town: Town) -> None:
    count = len(town.services.received)
    answer = town.rest("b%C3%A4r", "/redirect")
    assert (answer.status, answer.headers["location"]) == (302, "/rest/anderswo?x=1")
    assert len(town.services.received) == count + 1


def test_the_hash_is_another_each_time(town: Town) -> None:
    for options in ({}, {"method": "POST", "body": b"{}"}):
        hashes = {
            town.rest("b%C3%A4r", "/x", headers={"X-Road-Id": "q"}, **options).headers["x-road-request-hash"]  # type: ignore[arg-type]
            for _ in range(2)
        }
        assert len(hashes) == 2
        assert all(len(base64.b64decode(found)) == 64 for found in hashes)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("application/json;charset=utf-8", "application/json"),
        ("foobarbaz", "application/json"),
        ("application/xml", "application/xml;charset=utf-8"),
        ("text/xml", "text/xml;charset=utf-8"),
        ("application/xml, text/xml", "application/xml;charset=utf-8"),
        ("text/xml, application/xml", "text/xml;charset=utf-8"),
        ("text/xml-patch+xml", "application/json"),
        ("application/xml; q=0.2", "application/xml;charset=utf-8"),
        ("text/xml, application/xml, application/json", "text/xml;charset=utf-8"),
        ("application/json, text/*;q=0.1", "text/xml;charset=utf-8"),
    ],
)
def test_the_form_of_an_error_follows_accept(town: Town, accept: str | None, content_type: str) -> None:
    answer = town.rest("pruefeBelege", headers={} if accept is None else {"Accept": accept})
    assert (answer.status, answer.headers["x-road-error"]) == (500, "server.serverproxy.service_type")
    assert answer.headers["content-type"] == content_type
    if content_type == "application/json":
        assert set(answer.json) == {"type", "message", "detail"}
        return
    root = parse(answer.body)
    assert [root.tag, *(child.tag for child in root)] == ["error", "type", "message", "detail"]
    assert root.findtext("type") == "server.serverproxy.service_type"


# -- SOAP and the metaservices, detail by detail


def test_soap_passes_byte_for_byte(town: Town) -> None:
    data = message("pruefeBelege", declaration="").encoded()
    answer = town.road.soap(data)
    assert town.last.body == data
    assert b"<?xml" not in answer.body
    hashed = re.search(rb"(</xrd:id>\s*)(<xrd:requestHash[^>]*>[^<]*</xrd:requestHash>)", answer.body)
    assert hashed is not None
    assert b'algorithmId="http://www.w3.org/2001/04/xmlenc#sha512"' in hashed[2]


def meta(code: str, body: str = "", **changes: Any) -> bytes:
    inner = f'<x:{code} xmlns:x="{XROAD}">{body}</x:{code}>'
    return message(code, inner, version=None, **changes).encoded()


def test_methods_are_told_with_the_prefix_that_clients_look_for(town: Town) -> None:
    for code in ("listMethods", "allowedMethods"):
        answer = town.road.soap(meta(code))
        assert re.search(r"^(<\?xml[^>]*\?>\s*)?<SOAP-ENV:Envelope\b", answer.text), answer.text
        assert "</SOAP-ENV:Body>" in answer.text
        assert "pruefeBelege</" in answer.text
        # SOAP services alone.
        assert ">belege</" not in answer.text


def test_getwsdl_is_found_with_the_expressions_of_real_clients(town: Town) -> None:
    body = "<x:serviceCode>pruefeBelege</x:serviceCode><x:serviceVersion>v1</x:serviceVersion>"
    answer = town.road.soap(meta("getWsdl", body))
    kind = answer.headers["content-type"]
    found = re.search(r'boundary="?(xroad[^";]*)"?', kind)
    assert found is not None, kind
    first, last = answer.body.split(b"--" + found[1].encode())[1:3]
    assert re.match(rb"\r\ncontent-type:text/xml", first)
    assert b"<SOAP-ENV:Envelope" in first
    head, _, wsdl = last.partition(b"\r\n\r\n")
    assert re.search(rb"content-type:text/xml", head)
    assert re.search(rb"(?i)content-id: ?<wsdl=[0-9a-f-]{36}@x-road\.eu>", head)
    document = parse(wsdl.strip())
    (address,) = document.iter("{http://schemas.xmlsoap.org/wsdl/soap/}address")
    assert address.get("location") == "http://example.org/xroad-endpoint"


def test_what_has_no_description(town: Town) -> None:
    rest = town.rest("getOpenAPI", "?serviceCode=b%C3%A4r")
    assert (rest.status, rest.headers["x-road-error"]) == (500, "server.serverproxy.internal_error")
    assert "Invalid service type: REST" in rest.json["message"]
    assert town.rest("getOpenAPI").headers["x-road-error"] == "server.serverproxy.invalid_request"
    wsdl = town.road.soap(meta("getWsdl", "<x:serviceCode>belege</x:serviceCode>"))
    assert "<faultcode>server.serverproxy.service_type</faultcode>" in wsdl.text
    unknown = town.road.soap(meta("getWsdl", "<x:serviceCode>nichts</x:serviceCode>"))
    assert "<faultcode>server.serverproxy.unknown_service</faultcode>" in unknown.text


def test_methods_over_rest(town: Town) -> None:
    listed = {service["service_code"]: service for service in town.rest("listMethods").json["service"]}
    assert set(listed) == {"belege", "bär"}
    assert (listed["belege"]["service_type"], listed["bär"]["service_type"]) == ("OPENAPI", "REST")
    assert {"method": "POST", "path": "/belege"} in listed["belege"]["endpoint_list"]
    assert listed["bär"]["subsystem_code"] == "s/ub"


def test_operational_data_are_found_by_the_name_of_the_part(town: Town) -> None:
    body = (
        '<om:getSecurityServerOperationalData xmlns:om="http://x-road.eu/xsd/op-monitoring.xsd"><om:searchCriteria>'
        "<om:recordsFrom>0</om:recordsFrom><om:recordsTo>1</om:recordsTo></om:searchCriteria>"
        "</om:getSecurityServerOperationalData>"
    )
    asked = message("getSecurityServerOperationalData", body, version=None, provider=PROVIDER.member)
    answer = town.road.soap(asked.encoded())
    assert answer.status == 200
    assert b"\r\ncontent-id: <operational-monitoring-data.json.gz>\r\n" in answer.body, answer.text
    assert re.search(r"boundary=\"?xroad", answer.headers["content-type"])


def test_the_wsdl_by_get_is_the_file(town: Town) -> None:
    instance, member_class, member_code, subsystem = PROVIDER.segments
    query = f"xRoadInstance={instance}&memberClass={member_class}&memberCode={member_code}&subsystemCode=s%2Fub"
    assert subsystem == "s/ub"
    answer = town.road.call("GET", f"/wsdl?{query}&serviceCode=pruefeBelege&version=v1&mehr=1", gateway="ss2")
    assert (answer.status, answer.body.decode()) == (200, WSDL)


def test_the_verification_configuration(town: Town) -> None:
    answer = town.road.call("GET", "/verificationconf")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert set(archive.namelist()) == {
            "verificationconf/instance-identifier",
            "verificationconf/DE-TEST/shared-params.xml",
            "verificationconf/DE-TEST/shared-params.xml.metadata",
        }
        assert archive.read("verificationconf/instance-identifier") == b"DE-TEST"


def test_the_configuration_by_version(town: Town) -> None:
    url = town.road.document["registry"]["configuration_url"]
    for version in range(6, 1, -1):
        with urlopen(f"{url}?version={version}") as answer:
            assert answer.status == 200
    assert Path(town.road.document["registry"]["anchor_file"]).is_file()


def test_certificates_of_the_profile_that_every_security_server_reads(town: Town) -> None:
    with urlopen(town.road.document["registry"]["configuration_url"] + "?version=6") as answer:
        directory = answer.read().decode()
    (location,) = re.findall(r"Content-location: (\S+shared-params\.xml)", directory)
    with urlopen(str(URL(town.road.document["registry"]["configuration_url"]).join(URL(location)))) as answer:
        assert b"BasicCertificateProfileInfoProvider" in answer.read()
