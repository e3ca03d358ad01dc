"""What the adapters send and the sandboxes answer, held against the institutions' published contracts."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from adapters.kit.entries import Kind
from tests.adapters.support import Exchange, world

CONTRACTS = Path(__file__).resolve().parents[3] / "shared" / "contracts"
BASE = "/fixs2a-env/xs2a-api/99945500"

# The published file joins request schemas with `oneOf: [{}, ...]`; {} fits everything, so nothing fits just one.
BANK_REQUESTS = {
    "psuData": "updatePsuAuthentication",
    "authenticationMethodId": "selectPsuAuthenticationMethod",
    "scaAuthenticationData": "transactionAuthorisation",
}
UPDATE_ANSWERS = {"scaMethodSelected": "selectPsuAuthenticationMethodResponse", "finalised": "scaStatusResponse"}


def contract(path: str) -> Path:
    found = CONTRACTS / path
    if not found.exists():
        pytest.skip(f"the published contract {path} is not at hand (expected in {CONTRACTS})")
    return found


@pytest.fixture(scope="module")
def psd2() -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(contract("nextgenpsd2/psd2-api_v1.3.11.yaml").read_text(), Loader=loader)


@pytest.fixture
async def bank_exchanges(tmp_path: Path) -> AsyncIterator[list[Exchange]]:
    """A whole life of a link, with the errors on the way."""
    async with world(Kind.SPARKASSE, tmp_path) as bank:
        await bank.call("POST", "/link", {"psuId": "chipTAN", "password": "wrong"})
        started = await bank.call("POST", "/link", {"psuId": "chipTAN", "password": "okok1"})
        path = f"/link/{started.body['linkId']}"
        await bank.call("PUT", path, {"authenticationMethodId": "nope"})
        await bank.call("PUT", path, {"authenticationMethodId": "OPTICAL"})
        await bank.call("PUT", path, {"scaAuthenticationData": "999999"})
        await bank.call("PUT", path, {"scaAuthenticationData": "111111"})
        await bank.call("GET", "/link")
        for _ in range(5):
            await bank.call("GET", "/balance", attended=False)
        await bank.call("GET", "/balance")
        bank.clock.move(days=181)
        await bank.call("GET", "/accounts")
        await bank.call("DELETE", "/link")
        yield bank.recorded


async def test_the_bank_adapter_and_its_sandbox_speak_nextgenpsd2(psd2: Any, bank_exchanges: list[Exchange]) -> None:
    statuses = set()
    for exchange in bank_exchanges:
        operation = _operation(psd2, exchange)
        _require_headers(psd2, operation, exchange)
        if exchange.request is not None:
            _validate(psd2, _request_schema(exchange), exchange.request)
        statuses.add(exchange.status)
        assert exchange.response_headers["X-Request-ID"] == exchange.request_headers["X-Request-ID"]
        schema = _response_schema(psd2, operation, exchange)
        if schema is None:
            assert exchange.response is None
        else:
            _validate(psd2, schema, exchange.response)
    assert statuses == {200, 201, 204, 400, 401, 429}


def _operation(document: Any, exchange: Exchange) -> Any:
    path = exchange.path.removeprefix(BASE)
    # Payment paths start with a parameter and would fit as well: the most literal path is the one meant.
    for template, operations in sorted(document["paths"].items(), key=lambda entry: entry[0].count("{")):
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            return operations[exchange.method.lower()]
    raise AssertionError(f"{path} is not in the contract")


def _require_headers(document: Any, operation: Any, exchange: Exchange) -> None:
    for parameter in operation["parameters"]:
        declared = document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
        if declared["in"] != "header":
            continue
        value = exchange.request_headers.get(declared["name"])
        assert value is not None or not declared.get("required"), declared["name"]
        if value is not None and declared["schema"].get("type") == "string":
            _validate(document, declared["schema"], value)


def _request_schema(exchange: Exchange) -> Any:
    names = [schema for field, schema in BANK_REQUESTS.items() if field in exchange.request]
    return {"$ref": f"#/components/schemas/{names[0] if names else 'consents'}"}


def _response_schema(document: Any, operation: Any, exchange: Exchange) -> Any:
    declared = operation["responses"][str(exchange.status)]
    if "$ref" in declared:
        declared = document["components"]["responses"][declared["$ref"].rpartition("/")[2]]
    if "content" not in declared:
        return None
    schema = declared["content"]["application/json"]["schema"]
    if "oneOf" in schema:
        return {"$ref": f"#/components/schemas/{UPDATE_ANSWERS[exchange.response['scaStatus']]}"}
    return schema


def _validate(document: Any, schema: Any, value: Any) -> None:
    OAS30Validator(
        {**schema, "components": document["components"]}, format_checker=OAS30Validator.FORMAT_CHECKER
    ).validate(value)


@pytest.fixture
def zms() -> Registry[Any]:
    root = contract("zms")
    resources = []
    for path in root.rglob("*.json"):
        schema = json.loads(path.read_text())
        # The published schemas name no dialect and no id; relative references need one.
        resources.append((f"http://zms.example/{path.relative_to(root)}", DRAFT202012.create_resource(schema)))
    return Registry().with_resources(resources)


ZMS_SCHEMAS = {
    "/offices-and-services/": "http://zms.example/collections/officeServiceAndRelationList.json",
    "/available-calendar/": "http://zms.example/availableCalendar.json",
}


def booking(slot: Mapping[str, Any]) -> dict[str, Any]:
    """What a citizen tells to book this appointment."""
    appointment = {"officeId": 102522, "serviceId": 1063441, "timestamp": slot["timestamp"]}
    return appointment | {"familyName": "Beispiel", "email": "erika@beispiel.example"}


async def test_the_office_sandbox_answers_as_the_zms_schemas_say(zms: Registry[Any], tmp_path: Path) -> None:
    async with world(Kind.OZG, tmp_path) as offices:
        await offices.call("GET", "/offices")
        slots = (await offices.call("GET", "/slots?officeId=102522&serviceId=1063441")).body["slots"]
        booked = await offices.call("POST", "/appointments", booking(slots[0]))
        await offices.call("GET", "/appointments")
        await offices.call("DELETE", f"/appointments/{booked.body['processId']}")
        seen = set()
        for exchange in offices.recorded:
            path = exchange.path.removeprefix("/terminvereinbarung/api/citizen")
            reference = ZMS_SCHEMAS.get(path, "http://zms.example/thinnedProcess.json")
            Draft202012Validator({"$ref": reference}, registry=zms).validate(exchange.response)
            # The schemas let arrays and null pass as well; the real server answers an object.
            assert isinstance(exchange.response, dict)
            seen.add(path)
        assert len(seen) == 8


async def test_bookings_are_sent_in_the_forms_of_the_service_classes(tmp_path: Path) -> None:
    async with world(Kind.OZG, tmp_path) as offices:
        slots = (await offices.call("GET", "/slots?officeId=102522&serviceId=1063441")).body["slots"]
        await offices.call("POST", "/appointments", booking(slots[0]) | {"telephone": "+4955501234"})
        bodies = {
            exchange.path.rsplit("/", 2)[1]: set(exchange.request)
            for exchange in offices.recorded
            if exchange.method == "POST"
        }
    key = {"processId", "authKey"}
    assert bodies == {
        "reserve-appointment": {"officeId", "serviceId", "serviceCount", "timestamp"},
        "update-appointment": key | {"familyName", "email", "telephone"},
        "preconfirm-appointment": key,
        "confirm-appointment": key,
    }


def test_the_bank_contract_check_can_fail(psd2: Any) -> None:
    for schema, value in (
        ("consents", {"access": {}}),
        ("accountList", {"accounts": [{"iban": "DE1", "currency": "EUR"}]}),
        ("consentStatusResponse-200", {"consentStatus": "fine"}),
    ):
        with pytest.raises(ValidationError):
            _validate(psd2, {"$ref": f"#/components/schemas/{schema}"}, value)
