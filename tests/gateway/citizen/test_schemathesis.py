"""schemathesis against the running API: requests made from the document, good ones and bad ones, answers held to it.

Bounded: some examples for each operation and mode. What it finds is written down as a test of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS as KNOWN
from schemathesis.checks import load_all_checks
from schemathesis.generation import GenerationMode

from gateway.citizen.api_operations import CONTRACT
from tests.gateway.citizen.city import City
from tests.gateway.citizen.test_api import bearer

EXAMPLES = 8
load_all_checks()
CHECKS = KNOWN.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    ]
)
REFUSED = KNOWN.get_by_names(["negative_data_rejection"])


def walk(url: str, headers: Mapping[str, str], mode: GenerationMode) -> list[int]:
    """Sends requests of every operation. The answers' status codes; raises what schemathesis finds."""
    schema = schemathesis.openapi.from_dict(dict(CONTRACT.document))
    # A body that is too large is refused with its own status.
    rejection = schema.config.checks.negative_data_rejection
    rejection.expected_statuses = [*rejection.expected_statuses, "413"]
    answered: list[int] = []
    checks = CHECKS if mode is GenerationMode.POSITIVE else [*CHECKS, *REFUSED]
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def one(case: schemathesis.Case) -> None:
            # Whoever asks is always the same citizen: what a made-up credential gets is tested elsewhere.
            case.headers = {
                name: value
                for name, value in (case.headers or {}).items()
                if name.lower() not in ("authorization", "cookie", "x-datenweg-representing")
            }
            case.cookies = {}
            response = case.call_and_validate(base_url=f"{url}/api/v1", headers=dict(headers), checks=checks)
            answered.append(response.status_code)

        one()
    return answered


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
async def test_the_api_is_what_its_document_says(city: City, mode: GenerationMode) -> None:
    city.road.answers["GET", ""] = (200, {"ok": True})
    # More than a person's minute.
    city.citizen.person_requests._burst = 1_000_000
    answered = await asyncio.to_thread(walk, city.url, bearer(city), mode)
    assert len(answered) > len(CONTRACT.operations)
    assert (200 if mode is GenerationMode.POSITIVE else 400) in answered
