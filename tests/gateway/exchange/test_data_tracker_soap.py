"""The Data Tracker's older form: a SOAP library reads its description over the road and asks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import select
from zeep import Client
from zeep.exceptions import Fault as ZeepFault
from zeep.plugins import HistoryPlugin

from audit.store import message_record
from gateway.messages.faults import Fault
from gateway.messages.find_usage import NAMESPACE, ListedUsage, build_find_usage_body, parse_find_usage
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.soap_messages import ENVELOPE, TEXT_XML, XROAD, Message, fault_of
from tests.gateway.exchange.test_soap_clients import headers
from tests.gateway.exchange.town import APP, GUEST, UTILITY
from trust import xml

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    folder = tmp_path_factory.mktemp("tracker-soap")
    with captured_output() as output:
        async with gateway_pair(folder, output, data_tracker_clients=(APP.encoded,)) as running:
            yield running


async def asked(pair: GatewayPair, person: str, **page: int) -> list[tuple[str, str]]:
    """Action and receiver of each use that zeep reads, by the description that the road hands out."""
    road = f"http://{HOST}:{pair.consumer.settings.client_port}"
    names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")
    place = dict(zip(names, UTILITY.subsystem.segments, strict=True)) | {"serviceCode": "findUsage", "version": "v1"}
    history = HistoryPlugin()

    def call() -> Any:
        client = Client(f"{road}/wsdl?{urlencode(place)}", plugins=[history])
        service = client.create_service(f"{{{NAMESPACE}}}dumonitorBinding", f"{road}/")
        entries = headers(str(uuid.uuid4()), code="findUsage", version="v1", user_id=person)
        return service.findUsage(**page, _soapheaders=entries)

    answer = await asyncio.to_thread(call)
    assert history.last_received["envelope"].findtext(f".//{{{XROAD}}}userId") == person
    body = answer.body if hasattr(answer, "body") else answer
    usages = (body.usage if hasattr(body, "usage") else body) or []
    times = [usage.logtime for usage in usages]
    assert times == sorted(times, reverse=True)
    assert all(time.tzinfo is not None for time in times)
    return [(usage.action, usage.receiver) for usage in usages]


async def use(pair: GatewayPair, person: str, reason: str) -> None:
    told = {"X-Datenweg-Subject": person, "X-Datenweg-Reason": reason}
    assert (await pair.call("echo", headers=told)).status == 200


async def post(pair: GatewayPair, message: Message) -> bytes:
    url = f"http://{HOST}:{pair.consumer.settings.client_port}/"
    sent = message.encoded()
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=sent, headers={"Content-Type": TEXT_XML}) as answer,
    ):
        return await answer.read()


def question(inner: str = "", **values: Any) -> Message:
    body = f'<p:findUsage xmlns:p="{NAMESPACE}">{inner}</p:findUsage>'
    return Message(code="findUsage", body=body, message_id=str(uuid.uuid4()), **values)


async def test_a_soap_library_reads_the_uses_newest_first_and_by_page(pair: GatewayPair) -> None:
    person = f"EE{uuid.uuid4().hex}"
    assert await asked(pair, person) == []
    for number in range(4):
        await use(pair, person, f"Anlass {number} <&>")
    everything = [(f"Anlass {number} <&>", "Musterstadt") for number in (3, 2, 1, 0)]
    assert await asked(pair, person) == everything
    assert await asked(pair, person, offset=1, limit=2) == everything[1:3]
    assert await asked(pair, person, offset=4) == []
    assert await asked(pair, f"EE{uuid.uuid4().hex}") == []


async def test_only_portals_ask_and_say_for_whom(pair: GatewayPair) -> None:
    assert fault_of(await post(pair, question(client=GUEST))) == "server.serverproxy.access_denied"
    for message in (
        question(user_id=None),
        question("<offset>-1</offset>"),
        question("<limit>viele</limit>"),
        question("<limit>1</limit><limit>2</limit>"),
        question("<userCode>EE1</userCode>"),
        Message(code="findUsage", message_id="anderer-koerper"),
    ):
        assert fault_of(await post(pair, message)) == "server.serverproxy.invalid_request"
    assert b"findUsageResponse" in await post(pair, question(version=None))
    assert fault_of(await post(pair, question(version="v3"))) == "server.serverproxy.unknown_service"


async def test_the_answer_is_not_kept_in_the_message_logs(pair: GatewayPair) -> None:
    person = f"EE{uuid.uuid4().hex}"
    await use(pair, person, "nur einmal gesagt")
    message = question(user_id=person)
    assert b"nur einmal gesagt" in await post(pair, message)
    for node in (pair.consumer, pair.provider):
        query = select(message_record.c.kept).where(message_record.c.message_id == message.message_id)
        async with node.gateway.engine.connect() as connection:
            assert list((await connection.execute(query)).scalars()) == ["reduced", "reduced"]


async def test_zeep_is_told_the_road_s_fault(pair: GatewayPair) -> None:
    with pytest.raises(ZeepFault) as caught:
        await asked(pair, f"EE{uuid.uuid4().hex}", offset=-1)
    assert caught.value.code == "server.serverproxy.invalid_request"


async def test_whatever_stands_in_a_record_gives_an_xml_document() -> None:
    body = build_find_usage_body([ListedUsage("2026-11-22T10:00:00.000Z", "a\x00b\ud800<c>\ufffe", "&")])
    read = xml.parse(body.encode())
    assert read.findtext("usage/action") == "a\ufffdb\ufffd<c>\ufffd"
    assert read.findtext("usage/receiver") == "&"


@pytest.mark.parametrize("message", [b"", b"<a/>", f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body/></e:Envelope>'.encode()])
async def test_what_is_no_query_is_refused(message: bytes) -> None:
    with pytest.raises(Fault):
        parse_find_usage(message)
