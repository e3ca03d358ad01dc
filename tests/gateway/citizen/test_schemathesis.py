"""schemathesis against the running API: requests made from the document, good ones and bad ones, answers held to it.

Bounded: some examples for each operation and mode. What it finds is written down as a test of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.generation import GenerationMode

from gateway.citizen.api_operations import CONTRACT
from tests.gateway.citizen.city import City
from tests.gateway.citizen.test_api import bearer

EXAMPLES = 15
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


def walk(url: str, headers: Mapping[str, str], mode: GenerationMode) -> int:
    """Sends requests of every operation. How many; raises what schemathesis finds."""
    schema = schemathesis.openapi.from_dict(dict(CONTRACT.document))
    sent = 0
    checks = CHECKS if mode is GenerationMode.POSITIVE else [*CHECKS, negative_data_rejection]
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
            nonlocal sent
            sent += 1
            # Whoever asks is always the same citizen: what a made-up credential gets is tested elsewhere.
            case.headers = {
                name: value
                for name, value in (case.headers or {}).items()
                if name.lower() not in ("authorization", "cookie", "x-datenweg-representing")
            }
            case.cookies = {}
            case.call_and_validate(base_url=f"{url}/api/v1", headers=dict(headers), checks=checks)

        one()
    return sent


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
async def test_the_api_is_what_its_document_says(city: City, mode: GenerationMode) -> None:
    load_all_checks()
    city.road.answers["GET", ""] = (200, {"ok": True})
    object.__setattr__(city.citizen.person_requests, "_burst", 1_000_000)
    city.citizen.person_requests._buckets.clear()
    sent = await asyncio.to_thread(walk, city.url, bearer(city), mode)
    assert sent > len(CONTRACT.operations)
