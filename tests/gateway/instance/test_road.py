"""What foreign clients and services see of an instance: every kind of service, right and connection of its file."""

from __future__ import annotations

import gzip
import json
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.gateway.exchange.soap_messages import Message
from tests.gateway.instance import certificates
from tests.gateway.instance.road import Backend, Road, backend, road
from tests.gateway.instance.topologies import member, right, service, subsystem, topology
from trust.globalconf import parse_anchor
from trust.identifiers import MemberId, SecurityServerId, SubsystemId

APP = "DE-TEST/GOV/1234/app"
PROVIDER = SubsystemId("DE-TEST", "COM", "5 6", "Bürger/amt")
WSDL = """<?xml version="1.0" encoding="UTF-8"?>
<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:xrd="http://x-road.eu/xsd/xroad.xsd" xmlns:t="urn:muster" targetNamespace="urn:muster">
  <wsdl:portType name="p"><wsdl:operation name="zaehle"/></wsdl:portType>
  <wsdl:binding name="b" type="t:p">
    <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <wsdl:operation name="zaehle"><xrd:version>v2</xrd:version></wsdl:operation>
  </wsdl:binding>
</wsdl:definitions>
"""
OPENAPI = {
    "openapi": "3.0.3",
    "info": {"title": "Tiere", "version": "1"},
    "paths": {
        "/pets": {"get": {"responses": {"200": {"description": "ok"}}}},
        "/pets/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {"responses": {"200": {"description": "ok"}}},
            "delete": {"responses": {"200": {"description": "ok"}}},
        },
    },
}


@dataclass
class Town:
    road: Road
    backend: Backend
    folder: Path

    def certificate(self, client: str) -> tuple[str, str]:
        known = self.road.document["clients"][client]
        return known["certificate_file"], known["key_file"]


def _topology(url: str, trusted: str, untrusted: str, certificate: str) -> str:
    """One service of each kind, and a subsystem for each way to connect."""
    clients = (
        subsystem("app", "ss1"),
        subsystem("monitor", "ss1"),
        subsystem("stranger", "ss1"),
        subsystem("tls", "ss1", connection_type="HTTPS_NO_AUTH"),
        subsystem("generated", "ss1", connection_type="HTTPS", generate_certificate=True),
        subsystem("pinned", "ss1", connection_type="HTTPS", certificates=["client.crt"]),
        subsystem("inline", "ss1", connection_type="HTTPS", certificates=[certificate]),
    )
    callers = [right(subsystem=f"GOV/1234/{code}") for code in ("app", "generated", "pinned", "inline", "tls")]
    services = (
        service("rest", f"{url}/basis", rights=[*callers, right(local_group="freunde")]),
        service("group", url, rights=[right(group="alle")]),
        service("tiere", url, "OPENAPI3", description="tiere.json", rights=[right(method="GET", path="/pets/*")]),
        service("frage", f"{url}/soap", "SOAP", version="v1"),
        service("zaehle", f"{url}/soap", "WSDL", description="zaehle.wsdl"),
        service("secure", trusted),
        service("other", untrusted),
        service("unverified", untrusted, verify_tls=False),
        service("off", url, enabled=False, disabled_notice="Wartung bis Montag"),
    )
    friends = [{"code": "freunde", "members": ["NGO/hosted/guest"]}]
    office = subsystem("Bürger/amt", "ss2", *services, certificates=["service.crt"], local_groups=friends)
    second = {"owner": "COM/5%206", "code": "ss_2", "settings": {"requests_per_minute": 600}}
    return topology(
        {"ss1": {"owner": "GOV/1234"}, "ss2": second},
        member("GOV", "1234", *clients),
        member("NGO", "hosted", subsystem("guest", "ss1")),
        member("COM", "5 6", office),
        monitoring_client="GOV/1234/monitor",
        global_groups=[{"code": "alle", "members": ["GOV/1234/app", "NGO/hosted/guest"]}],
    )


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("instance")
    for name in ("client", "service", "stranger", "inline"):
        certificates.make(folder, name)
    (folder / "tiere.json").write_text(json.dumps(OPENAPI))
    (folder / "zaehle.wsdl").write_text(WSDL)
    secure = certificates.server_context(folder / "service.crt", folder / "service.key")
    other = certificates.server_context(folder / "stranger.crt", folder / "stranger.key")
    with backend() as plain, backend(secure) as over_tls, backend(other) as untrusted:
        text = _topology(
            f"http://127.0.0.1:{plain.port}",
            f"https://127.0.0.1:{over_tls.port}",
            f"https://127.0.0.1:{untrusted.port}",
            (folder / "inline.crt").read_text(),
        )
        (folder / "road.toml").write_text(text)
        with road(
            folder / "road.toml", "--directory", str(folder / "data"), "--json-file", str(folder / "r.json")
        ) as r:
            assert json.loads((folder / "r.json").read_text()) == r.document
            yield Town(r, plain, folder)


