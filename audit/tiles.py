"""The tree cut into tiles: C2SP tlog-tiles.

A full tile holds 256 hashes; tile `index` at `level` holds the roots of the subtrees of 256^level leaves from
`index*256` on. `TreeEdge` is the growing right edge: it takes leaf hashes and gives out tiles as they fill. Where
tiles are kept is the store's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from audit.errors import MalformedInput, OutOfRange
from audit.merkle import HASH_BYTES, Frontier, fold, nodes_above, perfect_subtrees, root_of

WIDTH: Final = 256
TILE_BYTES: Final = WIDTH * HASH_BYTES
_MAX_LEVEL: Final = 63
_TILE_HEIGHT: Final = 8
_PATH: Final = re.compile(r"(0|[1-9]\d?)/((?:x\d{3}/){0,6}\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class TileId:
    """Where a tile is; `width` is 256 for a full tile, 1 to 255 for a partial one."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """tlog-tiles: `<L>/<N>[.p/<W>]`, N in groups of three digits, all but the last with an x."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        return f"{self.level}/{number}" + ("" if self.width == WIDTH else f".p/{self.width}")


def parse_tile_path(text: str) -> TileId:
    """The inverse of `TileId.path`, strict: one spelling for one tile."""
    match = _PATH.fullmatch(text)
    if not match:
        raise MalformedInput("not a tile path")
    level, number, width = match.groups()
    tile = TileId(int(level), int(number.replace("x", "").replace("/", "")), int(width) if width else WIDTH)
    if tile.level > _MAX_LEVEL or tile.path != text:
        raise MalformedInput("not a tile path")
    return tile


def available_width(level: int, index: int, size: int) -> int:
    """How many hashes the tile has in a tree of this size: 0 to 256."""
    return max(0, min(WIDTH, (size >> (8 * level)) - index * WIDTH))


class TreeEdge:
    """The right edge of a tree: per level the hashes of the tile that is still filling, and the frontier.

    Not safe for concurrent use. A batch works on a `copy()` and throws it away when it fails.
    """

    __slots__ = ("_frontier", "_levels")

    def __init__(self) -> None:
        self._frontier = Frontier()
        self._levels: list[list[bytes]] = [[]]

    @classmethod
    def from_partial_tiles(cls, size: int, partials: list[list[bytes]]) -> TreeEdge:
        """The edge of a stored tree, given the hashes of each level's partial tile, level 0 first."""
        edge = cls()
        peaks: list[bytes] = []
        for level, hashes in enumerate(partials):
            if len(hashes) != (size >> (8 * level)) % WIDTH:
                raise OutOfRange("partial tile of the wrong width")
            # Each partial tile's set bits are the peaks of its level, larger ones to the left.
            level_peaks, position = [], 0
            for height, _ in perfect_subtrees(0, len(hashes)):
                level_peaks.append(root_of(hashes[position : position + (1 << height)]))
                position += 1 << height
            peaks[:0] = level_peaks
        edge._levels = [hashes.copy() for hashes in partials] or [[]]
        edge._frontier = Frontier.from_peaks(size, peaks)
        return edge

    @property
    def size(self) -> int:
        return self._frontier.size

    def append(self, hashed: bytes) -> list[tuple[TileId, bytes]]:
        """Add a leaf hash. Returns the tiles that it filled (mostly none)."""
        self._frontier.append(hashed)
        first = self._levels[0]
        first.append(hashed)
        return self._roll_up() if len(first) == WIDTH else []

    def _roll_up(self) -> list[tuple[TileId, bytes]]:
        filled = []
        for level in range(_MAX_LEVEL):
            hashes = self._levels[level]
            if len(hashes) < WIDTH:
                break
            filled.append((TileId(level, (self.size >> (8 * (level + 1))) - 1), b"".join(hashes)))
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(root_of(hashes))
            self._levels[level] = []
        return filled

    def root(self) -> bytes:
        return self._frontier.root()

    def copy(self) -> TreeEdge:
        other = TreeEdge()
        other._frontier = self._frontier.copy()
        other._levels = [hashes.copy() for hashes in self._levels]
        return other


def hashes_in(body: bytes) -> list[bytes]:
    """A tile's bytes as hashes."""
    if len(body) % HASH_BYTES:
        raise MalformedInput("a tile is whole hashes")
    return [body[at : at + HASH_BYTES] for at in range(0, len(body), HASH_BYTES)]


class Place(NamedTuple):
    """A perfect subtree within a tile: over `width` of its hashes from `offset` on."""

    tile: TileId
    offset: int
    width: int


class TileNodes:
    """A tile's hashes and the nodes above them, each level made when it is first wanted.

    One leaf's proof takes 247 of a full tile's 255 nodes, many leaves' proofs take no more.
    """

    __slots__ = ("_levels",)

    def __init__(self, body: bytes) -> None:
        self._levels = [body]

    def root(self, offset: int, width: int) -> bytes:
        """Of the perfect subtree over so many hashes."""
        return self._node(width.bit_length() - 1, offset // width)

    def siblings(self, position: int) -> list[bytes]:
        """The inclusion proof of a hash in a full tile's own tree."""
        return [self._node(height, (position >> height) ^ 1) for height in range(_TILE_HEIGHT)]

    def _node(self, height: int, number: int) -> bytes:
        while len(self._levels) <= height:
            self._levels.append(nodes_above(self._levels[-1]))
        return self._levels[height][number * HASH_BYTES : (number + 1) * HASH_BYTES]


def full_levels(index: int, size: int) -> int:
    """How many levels of full tiles a leaf is below, in a tree of this size: its proof begins in those tiles."""
    levels = 0
    while ((index >> (8 * levels + 8)) + 1) << (8 * levels + 8) <= size:
        levels += 1
    return levels


def places_of(start: int, end: int, size: int) -> list[Place]:
    """Where a tree of this size has the perfect subtrees of a leaf range that occurs in a proof, left to right."""
    width = end - start
    if width & (width - 1) == 0 and start % width == 0:
        return [_locate(width.bit_length() - 1, start // width, size)]
    return [_locate(height, index, size) for height, index in perfect_subtrees(start, end)]


def hashes_of(ranges: Iterable[Sequence[Place]], nodes: Mapping[TileId, TileNodes]) -> list[bytes]:
    """MTH of each leaf range, given as places in these tiles."""
    return [fold([nodes[tile].root(offset, width) for tile, offset, width in places]) for places in ranges]


def _locate(height: int, index: int, size: int) -> Place:
    level, within = divmod(height, 8)
    position = index << within
    tile_index = position // WIDTH
    tile = TileId(level, tile_index, available_width(level, tile_index, size))
    return Place(tile, position % WIDTH, 1 << within)
