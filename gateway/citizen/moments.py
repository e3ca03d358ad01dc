"""Days and times as citizens read them: in the city's own time, ISO 8601's order in both languages, so that none is
misread. A core.

The zone's abbreviation stands beside each time: an hour that comes twice in autumn is told apart, and whoever compares
with a log or another institution sees which clock it is. Records, proofs and files for programs stay in UTC.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

# The IANA database has the English abbreviations alone.
_GERMAN: Final = {"CET": "MEZ", "CEST": "MESZ", "EET": "OEZ", "EEST": "OESZ", "WET": "WEZ", "WEST": "WESZ"}


def format_date(milliseconds: int, zone: tzinfo) -> str:
    """The day of a moment (milliseconds since 1970, UTC)."""
    return datetime.fromtimestamp(milliseconds / 1000, zone).strftime("%Y-%m-%d")


def format_moment(milliseconds: int, zone: tzinfo, language: str) -> str:
    """The day and time of a moment (milliseconds since 1970, UTC), and which time it is."""
    moment = datetime.fromtimestamp(milliseconds / 1000, zone)
    name = moment.strftime("%Z")
    return f"{moment:%Y-%m-%d %H:%M:%S} {_GERMAN.get(name, name) if language == 'de' else name}"
