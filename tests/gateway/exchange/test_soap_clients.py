"""A SOAP service that an institution registers with its WSDL, on the adapter kit's server, called by a SOAP library."""

from __future__ import annotations

import asyncio
import io
import uuid
from base64 import b64decode
from hashlib import sha512
from typing import Any

import pytest
from aiohttp import web
from lxml import etree
from zeep import Client, Settings
from zeep.exceptions import Fault
from zeep.plugins import HistoryPlugin

from adapters.kit.soap_server import ServiceFault, build_soap_handler
from gateway.admin.registration import Declaration, check_declaration, register
from gateway.serve import Listener, listening
from gateway.store.model import LegalBasisKind, RequiredIdentityLevel
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.soap_messages import IDENTIFIERS, XROAD
from tests.gateway.exchange.town import APP, INSTANCE, UTILITY

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMESPACE = "urn:muster:zaehler"
WSDL = f"""<?xml version="1.0" encoding="UTF-8"?>
<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:z="{NAMESPACE}" xmlns:xrd="{XROAD}" targetNamespace="{NAMESPACE}">
  <wsdl:types>
    <xs:schema targetNamespace="{NAMESPACE}" elementFormDefault="qualified">
      <xs:element name="leseZaehler"><xs:complexType><xs:sequence>
        <xs:element name="nummer" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
      <xs:element name="leseZaehlerResponse"><xs:complexType><xs:sequence>
        <xs:element name="stand" type="xs:int"/></xs:sequence></xs:complexType></xs:element>
    </xs:schema>
  </wsdl:types>
  <wsdl:message name="frage"><wsdl:part name="body" element="z:leseZaehler"/></wsdl:message>
  <wsdl:message name="antwort"><wsdl:part name="body" element="z:leseZaehlerResponse"/></wsdl:message>
  <wsdl:portType name="Zaehler"><wsdl:operation name="leseZaehler">
    <wsdl:input message="z:frage"/><wsdl:output message="z:antwort"/></wsdl:operation></wsdl:portType>
  <wsdl:binding name="Bindung" type="z:Zaehler">
    <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <wsdl:operation name="leseZaehler">
      <xrd:version>v2</xrd:version><soap:operation soapAction="{NAMESPACE}/leseZaehler"/>
      <wsdl:input><soap:body use="literal"/></wsdl:input><wsdl:output><soap:body use="literal"/></wsdl:output>
    </wsdl:operation>
  </wsdl:binding>
  <wsdl:service name="Dienst"><wsdl:port name="Port" binding="z:Bindung">
    <soap:address location="http://dienst.invalid/"/></wsdl:port></wsdl:service>
</wsdl:definitions>""".encode()


def read_meter(request: etree._Element) -> etree._Element:
    number = request.findtext(f"{{{NAMESPACE}}}nummer")
    if number == "kaputt":
        raise ServiceFault(etree.Element(f"{{{NAMESPACE}}}unbekannt"), "Diesen Zähler gibt es nicht.")
    answer = etree.Element(f"{{{NAMESPACE}}}leseZaehlerResponse", nsmap={"z": NAMESPACE})
    etree.SubElement(answer, f"{{{NAMESPACE}}}stand").text = str(len(number or ""))
    return answer


async def register_adapter(pair: GatewayPair, url: str) -> None:
    declaration = Declaration(
        provider=UTILITY.subsystem.encoded,
        code="leseZaehler",
        url=url,
        title_de="Zählerstand",
        title_en="Meter reading",
        purpose_de="Abrechnung",
        purpose_en="Billing",
        legal_basis_kind=LegalBasisKind.LAW,
        legal_basis="§ 1 MusterG",
        data_categories=("Zählerstand",),
        identity_level=RequiredIdentityLevel.NONE,
        grants=(APP.encoded,),
        wsdl=WSDL,
    )
    node = pair.provider.gateway.node
    registration = check_declaration(declaration, instance=INSTANCE)
    assert registration.service.identifier.service_version == "v2"
    await register(node.repository, registration)
    await pair.until(lambda: node.directory.offer(registration.service.identifier) is not None)


def headers(
    message_id: str, *, code: str = "leseZaehler", version: str = "v2", user_id: str = "DE123"
) -> list[etree._Element]:
    def identifier(tag: str, kind: str, **values: str) -> etree._Element:
        element = etree.Element(f"{{{XROAD}}}{tag}", nsmap={"xro": XROAD, "iden": IDENTIFIERS})
        element.set(f"{{{IDENTIFIERS}}}objectType", kind)
        for name, value in values.items():
            etree.SubElement(element, f"{{{IDENTIFIERS}}}{name}").text = value
        return element

    def plain(tag: str, value: str) -> etree._Element:
        element = etree.Element(f"{{{XROAD}}}{tag}", nsmap={"xro": XROAD})
        element.text = value
        return element

    names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")
    return [
        identifier("client", "SUBSYSTEM", **dict(zip(names, APP.segments, strict=True))),
        identifier(
            "service",
            "SERVICE",
            **dict(zip(names, UTILITY.subsystem.segments, strict=True)),
            serviceCode=code,
            serviceVersion=version,
        ),
        plain("userId", user_id),
        plain("id", message_id),
        plain("protocolVersion", "4.0"),
    ]


async def test_zeep_calls_an_adapter_of_the_kit(pair: GatewayPair) -> None:
    port = free_port()
    application = web.Application()
    application.router.add_post("/zaehler", build_soap_handler(WSDL, NAMESPACE, {"leseZaehler": read_meter}))
    async with listening([Listener(application, HOST, port)], shutdown_seconds=1):
        await register_adapter(pair, f"http://{HOST}:{port}/zaehler")
        history = HistoryPlugin()

        def call(number: str) -> Any:
            client = Client(io.BytesIO(WSDL), settings=Settings(strict=True), plugins=[history])
            road = f"http://{HOST}:{pair.consumer.settings.client_port}/"
            service = client.create_service(f"{{{NAMESPACE}}}Bindung", road)
            return service.leseZaehler(nummer=number, _soapheaders=headers(str(uuid.uuid4())))

        answer = await asyncio.to_thread(call, "ABC123")
        assert answer.body.stand == 6 if hasattr(answer, "body") else answer == 6
        sent = etree.tostring(history.last_sent["envelope"], xml_declaration=True, encoding="utf-8")
        digest = history.last_received["envelope"].findtext(f".//{{{XROAD}}}requestHash")
        assert b64decode(digest) == sha512(sent).digest()
        with pytest.raises(Fault) as caught:
            await asyncio.to_thread(call, "kaputt")
        assert (caught.value.code, caught.value.message) == ("soap:Client", "Diesen Zähler gibt es nicht.")