def path(service: str, rest: str = "") -> str:
    return f"/r1/{PROVIDER.encoded}/{service}{rest}"


def test_rest_over_plain_http(town: Town) -> None:
    answer = town.road.call("GET", path("rest", "/x%20y?z=1"), client=APP)
    assert answer.json == {"method": "GET", "path": "/basis/x%20y?z=1"}
    assert answer.status == 200
    assert answer.headers["x-road-service"] == f"{PROVIDER.encoded}/rest"


def test_message_ids_may_repeat_and_be_anything(town: Town) -> None:
    headers = {"X-Road-Id": "immer dieselbe"}
    for _ in range(2):
        answer = town.road.call("GET", path("rest"), client=APP, headers=headers)
        assert (answer.status, answer.headers["x-road-id"]) == (200, "immer dieselbe")


@pytest.mark.parametrize(
    ("client", "status"),
    [("DE-TEST/NGO/hosted/guest", 200), ("DE-TEST/GOV/1234/stranger", 500), ("DE-TEST/GOV/1234", 500)],
)
def test_a_right_of_a_local_group(town: Town, client: str, status: int) -> None:
    # The guest's member owns no gateway: the one that hosts it signs with the member's own key.
    answer = town.road.call("GET", path("rest"), client=client)
    assert answer.status == status
    if status == 500:
        assert answer.json["type"] == "server.serverproxy.access_denied"


def test_a_right_of_a_global_group(town: Town) -> None:
    assert town.road.call("GET", path("group"), client="DE-TEST/NGO/hosted/guest").status == 200
    denied = town.road.call("GET", path("group"), client="DE-TEST/GOV/1234/stranger")
    assert denied.json["type"] == "server.serverproxy.access_denied"


def test_a_right_to_one_endpoint(town: Town) -> None:
    assert town.road.call("GET", path("tiere", "/pets/7"), client=APP).status == 200
    for method, rest in (("DELETE", "/pets/7"), ("GET", "/pets"), ("GET", "/pets/7/x")):
        denied = town.road.call(method, path("tiere", rest), client=APP)
        assert denied.json["type"] == "server.serverproxy.access_denied", rest
    listed = town.road.call("GET", path("listMethods"), client=APP).json["service"]
    (pets,) = (service for service in listed if service["service_code"] == "tiere")
    assert pets["service_type"] == "OPENAPI"
    assert {"method": "DELETE", "path": "/pets/*"} in pets["endpoint_list"]
    document = town.road.call("GET", path("getOpenAPI", "?serviceCode=tiere"), client=APP).json
    assert document["paths"] == OPENAPI["paths"]


def test_a_disabled_service_says_why(town: Town) -> None:
    answer = town.road.call("GET", path("off"), client=APP)
    assert answer.json["type"] == "server.serverproxy.service_disabled"
    assert "Wartung bis Montag" in answer.json["message"]


def message(code: str, version: str, **changes: object) -> Message:
    client = SubsystemId("DE-TEST", "GOV", "1234", "app")
    return Message(code=code, version=version, client=client, provider=PROVIDER, **changes)  # type: ignore[arg-type]


def test_soap_without_a_description(town: Town) -> None:
    answer = town.road.soap(message("frage", "v1").encoded())
    assert answer.status == 200
    assert "<p:frageResponse" in answer.text
    assert re.search(r"<xrd:requestHash[^>]*>[A-Za-z0-9+/=]{88}</xrd:requestHash>", answer.text)
    assert town.backend.calls[-1] == ("POST", "/soap")


