"""The Data Tracker's older form, over SOAP: operation findUsage, version v1, of http://dumonitor.x-road.eu/producer.

The person is whoever the message's `userId` names, so people ask for themselves. Asked for is a page of the uses; there
is neither period nor count, and of who received the data a name alone. Children are unqualified, as in its schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from lxml import etree

from gateway.messages.descriptions import ENDPOINT_ADDRESS
from gateway.messages.faults import Fault
from gateway.messages.soap_fields import XROAD
from gateway.messages.soap_scan import ENVELOPE
from trust import xml
from trust.errors import MalformedInput

NAMESPACE: Final = "http://dumonitor.x-road.eu/producer"
_FIELDS: Final = ("offset", "limit")
# What no XML 1.0 document may hold, escaped or not.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

WSDL: Final = f"""<?xml version="1.0" encoding="UTF-8"?>
<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xrd="{XROAD}" xmlns:p="{NAMESPACE}"
    targetNamespace="{NAMESPACE}">
  <wsdl:types>
    <xs:schema targetNamespace="{NAMESPACE}">
      <xs:element name="findUsage"><xs:complexType><xs:sequence>
        <xs:element name="offset" type="xs:integer" minOccurs="0"/>
        <xs:element name="limit" type="xs:integer" minOccurs="0"/>
      </xs:sequence></xs:complexType></xs:element>
      <xs:element name="findUsageResponse"><xs:complexType><xs:sequence>
        <xs:element name="usage" minOccurs="0" maxOccurs="unbounded"><xs:complexType><xs:sequence>
          <xs:element name="logtime" type="xs:dateTime" minOccurs="0"/>
          <xs:element name="action" type="xs:string" minOccurs="0"/>
          <xs:element name="receiver" type="xs:string" minOccurs="0"/>
        </xs:sequence></xs:complexType></xs:element>
      </xs:sequence></xs:complexType></xs:element>
    </xs:schema>
  </wsdl:types>
  <wsdl:message name="findUsage"><wsdl:part name="body" element="p:findUsage"/></wsdl:message>
  <wsdl:message name="findUsageResponse"><wsdl:part name="body" element="p:findUsageResponse"/></wsdl:message>
  <wsdl:portType name="dumonitorPortType">
    <wsdl:operation name="findUsage">
      <wsdl:input message="p:findUsage"/><wsdl:output message="p:findUsageResponse"/>
    </wsdl:operation>
  </wsdl:portType>
  <wsdl:binding name="dumonitorBinding" type="p:dumonitorPortType">
    <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <wsdl:operation name="findUsage">
      <xrd:version>v1</xrd:version><soap:operation soapAction="" style="document"/>
      <wsdl:input><soap:body use="literal"/></wsdl:input><wsdl:output><soap:body use="literal"/></wsdl:output>
    </wsdl:operation>
  </wsdl:binding>
  <wsdl:service name="dumonitorService">
    <wsdl:port name="dumonitorServicePort" binding="p:dumonitorBinding"><soap:address location="{ENDPOINT_ADDRESS}"/>
    </wsdl:port>
  </wsdl:service>
</wsdl:definitions>
""".encode()


@dataclass(frozen=True, slots=True)
class ListedUsage:
    """One use: an xs:dateTime, why in words, and who received the data."""

    logtime: str
    action: str
    receiver: str


def parse_find_usage(message: bytes) -> dict[str, str]:
    """The texts of `offset` and `limit`, if there are such. Raises Fault `server.serverproxy.invalid_request`."""
    try:
        root = xml.parse(message)
    except MalformedInput:
        raise _invalid("the message is not readable") from None
    operation = root.find(f"{{{ENVELOPE}}}Body/{{{NAMESPACE}}}findUsage")
    if operation is None:
        raise _invalid(f"the body is no findUsage of {NAMESPACE}")
    found: dict[str, str] = {}
    for child in operation.iterchildren(etree.Element):
        if child.tag not in _FIELDS or child.tag in found:
            raise _invalid("findUsage has offset and limit, each once at most")
        found[child.tag] = (child.text or "").strip()
    return found


def build_find_usage_body(usages: Iterable[ListedUsage]) -> str:
    """The element in the body of the answer."""
    listed = "".join(
        f"<usage>{_element('logtime', usage.logtime)}{_element('action', usage.action)}"
        f"{_element('receiver', usage.receiver)}</usage>"
        for usage in usages
    )
    return f'<p:findUsageResponse xmlns:p="{NAMESPACE}">{listed}</p:findUsageResponse>'


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(_NOT_XML.sub(chr(0xFFFD), text))}</{name}>"


def _invalid(reason: str) -> Fault:
    return Fault("server.serverproxy.invalid_request", reason)
