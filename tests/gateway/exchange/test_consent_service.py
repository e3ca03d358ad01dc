"""The consent service over the road: an institution's gateway asks the city's, and the copy comes back to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from yarl import URL

from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import Answer, GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.town import APP, GUEST, STRAY, UTILITY

pytestmark = pytest.mark.asyncio(loop_scope="module")

PURPOSES = """
[[purpose]]
key = "auskunft"
service = "DE-TEST/COM/STADTWERKE/kundenservice/echo"
provider_name = "Stadtwerke"
text_de = "Auskunft."
text_en = "Information."
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    """A pair whose city has citizens' pages, and with them the consent service."""
    folder: Path = tmp_path_factory.mktemp("einwilligung")
    (folder / "purposes.toml").write_text(PURPOSES, "utf-8")
    port = free_port()
    citizens = {
        "citizen_port": port,
        "citizen_url": f"http://{HOST}:{port}",
        "citizen_client": APP.encoded,
        "citizen_purposes_file": folder / "purposes.toml",
        "citizen_consent_declarants": (UTILITY.subsystem.encoded, GUEST.encoded),
    }
    with captured_output() as output:
        async with gateway_pair(folder, output, consumer=citizens) as running:
            yield running


async def call(
    pair: GatewayPair, path: str, *, client: Any = UTILITY.subsystem, method: str = "POST", body: Any = None
) -> Answer:
    """One call by the utility's gateway to the city's."""
    gateway = pair.provider if client == UTILITY.subsystem else pair.consumer
    url = URL(f"http://{HOST}:{gateway.settings.client_port}/r1/{APP.encoded}/{path}", encoded=True)
    headers = {"X-Road-Client": client.encoded, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    async with pair.http.request(method, url, headers=headers, data=data) as answer:
        return Answer(answer.status, answer.reason or "", answer.headers, await answer.read())


async def test_the_seven_calls_are_the_citys_alone(pair: GatewayPair) -> None:
    for path, method in (
        ("consent/api/consent", "POST"),
        ("consent/api/consent/reference", "POST"),
        ("consent/api/consent/representation", "POST"),
        ("consent/api/consent/filter-by-status", "POST"),
        ("consent/api/consent/validation/client", "GET"),
        ("consent/api/consent/validation/dataprovider", "GET"),
        ("reporting/api/reporting/consent", "POST"),
    ):
        answer = await call(pair, path, method=method, body={} if method == "POST" else None)
        assert (answer.status, answer.json["errorCode"]) == (400, "VALIDATION"), path
        assert "X-Road-Error" not in answer.headers
        # A service's own answer: signed, logged, with a receipt.
        assert answer.headers["X-Datenweg-Audit-Receipt"].startswith("DE-TEST/GOV/MUSTERSTADT/")
    there = await pair.request("POST", f"/r1/{UTILITY.subsystem.encoded}/consent/api/consent", body=b"{}")
    assert there.headers["X-Road-Error"] == "server.serverproxy.unknown_service"


async def test_declarations_and_a_request_over_the_road(pair: GatewayPair) -> None:
    service = {
        "name": "Verbrauch",
        "service": f"{UTILITY.subsystem.encoded}/konto",
        "description": "Ihr Verbrauch",
        "maxValidityDays": 60,
    }
    path = "consent/api/declarations/service/sd-verbrauch"
    declared = await call(pair, path, method="PUT", body=service)
    assert (declared.status, declared.json) == (200, {"id": "sd-verbrauch", "status": "VALID"})
    purpose = {
        "name": "Beratung",
        "recipientName": "Gast",
        "serviceDeclaration": "sd-verbrauch",
        "purpose": "Beratung.",
        "privacyUrl": "https://gast.example/",
    }
    wanted = await call(pair, "consent/api/declarations/purpose/pd-beratung", method="PUT", body=purpose, client=GUEST)
    assert wanted.status == 200
    # The calling subsystem is the one that the road has authenticated, whatever the body says.
    foreign = await call(pair, "consent/api/declarations/purpose/pd-beratung", method="DELETE")
    assert (foreign.status, foreign.json["errorCode"]) == (404, "HTTP_NOT_FOUND")
    asked = {
        "idCode": pair.pseudonym(GUEST),
        "callback": "https://gast.example/",
        "purposeDeclarationBusinessIdentifiers": ["pd-beratung"],
    }
    answer = await call(pair, "consent/api/consent", body=asked, client=GUEST)
    # Nobody is known there yet: the citizen has not used that institution's service with this city.
    assert (answer.status, answer.json["errorCode"]) == (422, "DATA_SUBJECT_ERROR")
    pair.require_discreet()


async def test_a_client_that_is_not_registered_gets_nowhere(pair: GatewayPair) -> None:
    answer = await call(pair, "consent/api/consent", body={}, client=STRAY)
    assert answer.headers["X-Road-Error"] == "server.clientproxy.unknown_member"