def test_soap_with_a_wsdl_whose_version_is_its_own(town: Town) -> None:
    assert "<p:zaehleResponse" in town.road.soap(message("zaehle", "v2").encoded()).text
    unknown = town.road.soap(message("zaehle", "v9").encoded())
    assert "server.serverproxy.unknown_service" in unknown.text
    listed = town.road.document["services"]
    assert {"service": f"{PROVIDER.encoded}/zaehle/v2", "type": "WSDL"} in listed


def test_https_without_a_certificate(town: Town) -> None:
    client = "DE-TEST/GOV/1234/tls"
    assert town.road.call("GET", path("rest"), client=client, tls=True).status == 200
    plain = town.road.call("GET", path("rest"), client=client)
    assert plain.json["type"] == "server.clientproxy.ssl_authentication_failed"


@pytest.mark.parametrize("client", ["generated", "pinned", "inline"])
def test_https_with_a_pinned_certificate(town: Town, client: str) -> None:
    name = f"DE-TEST/GOV/1234/{client}"
    own = {
        "pinned": (str(town.folder / "client.crt"), str(town.folder / "client.key")),
        "inline": (str(town.folder / "inline.crt"), str(town.folder / "inline.key")),
    }
    certificate = own[client] if client in own else town.certificate(name)
    answer = town.road.call("GET", path("rest"), client=name, tls=True, certificate=certificate)
    assert answer.status == 200
    nobody = town.road.call("GET", path("rest"), client=name, tls=True)
    assert nobody.json["type"] == "server.clientproxy.ssl_authentication_failed"


def test_a_certificate_of_another_client_is_refused(town: Town) -> None:
    certificate = (str(town.folder / "client.crt"), str(town.folder / "client.key"))
    name = "DE-TEST/GOV/1234/generated"
    other = town.road.call("GET", path("rest"), client=name, tls=True, certificate=certificate)
    assert other.json["type"] == "server.clientproxy.ssl_authentication_failed"


def test_a_service_over_tls_shows_its_certificate(town: Town) -> None:
    assert town.road.call("GET", path("secure"), client=APP).status == 200
    refused = town.road.call("GET", path("other"), client=APP)
    assert refused.json["type"] == "server.serverproxy.service_failed.ssl_authentication_failed"
    assert town.road.call("GET", path("unverified"), client=APP).status == 200


def test_the_document_leads_to_everything(town: Town) -> None:
    document = town.road.document
    assert document["gateways"]["ss2"]["server"] == "DE-TEST/COM/5%206/ss_2"
    assert document["clients"]["DE-TEST/NGO/hosted/guest"]["gateways"] == ["ss1"]
    for gateway in document["gateways"].values():
        with urlopen(gateway["operations_url"] + "/healthz") as answer:
            assert json.load(answer)["status"] == "ok"
        for pem in gateway["certificates"].values():
            assert ssl.PEM_cert_to_DER_cert(pem)
    with urlopen(document["registry"]["configuration_url"] + "?version=6") as answer:
        assert b"shared-params.xml" in answer.read()
    anchor = parse_anchor(Path(document["registry"]["anchor_file"]).read_bytes())
    assert anchor.sources[0].url == document["registry"]["configuration_url"]


def monitoring(code: str, inner: str, *, client: MemberId | SubsystemId, server: bool = False) -> bytes:
    owner = MemberId("DE-TEST", "COM", "5 6")
    body = f'<om:{code} xmlns:om="http://x-road.eu/xsd/op-monitoring.xsd">{inner}</om:{code}>'
    named = SecurityServerId(owner, "ss_2") if server else None
    return Message(code=code, version=None, client=client, provider=owner, server=named, body=body).encoded()  # type: ignore[arg-type]


