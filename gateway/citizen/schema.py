"""Checks a value against the part of JSON Schema (2020-12) that our own requests are described in. A core.

Our documents only: a keyword that isn't known here is refused when the document is loaded, never skipped at a request.
A test holds the answers to those of a complete implementation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_ANNOTATIONS: Final = frozenset({"description", "default", "title"})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: _is_number(value) and value == int(value),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
_LIMITS: Final[Mapping[str, tuple[str, Callable[[Any, Any], bool]]]] = {
    "minLength": ("string", lambda value, limit: len(value) >= limit),
    "maxLength": ("string", lambda value, limit: len(value) <= limit),
    "pattern": ("string", lambda value, pattern: re.search(pattern, value) is not None),
    "minimum": ("number", lambda value, limit: value >= limit),
    "maximum": ("number", lambda value, limit: value <= limit),
    "minItems": ("array", lambda value, limit: len(value) >= limit),
    "maxItems": ("array", lambda value, limit: len(value) <= limit),
    "maxProperties": ("object", lambda value, limit: len(value) <= limit),
}
_KNOWN: Final = _ANNOTATIONS | set(_LIMITS) | {
    *("$ref", "type", "enum", "properties", "required", "additionalProperties", "items")
}  # fmt: skip


class Mismatch(Exception):
    """The value isn't what the schema describes. `place` names where, never the value."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class UnknownKeyword(Exception):
    """A schema uses what this module doesn't check. Our own fault."""


class Schemas:
    """The schemas of one document. `document` is trusted: it is part of the programme."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def resolve(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a node is, or refers to within the document."""
        while "$ref" in node:
            found: Any = self._document
            for part in str(node["$ref"]).removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node

    def require_known(self, schema: Mapping[str, Any]) -> None:
        """Raises UnknownKeyword for a schema that `check` wouldn't check wholly."""
        schema = self.resolve(schema)
        if unknown := set(schema) - _KNOWN:
            raise UnknownKeyword(min(unknown))
        children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
        for child in children:
            if isinstance(child, dict):
                self.require_known(child)

    def check(self, value: object, schema: Mapping[str, Any], place: str) -> None:
        """Raises Mismatch unless `value` is as `schema` says."""
        schema = self.resolve(schema)
        stated = schema.get("type", ())
        types = (stated,) if isinstance(stated, str) else tuple(stated)
        if types and not any(_TYPES[name](value) for name in types):
            raise Mismatch(place)
        if "enum" in schema and not any(type(value) is type(one) and value == one for one in schema["enum"]):
            raise Mismatch(place)
        for keyword, (kind, holds) in _LIMITS.items():
            if keyword in schema and _TYPES[kind](value) and not holds(value, schema[keyword]):
                raise Mismatch(place)
        if isinstance(value, dict):
            self._check_object(value, schema, place)
        elif isinstance(value, list) and "items" in schema:
            for number, item in enumerate(value):
                self.check(item, schema["items"], f"{place}/{number}")

    def _check_object(self, value: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> None:
        properties: Mapping[str, Any] = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        for name in schema.get("required", ()):
            if name not in value:
                raise Mismatch(f"{place}/{name}".lstrip("/"))
        for name, child in value.items():
            if name in properties:
                self.check(child, properties[name], f"{place}/{name}".lstrip("/"))
            elif others is False:
                # A caller's own name for a field is theirs: it isn't repeated.
                raise Mismatch(place)
            elif isinstance(others, dict):
                self.check(child, others, place)
