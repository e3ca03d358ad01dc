"""Operational monitoring over the road: what both gateways remember of exchanges, and who is told how much of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from gateway.monitoring.queries import Window, records_of
from gateway.store.model import Client, ConnectionType
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.soap_messages import TEXT_XML, Message, answering
from tests.gateway.exchange.town import APP, CITY, GUEST, UTILITY
from tests.gateway.monitoring.conftest import Watched
from trust.identifiers import ClientId, SecurityServerId

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMESPACE = "http://x-road.eu/xsd/op-monitoring.xsd"
OPERATIONAL = "getSecurityServerOperationalData"
HEALTH = "getSecurityServerHealthData"
_EVER = 10**11


async def remembered(node: RunningNode, message_id: str) -> dict[str, Any]:
    """The record that a gateway has of the exchange."""
    monitoring = node.gateway.node.monitoring
    await monitoring.flush()
    found = await records_of(monitoring.engine, Window(0, _EVER))
    (record,) = (r for r in map(json.loads, found.records) if r.get("messageId") == message_id)
    assert isinstance(record, dict)
    return record


async def soap(node: RunningNode, data: bytes) -> str:
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"http://{HOST}:{node.settings.client_port}/", data=data, headers={"Content-Type": TEXT_XML}
        ) as answer,
    ):
        return (await answer.read()).decode("latin-1")


def question(code: str, inner: str, *, client: ClientId = APP, server: SecurityServerId | None = None) -> bytes:
    body = f'<om:{code} xmlns:om="{NAMESPACE}">{inner}</om:{code}>'
    return Message(
        code=code, version=None, client=client, provider=UTILITY.member, server=server, user_id=None, body=body
    ).encoded()


def criteria(begin: int = 0, end: int = _EVER, more: str = "", fields: tuple[str, ...] = ()) -> str:
    spec = "".join(f"<om:outputField>{field}</om:outputField>" for field in fields)
    return (
        f"<om:searchCriteria><om:recordsFrom>{begin}</om:recordsFrom><om:recordsTo>{end}</om:recordsTo>{more}"
        f"</om:searchCriteria>" + (f"<om:outputSpec>{spec}</om:outputSpec>" if fields else "")
    )


def payload(answer: str) -> list[dict[str, Any]]:
    found = re.search(
        r"content-type:application/gzip\r\ncontent-transfer-encoding: binary\r\n"
        r"content-id: <operational-monitoring-data.json.gz>\r\n\r\n(.*)\r\n--xroad",
        answer,
        re.DOTALL,
    )
    assert found, answer
    records: list[dict[str, Any]] = json.loads(gzip.decompress(found[1].encode("latin-1")))["records"]
    count = re.search(r"<om:recordsCount>(\d+)</om:recordsCount>", answer)
    assert count
    assert int(count[1]) == len(records)
    return records


@asynccontextmanager
async def two_minutes_later(pair: GatewayPair) -> AsyncIterator[None]:
    """What was written until now may be asked for at the provider's gateway."""
    await pair.provider.gateway.node.monitoring.flush()
    pair.provider.clock.ahead = timedelta(minutes=2)
    try:
        yield
    finally:
        pair.provider.clock.ahead = timedelta(0)


async def test_both_gateways_remember_a_rest_exchange(watched: Watched) -> None:
    pair = watched.pair
    headers = {"X-Road-Id": "beobachtet-1", "X-Road-Issue": "4711", "X-Road-Represented-Party": "COM/7"}
    answer = await pair.call("echo", "/tief/x", headers=headers)
    assert answer.status == 200
    ours, theirs = await remembered(pair.consumer, "beobachtet-1"), await remembered(pair.provider, "beobachtet-1")
    assert (ours["securityServerType"], theirs["securityServerType"]) == ("Client", "Producer")
    for record in (ours, theirs):
        assert record["requestInTs"] <= record["requestOutTs"] <= record["responseInTs"] <= record["responseOutTs"]
        assert record["xRequestId"] == answer.request_id
        assert (record["clientMemberCode"], record["clientSubsystemCode"]) == ("MUSTERSTADT", "app")
        assert (record["serviceMemberCode"], record["serviceSubsystemCode"]) == ("STADTWERKE", "kundenservice")
        assert (record["serviceCode"], record["serviceType"], record["restMethod"]) == ("echo", "REST", "GET")
        assert (record["messageIssue"], record["representedPartyClass"], record["representedPartyCode"]) == (
            "4711",
            "COM",
            "7",
        )
        assert (record["succeeded"], record["statusCode"]) == (True, 200)
        assert record["responseSize"] > len(answer.body)
        assert record["clientSecurityServerAddress"] == f"{HOST}:{pair.consumer.settings.peer_port}"
        assert record["serviceSecurityServerAddress"] == f"{HOST}:{pair.provider.settings.peer_port}"
    assert ours["requestSize"] == theirs["requestSize"]
    assert "restPath" not in ours
    assert theirs["restPath"] == "/tief/x"
    assert ours["requestOutTs"] <= theirs["requestInTs"]


