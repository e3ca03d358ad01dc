"""The Data Tracker's interface over the road, held against its published contract; and what the law withholds."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import pytest_asyncio
import yaml
from openapi_schema_validator import OAS30Validator
from sqlalchemy import select

from audit.releasing import release_person
from audit.store import message_record
from gateway.exchange.data_tracker import parse_usage_query, usage_of
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import Answer, GatewayPair, gateway_pair
from tests.gateway.exchange.town import APP, GUEST, UTILITY, path_of, service

PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "contracts" / "data-tracker" / "dumonitor-openapi.yaml"

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The response schemas of "Andmejälgija kasutusteabe teenus" 2.1.0 (OpenAPI), written down as JSON Schema.
_TIME = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}
_USAGE = {
    "type": "object",
    "required": ["logtime", "action", "receiverCode", "receiverSystem"],
    "properties": {
        "logtime": _TIME,
        "action": _TEXT,
        "receiverCode": _TEXT,
        "receiverName": _TEXT,
        "receiverSystem": _TEXT,
    },
    "additionalProperties": False,
}
CONTRACT: Mapping[str, Mapping[str, Any]] = {
    "findUsage": {
        "type": "object",
        "required": ["totalUsages", "usages"],
        "properties": {"totalUsages": {"type": "integer"}, "usages": {"type": "array", "items": _USAGE}},
        "additionalProperties": False,
    },
    "usagePeriod": {
        "type": "object",
        "required": ["periodStart"],
        "properties": {"periodStart": _TIME, "periodEnd": _TIME},
        "additionalProperties": False,
    },
    "heartbeat": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"enum": ["OK", "FAIL"]}, "message": _TEXT},
        "additionalProperties": False,
    },
}
ASKER = {"X-Road-UserId": "DE-beamtin"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    folder = tmp_path_factory.mktemp("tracker")
    listed: dict[str, Any] = {"data_tracker_clients": (APP.encoded,), "withheld_clients": (APP.encoded,)}
    with captured_output() as output:
        async with gateway_pair(folder, output, **listed) as running:
            yield running


async def ask(
    pair: GatewayPair, operation: str, query: str = "", *, headers: Mapping[str, str] = ASKER, client: Any = APP
) -> Answer:
    target = path_of(service("findUsage"), f"/v2/{operation}" + (f"?{query}" if query else ""))
    return await pair.request("GET", target, headers=headers, client=client)


async def asked(pair: GatewayPair, operation: str, query: str = "") -> dict[str, Any]:
    answer = await ask(pair, operation, query)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8"), answer.body
    jsonschema.validate(answer.json, CONTRACT[operation], format_checker=jsonschema.FormatChecker())
    return answer.json


async def use(pair: GatewayPair, person: str, **headers: str) -> None:
    extra = {f"X-Datenweg-{name.capitalize()}": value for name, value in headers.items()}
    assert (await pair.call("echo", headers={"X-Datenweg-Subject": person} | extra)).status == 200


def someone() -> str:
    return f"EE{uuid.uuid4().hex}"


async def test_uses_come_newest_first_and_by_page(pair: GatewayPair) -> None:
    person = someone()
    assert await asked(pair, "findUsage", f"userCode={person}") == {"totalUsages": 0, "usages": []}
    for number in range(5):
        await use(pair, person, reason=f"Anlass {number}", system="Fachverfahren")
    found = await asked(pair, "findUsage", f"userCode={person}")
    assert found["totalUsages"] == 5
    assert [usage["action"] for usage in found["usages"]] == [f"Anlass {number}" for number in (4, 3, 2, 1, 0)]
    assert found["usages"][0] | {"logtime": ""} == {
        "logtime": "",
        "action": "Anlass 4",
        "receiverCode": "MUSTERSTADT",
        "receiverName": "Musterstadt",
        "receiverSystem": "Fachverfahren",
    }
    page = await asked(pair, "findUsage", f"userCode={person}&offset=1&limit=2")
    assert page == {"totalUsages": 5, "usages": found["usages"][1:3]}
    assert (await asked(pair, "findUsage", f"userCode={person}&limit=0"))["usages"] == []
    assert (await asked(pair, "findUsage", f"userCode={person}&offset=9"))["usages"] == []


async def test_a_period_bounds_them_at_both_ends(pair: GatewayPair) -> None:
    person = someone()
    for _ in range(3):
        await use(pair, person)
    newest, middle, oldest = (await asked(pair, "findUsage", f"userCode={person}"))["usages"]
    since = quote(middle["logtime"])
    assert await asked(pair, "findUsage", f"userCode={person}&periodStart={since}") == {
        "totalUsages": 2,
        "usages": [newest, middle],
    }
    later = (datetime.fromisoformat(newest["logtime"]) + timedelta(hours=2)).isoformat()
    # Unescaped, as clients write it: the plus sign of the zone arrives as a blank.
    found = await asked(pair, "findUsage", f"userCode={person}&periodStart={oldest['logtime']}&periodEnd={later}")
    assert found["totalUsages"] == 3
    gone = (datetime.fromisoformat(oldest["logtime"]) - timedelta(seconds=1)).isoformat().replace("+00:00", "Z")
    assert (await asked(pair, "findUsage", f"userCode={person}&periodEnd={gone}"))["totalUsages"] == 0


async def test_what_a_service_declares_stands_for_a_missing_reason(pair: GatewayPair) -> None:
    person = someone()
    await use(pair, person)
    (usage,) = (await asked(pair, "findUsage", f"userCode={person}"))["usages"]
    assert (usage["action"], usage["receiverSystem"]) == ("Auskunft geben", "app")


async def test_a_denied_request_used_nothing(pair: GatewayPair) -> None:
    person = someone()
    await use(pair, person)
    denied = await pair.call("ohne-recht", headers={"X-Datenweg-Subject": person})
    assert denied.json["type"] == "server.serverproxy.access_denied"
    assert (await asked(pair, "findUsage", f"userCode={person}"))["totalUsages"] == 1


async def test_period_and_heartbeat(pair: GatewayPair) -> None:
    await use(pair, someone())
    period = await asked(pair, "usagePeriod")
    assert "periodEnd" not in period
    started = datetime.fromisoformat(period["periodStart"])
    assert timedelta(0) <= pair.provider.clock.now() - started < timedelta(minutes=10)
    assert (await asked(pair, "heartbeat"))["status"] == "OK"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "userCode=",
        "userCode=a&userCode=b",
        "userCode=a&limit=-1",
        "userCode=a&limit=x",
        "userCode=a&offset=99999999999",
        "userCode=a&periodStart=2021-01-31",
        "userCode=a&periodStart=2021-01-31T10:20:30",
        "userCode=a&periodEnd=gestern",
        "userCode=a&periodStart=2022-01-31T10:20:30Z&periodEnd=2021-01-31T10:20:30Z",
    ],
)
async def test_a_query_that_the_contract_forbids_is_400(pair: GatewayPair, query: str) -> None:
    answer = await ask(pair, "findUsage", query)
    assert answer.status == 400
    # The service's own answer, not the road's.
    assert "X-Road-Error" not in answer.headers


async def test_who_asks_must_be_named(pair: GatewayPair) -> None:
    assert (await ask(pair, "findUsage", "userCode=a", headers={})).status == 400
    assert (await ask(pair, "heartbeat", headers={})).status == 200
    assert (await ask(pair, "nothing")).status == 404


async def test_only_the_named_portals_may_ask(pair: GatewayPair) -> None:
    answer = await ask(pair, "findUsage", "userCode=a", client=GUEST)
    assert (answer.status, answer.json["type"]) == (500, "server.serverproxy.access_denied")


async def test_the_answer_is_not_kept_in_the_message_logs(pair: GatewayPair) -> None:
    person = someone()
    await use(pair, person)
    usual = await pair.call("echo", headers={"X-Datenweg-Subject": person})
    looked = await ask(pair, "findUsage", f"userCode={person}")
    assert looked.json["totalUsages"] == 2
    for node in (pair.consumer, pair.provider):
        async with node.gateway.engine.connect() as connection:
            for answer, kept in ((usual, 1), (looked, 0)):
                query = select(message_record.c.attachments).where(message_record.c.request_id == answer.request_id)
                assert sum((await connection.execute(query)).scalars()) == kept


async def test_a_withheld_access_is_hidden_counted_and_released(pair: GatewayPair) -> None:
    person = someone()
    await use(pair, person, reason="offen")
    await use(pair, person, reason="Ermittlung", hidden="true")
    found = await asked(pair, "findUsage", f"userCode={person}")
    assert [usage["action"] for usage in found["usages"]] == ["offen"]
    node, engine = pair.provider.gateway.node, pair.provider.gateway.engine
    receipts = await release_person(engine, node.sequencer, node.subject_keys, person)
    assert len(receipts) == 1
    found = await asked(pair, "findUsage", f"userCode={person}")
    assert [usage["action"] for usage in found["usages"]] == ["Ermittlung", "offen"]


async def test_who_may_not_withhold_is_shown(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    person = someone()
    monkeypatch.setattr(
        pair.provider.gateway.node, "settings", pair.provider.settings.model_copy(update={"withheld_clients": ()})
    )
    await use(pair, person, hidden="1")
    assert (await asked(pair, "findUsage", f"userCode={person}"))["totalUsages"] == 1
    answer = await pair.call("echo", headers={"X-Datenweg-Subject": person, "X-Datenweg-Hidden": "ja"})
    assert (answer.status, answer.json["type"]) == (400, "client.bad_request")


async def test_records_of_others_and_odd_records_are_no_use() -> None:
    own = UTILITY.subsystem.encoded
    record = {
        "role": "provider",
        "result": "delivered",
        "provider": {"id": own},
        "client": {"id": APP.encoded},
        "service": {"id": f"{own}/echo"},
    }
    assert usage_of(0, record, own, str) is not None
    for change in (
        {"role": "consumer"},
        {"result": "failed"},
        {"provider": {"id": APP.encoded}},
        {"service": {"id": f"{own}/datenwegAccesses"}},
        {"provider": None},
    ):
        assert usage_of(0, record | change, own, str) is None


async def test_the_defaults_of_the_contract() -> None:
    query = parse_usage_query("userCode=EE60001017869")
    assert (query.user_code, query.offset, query.limit) == ("EE60001017869", 0, 1000)


@pytest.fixture(scope="module")
def published() -> Any:
    if not PUBLISHED.exists():
        pytest.skip(f"the published contract is not at hand (expected at {PUBLISHED})")
    return yaml.safe_load(PUBLISHED.read_text("utf-8"))


def _fits(document: Any, operation: str, status: int, value: Any) -> None:
    declared = document["paths"][f"/v2/{operation}"]["get"]["responses"][str(status)]
    schema = {**declared["content"]["application/json"]["schema"], "components": document["components"]}
    OAS30Validator(schema, format_checker=OAS30Validator.FORMAT_CHECKER).validate(value)


async def test_answers_fit_the_published_contract(pair: GatewayPair, published: Any) -> None:
    person = someone()
    await use(pair, person, reason="Anlass", system="Fachverfahren")
    for operation, query in (("findUsage", f"userCode={person}"), ("usagePeriod", ""), ("heartbeat", "")):
        answer = await ask(pair, operation, query)
        assert answer.status == 200
        _fits(published, operation, 200, answer.json)
    with pytest.raises(jsonschema.ValidationError):
        _fits(published, "heartbeat", 200, {"status": 1})


async def test_what_the_published_contract_asks_for_is_taken(pair: GatewayPair, published: Any) -> None:
    person = someone()
    await use(pair, person)
    operation = published["paths"]["/v2/findUsage"]["get"]
    values = {
        "userCode": person, "periodStart": "2021-01-31T10:20:30Z", "periodEnd": "2100-01-31T10:20:30Z",
        "offset": "0", "limit": "10",
    }  # fmt: skip
    asked_for = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
    assert asked_for == set(values)
    answer = await ask(pair, "findUsage", "&".join(f"{name}={quote(value)}" for name, value in values.items()))
    assert answer.status == 200
    assert answer.json["totalUsages"] == 1
