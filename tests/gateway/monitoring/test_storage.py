"""Operational records in both databases: what is written, found, counted, and let go."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.store import open_engine
from gateway.metrics import Metrics
from gateway.monitoring.buffer import KEPT_SECONDS, Monitoring
from gateway.monitoring.queries import STATISTICS_SECONDS, Window, health_of, records_of
from gateway.monitoring.record import OUTPUT_FIELDS, Observation, Role, Size, to_json
from gateway.store.migrate import migrate
from tests.clocks import ManualClock
from tests.databases import migrated
from trust.identifiers import MemberId, SubsystemId

CLIENT = SubsystemId("DE-TEST", "GOV", "1", "app")
OTHER = SubsystemId("DE-TEST", "GOV", "2", "app")
PROVIDER = SubsystemId("DE-TEST", "COM", "ü/1", "dienst")
START_MS = 1_790_000_000_000


@dataclass
class Store:
    engine: AsyncEngine
    clock: ManualClock = field(default_factory=lambda: ManualClock(datetime.fromtimestamp(START_MS // 1000, UTC)))
    size: int = 20_000

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.clock)
        self.monitoring = Monitoring(
            self.engine, self.clock, self.metrics, internal_address="127.0.0.1", size=self.size
        )

    @property
    def dropped(self) -> float:
        value = self.metrics.registry.get_sample_value("datenweg_operational_records_dropped_total")
        assert value is not None
        return value

    async def write(self, *observed: Observation, at_s: int | None = None) -> None:
        if at_s is not None:
            self.clock.time = datetime.fromtimestamp(at_s, UTC)
        for one in observed:
            self.monitoring.add(one)
        await self.monitoring.flush()


def observation(**changes: Any) -> Observation:
    values: dict[str, Any] = {
        "role": Role.PRODUCER,
        "request_id": "019f0000-0000-7000-8000-000000000001",
        "request_in_ms": START_MS,
        "response_out_ms": START_MS + 40,
        "client": CLIENT,
        "provider": PROVIDER,
        "service_code": "auskunft",
        "service_type": "REST",
        "rest_method": "GET",
        "rest_path": "/x",
        "request_size": Size(100),
        "response_size": Size(200),
    }
    return Observation(**(values | changes))


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with migrated(database_url) as engine:
        yield Store(engine)


async def found(store: Store, **window: Any) -> list[dict[str, Any]]:
    begin, end = window.pop("from_s", 0), window.pop("to_s", 10**11)
    answer = await records_of(store.engine, Window(begin, end, **window))
    return [json.loads(record) for record in answer.records]


async def test_a_record_has_the_fields_of_the_protocol(store: Store) -> None:
    await store.write(observation(represented_party=("COM", "7"), issue="4711", status=200))
    (record,) = await found(store)
    assert record == {
        "monitoringDataTs": START_MS // 1000,
        "securityServerInternalIp": "127.0.0.1",
        "securityServerType": "Producer",
        "requestInTs": START_MS,
        "responseOutTs": START_MS + 40,
        "clientXRoadInstance": "DE-TEST",
        "clientMemberClass": "GOV",
        "clientMemberCode": "1",
        "clientSubsystemCode": "app",
        "serviceXRoadInstance": "DE-TEST",
        "serviceMemberClass": "COM",
        "serviceMemberCode": "ü/1",
        "serviceSubsystemCode": "dienst",
        "serviceCode": "auskunft",
        "restMethod": "GET",
        "restPath": "/x",
        "representedPartyClass": "COM",
        "representedPartyCode": "7",
        "messageIssue": "4711",
        "requestSize": 100,
        "requestAttachmentCount": 0,
        "responseSize": 200,
        "responseAttachmentCount": 0,
        "succeeded": True,
        "serviceType": "REST",
        "statusCode": 200,
        "xRequestId": "019f0000-0000-7000-8000-000000000001",
        "xRoadVersion": "7.8.0",
    }
    assert record.keys() <= set(OUTPUT_FIELDS)


def test_long_texts_are_cut_and_attachments_have_a_size_of_the_whole() -> None:
    text = to_json(
        observation(message_id="m" * 300, fault_string="f" * 3000, request_size=Size(10, 2, 30)),
        stored_s=1,
        internal_address="127.0.0.1",
    )
    record = json.loads(text)
    assert len(record["messageId"]) == 255
    assert len(record["faultString"]) == 2048
    assert (record["requestSize"], record["requestAttachmentCount"], record["requestMimeSize"]) == (10, 2, 30)
    assert "responseMimeSize" not in record


async def test_a_window_includes_both_ends(store: Store) -> None:
    for second in (100, 101, 102, 103):
        await store.write(observation(message_id=str(second)), at_s=second)
    assert [r["messageId"] for r in await found(store, from_s=101, to_s=102)] == ["101", "102"]


async def test_who_sees_which_records(store: Store) -> None:
    await store.write(
        observation(message_id="called", client=CLIENT, provider=OTHER),
        observation(message_id="answered", client=OTHER, provider=CLIENT),
        observation(message_id="foreign", client=OTHER, provider=PROVIDER),
        observation(message_id="nobody's", client=None, provider=None, service_code=None),
    )
    assert len(await found(store)) == 4
    assert {r["messageId"] for r in await found(store, visible_to=CLIENT)} == {"called", "answered"}
    assert {r["messageId"] for r in await found(store, provider=PROVIDER)} == {"foreign"}
    assert await found(store, provider=PROVIDER, visible_to=CLIENT) == []
    # A member isn't its subsystems.
    assert await found(store, visible_to=MemberId("DE-TEST", "GOV", "1")) == []


async def test_an_answer_that_is_full_names_where_the_next_begins(store: Store) -> None:
    for second, count in ((100, 3), (101, 3), (102, 1)):
        await store.write(*(observation(message_id=f"{second}-{n}") for n in range(count)), at_s=second)
    first = await records_of(store.engine, Window(0, 200), limit=4)
    assert len(first.records) == 6, "a second isn't torn apart"
    assert first.next_from_s == 102
    rest = await records_of(store.engine, Window(102, 200), limit=4)
    assert (len(rest.records), rest.next_from_s) == (1, None)
    assert (await records_of(store.engine, Window(0, 101), limit=4)).next_from_s is None, "the window ends there"
    # Full, and nothing after it: whoever asked has everything, and isn't sent for an empty answer.
    assert (await records_of(store.engine, Window(0, 200), limit=7)).next_from_s is None
    await store.write(observation(provider=OTHER), at_s=103)
    assert (await records_of(store.engine, Window(0, 200, provider=PROVIDER), limit=7)).next_from_s is None
    assert (await records_of(store.engine, Window(0, 200), limit=7)).next_from_s == 103


async def test_health_has_the_last_period_and_the_last_times(store: Store) -> None:
    now = START_MS
    old = now - STATISTICS_SECONDS * 1000 - 1
    wsdl = {"service_code": "zahl", "service_version": "v1", "service_type": "WSDL"}
    await store.write(
        observation(request_in_ms=now - 110, response_out_ms=now - 100, request_size=Size(10)),
        observation(request_in_ms=now - 80, response_out_ms=now - 50, request_size=Size(30)),
        observation(request_in_ms=now - 9000, response_out_ms=now - 10, succeeded=False, request_size=Size(1000)),
        observation(response_out_ms=old, **wsdl),
        observation(role=Role.CLIENT, response_out_ms=now, service_code="fremd"),
        observation(client=None, provider=None, service_code=None),
    )
    rest, soap = await health_of(store.engine, now_ms=now, provider=None)
    assert (rest.provider, rest.code, rest.version, rest.service_type) == (PROVIDER, "auskunft", None, "REST")
    assert (rest.last_success_ms, rest.last_failure_ms) == (now - 50, now - 10)
    assert (rest.successes, rest.failures) == (2, 1)
    assert rest.duration is not None
    assert (rest.duration.minimum, rest.duration.average, rest.duration.maximum) == (10, 20.0, 30)
    assert rest.duration.deviation == pytest.approx(10.0)
    assert rest.request_size is not None
    assert rest.request_size.average == 20.0
    assert (soap.code, soap.version, soap.last_success_ms) == ("zahl", "v1", old)
    assert (soap.successes, soap.failures, soap.duration) == (0, 0, None)
    assert await health_of(store.engine, now_ms=now, provider=OTHER) == ()


async def test_old_records_go(store: Store) -> None:
    await store.write(observation(), at_s=1000)
    await store.write(observation(), at_s=1001)
    store.clock.time = datetime.fromtimestamp(1001 + KEPT_SECONDS, UTC)
    await store.monitoring.round()
    assert [r["monitoringDataTs"] for r in await found(store)] == [1001]
    assert await store.monitoring.clean(10**9) == 1
    assert await store.monitoring.count() == 0


async def test_a_full_buffer_drops_the_oldest_and_counts_them(database_url: str) -> None:
    async with migrated(database_url) as engine:
        store = Store(engine, size=3)
        await store.write(*(observation(message_id=str(n)) for n in range(5)))
        assert [r["messageId"] for r in await found(store)] == ["2", "3", "4"]
        assert store.dropped == 2


async def test_what_a_failing_database_did_not_take_waits_again(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    try:
        store = Store(engine, size=3)
        for n in range(2):
            store.monitoring.add(observation(message_id=str(n)))
        with pytest.raises(SQLAlchemyError):
            await store.monitoring.flush()
        assert store.monitoring.waiting == 2
        await migrate(engine)
        await store.write(observation(message_id="2"))
        assert [r["messageId"] for r in await found(store)] == ["0", "1", "2"]
        assert store.dropped == 0
    finally:
        await engine.dispose()
