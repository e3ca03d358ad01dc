"""The residents' office: offices and slots, and appointments that are nobody's but their citizen's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from adapters.kit.entries import Entry, Kind
from adapters.kit.serve import serving
from adapters.kit.settings import SandboxSettings
from adapters.ozg import sandbox
from tests.adapters.support import ERIKA, MAX, SettableClock, World, adapter_at, interposed, world

OFFICE, SERVICE = 102522, 1063441
SLOTS = f"/slots?officeId={OFFICE}&serviceId={SERVICE}"


@pytest.fixture
async def offices(tmp_path: Path) -> AsyncIterator[World]:
    async with world(Kind.OZG, tmp_path) as running:
        yield running


def booking(timestamp: int, **changes: object) -> dict[str, object]:
    person = {"familyName": "Beispiel", "email": "erika@beispiel.example", "telephone": "+4955501234"}
    return {"officeId": OFFICE, "serviceId": SERVICE, "timestamp": timestamp, **person, **changes}


async def free_slots(offices: World) -> list[int]:
    reply = await offices.call("GET", SLOTS, subject=None)
    return [slot["timestamp"] for slot in reply.body["slots"]]


async def test_offices_and_services_need_no_person(offices: World) -> None:
    found = (await offices.call("GET", "/offices", subject=None)).body["offices"]
    assert {office["id"] for office in found} == {102522, 102523, 102530}
    services = (await offices.call("GET", "/services", subject=None)).body["services"]
    assert next(service for service in services if service["id"] == SERVICE)["officeIds"] == [102522, 102523]


async def test_a_citizen_books_sees_and_cancels(offices: World) -> None:
    slots = await free_slots(offices)
    booked = await offices.call("POST", "/appointments", booking(slots[0]))
    assert (booked.status, booked.body["status"], booked.body["timestamp"]) == (201, "confirmed", slots[0])
    assert booked.body["start"].endswith("+01:00")
    assert slots[0] not in await free_slots(offices)
    (mine,) = (await offices.call("GET", "/appointments")).body["appointments"]
    path = f"/appointments/{mine['processId']}"
    assert (await offices.call("GET", path)).body == mine
    assert (await offices.call("DELETE", path)).status == 204
    assert (await offices.call("GET", "/appointments")).body["appointments"] == []
    assert (await offices.call("DELETE", path)).body["code"] == "appointment_unknown"
    assert slots[0] in await free_slots(offices)


async def test_the_key_of_an_appointment_never_reaches_the_citizen(offices: World) -> None:
    slots = await free_slots(offices)
    replies = [await offices.call("POST", "/appointments", booking(slots[0]))]
    replies.append(await offices.call("GET", "/appointments"))
    replies.append(await offices.call("DELETE", f"/appointments/{replies[0].body['processId']}"))
    keys = {exchange.response["authKey"] for exchange in offices.recorded if "authKey" in (exchange.response or {})}
    assert len(keys) == 1
    assert all(key not in json.dumps([reply.body for reply in replies]) for key in keys)


async def test_nobody_touches_somebody_elses_appointment(offices: World) -> None:
    slots = await free_slots(offices)
    booked = await offices.call("POST", "/appointments", booking(slots[0]))
    path = f"/appointments/{booked.body['processId']}"
    for method in ("GET", "DELETE"):
        assert (await offices.call(method, path, subject=MAX)).body["code"] == "appointment_unknown"
    assert (await offices.call("GET", path)).body["status"] == "confirmed"


async def test_of_two_who_want_one_slot_one_gets_it(offices: World) -> None:
    slots = await free_slots(offices)
    replies = await asyncio.gather(
        offices.call("POST", "/appointments", booking(slots[3]), subject=ERIKA),
        offices.call("POST", "/appointments", booking(slots[3], email="max@beispiel.example"), subject=MAX),
    )
    assert sorted(reply.status for reply in replies) == [201, 409]
    refused = next(reply for reply in replies if reply.status == 409)
    assert (refused.body["code"], refused.body["backendCode"]) == ("slot_taken", "appointmentNotAvailable")


async def test_a_fourth_appointment_for_one_address_is_refused_and_frees_its_slot(offices: World) -> None:
    slots = await free_slots(offices)
    for timestamp in slots[:3]:
        assert (await offices.call("POST", "/appointments", booking(timestamp))).status == 201
    assert (await offices.call("POST", "/appointments", booking(slots[3]))).body["code"] == "too_many_appointments"
    assert slots[3] in await free_slots(offices)
    assert len((await offices.call("GET", "/appointments")).body["appointments"]) == 3


async def test_days_without_appointments_are_an_empty_list(offices: World) -> None:
    reply = await offices.call("GET", f"{SLOTS}&from=2026-11-28&to=2026-11-29")
    assert reply.body["slots"] == []


@pytest.mark.parametrize(
    "query", ["", "&from=2026-13-01", "&from=2026-12-24&to=2026-12-01", "&to=2027-12-01", "&x=1", f"&officeId={OFFICE}"]
)
async def test_malformed_queries_are_the_callers_fault(offices: World, query: str) -> None:
    path = SLOTS + query if query else "/slots?officeId=1"
    assert (await offices.call("GET", path)).body["code"] == "invalid_request"


@pytest.mark.parametrize("change", [{"email": "nobody"}, {"telephone": "911"}, {"familyName": ""}, {"timestamp": "x"}])
async def test_malformed_bookings_do_not_reach_the_office(offices: World, change: dict[str, object]) -> None:
    reply = await offices.call("POST", "/appointments", booking(1) | change)
    assert (reply.body["code"], reply.body["fields"]) == ("invalid_request", list(change))
    assert offices.recorded == []


@pytest.mark.parametrize("failing", ["update", "preconfirm", "confirm"])
async def test_a_booking_that_fails_half_way_is_cancelled(tmp_path: Path, failing: str) -> None:
    clock = SettableClock()
    app = sandbox.build_app(SandboxSettings(), clock=clock)
    rules = {f"/{failing}-appointment/": lambda: web.Response(status=500)}
    async with (
        serving(app) as origin,
        interposed(lambda _: origin, rules) as proxy,
        adapter_at(Kind.OZG, tmp_path, Entry(Kind.OZG).backend_url(proxy), clock=clock) as offices,
    ):
        slots = await free_slots(offices)
        reply = await offices.call("POST", "/appointments", booking(slots[0]))
        assert (reply.status, reply.body["hop"]) == (502, "backend")
        assert (await offices.call("GET", "/appointments")).body["appointments"] == []
        assert slots[0] in await free_slots(offices)


async def test_a_booking_that_could_not_be_cancelled_stays_visible_until_it_lapses(tmp_path: Path) -> None:
    clock = SettableClock()
    app = sandbox.build_app(SandboxSettings(), clock=clock)
    rules = {f"/{step}-appointment/": lambda: web.Response(status=500) for step in ("confirm", "cancel")}
    # "preconfirm" ends like "confirm": let it pass.
    rules = {f"/citizen{ending}": rule for ending, rule in rules.items()}
    async with (
        serving(app) as origin,
        interposed(lambda _: origin, rules) as proxy,
        adapter_at(Kind.OZG, tmp_path, Entry(Kind.OZG).backend_url(proxy), clock=clock) as offices,
    ):
        slots = await free_slots(offices)
        assert (await offices.call("POST", "/appointments", booking(slots[0]))).status == 502
        (mine,) = (await offices.call("GET", "/appointments")).body["appointments"]
        assert mine["status"] == "preconfirmed"
        rules.clear()
        assert (await offices.call("DELETE", f"/appointments/{mine['processId']}")).status == 204
        assert slots[0] in await free_slots(offices)


async def test_an_answer_for_another_appointment_is_not_passed_on(tmp_path: Path) -> None:
    other = {
        "processId": 1,
        "authKey": "0" * 64,
        "timestamp": "1",
        "officeId": OFFICE,
        "serviceId": SERVICE,
        "status": "reserved",
    }
    rules = {"/reserve-appointment/": lambda: web.json_response(other)}
    async with (
        interposed(lambda _: "http://127.0.0.1:1", rules) as proxy,
        adapter_at(Kind.OZG, tmp_path, proxy) as offices,
    ):
        assert (await offices.call("POST", "/appointments", booking(1_800_000_000))).body["code"] == "backend_malformed"
