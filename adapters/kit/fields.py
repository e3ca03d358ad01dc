"""JSON objects, strictly: parsed bounded, read field by field with a type, a length and a pattern.

The same reader serves the requests of callers and the answers of backends; whose fault a bad field is, the reader is
told when it is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, NoReturn

MAX_DEPTH: Final = 32


class MalformedJSON(Exception):
    """The bytes are not the JSON that they should be."""


def parse_json(data: bytes) -> object:
    """JSON text (RFC 8259, UTF-8) as Python values.

    Refuses duplicate names, NaN and infinities, and nesting deeper than 32. Raises MalformedJSON. The caller bounds
    the size.
    """
    try:
        value: object = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise MalformedJSON("not JSON") from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise MalformedJSON("nested too deep")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate name")
    return result


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _depth_exceeds(value: object, limit: int) -> bool:
    if limit < 0:
        return True
    if isinstance(value, dict):
        return any(_depth_exceeds(item, limit - 1) for item in value.values())
    if isinstance(value, list):
        return any(_depth_exceeds(item, limit - 1) for item in value)
    return False


class Fields:
    """Reads one object. `fault` makes the error to raise from the name of a bad field.

    `textual` is for a query or a path, where numbers are spelled in digits.
    """

    def __init__(
        self, value: object, fault: Callable[[str], Exception], *, path: str = "", textual: bool = False
    ) -> None:
        self._fault = fault
        self._textual = textual
        self._path = path
        if not isinstance(value, Mapping):
            raise fault(path or "body")
        self._values: Mapping[str, object] = value

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._values.get(name) is not None

    def text(self, name: str, *, maximum: int = 255, pattern: re.Pattern[str] | None = None) -> str:
        """A string of 1 to `maximum` printable characters that matches `pattern` whole."""
        value = self._values.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= maximum or not value.isprintable():
            raise self._bad(name)
        if pattern is not None and pattern.fullmatch(value) is None:
            raise self._bad(name)
        return value

    def optional_text(self, name: str, *, maximum: int = 255, pattern: re.Pattern[str] | None = None) -> str | None:
        """As `text`, or None where the field is absent, null or empty."""
        if not self.has(name) or self._values[name] == "":
            return None
        return self.text(name, maximum=maximum, pattern=pattern)

    def integer(self, name: str, *, minimum: int = 0, maximum: int = 2**53) -> int:
        """An integer within the bounds."""
        value = self._values.get(name)
        if self._textual and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise self._bad(name)
        return value

    def boolean(self, name: str) -> bool:
        """true or false."""
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise self._bad(name)
        return value

    def optional_date(self, name: str) -> date | None:
        """An ISO 8601 calendar date, or None where the field is absent."""
        text = self.optional_text(name, maximum=10)
        if text is None:
            return None
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise self._bad(name) from None

    def object(self, name: str) -> Fields:
        """A nested object."""
        return Fields(self._values.get(name), self._fault, path=self._name(name))

    def objects(self, name: str, *, maximum: int = 1000) -> list[Fields]:
        """A list of objects."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) > maximum:
            raise self._bad(name)
        return [Fields(item, self._fault, path=self._name(name)) for item in value]

    def integers(self, name: str, *, maximum: int = 10_000) -> list[int]:
        """A list of non-negative integers."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) > maximum:
            raise self._bad(name)
        if any(isinstance(item, bool) or not isinstance(item, int) or item < 0 for item in value):
            raise self._bad(name)
        return value

    def only(self, *names: str) -> Fields:
        """This reader, if the object has no other fields."""
        for name in self._values:
            if name not in names:
                raise self._bad(name if name.isidentifier() and len(name) < 64 else "body")
        return self

    def _name(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _bad(self, name: str) -> Exception:
        return self._fault(self._name(name))
