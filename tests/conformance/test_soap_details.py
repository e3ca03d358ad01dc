"""What SOAP clients of X-Road and users of its metaservices depend on, one by one (each seen in a real client)."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from yarl import URL

from tests.conformance.foreign_town import PROVIDER, WSDL, Town, message
from tests.gateway.exchange.soap_messages import XROAD
from trust.xml import parse


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
