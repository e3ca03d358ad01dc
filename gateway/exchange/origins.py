"""The names of access logs.

One per gateway and year (`INST/CLASS/MEMBER/SERVER/audit/2026`), as C2SP checkpoints want them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trust.identifiers import SecurityServerId
from trust.parameters import SecurityServer

_LOG: Final = "/audit/"


def origin_of(server: SecurityServerId, year: int) -> str:
    """The origin of a gateway's log of one year: a scheme-less path without blanks or '+' (C2SP signed-note).

    Without commas, too: they stand between the receipts of an answer.
    """
    return f"{_keeper(server)}{_LOG}{year:04d}"


def keeper_of(origin: str) -> str:
    """Whose log it is: the origin without what says which year's; anything else stays as it is."""
    keeper, found, year = origin.rpartition(_LOG)
    return keeper if found and _is_year(year) else origin


def is_log_of(origin: str, servers: Iterable[SecurityServer], *, year: int | None = None) -> bool:
    """Whether a log of this origin is kept by one of the gateways.

    With `year` it must be that year's log or the one before: around New Year, clocks and logs change one by one.
    """
    keeper, found, stated = origin.rpartition(_LOG)
    if not found or not _is_year(stated):
        return False
    if year is not None and int(stated) not in (year, year - 1):
        return False
    return any(_keeper(server.id) == keeper for server in servers)


def _is_year(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) == 4


def _keeper(server: SecurityServerId) -> str:
    return server.encoded.replace("+", "%2B").replace(",", "%2C")
