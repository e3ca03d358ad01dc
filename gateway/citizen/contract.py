"""The citizen API's description (`openapi.yaml`), which comes first: routes are made of it and requests held to it.

OpenAPI 3.1.0. A handler is tied to an operation by its id; one without the other keeps the process from starting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import yaml
from multidict import MultiMapping

from gateway.citizen.errors import InvalidRequest, UnknownThing, WrongContentType
from gateway.citizen.json_texts import NotJSON, parse_json
from gateway.citizen.schema import Mismatch, Schemas

BASE: Final = "/api/v1"
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_MAX_DIGITS: Final = 9
_TRUTH: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the document."""

    id: str
    method: str
    path: str
    summary: str
    public: bool
    path_parameters: Mapping[str, Any]
    query_parameters: Mapping[str, Any]
    header_parameters: frozenset[str]
    body: Mapping[str, Any] | None


class Contract:
    """The document and what of it is needed at a request."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._schemas = Schemas(document)
        self.operations = tuple(self._operations())
        for operation in self.operations:
            for schema in (*operation.path_parameters.values(), *operation.query_parameters.values()):
                self._schemas.require_known(schema)
            if operation.body is not None:
                self._schemas.require_known(operation.body)

    def _operations(self) -> list[Operation]:
        return [
            self._operation(path, method, item[method])
            for path, item in self.document["paths"].items()
            for method in _METHODS
            if method in item
        ]

    def _operation(self, path: str, method: str, described: Mapping[str, Any]) -> Operation:
        places: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}}
        for parameter in map(self._schemas.resolve, described.get("parameters", ())):
            places[parameter["in"]][parameter["name"]] = self._schemas.resolve(parameter["schema"])
        body = described.get("requestBody")
        return Operation(
            id=described["operationId"],
            method=method.upper(),
            path=BASE + path,
            summary=described["summary"],
            public=described.get("security") == [],
            path_parameters=places["path"],
            query_parameters=places["query"],
            header_parameters=frozenset(name.lower() for name in places["header"]),
            body=None if body is None else body["content"]["application/json"]["schema"],
        )

    def path_of(self, operation: Operation, stated: Mapping[str, str]) -> Mapping[str, str]:
        """The path's values. Raises UnknownThing: an address that can't be is one of nothing."""
        try:
            for name, schema in operation.path_parameters.items():
                self._schemas.check(stated.get(name), schema, name)
        except Mismatch as mismatch:
            raise UnknownThing(mismatch.place) from None
        return dict(stated)

    def query_of(self, operation: Operation, stated: MultiMapping[str]) -> Mapping[str, Any]:
        """The query's values, with the defaults of what isn't stated. Raises InvalidRequest."""
        values: dict[str, Any] = {}
        for name in stated:
            schema = operation.query_parameters.get(name)
            if schema is None or len(stated.getall(name)) != 1:
                raise InvalidRequest("query")
            values[name] = _typed(stated[name], schema)
            try:
                self._schemas.check(values[name], schema, name)
            except Mismatch as mismatch:
                raise InvalidRequest(mismatch.place) from None
        for name, schema in operation.query_parameters.items():
            if name not in values and "default" in schema:
                values[name] = schema["default"]
        return values

    def body_of(self, operation: Operation, content_type: str, body: bytes) -> Any:
        """The body's value, None for an operation that takes none. Raises InvalidRequest."""
        if operation.body is None:
            return None
        if content_type != "application/json":
            raise WrongContentType("content type")
        try:
            value = parse_json(body)
        except NotJSON:
            raise InvalidRequest("body") from None
        try:
            self._schemas.check(value, operation.body, "")
        except Mismatch as mismatch:
            raise InvalidRequest(mismatch.place or "body") from None
        return value


def load_contract() -> Contract:
    """The description that comes with the programme."""
    return Contract(yaml.safe_load(files(__package__).joinpath("openapi.yaml").read_text("utf-8")))


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """A query's text as the type that its schema has; left a text where it isn't of it, to be refused."""
    match schema.get("type"):
        case "integer" if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
            return int(text)
        case "boolean" if text in _TRUTH:
            return _TRUTH[text]
        case _:
            return text
