"""JSON from outside (RFC 8259) whose texts can be written, stored and shown wherever they go. A core.

An escape can make what no text is: half a character (a lone surrogate), which has no UTF-8, and NUL, which PostgreSQL
takes in no text. Whoever takes one in finds out later, on every page and in every export that shows it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")


class NotJSON(Exception):
    """The bytes aren't JSON, or hold what is no text."""


def parse_json(body: bytes) -> Any:
    """The value. The caller bounds the size.

    Refuses NaN and infinities, a name that an object has twice, and texts with lone surrogates or NUL. Raises NotJSON.
    """
    try:
        value = json.loads(body, parse_constant=_refuse, object_pairs_hook=_unique)
        if b"\\u" in body:
            _require_texts(value)
    except (ValueError, RecursionError):
        raise NotJSON from None
    return value


def _require_texts(value: object) -> None:
    if isinstance(value, str):
        if _NO_TEXT.search(value):
            raise ValueError
    elif isinstance(value, dict):
        for name, one in value.items():
            _require_texts(name)
            _require_texts(one)
    elif isinstance(value, list):
        for one in value:
            _require_texts(one)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError
