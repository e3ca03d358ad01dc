"""The metaservices on real sockets: what there is, what one may use, the descriptions; the client port's own paths."""

from __future__ import annotations

import io
import json
import re
import zipfile
from datetime import timedelta

import pytest
import pytest_asyncio
import yaml

from gateway.registry import membership
from gateway.store.model import AccessRight, Client, ConnectionType, Endpoint, Group, Service, ServiceType
from gateway.store.repository import Repository
from tests.gateway.exchange.pair import Answer, GatewayPair
from tests.gateway.exchange.records import logged
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, fault_of
from tests.gateway.exchange.town import APP, CITY, GUEST, INSTANCE, UTILITY, path_of, service
from trust.asic import verify_container
from trust.asic.configuration import read_verification_configuration
from trust.identifiers import LocalGroupId
from trust.xml import parse

pytestmark = pytest.mark.asyncio(loop_scope="module")

XROAD = "{http://x-road.eu/xsd/xroad.xsd}"
IDENTIFIERS = "{http://x-road.eu/xsd/identifiers}"
OPENAPI = b"""# ein Kommentar
openapi: 3.0.3
info: {title: Konto, version: "1"}
servers: [{url: "https://intern.example:8443/v1"}]
paths: {}
"""
WSDL = b"""<?xml version="1.0"?><d:definitions xmlns:d="http://schemas.xmlsoap.org/wsdl/"
 xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"><!-- c --><d:service name="S"><d:port name="P" binding="B">
<s:address location="http://intern.example/soap"/></d:port></d:service></d:definitions>"""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def offered(pair: GatewayPair) -> None:
    """Beside the town's services: one of each described kind, with rights of each kind."""
    repository = Repository(pair.provider.gateway.engine)
    provider = UTILITY.subsystem
    openapi = Service(
        provider, "offen", ServiceType.OPENAPI3, "http://127.0.0.1:1",
        description=OPENAPI, description_type="application/yaml",
    )  # fmt: skip
    endpoints = [Endpoint(service("offen"), method, path, True) for method, path in (("GET", "/a/*"), ("POST", "/a/*"))]
    soap = Service(provider, "seife", ServiceType.WSDL, "http://127.0.0.1:1", version="v1", description=WSDL)
    await repository.upsert_service(openapi, generated=endpoints)
    await repository.upsert_service(soap)
    await repository.upsert_service(Service(provider, "nackt", ServiceType.WSDL, "http://127.0.0.1:1"))
    await repository.upsert_group(Group(provider, "freunde", "", frozenset({GUEST})))
    await repository.grant(
        AccessRight(service("offen"), APP, "GET", "/a/*"), AccessRight(service("seife"), LocalGroupId("freunde"))
    )
    revision = (await repository.revision()).configuration
    await pair.until(lambda: pair.provider.gateway.node.directory.configuration_revision == revision)


async def methods(pair: GatewayPair, code: str, **options: object) -> dict[str, list[tuple[str, str]]]:
    answer = await pair.request("GET", path_of(service(code)), **options)  # type: ignore[arg-type]
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    return {
        entry["service_code"]: [(e["method"], e["path"]) for e in entry["endpoint_list"]]
        for entry in answer.json["service"]
    }


async def test_list_methods_names_every_rest_service(pair: GatewayPair) -> None:
    found = await methods(pair, "listMethods", client=GUEST)
    assert found["offen"] == [("GET", "/a/*"), ("POST", "/a/*")]
    assert {"echo", "ohne-recht", "aus"} <= set(found)
    assert not {"seife", "nackt", "wsdl", "datenwegServices", "listMethods"} & set(found)
    answer = await pair.request("GET", path_of(service("listMethods")))
    (entry,) = [entry for entry in answer.json["service"] if entry["service_code"] == "offen"]
    assert entry["service_type"] == "OPENAPI"
    assert answer.headers["X-Road-Service"] == service("listMethods").encoded


