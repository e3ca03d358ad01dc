"""The metaservices' documents: their form."""

from __future__ import annotations

import json

import pytest
from lxml import etree

from gateway.messages.metaservices import (
    ListedClient,
    ListedMethod,
    accepts_json,
    build_client_list_json,
    build_client_list_xml,
    build_method_list_body,
    build_method_list_json,
    build_wsdl_body,
    read_wsdl_request,
)
from trust.errors import MalformedInput
from trust.identifiers import MemberId, ServiceId, SubsystemId
from trust.xml import parse

MEMBER = MemberId("DE-TEST", "GOV", "A&B")
SUBSYSTEM = SubsystemId("DE-TEST", "GOV", "A&B", "<sub>")
CLIENTS = [ListedClient(MEMBER, "Stadt <A>"), ListedClient(SUBSYSTEM, "Stadt <A>", "Fach & mehr")]
NAMESPACES = {"x": "http://x-road.eu/xsd/xroad.xsd", "id": "http://x-road.eu/xsd/identifiers"}


def test_clients_as_json() -> None:
    member = {"object_type": "MEMBER", "xroad_instance": "DE-TEST", "member_class": "GOV", "member_code": "A&B"}
    assert json.loads(build_client_list_json(CLIENTS)) == {
        "member": [
            {"id": member, "name": "Stadt <A>"},
            {
                "id": member | {"object_type": "SUBSYSTEM", "subsystem_code": "<sub>"},
                "name": "Stadt <A>",
                "subsystem_name": "Fach & mehr",
            },
        ]
    }


def test_clients_as_xml() -> None:
    root = parse(build_client_list_xml(CLIENTS))
    assert root.tag == f"{{{NAMESPACES['x']}}}clientList"
    first, second = root.findall("x:member", NAMESPACES)
    found = second.find("x:id", NAMESPACES)
    assert found is not None
    assert found.get(f"{{{NAMESPACES['id']}}}objectType") == "SUBSYSTEM"
    assert [etree.QName(child).localname for child in found] == [
        "xRoadInstance", "memberClass", "memberCode", "subsystemCode",
    ]  # fmt: skip
    assert [child.text for child in found] == list(SUBSYSTEM.segments)
    assert second.findtext("x:name", None, NAMESPACES) == "Stadt <A>"
    assert second.findtext("x:subsystemName", None, NAMESPACES) == "Fach & mehr"
    assert first.find("x:subsystemName", NAMESPACES) is None


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        ([], False),
        (["*/*"], False),
        (["text/xml"], False),
        (["application/json"], True),
        (["text/xml;q=1.0, APPLICATION/json;q=0.1"], True),
        (["text/xml", "application/json; charset=utf-8"], True),
        (["application/json-patch"], False),
    ],
)
def test_who_gets_json(accept: list[str], json_wanted: bool) -> None:
    assert accepts_json(accept) is json_wanted


def test_methods_as_json() -> None:
    method = ListedMethod(ServiceId(SUBSYSTEM, "konto"), "OPENAPI", (("GET", "/a/*"), ("*", "/b")))
    assert json.loads(build_method_list_json([method])) == {
        "service": [
            {
                "object_type": "SERVICE",
                "xroad_instance": "DE-TEST",
                "member_class": "GOV",
                "member_code": "A&B",
                "subsystem_code": "<sub>",
                "service_code": "konto",
                "service_type": "OPENAPI",
                "endpoint_list": [{"method": "GET", "path": "/a/*"}, {"method": "*", "path": "/b"}],
            }
        ]
    }


def test_methods_in_a_soap_body() -> None:
    listed = build_method_list_body("allowedMethods", [ServiceId(SUBSYSTEM, "a", "v1"), ServiceId(SUBSYSTEM, "b")])
    declared = " ".join(
        f'xmlns:{prefix}="{uri}"' for prefix, uri in (("xroad", NAMESPACES["x"]), ("id", NAMESPACES["id"]))
    )
    root = parse(f"<e {declared}>{listed}</e>".encode())[0]
    assert root.tag == f"{{{NAMESPACES['x']}}}allowedMethodsResponse"
    first, second = root.findall("x:service", NAMESPACES)
    assert [child.text for child in first] == [*SUBSYSTEM.segments, "a", "v1"]
    assert [etree.QName(child).localname for child in second][-1] == "serviceCode"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<x:serviceCode>a</x:serviceCode><x:serviceVersion> v1 </x:serviceVersion>", ("a", "v1")),
        ("<x:serviceCode>a</x:serviceCode>", ("a", None)),
        ("<x:serviceCode/>", ("", None)),
        ("<serviceCode>other namespace</serviceCode>", ("", None)),
        ("", ("", None)),
    ],
)
def test_what_getwsdl_asks_for(content: str, expected: tuple[str, str | None]) -> None:
    envelope = "http://schemas.xmlsoap.org/soap/envelope/"
    message = f'<s:Envelope xmlns:s="{envelope}" xmlns:x="{NAMESPACES["x"]}"><s:Body><x:getWsdl>{content}</x:getWsdl>'
    assert read_wsdl_request(f"{message}</s:Body></s:Envelope>".encode()) == expected
    assert "&lt;" in build_wsdl_body("<", None)


def test_no_request_at_all() -> None:
    with pytest.raises(MalformedInput):
        read_wsdl_request(b"<a/>")
