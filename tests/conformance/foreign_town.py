"""The road of the foreign clients: a topology with a WSDL, an OpenAPI and a REST service, and the calls."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.services import NAMESPACE, Received, Services, services
from tests.gateway.exchange.soap_messages import XROAD, Message
from tests.gateway.instance.road import Answer, Road, road
from tests.gateway.instance.topologies import member, service, subsystem, topology
from trust.identifiers import SubsystemId

APP = SubsystemId("DE-TEST", "GOV", "1234", "app")
PROVIDER = SubsystemId("DE-TEST", "COM", "5678", "s/ub")
OWNER = ("DE-TEST", "COM", "5678")
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


def message(code: str, body: str = "", **changes: Any) -> Message:
    content = {"body": body} if body else {}
    values: dict[str, Any] = {"code": code, "client": APP, "provider": PROVIDER, "version": "v1"} | content | changes
    return Message(message_id=str(uuid.uuid4()), **values)


def _topology(url: str) -> str:
    offered = (
        service("pruefeBelege", f"{url}/soap", "WSDL", description="belege.wsdl"),
        service("belege", f"{url}/rest", "OPENAPI3", description="belege.json"),
        service("bär", f"{url}/rest/"),
    )
    return topology(
        {"ss1": {"owner": "GOV/1234"}, "ss2": {"owner": "COM/5678"}},
        member("GOV", "1234", subsystem("app", "ss1")),
        member("COM", "5678", subsystem("s/ub", "ss2", *offered)),
    )


@contextmanager
def foreign_town(folder: Path) -> Iterator[Town]:
    """The road and its services, within the block."""
    (folder / "belege.wsdl").write_text(WSDL)
    (folder / "belege.json").write_text(json.dumps(OPENAPI))
    with services() as running:
        (folder / "road.toml").write_text(_topology(running.url))
        with road(folder / "road.toml", "--directory", str(folder / "data")) as found:
            yield Town(found, running)