async def test_allowed_methods_names_what_one_may_use(pair: GatewayPair) -> None:
    found = await methods(pair, "allowedMethods")
    assert found["offen"] == [("GET", "/a/*")]
    assert found["echo"] == []
    assert "ohne-recht" not in found
    assert await methods(pair, "allowedMethods", client=GUEST) == {}


async def test_metaservices_are_logged_like_any_message(pair: GatewayPair) -> None:
    answer = await pair.request("GET", path_of(service("listMethods")))
    for node in (pair.consumer, pair.provider):
        assert len(await logged(node.gateway, answer.request_id)) == 2


async def test_openapi_as_it_was_given_without_the_servers_hosts(pair: GatewayPair) -> None:
    answer = await pair.request("GET", path_of(service("getOpenAPI"), "?serviceCode=offen"), client=GUEST)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/yaml")
    assert answer.body.startswith(b"# ein Kommentar\n")
    assert yaml.safe_load(answer.body) == yaml.safe_load(OPENAPI) | {"servers": [{"url": "/v1"}]}


@pytest.mark.parametrize(
    ("query", "code", "text"),
    [
        ("", "invalid_request", "Missing serviceCode in message body"),
        ("?serviceCode=", "invalid_request", "Missing serviceCode"),
        ("?serviceCode=fehlt", "internal_error", "Service not found"),
        ("?serviceCode=echo", "internal_error", "Invalid service type: REST"),
        ("?serviceCode=seife", "internal_error", "Invalid service type: WSDL"),
        ("?serviceCode=%ff", "invalid_request", "not readable"),
    ],
)
async def test_openapi_that_there_is_none_of(pair: GatewayPair, query: str, code: str, text: str) -> None:
    answer = await pair.request("GET", path_of(service("getOpenAPI"), query))
    assert (answer.status, answer.headers["X-Road-Error"]) == (500, f"server.serverproxy.{code}")
    assert text in answer.json["message"]


@pytest.mark.parametrize(("method", "code"), [("POST", "listMethods"), ("GET", "getWsdl"), ("PUT", "getOpenAPI")])
async def test_over_rest_there_is_get_alone(pair: GatewayPair, method: str, code: str) -> None:
    answer = await pair.request(method, path_of(service(code)))
    assert answer.headers["X-Road-Error"] == "server.serverproxy.unknown_service"


# -- over SOAP


async def ask(pair: GatewayPair, code: str, content: str = "", **changes: object) -> Answer:
    message = Message(code, None, body=f"<xrd:{code}>{content}</xrd:{code}>", **changes)  # type: ignore[arg-type]
    headers = {"Content-Type": TEXT_XML}
    return await pair.request("POST", "/", client=None, headers=headers, body=message.encoded())


def listed(answer: Answer, name: str) -> list[tuple[str, ...]]:
    root = parse(answer.body)
    assert answer.body.index(b"<SOAP-ENV:Envelope") >= 0
    (body,) = root.iterfind("{http://schemas.xmlsoap.org/soap/envelope/}Body")
    assert body[0].tag == f"{XROAD}{name}Response"
    assert all(found.get(f"{IDENTIFIERS}objectType") == "SERVICE" for found in body[0])
    return [tuple(str(child.text) for child in found)[4:] for found in body[0]]


async def test_methods_over_soap(pair: GatewayPair) -> None:
    everything = listed(await ask(pair, "listMethods"), "listMethods")
    assert {("seife", "v1"), ("nackt",), ("wsdl",)} <= set(everything)
    assert ("offen",) not in everything
    assert listed(await ask(pair, "allowedMethods", client=GUEST), "allowedMethods") == [("seife", "v1")]
    assert ("seife", "v1") not in listed(await ask(pair, "allowedMethods"), "allowedMethods")


async def test_a_member_without_subsystem_has_no_methods(pair: GatewayPair) -> None:
    repository = Repository(pair.provider.gateway.engine)
    await repository.upsert_client(Client(UTILITY.member))
    revision = (await repository.revision()).configuration
    await pair.until(lambda: pair.provider.gateway.node.directory.configuration_revision == revision)
    for code in ("listMethods", "allowedMethods"):
        assert listed(await ask(pair, code, provider=UTILITY.member), code) == []