def test_operational_data_of_the_last_days(town: Town) -> None:
    now = int(time.time())
    window = (
        f"<om:searchCriteria><om:recordsFrom>0</om:recordsFrom><om:recordsTo>{now}</om:recordsTo></om:searchCriteria>"
    )
    client = SubsystemId("DE-TEST", "GOV", "1234", "monitor")
    answer = town.road.soap(monitoring("getSecurityServerOperationalData", window, client=client))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith('multipart/related; type="text/xml"')
    found = re.search(
        rb"content-id: <operational-monitoring-data.json.gz>\r\n\r\n(.*)\r\n--xroad", answer.body, re.DOTALL
    )
    assert found, answer.text
    records = json.loads(gzip.decompress(found[1]))["records"]
    count = re.search(rb"<om:recordsCount>(\d+)</om:recordsCount>", answer.body)
    assert count
    assert int(count[1]) == len(records)
    following = re.search(rb"<om:nextRecordsFrom>(\d+)</om:nextRecordsFrom>", answer.body)
    assert following
    assert now - 62 <= int(following[1]) <= now - 55


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ("<om:searchCriteria/>", "recordsFrom"),
        ("@-1@5@", "Records from timestamp is a negative number"),
        ("@9@5@", "earlier than records from"),
        (f"@{10**11}@{10**12}@", "not available from"),
        ("@1@5@x", "Unknown output field"),
    ],
)
def test_operational_data_that_nobody_can_have(town: Town, inner: str, said: str) -> None:
    if inner.startswith("@"):
        _, begin, end, field = inner.split("@")
        inner = (
            f"<om:searchCriteria><om:recordsFrom>{begin}</om:recordsFrom><om:recordsTo>{end}</om:recordsTo>"
            "</om:searchCriteria>"
        )
        if field:
            inner += f"<om:outputSpec><om:outputField>{field}</om:outputField></om:outputSpec>"
    client = SubsystemId("DE-TEST", "GOV", "1234", "app")
    answer = town.road.soap(monitoring("getSecurityServerOperationalData", inner, client=client))
    assert "server.serverproxy.opmonitor.client.invalid_request" in answer.text
    assert said in answer.text


def test_health_data(town: Town) -> None:
    assert town.road.call("GET", path("rest"), client=APP).status == 200
    client = SubsystemId("DE-TEST", "GOV", "1234", "app")
    answer = town.road.soap(monitoring("getSecurityServerHealthData", "", client=client))
    assert "<om:statisticsPeriodSeconds>600</om:statisticsPeriodSeconds>" in answer.text
    events = re.findall(r"<om:serviceEvents>.*?</om:serviceEvents>", answer.text)
    (rest,) = (event for event in events if "<id:serviceCode>rest</id:serviceCode>" in event)
    assert "<id:subsystemCode>Bürger/amt</id:subsystemCode>" in rest
    count = re.search(r"<om:successfulRequestCount>(\d+)<", rest)
    assert count
    assert int(count[1]) >= 1
    assert "<om:requestAverageDuration>" in rest


def test_metrics_are_the_owners_and_the_monitors(town: Town) -> None:
    def ask(client: SubsystemId, *fields: str) -> str:
        owner = MemberId("DE-TEST", "COM", "5 6")
        wanted = "".join(f"<m:outputField>{name}</m:outputField>" for name in fields)
        body = f"<m:outputSpec>{wanted}</m:outputSpec></m:getSecurityServerMetrics>"
        body = f'<m:getSecurityServerMetrics xmlns:m="http://x-road.eu/xsd/monitoring">{body}'
        asked = Message(code="getSecurityServerMetrics", version=None, client=client, provider=owner, body=body)  # type: ignore[arg-type]
        return town.road.soap(asked.encoded()).text

    told = ask(SubsystemId("DE-TEST", "GOV", "1234", "monitor"))
    assert "<m:name>SERVER:DE-TEST/COM/5 6/ss_2</m:name>" in told
    assert re.search(r"<m:name>TotalPhysicalMemory</m:name><m:value>\d{8,}</m:value>", told)
    assert re.search("<m:name>systemMetrics</m:name>.*<m:name>Processes</m:name>.*<m:name>Certificates</m:name>", told)
    assert "<m:name>sha1Hash</m:name>" in told
    names = re.findall(
        "<m:name>([^<]*)</m:name>", ask(SubsystemId("DE-TEST", "GOV", "1234", "monitor"), "TotalSwapSpace")
    )
    assert names == ["SERVER:DE-TEST/COM/5 6/ss_2", "proxyVersion", "systemMetrics", "TotalSwapSpace"]
    assert "server.serverproxy.access_denied" in ask(SubsystemId("DE-TEST", "GOV", "1234", "app"))


def test_a_plain_client_may_use_either_port_of_this_machine(town: Town) -> None:
    assert town.road.call("GET", path("rest"), client=APP, tls=True).status == 200
