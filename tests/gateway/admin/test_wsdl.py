from __future__ import annotations

import pytest

from gateway.admin.errors import InvalidDescription
from gateway.admin.wsdl import SOAPOperation, parse_wsdl

WSDL = b"""<?xml version="1.0" encoding="utf-8"?>
<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:xrd="http://x-road.eu/xsd/xroad.xsd" xmlns:t="urn:t" targetNamespace="urn:t">
  <wsdl:portType name="P"><wsdl:operation name="notABinding"/></wsdl:portType>
  <wsdl:binding name="B" type="t:P">
    <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <wsdl:operation name="HoleRechnung"><xrd:version>v1</xrd:version></wsdl:operation>
    <wsdl:operation name="HoleRechnungen"/>
  </wsdl:binding>
  <wsdl:binding name="Other" type="t:P"><wsdl:operation name="overSomethingElse"/></wsdl:binding>
</wsdl:definitions>"""


def test_operations_of_the_http_binding() -> None:
    assert parse_wsdl(WSDL) == (SOAPOperation("HoleRechnung", "v1"), SOAPOperation("HoleRechnungen", None))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<definitions/>",
        b'<!DOCTYPE x [<!ENTITY e "e">]>' + WSDL[39:],
        WSDL.replace(b'name="HoleRechnungen"', b""),
        WSDL.replace(b"soap/http", b"soap/smtp"),
    ],
    ids=["empty", "other-root", "doctype", "nameless", "other-transport"],
)
def test_what_is_no_wsdl(data: bytes) -> None:
    with pytest.raises(InvalidDescription):
        parse_wsdl(data)
