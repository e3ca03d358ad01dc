"""Paths of REST services as access rights see them: normalised, and matched against an endpoint's glob.

X-Road's rules (facts of its `PathGlob` and `UriUtils`): the path after the service code is percent-decoded, its dot
segments are resolved, and what still holds `..` is refused. In a glob `*` takes all of what is left of a segment,
possibly nothing (it is possessive: only a separator or the end can follow it, so that `/*.json` matches no path), `**`
takes anything, `\\*` and `\\\\` are literal. Which rights there are is `gateway.exchange`'s.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

_ESCAPES: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Characters that end a line somewhere, and other controls: no endpoint's path holds them.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SLASHES: Final = re.compile("(?<=[^/])//+")
# What nothing of this would change.
_PLAIN: Final = re.compile("(?:/[0-9A-Za-z_~-]+)*/?")


class PathRefused(Exception):
    """The path can't be brought into the form that rights are decided by: it would leave the service's base."""


def normalise_path(raw: str) -> str:
    """The path after the service code, decoded and without dot segments. Raises PathRefused.

    An encoded slash separates, too: what the service makes of it isn't known, so that it counts as if it did. A path
    that holds `..` after that, even when decoded once more, is refused whatever rights there are.
    """
    if _PLAIN.fullmatch(raw):
        return raw
    if _ESCAPES.search(raw):
        raise PathRefused("malformed percent-encoding")
    try:
        decoded = unquote_to_bytes(raw).decode()
    except UnicodeError:
        raise PathRefused("not UTF-8") from None
    if _CONTROLS.search(decoded):
        raise PathRefused("control characters")
    path = _resolved(_SLASHES.sub("/", decoded))
    if ".." in path or ".." in unquote(path):
        raise PathRefused("dot segments lead out of the service")
    return path


def _resolved(path: str) -> str:
    """RFC 3986 section 5.2.4, but a `..` that has nothing to take away stays, so that it is seen."""
    kept: list[str] = []
    segments = path.split("/")
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment == "." or (segment == ".." and len(kept) > 1 and kept[-1] != ".."):
            if segment == "..":
                kept.pop()
            if last:
                kept.append("")
        else:
            kept.append(segment)
    return "/".join(kept)


def matches_glob(glob: str, path: str) -> bool:
    """Whether the whole path matches. Takes time in proportion to the path, whatever the glob."""
    return _compiled(glob).matches(path)


class _Glob:
    """A glob as the positions of an automaton, one bit each: the number of literals that have been read."""

    def __init__(self, glob: str) -> None:
        self._literals: dict[str, int] = {}
        self._anything = 0
        self._segment = 0
        position = 1
        characters = iter(_parts(glob))
        for part in characters:
            if part == "**":
                self._anything |= position
            elif part == "*":
                self._segment |= position
            else:
                literal = part[-1]
                # A `*` has taken the whole rest of the segment: only a separator can follow it.
                if not position & self._segment or literal == "/":
                    self._literals[literal] = self._literals.get(literal, 0) | position
                position <<= 1
        self._end = position

    def matches(self, path: str) -> bool:
        reached = 1
        for character in path:
            stays = self._anything if character == "/" else self._anything | self._segment
            reached = (reached & self._literals.get(character, 0)) << 1 | reached & stays
            if not reached:
                return False
        return bool(reached & self._end)


def _parts(glob: str) -> list[str]:
    """`*`, `**` (two stars and more are one), or a literal, which may stand behind its backslash."""
    parts = re.findall(r"\\[*\\]|\*\*+|.", glob, re.DOTALL)
    return ["**" if part.startswith("**") else part for part in parts]


@lru_cache(maxsize=1000)
def _compiled(glob: str) -> _Glob:
    return _Glob(glob)