async def test_a_soap_exchange_with_an_attachment(watched: Watched) -> None:
    pair = watched.pair
    message = Message(message_id="beobachtet-2")
    pair.backend.soap = answering(lambda _: message.response().encode())
    mime = (
        b"--b\r\nContent-Type: text/xml\r\n\r\n" + message.encoded() + b"\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\n\r\n" + bytes(1000) + b"\r\n--b--\r\n"
    )
    answer = await pair.request(
        "POST", "/", client=None, headers={"Content-Type": 'multipart/related; boundary="b"'}, body=mime
    )
    assert answer.status == 200
    assert b"Fault" not in answer.body
    for node in (pair.consumer, pair.provider):
        record = await remembered(node, "beobachtet-2")
        assert (record["requestSize"], record["requestAttachmentCount"]) == (len(message.encoded()), 1)
        assert record["requestMimeSize"] == len(message.encoded()) + 1000
        assert record["responseAttachmentCount"] == 0
        assert (record["serviceType"], record["serviceVersion"]) == ("WSDL", "v1")
        assert (record["messageProtocolVersion"], record["messageUserId"]) == ("4.0", "EE37702211234")
        assert "restMethod" not in record
        assert "statusCode" not in record


async def test_a_refusal_is_remembered_with_its_reason(watched: Watched) -> None:
    pair = watched.pair
    await pair.call("echo", client=GUEST, headers={"X-Road-Id": "beobachtet-3"})
    for node in (pair.consumer, pair.provider):
        record = await remembered(node, "beobachtet-3")
        assert record["succeeded"] is False
        assert record["faultCode"] == "server.serverproxy.access_denied"
        assert record["faultString"]


@pytest.mark.parametrize("status", [200, 500])
async def test_a_services_own_fault_is_remembered_at_both_gateways(watched: Watched, status: int) -> None:
    fault = (
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>Server.Bestand'
        b"</faultcode><faultstring>gibt es nicht</faultstring></s:Fault></s:Body></s:Envelope>"
    )
    watched.pair.backend.soap = answering(lambda _: fault, status=status)
    message = Message(message_id=f"beobachtet-fehler-{status}")
    await watched.pair.request("POST", "/", client=None, headers={"Content-Type": TEXT_XML}, body=message.encoded())
    for node in (watched.pair.consumer, watched.pair.provider):
        record = await remembered(node, message.message_id)
        assert (record["succeeded"], record["faultCode"]) == (False, "Server.Bestand")
        assert record["faultString"] == "gibt es nicht"


async def test_the_path_is_remembered_as_rights_see_it(watched: Watched) -> None:
    await watched.pair.call("echo", "/a%20b//x/../%C3%A4/", headers={"X-Road-Id": "beobachtet-pfad"})
    assert (await remembered(watched.pair.provider, "beobachtet-pfad"))["restPath"] == "/a b/ä/"
    await watched.pair.call("echo", "/a/%2e%2e/%2e%2e/b", headers={"X-Road-Id": "beobachtet-hinaus"})
    record = await remembered(watched.pair.provider, "beobachtet-hinaus")
    assert (record["restPath"], record["succeeded"]) == ("/a/%2e%2e/%2e%2e/b", False)


