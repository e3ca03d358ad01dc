"""WSDL documents as they are registered: operations, versions, bindings."""

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


@pytest.mark.parametrize("namespace", [b"http://x-road.ee/xsd/x-road.xsd", b"urn:anything"])
def test_a_version_counts_in_whichever_namespace_it_stands(namespace: bytes) -> None:
    """Descriptions of before X-Road's namespace of today go on being served."""
    assert parse_wsdl(WSDL.replace(b"http://x-road.eu/xsd/xroad.xsd", namespace)) == parse_wsdl(WSDL)
    own = WSDL.replace(b"xrd:version", b"wsdl:version")
    assert {operation.version for operation in parse_wsdl(own)} == {None}
    first = WSDL.replace(b"<xrd:version>", b'<x:version xmlns:x="urn:x"> v7\n</x:version><xrd:version>')
    assert parse_wsdl(first)[0].version == "v7"


def test_a_description_may_be_as_large_as_x_roads() -> None:
    filler = b"<wsdl:message name='m'/>" * 200_000
    assert parse_wsdl(WSDL.replace(b"<wsdl:binding", filler + b"<wsdl:binding", 1)) == parse_wsdl(WSDL)
    with pytest.raises(InvalidDescription, match="10 MiB"):
        parse_wsdl(WSDL.replace(b"<wsdl:binding", filler * 3 + b"<wsdl:binding", 1))


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


def test_a_binding_of_soap_1_2_brings_its_operations() -> None:
    soap12 = WSDL.replace(b"wsdl/soap/", b"wsdl/soap12/").replace(
        b"</wsdl:definitions>",
        b'<wsdl:service name="S"><wsdl:port name="A" binding="t:B"><soap:address location="http://a.example/"/>'
        b"</wsdl:port></wsdl:service></wsdl:definitions>",
    )
    assert parse_wsdl(soap12) == (
        SOAPOperation("HoleRechnung", "v1", "http://a.example/"),
        SOAPOperation("HoleRechnungen", None, "http://a.example/"),
    )


def test_of_two_bindings_that_of_soap_1_1_counts() -> None:
    both = WSDL.replace(
        b"</wsdl:definitions>",
        b"""<wsdl:binding name="B12" type="t:P" xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/">
          <soap12:binding transport="http://schemas.xmlsoap.org/soap/http"/>
          <wsdl:operation name="HoleRechnungen"/><wsdl:operation name="nurZwoelf"/></wsdl:binding>
        <wsdl:service name="S" xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/">
          <wsdl:port name="A" binding="t:B12"><soap12:address location="http://zwoelf.example/"/></wsdl:port>
          <wsdl:port name="C" binding="t:B"><soap:address location="http://elf.example/"/></wsdl:port></wsdl:service>
        </wsdl:definitions>""",
    )
    assert [(operation.name, operation.address) for operation in parse_wsdl(both)] == [
        ("HoleRechnung", "http://elf.example/"),
        ("HoleRechnungen", "http://elf.example/"),
        ("nurZwoelf", "http://zwoelf.example/"),
    ]