@pytest.mark.parametrize("version", ["v1", "v5"])
async def test_a_metaservice_is_there_in_any_version(pair: GatewayPair, version: str) -> None:
    message = Message("listMethods", version, body='<p:listMethods xmlns:p="urn:muster"><p:request/></p:listMethods>')
    headers = {"Content-Type": TEXT_XML}
    answer = await pair.request("POST", "/", client=None, headers=headers, body=message.encoded())
    assert listed(answer, "listMethods") == listed(await ask(pair, "listMethods"), "listMethods")
    assert f"<id:serviceVersion>{version}</id:serviceVersion>".encode() in answer.body


async def test_getwsdl_over_soap(pair: GatewayPair) -> None:
    version = "<xrd:serviceVersion>v1</xrd:serviceVersion>"
    answer = await ask(pair, "getWsdl", f"<xrd:serviceCode>seife</xrd:serviceCode>{version}", client=GUEST)
    found = re.search(r"boundary=\"?(xroad[^\";]+)", answer.headers["Content-Type"])
    assert found is not None
    assert answer.headers["Content-Type"].startswith("multipart/related")
    first, second = answer.body.split(b"--" + found.group(1).encode())[1:3]
    assert b"<xroad:serviceCode>seife</xroad:serviceCode><xroad:serviceVersion>v1" in first
    head, _, document = second.partition(b"\r\n\r\n")
    assert head.splitlines()[1] == b"content-type:text/xml"
    assert re.search(rb"content-transfer-encoding: ?binary", head)
    assert re.search(rb"content-id: ?<wsdl=[0-9a-f-]{36}@x-road\.eu>", head)
    assert b'location="http://example.org/xroad-endpoint"' in document
    assert b"intern.example" not in answer.body
    assert b"<!-- c -->" in document


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "invalid_request"),
        ("<xrd:serviceCode/>", "invalid_request"),
        ("<xrd:serviceCode>fehlt</xrd:serviceCode>", "unknown_service"),
        ("<xrd:serviceCode>seife</xrd:serviceCode><xrd:serviceVersion>v9</xrd:serviceVersion>", "unknown_service"),
        ("<xrd:serviceCode>nackt</xrd:serviceCode>", "unknown_service"),
        ("<xrd:serviceCode>echo</xrd:serviceCode>", "service_type"),
    ],
)
async def test_getwsdl_that_there_is_none_of(pair: GatewayPair, content: str, code: str) -> None:
    answer = await ask(pair, "getWsdl", content)
    assert (answer.status, fault_of(answer.body)) == (200, f"server.serverproxy.{code}")


async def test_getopenapi_is_no_soap_service(pair: GatewayPair) -> None:
    assert fault_of((await ask(pair, "getOpenAPI")).body) == "server.serverproxy.unknown_service"


# -- the client port's own paths


async def test_list_clients(pair: GatewayPair) -> None:
    answer = await pair.request("GET", "/listClients", client=None)
    assert answer.headers["Content-Type"] == "text/xml;charset=utf-8"
    root = parse(answer.body)
    assert root.tag == f"{XROAD}clientList"
    in_xml = ["/".join(str(e.text) for e in member.find(f"{XROAD}id")) for member in root]  # type: ignore[union-attr]
    answer = await pair.request("GET", "/listClients", client=None, headers={"Accept": "text/xml, application/json"})
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    members = answer.json["member"]
    assert {"object_type": "SUBSYSTEM", **dict(zip(
        ("xroad_instance", "member_class", "member_code", "subsystem_code"), UTILITY.subsystem.segments, strict=True
    ))} in [member["id"] for member in members]  # fmt: skip
    assert {"MEMBER", "SUBSYSTEM"} == {member["id"]["object_type"] for member in members}
    assert len(members) == len(in_xml)
    assert APP.encoded in in_xml
    for target in (f"?xRoadInstance={INSTANCE}", "?xRoadInstance="):
        same = await pair.request("GET", f"/listClients{target}", client=None, headers={"Accept": "application/json"})
        assert same.json == answer.json
    # As X-Road's proxy: a SOAP fault, whatever the client accepts.
    other = await pair.request(
        "GET", "/listClients?xRoadInstance=XX", client=None, headers={"Accept": "application/json"}
    )
    assert (other.status, other.headers["Content-Type"]) == (200, "text/xml;charset=utf-8")
    assert fault_of(other.body) == "server.clientproxy.internal_error"
    assert 'path="/listClients",status="200"' in pair.consumer.gateway.node.metrics.render().decode()