async def test_an_error_status_of_the_service_is_no_success(watched: Watched) -> None:
    await watched.pair.call("echo", "/status/404", headers={"X-Road-Id": "beobachtet-4"})
    record = await remembered(watched.pair.consumer, "beobachtet-4")
    assert (record["succeeded"], record["statusCode"]) == (False, 404)
    assert "faultCode" not in record


async def test_a_client_that_is_not_served_is_no_client_of_a_record(watched: Watched) -> None:
    pair = watched.pair
    answer = await pair.request(
        "GET", "/r1/DE-TEST/COM/STADTWERKE/kundenservice/echo", client="DE-TEST/GOV/NIEMAND/app"
    )
    monitoring = pair.consumer.gateway.node.monitoring
    await monitoring.flush()
    found = (await records_of(monitoring.engine, Window(0, _EVER))).records
    (record,) = (r for r in map(json.loads, found) if r["xRequestId"] == answer.request_id)
    assert record["faultCode"] == "server.clientproxy.unknown_member"
    assert not [name for name in record if name.startswith(("client", "service"))]


async def test_a_client_sees_its_own_records(watched: Watched) -> None:
    pair = watched.pair
    await pair.call("echo", headers={"X-Road-Id": "beobachtet-5"})
    await pair.call("echo", client=GUEST, headers={"X-Road-Id": "beobachtet-6"})
    async with two_minutes_later(pair):
        found = payload(await soap(pair.consumer, question(OPERATIONAL, criteria(), client=GUEST)))
        hidden = payload(
            await soap(pair.consumer, question(OPERATIONAL, criteria(fields=("securityServerInternalIp",))))
        )
        chosen = payload(await soap(pair.consumer, question(OPERATIONAL, criteria(fields=("messageId", "succeeded")))))
    assert "beobachtet-6" in {record["messageId"] for record in found}
    # The gateway's own network is nobody's business but its owner's (UG-OPMON).
    assert not [record for record in found if "securityServerInternalIp" in record]
    assert "beobachtet-5" not in {record["messageId"] for record in found}
    assert {"messageId": "beobachtet-5", "succeeded": True} in chosen
    assert hidden
    assert not any(hidden)


async def test_the_last_minute_is_not_ready(watched: Watched) -> None:
    pair = watched.pair
    await pair.call("echo", headers={"X-Road-Id": "beobachtet-7"})
    await pair.provider.gateway.node.monitoring.flush()
    answer = await soap(pair.consumer, question(OPERATIONAL, criteria()))
    assert "beobachtet-7" not in {record["messageId"] for record in payload(answer)}
    following = re.search(r"<om:nextRecordsFrom>(\d+)</om:nextRecordsFrom>", answer)
    assert following
    now_s = pair.provider.clock.now_ms() // 1000
    assert now_s - 65 <= int(following[1]) <= now_s - 60
    early = await soap(pair.consumer, question(OPERATIONAL, criteria(now_s - 30)))
    assert "server.serverproxy.opmonitor.client.invalid_request" in early


async def test_the_provider_can_be_chosen(watched: Watched) -> None:
    pair = watched.pair
    chosen = (
        '<om:client iden:objectType="SUBSYSTEM"><iden:xRoadInstance>DE-TEST</iden:xRoadInstance>'
        "<iden:memberClass>COM</iden:memberClass><iden:memberCode>STADTWERKE</iden:memberCode>"
        "<iden:subsystemCode>{}</iden:subsystemCode></om:client>"
    )
    async with two_minutes_later(pair):
        some = payload(await soap(pair.consumer, question(OPERATIONAL, criteria(more=chosen.format("kundenservice")))))
        none = payload(await soap(pair.consumer, question(OPERATIONAL, criteria(more=chosen.format("anderes")))))
    assert some
    assert {record["serviceSubsystemCode"] for record in some} == {"kundenservice"}
    assert none == []


async def test_the_owner_sees_everything_if_it_names_the_gateway(watched: Watched) -> None:
    pair = watched.pair
    await pair.call("echo", headers={"X-Road-Id": "beobachtet-8"})
    owner = Client(UTILITY.member, ConnectionType.HTTP)
    await pair.provider.gateway.node.repository.upsert_client(owner)
    await pair.until(lambda: pair.provider.gateway.node.directory.client(UTILITY.member) == owner)
    async with two_minutes_later(pair):
        ask = question(OPERATIONAL, criteria(), client=UTILITY.member, server=UTILITY.server)
        everything = payload(await soap(pair.provider, ask))
        own = payload(await soap(pair.provider, question(OPERATIONAL, criteria(), client=UTILITY.member)))
    assert "beobachtet-8" in {record["messageId"] for record in everything}
    assert all(record["securityServerInternalIp"] for record in everything)
    assert "beobachtet-8" not in {record["messageId"] for record in own}


