"""Mutations of good inputs: the same ones for the same number, so that a failing test fails again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

_NUMBERS = (b"0", b"-1", b"255", b"256", b"65536", b"4294967296", b"9" * 20, b"1e9", "٣".encode())
_ODDITIES = (
    b"\0",
    b"\r\n",
    b"\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"%00",
    b"<",
    b"&#x0;",
    b'"',
    b"=",
    b"\t",
)


def mutations(seeds: Sequence[bytes], tokens: Sequence[bytes], *, count: int, number: int) -> Iterator[bytes]:
    """`count` inputs, each a seed with one to four changes. `number` chooses which."""
    chance = random.Random(number)
    words = (*tokens, *_NUMBERS, *_ODDITIES)
    for _ in range(count):
        data = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            data = chance.choice(_CHANGES)(data, chance, seeds, words)
        yield data


_Change = Callable[[bytes, random.Random, Sequence[bytes], Sequence[bytes]], bytes]


def _place(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice((1, 1, 2, 4, 16, 256)))


def _flip(data: bytes, chance: random.Random, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> bytes:
    if not data:
        return b"\x80"
    at = chance.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]


def _overwrite(data: bytes, chance: random.Random, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> bytes:
    start, end = _place(data, chance)
    return data[:start] + chance.randbytes(end - start) + data[end:]


def _delete(data: bytes, chance: random.Random, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> bytes:
    start, end = _place(data, chance)
    return data[:start] + data[end:]


def _cut(data: bytes, chance: random.Random, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _repeat(data: bytes, chance: random.Random, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> bytes:
    start, end = _place(data, chance)
    return data[:start] + data[start:end] * chance.choice((2, 2, 3, 50)) + data[end:]


def _insert(data: bytes, chance: random.Random, _seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    start, end = _place(data, chance)
    return data[:start] + chance.choice(words) + data[chance.choice((start, end)) :]


def _splice(data: bytes, chance: random.Random, seeds: Sequence[bytes], _words: Sequence[bytes]) -> bytes:
    other = chance.choice(seeds)
    start, end = _place(other, chance)
    at, after = _place(data, chance)
    return data[:at] + other[start:end] + data[chance.choice((at, after)) :]


def _line(data: bytes, chance: random.Random, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> bytes:
    """A line or element goes, comes twice, or changes its place."""
    mark = chance.choice((b"\n", b">", b";", b"/"))
    pieces = data.split(mark)
    piece = pieces.pop(chance.randrange(len(pieces)))
    for _ in range(chance.choice((0, 1, 2))):
        pieces.insert(chance.randrange(len(pieces) + 1), piece)
    return mark.join(pieces)


_CHANGES: Sequence[_Change] = (_flip, _flip, _overwrite, _delete, _cut, _repeat, _insert, _insert, _splice, _line)