async def test_list_clients_needs_a_current_configuration(pair: GatewayPair) -> None:
    pair.consumer.clock.ahead = timedelta(hours=1)
    try:
        answer = await pair.request("GET", "/listClients", client=None)
        assert (answer.status, fault_of(answer.body)) == (200, "server.clientproxy.global_conf_outdated")
        assert (await pair.request("GET", "/verificationconf", client=None)).status == 200
    finally:
        pair.consumer.clock.ahead = timedelta(0)


async def test_the_gateways_own_paths_take_a_place_like_an_exchange(pair: GatewayPair) -> None:
    node = pair.consumer.gateway.node
    before = node.settings
    node.settings = before.model_copy(update={"concurrency_limit": 0})
    try:
        full = await pair.request("GET", "/verificationconf", client=None)
        listed = await pair.request("GET", "/listClients", client=None)
    finally:
        node.settings = before
    assert full.status == 503
    assert full.body.startswith(b"Consumer gateway: the gateway is at its limit")
    assert (listed.status, fault_of(listed.body)) == (200, "server.clientproxy.overloaded")
    assert pair.consumer.in_progress == 0


async def test_the_verification_configuration(pair: GatewayPair) -> None:
    answer = await pair.request("GET", "/verificationconf", client=None)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/zip")
    assert 'filename="verificationconf.zip"' in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.read("verificationconf/instance-identifier") == INSTANCE.encode()
        parameters = archive.read(f"verificationconf/{INSTANCE}/shared-params.xml")
        metadata = json.loads(archive.read(f"verificationconf/{INSTANCE}/shared-params.xml.metadata"))
    assert CITY.code.encode() in parameters
    assert metadata["contentIdentifier"] == "SHARED-PARAMETERS"


async def test_a_wsdl_of_this_gateway_over_get(pair: GatewayPair) -> None:
    names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")
    query = "&".join(f"{name}={value}" for name, value in zip(names, UTILITY.subsystem.segments, strict=True))
    url = f"http://127.0.0.1:{pair.provider.settings.client_port}/wsdl?{query}"
    async with pair.http.get(f"{url}&serviceCode=seife&version=v1&unbekannt=1") as answer:
        assert (answer.status, await answer.read()) == (200, WSDL)
        assert answer.content_type == "text/xml"
    for more, status in (("&serviceCode=seife&version=v2", 404), ("&serviceCode=echo", 404), ("", 400)):
        async with pair.http.get(url + more) as answer:
            assert (answer.status, answer.content_type) == (status, "text/plain")


async def test_a_wsdl_of_another_gateway_comes_over_the_road(pair: GatewayPair) -> None:
    names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")
    query = "&".join(f"{name}={value}" for name, value in zip(names, UTILITY.subsystem.segments, strict=True))
    answer = await pair.request("GET", f"/wsdl?{query}&serviceCode=seife&version=v1", client=None)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/xml;charset=utf-8")
    assert b'location="http://example.org/xroad-endpoint"' in answer.body
    for more, status in (("seife&version=v9", 404), ("echo", 404)):
        answer = await pair.request("GET", f"/wsdl?{query}&serviceCode={more}", client=None)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "text/plain;charset=utf-8"), answer.body
    answer = await pair.request("GET", f"/wsdl?{query.replace('STADTWERKE', 'NIEMAND')}&serviceCode=x", client=None)
    assert answer.status == 404


