"""The API's document: it is a description in itself, everything in it is there, and requests are held to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator

from gateway.admin.openapi import parse_openapi
from gateway.citizen import api, api_operations, contract
from gateway.citizen.api_operations import CONTRACT, Operations, UnhandledOperation
from gateway.citizen.schema import Mismatch, Schemas, UnknownKeyword
from tests.gateway.citizen.described import DOCUMENT

ROOT = Path(contract.__file__).parent


def test_the_document_is_one_that_we_would_register() -> None:
    description = parse_openapi((ROOT / "openapi.yaml").read_bytes())
    assert description.version == "1.0.0"
    assert {(one.method, one.path) for one in description.operations} == {
        (one.method, one.path.removeprefix(contract.BASE)) for one in CONTRACT.operations
    }


def test_every_schema_in_it_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        OAS31Validator.check_schema(schema)


def test_every_operation_is_answered_and_nothing_else() -> None:
    assert {(route.method, route.path) for route in api.routes} == {
        (one.method, one.path) for one in CONTRACT.operations
    }
    with pytest.raises(UnhandledOperation):
        Operations().routes(CONTRACT, documented=api.routes[0])


def test_errors_are_described_everywhere() -> None:
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}


def test_a_request_schema_uses_nothing_that_would_not_be_checked() -> None:
    changed = json.loads(json.dumps(DOCUMENT))
    changed["components"]["schemas"]["Call"]["properties"]["path"]["uniqueItems"] = True
    with pytest.raises(UnknownKeyword):
        contract.Contract(changed)


def test_every_request_schema_refuses_what_it_does_not_know() -> None:
    for operation in CONTRACT.operations:
        if operation.body is not None:
            with pytest.raises(Mismatch):
                Schemas(DOCUMENT).check({"neverheard": 1}, operation.body, "")


BODIES = [operation.body for operation in CONTRACT.operations if operation.body is not None]
QUERIES = [schema for operation in CONTRACT.operations for schema in operation.query_parameters.values()]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "GET", "strom", "kontostand", "2026-11", "x" * 100, "x" * 501, "low", "json"]),
    st.text(max_size=5),
)
NAMES = st.sampled_from(["service", "method", "path", "query", "body", "name", "text", "about", "requestId", "x"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=22), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=8,
)


@given(st.sampled_from(BODIES + QUERIES), VALUES)
def test_our_checks_agree_with_a_complete_implementation(schema: Any, value: Any) -> None:
    complete = OAS31Validator({**schema, "components": DOCUMENT["components"]}).is_valid(value)
    try:
        Schemas(DOCUMENT).check(value, schema, "")
    except Mismatch:
        assert not complete
    else:
        assert complete


def test_the_document_is_served_as_it_stands() -> None:
    assert yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8")) == api_operations.CONTRACT.document
