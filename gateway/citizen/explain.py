"""An institution's JSON in plain words: known names become labels (`label_…` in the catalogues), the rest is made
readable. A core.

Bounded in depth, count and length; the texts stay the institution's and are escaped where they are shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from gateway.citizen.texts import TEXTS, text

_MAX_DEPTH: Final = 8
_MAX_ENTRIES: Final = 400
_MAX_TEXT: Final = 1_000
# For machines: BO4E's marks of type and version, and what the next form carries along by itself.
_HIDDEN: Final = frozenset(
    {"_id", "_typ", "_version", "authenticationMethodId", "authenticationType", "linkId", "officeIds", "otpFormat"}
    | {"otpMaxLength", "timestamp"}
)
_MOMENT: Final = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(?::\d{2}(?:\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_-]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """A label with a text, or with entries below it."""

    label: str
    text: str = ""
    entries: tuple[Entry, ...] = ()


def explain(data: object, language: str) -> tuple[Entry, ...]:
    """The entries of a JSON value."""
    budget = [_MAX_ENTRIES]
    return _entries(data, language, _MAX_DEPTH, budget)


def readable_moment(stated: str) -> str:
    """A day and time (RFC 3339) as people read it, in the sender's own time zone; any other text unchanged."""
    match = _MOMENT.fullmatch(stated)
    if match is None:
        return stated
    day, time, zone = match.groups()
    return f"{day} {time} UTC" if zone == "Z" else f"{day} {time}"


def _entries(data: object, language: str, depth: int, budget: list[int]) -> tuple[Entry, ...]:
    pairs: list[tuple[str, Any]]
    if isinstance(data, dict):
        pairs = [
            (_label(str(name), language), _value(str(name), value, language))
            for name, value in data.items()
            if name not in _HIDDEN
        ]
    elif isinstance(data, list):
        pairs = [(str(number), value) for number, value in enumerate(data, start=1)]
    else:
        pairs = [("", data)]
    entries: list[Entry] = []
    for label, value in pairs:
        if budget[0] <= 0:
            entries.append(Entry("…"))
            break
        budget[0] -= 1
        if isinstance(value, (dict, list)):
            below = _entries(value, language, depth - 1, budget) if depth > 1 else (Entry("…"),)
            entries.append(Entry(label, "" if value else "–", below))
        else:
            entries.append(Entry(label, _scalar(value, language)))
    return tuple(entries)


def _value(name: str, value: object, language: str) -> Any:
    key = f"value_{name}_{value}" if isinstance(value, str) else ""
    return text(key, language) if key in TEXTS else value


def _label(name: str, language: str) -> str:
    key = f"label_{name}"
    if key in TEXTS:
        return text(key, language)
    words = _WORDS.sub(" ", name).strip()[:80]
    return words[:1].upper() + words[1:]


def _scalar(value: object, language: str) -> str:
    match value:
        case None | "":
            return "–"
        case bool():
            return text("value_yes" if value else "value_no", language)
        case _:
            return readable_moment(str(value)[:_MAX_TEXT])
