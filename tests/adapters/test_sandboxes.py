"""The sandboxes on their own: what they refuse, and how they say it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from adapters.kit.serve import serving
from adapters.kit.settings import SandboxSettings
from adapters.ozg import sandbox as ozg
from adapters.sparkasse import sandbox as sparkasse
from adapters.stadtwerke import sandbox as stadtwerke
from adapters.stadtwerke.backend import NAMESPACE, load_wsdl
from tests.adapters.support import SettableClock

CONSENT = {
    "access": {"accounts": [], "balances": []},
    "recurringIndicator": True,
    "validUntil": "2027-01-31",
    "frequencyPerDay": 4,
    "combinedServiceIndicator": False,
}


class Caller:
    """Calls a sandbox directly."""

    def __init__(self, url: str, session: aiohttp.ClientSession, clock: SettableClock) -> None:
        self.url, self.session, self.clock = url, session, clock

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, json=body, headers=sent) as response:
            return response.status, await response.json() if response.content_type.endswith("json") else None

    async def bank(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        known = {"X_Request_ID": str(uuid4()), "PSU_IP_Address": "192.0.2.7", "PSU_ID": "chipTAN"}
        sent = {name: value for name, value in {**known, **headers}.items() if value}
        return await self.call(method, f"{sparkasse.BASE_PATH}/v1{path}", body, **sent)

    async def zms(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.call(method, f"{ozg.BASE_PATH}{path}", body)


def tpp_code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["tppMessages"][0]["code"]


def zms_code(answer: tuple[int, Any]) -> tuple[int, str]:
    (error,) = answer[1]["errors"]
    assert error["statusCode"] == answer[0]
    return answer[0], error["errorCode"]


@pytest.fixture
async def bank() -> AsyncIterator[Caller]:
    clock = SettableClock()
    app = sparkasse.build_app(SandboxSettings(), clock=clock)
    async with serving(app) as url, aiohttp.ClientSession() as session:
        yield Caller(url, session, clock)


@pytest.fixture
async def office() -> AsyncIterator[Caller]:
    clock = SettableClock()
    async with serving(ozg.build_app(SandboxSettings(), clock=clock)) as url, aiohttp.ClientSession() as session:
        yield Caller(url, session, clock)


async def valid_consent(bank: Caller, **changes: Any) -> str:
    _, created = await bank.bank("POST", "/consents", CONSENT | changes)
    path = f"/consents/{created['consentId']}/authorisations"
    _, started = await bank.bank("POST", path, {"psuData": {"password": "okok1"}})
    path += f"/{started['authorisationId']}"
    await bank.bank("PUT", path, {"authenticationMethodId": "QR"})
    status, done = await bank.bank("PUT", path, {"scaAuthenticationData": "111111"})
    assert (status, done["scaStatus"]) == (200, "finalised")
    consent_id: str = created["consentId"]
    return consent_id


@pytest.mark.parametrize("request_id", ["", "4711"])
async def test_bank_without_a_request_id(bank: Caller, request_id: str) -> None:
    assert tpp_code(await bank.bank("GET", "/accounts", X_Request_ID=request_id)) == (400, "FORMAT_ERROR")


@pytest.mark.parametrize(
    ("change", "headers", "code"),
    [
        ({}, {"PSU_IP_Address": ""}, "FORMAT_ERROR"),
        ({}, {"PSU_IP_Address": "here"}, "FORMAT_ERROR"),
        ({}, {"PSU_ID": ""}, "FORMAT_ERROR"),
        ({"access": {}}, {}, "FORMAT_ERROR"),
        ({"access": {"accounts": [{"iban": "X"}]}}, {}, "FORMAT_ERROR"),
        ({"frequencyPerDay": 0}, {}, "FORMAT_ERROR"),
        ({"recurringIndicator": False}, {}, "FORMAT_ERROR"),
        ({"recurringIndicator": "true"}, {}, "FORMAT_ERROR"),
        ({"validUntil": "2026-11-22"}, {}, "PERIOD_INVALID"),
        ({"validUntil": "soon"}, {}, "FORMAT_ERROR"),
        ({"combinedServiceIndicator": True}, {}, "PARAMETER_NOT_SUPPORTED"),
    ],
)
async def test_bank_consents_that_are_refused(
    bank: Caller, change: dict[str, Any], headers: dict[str, str], code: str
) -> None:
    assert tpp_code(await bank.bank("POST", "/consents", CONSENT | change, **headers)) == (400, code)


async def test_bank_reads_need_a_valid_consent(bank: Caller) -> None:
    assert tpp_code(await bank.bank("GET", "/accounts")) == (400, "FORMAT_ERROR")
    assert tpp_code(await bank.bank("GET", "/accounts", Consent_ID="nope")) == (403, "CONSENT_UNKNOWN")
    _, created = await bank.bank("POST", "/consents", CONSENT)
    assert tpp_code(await bank.bank("GET", "/accounts", Consent_ID=created["consentId"])) == (401, "CONSENT_INVALID")
    consent_id = await valid_consent(bank)
    status, accounts = await bank.bank("GET", "/accounts?withBalance=true", Consent_ID=consent_id)
    assert (status, len(accounts["accounts"][0]["balances"])) == (200, 2)
    assert tpp_code(await bank.bank("GET", "/accounts/nope", Consent_ID=consent_id)) == (404, "RESOURCE_UNKNOWN")
    await bank.bank("DELETE", f"/consents/{consent_id}")
    assert tpp_code(await bank.bank("GET", "/accounts", Consent_ID=consent_id)) == (401, "CONSENT_INVALID")
    _, consent = await bank.bank("GET", f"/consents/{consent_id}")
    assert consent["consentStatus"] == "terminatedByTpp"


async def test_bank_consents_end_on_their_day(bank: Caller) -> None:
    consent_id = await valid_consent(bank)
    bank.clock.at += timedelta(days=69)
    assert (await bank.bank("GET", "/accounts", Consent_ID=consent_id))[0] == 200
    bank.clock.at += timedelta(days=1)
    assert tpp_code(await bank.bank("GET", "/accounts", Consent_ID=consent_id)) == (401, "CONSENT_EXPIRED")


async def test_bank_counts_unattended_reads_per_resource(bank: Caller) -> None:
    consent_id = await valid_consent(bank, frequencyPerDay=2)
    unattended = {"Consent_ID": consent_id, "PSU_IP_Address": ""}
    assert [(await bank.bank("GET", "/accounts", **unattended))[0] for _ in range(3)] == [200, 200, 429]
    _, listed = await bank.bank("GET", "/accounts", Consent_ID=consent_id)
    path = f"/accounts/{listed['accounts'][0]['resourceId']}/balances"
    assert (await bank.bank("GET", path, **unattended))[0] == 200


async def test_bank_gives_only_what_the_consent_names(bank: Caller) -> None:
    iban = "DE75999455003000471102"
    consent_id = await valid_consent(bank, access={"accounts": [{"iban": iban}]})
    _, listed = await bank.bank("GET", "/accounts", Consent_ID=consent_id)
    assert [account["iban"] for account in listed["accounts"]] == [iban]
    path = f"/accounts/{listed['accounts'][0]['resourceId']}/balances"
    assert tpp_code(await bank.bank("GET", path, Consent_ID=consent_id)) == (401, "CONSENT_INVALID")


async def reserved(office: Caller, number: int = 0) -> dict[str, Any]:
    query = "startDate=2026-11-24&endDate=2026-12-10&officeIds=102522&serviceIds=1063441&serviceCounts=1"
    _, calendar = await office.zms("GET", f"/available-calendar/?{query}")
    slots = [slot for day in calendar["availableDays"] for slot in day["offices"][0]["appointments"]]
    body = {"officeId": 102522, "serviceId": [1063441], "serviceCount": [1], "timestamp": slots[number]}
    status, process = await office.zms("POST", "/reserve-appointment/", body)
    assert (status, process["status"]) == (200, "reserved")
    return {"processId": process["processId"], "authKey": process["authKey"], "timestamp": slots[number]}


def key(process: dict[str, Any]) -> dict[str, Any]:
    return {"processId": process["processId"], "authKey": process["authKey"]}


async def test_office_steps_have_their_order(office: Caller) -> None:
    process = await reserved(office)
    person = {"familyName": "Beispiel", "email": "erika@beispiel.example"}
    confirm = await office.zms("POST", "/confirm-appointment/", key(process))
    assert zms_code(confirm) == (409, "processNotPreconfirmedAnymore")
    assert zms_code(await office.zms("POST", "/preconfirm-appointment/", key(process))) == (406, "emailIsRequired")
    nameless = await office.zms("POST", "/update-appointment/", {**key(process), "familyName": "B"})
    assert zms_code(nameless) == (406, "emailIsRequired")
    assert (await office.zms("POST", "/update-appointment/", {**key(process), **person}))[0] == 200
    assert (await office.zms("POST", "/preconfirm-appointment/", key(process)))[1]["status"] == "preconfirmed"
    late = await office.zms("POST", "/update-appointment/", {**key(process), **person})
    assert zms_code(late) == (409, "processNotReservedAnymore")
    _, confirmed = await office.zms("POST", "/confirm-appointment/", key(process))
    assert confirmed["status"] == "confirmed"
    assert "BEGIN:VEVENT" in confirmed["icsContent"]
    assert (await office.zms("POST", "/cancel-appointment/", key(process)))[1]["status"] == "deleted"
    again = await office.zms("POST", "/cancel-appointment/", key(process))
    assert zms_code(again) == (406, "appointmentCanNotBeCanceled")


async def test_bank_reads_json_and_nothing_else(bank: Caller) -> None:
    headers = {"X-Request-ID": str(uuid4()), "PSU-IP-Address": "192.0.2.7", "Content-Type": "text/plain"}
    url = f"{bank.url}{sparkasse.BASE_PATH}/v1/consents"
    async with bank.session.post(url, data=b"{}", headers=headers) as response:
        assert tpp_code((response.status, await response.json())) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert response.headers["X-Request-ID"] == headers["X-Request-ID"]


async def test_office_keys_cannot_be_guessed(office: Caller) -> None:
    process = await reserved(office)
    wrong = {**key(process), "authKey": "0" * 64}
    for path in ("/cancel-appointment/", "/preconfirm-appointment/"):
        assert zms_code(await office.zms("POST", path, wrong)) == (406, "authKeyMismatch")
        # A key of the older, short form is as good a guess.
        assert zms_code(await office.zms("POST", path, wrong | {"authKey": "0000"})) == (406, "authKeyMismatch")
    unknown = {"processId": 1, "authKey": "0" * 64}
    assert zms_code(await office.zms("POST", "/cancel-appointment/", unknown)) == (404, "appointmentNotFound")


async def test_office_holds_lapse_and_free_the_slot(office: Caller) -> None:
    process = await reserved(office)
    again = {"officeId": 102522, "serviceId": [1063441], "serviceCount": [1], "timestamp": process["timestamp"]}
    assert zms_code(await office.zms("POST", "/reserve-appointment/", again)) == (404, "appointmentNotAvailable")
    office.clock.move(minutes=15)
    person = {"familyName": "Beispiel", "email": "erika@beispiel.example"}
    late = await office.zms("POST", "/update-appointment/", {**key(process), **person})
    assert zms_code(late) == (409, "processNotReservedAnymore")
    status, second = await office.zms("POST", "/reserve-appointment/", again)
    assert status == 200
    await office.zms("POST", "/update-appointment/", {**key(second), **person})
    await office.zms("POST", "/preconfirm-appointment/", key(second))
    office.clock.move(minutes=60)
    expired = await office.zms("POST", "/confirm-appointment/", key(second))
    assert zms_code(expired) == (400, "preconfirmationExpired")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "invalidStartDate"),
        ("startDate=2026-11-24", "invalidEndDate"),
        ("startDate=2026-11-24&endDate=2026-11-23", "startDateAfterEndDate"),
        ("startDate=2026-11-24&endDate=2026-11-25", "invalidServiceId"),
        ("startDate=2026-11-24&endDate=2026-11-25&serviceIds=1&serviceCounts=1&officeIds=102522", "invalidServiceId"),
        (
            "startDate=2026-11-24&endDate=2026-11-25&serviceIds=1080582&serviceCounts=1&officeIds=102522",
            "invalidLocationAndServiceCombination",
        ),
    ],
)
async def test_office_calendars_that_are_refused(office: Caller, query: str, code: str) -> None:
    assert zms_code(await office.zms("GET", f"/available-calendar/?{query}")) == (400, code)


ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"


@pytest.mark.parametrize(
    ("namespace", "header", "body", "action", "code"),
    [
        (ENVELOPE, "", "<k:PruefeKunde/>", "PruefeKunde", "Client"),
        (ENVELOPE, "", "<k:Geheim/>", "Geheim", "Client"),
        (ENVELOPE, "", "<k:PruefeKunde/>", "HoleRechnung", "Client"),
        ("http://www.w3.org/2003/05/soap-envelope", "", "<k:PruefeKunde/>", "PruefeKunde", "VersionMismatch"),
        (ENVELOPE, '<k:x s:mustUnderstand="1"/>', "<k:PruefeKunde/>", "PruefeKunde", "MustUnderstand"),
    ],
)
async def test_soap_requests_that_are_refused(namespace: str, header: str, body: str, action: str, code: str) -> None:
    message = (
        f'<s:Envelope xmlns:s="{namespace}" xmlns:k="{NAMESPACE}">'
        f"<s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
    async with (
        serving(stadtwerke.build_app(SandboxSettings())) as url,
        aiohttp.ClientSession() as session,
        session.post(
            f"{url}/kundenservice/v1",
            data=message.encode(),
            headers={"Content-Type": "text/xml", "SOAPAction": f'"{NAMESPACE}/{action}"'},
        ) as response,
    ):
        assert response.status == 500
        assert f"<faultcode>soap:{code}</faultcode>" in await response.text()


async def test_the_wsdl_is_served() -> None:
    async with (
        serving(stadtwerke.build_app(SandboxSettings())) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}/kundenservice/v1?wsdl") as response,
    ):
        served = await response.read()
        # Whoever reads it here calls the service here.
        own = f'<soap:address location="{url}/kundenservice/v1"/>'.encode()
        assert own in served
        assert (
            served.replace(own, b'<soap:address location="http://stadtwerke.example/kundenservice/v1"/>') == load_wsdl()
        )
