"""zeep and aiohttp call a WSDL and an OpenAPI service through the road, with attachments."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from lxml import etree
from yarl import URL
from zeep import Client
from zeep.transports import Transport

from tests.conformance.foreign_town import APP, CONTENTS, PROVIDER, Town
from tests.conformance.services import NAMESPACE
from tests.gateway.exchange.soap_messages import IDENTIFIERS, XROAD


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