async def test_asic_asks_who_is_there_and_what_is_wanted(pair: GatewayPair) -> None:
    who = "xRoadInstance={}&memberClass={}&memberCode={}&subsystemCode={}".format(*APP.segments)
    for query, status in (
        ("", 400),
        ("queryId=1&xRoadInstance=DE-TEST&memberClass=GOV", 400),
        (who, 400),
        (f"queryId=1&{who}&requestOnly&responseOnly", 400),
        (f"queryId=1&{who}&unique", 400),
        (f"queryId=1&{who.replace('app', 'fremd')}", 401),
        (f"queryId=gibt-es-nicht&{who}", 404),
    ):
        answer = await pair.request("GET", f"/asic?{query}", client=None)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "text/plain;charset=utf-8"), query
        assert answer.body


async def test_asic_is_the_clients_alone(pair: GatewayPair) -> None:
    await pair.call("echo", "/echo", headers={"X-Road-Id": "beleg-1"})
    who = "xRoadInstance={}&memberClass={}&memberCode={}&subsystemCode={}"
    answer = await pair.request("GET", f"/asic?queryId=beleg-1&{who.format(*APP.segments)}", client=None)
    # No authority for time-stamps is known here.
    assert (answer.status, answer.body) == (500, b"Message signature has not been timestamped yet!")
    answer = await pair.request("GET", f"/asic?queryId=beleg-1&{who.format(*GUEST.segments)}", client=None)
    assert answer.status == 404
    repository = Repository(pair.consumer.gateway.engine)
    await repository.upsert_client(Client(APP, ConnectionType.HTTPS_NO_AUTH))
    await pair.until(lambda: pair.consumer.client_type(APP) is ConnectionType.HTTPS_NO_AUTH)
    try:
        answer = await pair.request("GET", f"/asic?queryId=beleg-1&{who.format(*APP.segments)}", client=None)
        assert answer.status == 401
    finally:
        await repository.upsert_client(Client(APP))
        await pair.until(lambda: pair.consumer.client_type(APP) is ConnectionType.HTTP)


@pytest.mark.parametrize("path", ["/listClients/", "/listclients", "/asic/x"])
async def test_other_paths_are_messages(pair: GatewayPair, path: str) -> None:
    answer = await pair.request("GET", path, client=None)
    assert fault_of(answer.body) == "client.invalid_http_method"


async def test_asic_hands_out_what_strangers_verify(pair: GatewayPair) -> None:
    """Last here: from now on an authority for time-stamps is known."""
    ocsp = pair.registry.state.read().approved_cas[0].ocsp_urls[0]
    authority = pair.authority.approved_tsa(ocsp.replace("/ocsp", "/tsa"))
    pair.registry.state.update(lambda parameters: membership.approve_tsa(parameters, authority))
    await pair.publish()
    await pair.call("echo", "/echo", "POST", body=b"inhalt", headers={"X-Road-Id": "beleg/2"})
    who = "xRoadInstance={}&memberClass={}&memberCode={}&subsystemCode={}".format(*APP.segments)
    answer = await pair.request("GET", f"/asic?queryId=beleg%2F2&{who}&force", client=None)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/zip"), answer.body
    assert answer.headers["Content-Disposition"] == 'attachment; filename="beleg%2F2.zip"'
    published = await pair.request("GET", "/verificationconf", client=None)
    configuration = read_verification_configuration(published.body)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        names = archive.namelist()
        for name in names:
            verify_container(archive.read(name), configuration, at=pair.consumer.clock.now())
    assert [re.sub("-[a-z2-7]+[.]asice$", "", name) for name in names] == ["beleg%2F2-request", "beleg%2F2-response"]
    only = await pair.request("GET", f"/asic?queryId=beleg%2F2&{who}&responseOnly", client=None)
    assert 'filename="beleg%2F2-response.zip"' in only.headers["Content-Disposition"]
    single = await pair.request("GET", f"/asic?queryId=beleg%2F2&{who}&requestOnly&unique", client=None)
    assert (single.status, single.headers["Content-Type"]) == (200, "application/vnd.etsi.asic-e+zip")
    assert names[0] in single.headers["Content-Disposition"]
    verify_container(single.body, configuration, at=pair.consumer.clock.now())
