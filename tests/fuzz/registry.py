"""What a fuzzer needs to know of a parser: how it is fed, which errors may leave it, and inputs to begin with.

A target is a function of bytes. It may return, or raise one of its own errors; anything else that leaves it is a
finding, and so is a broken promise that it asserts. The same targets serve `make fuzz` (guided by coverage, until the
time is over) and `tests/fuzz/test_targets.py` (the same few thousand mutations each time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

# Parts one argument from the next in the input of a target that takes several.
SEPARATOR: Final = b"\n=~=\n"

XML_TOKENS: Final = (
    b"<!--x-->",
    b"<?x y?>",
    b"<![CDATA[x]]>",
    b'<!DOCTYPE x [<!ENTITY e "e">]>',
    b"&e;",
    b"&#38;",
    b' xmlns:q="urn:q"',
    b' Id="signed-properties"',
    b"</ds:Object>",
    b'<?xml version="1.0" encoding="utf-16"?>',
)


@dataclass(frozen=True, slots=True)
class Target:
    """One parser. `refusals` are the errors that may leave it; `tokens` are words of its language."""

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    refusals: tuple[type[Exception], ...]
    tokens: tuple[bytes, ...] = ()
    max_bytes: int = 1 << 15

    def accepts(self, data: bytes) -> bool:
        """Whether the parser takes these bytes. Whatever it raises beyond its refusals leaves here, too."""
        try:
            self.run(data)
        except self.refusals:
            return False
        return True


def each(*calls: Callable[[], object], refusals: tuple[type[Exception], ...]) -> None:
    """Several parsers, one after the other, whichever of them refuse."""
    for call in calls:
        try:
            call()
        except refusals:
            continue


def join(*arguments: bytes) -> bytes:
    """One input of several arguments."""
    return SEPARATOR.join(arguments)


def split(data: bytes, count: int) -> list[bytes]:
    """Exactly `count` arguments of an input; those that are missing are empty."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


def text_of(data: bytes) -> str:
    """Bytes as text, whatever they are: as an HTTP parser hands headers on."""
    return data.decode("utf-8", "surrogateescape")


def by_name(targets: Iterable[Target]) -> dict[str, Target]:
    """The targets by their names, each once."""
    found: dict[str, Target] = {}
    for target in targets:
        assert target.name not in found, target.name
        found[target.name] = target
    return found
