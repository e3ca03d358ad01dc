"""HTTP header fields as the road carries them: which travel, and the form that keeps a message unambiguous.

RFC 9110 section 5 for the form, PR-REST 4.3 (and what X-Road's proxy really does) for the fields that don't travel.
Checks raise `Refused` without a code, because the same form is checked for clients, peers and services.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

Header = tuple[str, str]

# Hop-by-hop and identifying fields that never travel over the road, in neither direction.
DROPPED: Final = frozenset(
    (
        *("transfer-encoding", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"),
        *("connection", "user-agent", "host", "content-length", "server", "expect"),
    )
)

_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_MAX_NAME: Final = 128


class Refused(Exception):
    """A field that breaks the form. Caught where the guilty side is known; `reason` is safe to show."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@lru_cache(maxsize=2048)
def field_name(name: str) -> str:
    """The field's name in lower case. Raises Refused unless it is a token (RFC 9110 5.6.2): no blanks, no colons."""
    if not 0 < len(name) <= _MAX_NAME or not _TOKEN.issuperset(name):
        raise Refused("a header name is not valid")
    return name.lower()


def field_value(value: str) -> str:
    """The value without surrounding blanks, ready for UTF-8. Raises Refused for CR, LF, NUL and other controls.

    Bytes that were no UTF-8 (surrogates, as HTTP parsers leave them) are read as Latin-1, the older rule of HTTP.
    """
    value = value.strip(" \t")
    if value.isprintable():
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        try:
            value = value.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError:
            raise Refused("a header value is not text") from None
    require_no_controls(value)
    return value


def require_no_controls(value: str) -> None:
    """Refuses control characters other than the tab, which would split or cut a header (RFC 9110 5.5)."""
    for char in value:
        if (char < " " and char != "\t") or "\x7f" <= char <= "\x9f":
            raise Refused("a header value holds a control character")


def single_value(headers: tuple[Header, ...] | list[Header], name: str) -> str | None:
    """The first value of a field, or None. For fields that may occur once; their doubling was refused before."""
    wanted = name.lower()
    for header, value in headers:
        if header.lower() == wanted:
            return value
    return None