async def test_the_central_monitoring_client_sees_everything(watched: Watched) -> None:
    pair = watched.pair
    await pair.call("echo", headers={"X-Road-Id": "beobachtet-9"})
    before = pair.registry._settings
    pair.registry._settings = before.model_copy(update={"monitoring_client": GUEST.encoded})
    try:
        await pair.publish()
        async with two_minutes_later(pair):
            found = payload(await soap(pair.consumer, question(OPERATIONAL, criteria(), client=GUEST)))
        metrics = '<m:getSecurityServerMetrics xmlns:m="http://x-road.eu/xsd/monitoring"/>'
        told = Message(
            code="getSecurityServerMetrics", version=None, client=GUEST, provider=UTILITY.member, body=metrics
        )
        assert "SystemCpuLoad" in await soap(pair.consumer, told.encoded())
    finally:
        pair.registry._settings = before
        await pair.publish()
    assert "beobachtet-9" in {record["messageId"] for record in found}
    assert "server.serverproxy.access_denied" in await soap(pair.consumer, told.encoded())


async def test_health_data_of_one_provider(watched: Watched) -> None:
    pair = watched.pair
    await pair.call("echo")
    told = await soap(pair.consumer, question(HEALTH, ""))
    assert "<id:serviceCode>echo</id:serviceCode>" in told
    assert re.search(r"<om:lastSuccessfulRequestTimestamp>\d{13}</om:lastSuccessfulRequestTimestamp>", told)
    nobody = (
        '<om:filterCriteria><om:client iden:objectType="MEMBER"><iden:xRoadInstance>DE-TEST</iden:xRoadInstance>'
        "<iden:memberClass>GOV</iden:memberClass><iden:memberCode>X</iden:memberCode></om:client></om:filterCriteria>"
    )
    assert "<om:servicesEvents></om:servicesEvents>" in await soap(pair.consumer, question(HEALTH, nobody))


@pytest.mark.parametrize("provider", [UTILITY.subsystem, CITY.member])
async def test_only_the_owner_has_these_services(watched: Watched, provider: ClientId) -> None:
    body = f'<om:{HEALTH} xmlns:om="{NAMESPACE}"/>'
    message = Message(code=HEALTH, version=None, provider=provider, body=body)
    answer = await soap(watched.pair.consumer, message.encoded())
    if provider == CITY.member:
        assert "<om:servicesEvents>" in answer, "the city's own gateway answers for the city"
    else:
        assert "server.serverproxy.unknown_service" in answer


async def test_a_trace_spans_both_gateways(watched: Watched) -> None:
    pair, collector = watched.pair, watched.collector
    answer = await pair.call("echo", headers={"X-Road-Id": "beobachtet-10"})
    for node in (pair.consumer, pair.provider):
        tracing = node.gateway.node.tracing
        assert tracing is not None
        await asyncio.to_thread(tracing._processor.force_flush, 5000)  # type: ignore[attr-defined]
    wanted = bytes.fromhex(answer.request_id.replace("-", ""))
    spans = [span for span in collector.spans if span.trace_id == wanted]
    assert sorted(s.name for s in spans) == ["exchange consumer", "exchange provider", "provider's gateway", "service"]
    by_name = {span.name: span for span in spans}
    assert by_name["provider's gateway"].parent_span_id == by_name["exchange consumer"].span_id
    assert by_name["service"].parent_span_id == by_name["exchange provider"].span_id
    assert by_name["exchange consumer"].parent_span_id == by_name["exchange provider"].parent_span_id
    for span in spans:
        values = {a.key: a.value.string_value for a in span.attributes}
        assert values["xroad.request_id"] == answer.request_id
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    pair.require_discreet()
    assert "beobachtet-10" not in str(spans)
