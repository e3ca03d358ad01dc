"""Holds the API's answers to its document, with a complete JSON Schema implementation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from openapi_schema_validator import OAS31Validator

from gateway.citizen.api_operations import CONTRACT
from gateway.citizen.contract import BASE, Operation

DOCUMENT = CONTRACT.document


def operation_of(method: str, path: str) -> Operation | None:
    """The operation that an address (with or without the API's prefix) belongs to."""
    path = path.partition("?")[0].removeprefix(BASE)
    for operation in CONTRACT.operations:
        pattern = re.sub(r"\\\{[^/]+\\\}", "[^/]+", re.escape(operation.path.removeprefix(BASE)))
        if operation.method == method and re.fullmatch(pattern, path):
            return operation
    return None


def require_described(method: str, path: str, status: int, headers: Mapping[str, str], body: Any) -> None:
    """Raises AssertionError unless the document describes this answer."""
    operation = operation_of(method, path)
    content_type = headers["Content-Type"].partition(";")[0]
    if operation is None:
        assert content_type == "application/problem+json"
        check(body, {"$ref": "#/components/schemas/Problem"})
        return
    responses = DOCUMENT["paths"][operation.path.removeprefix(BASE)][method.lower()]["responses"]
    described = responses.get(str(status), responses["default"] if status >= 400 else None)
    assert described is not None, f"{method} {path} answered {status}, which the document doesn't know"
    while "$ref" in described:
        described = DOCUMENT["components"]["responses"][described["$ref"].rpartition("/")[2]]
    assert content_type in described["content"], (method, path, status, content_type)
    check(body, described["content"][content_type].get("schema", {}))


def check(value: Any, schema: Mapping[str, Any]) -> None:
    """Raises a validation error unless `value` is as `schema` of the document says, and says no more than that."""
    OAS31Validator(_closed({**schema, "components": DOCUMENT["components"]})).validate(value)


def _closed(node: Any) -> Any:
    """The schema, in which an object has no property but those that are described. Clients may ignore others, but an
    answer that has them isn't described."""
    if isinstance(node, list):
        return [_closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(one) for name, one in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
