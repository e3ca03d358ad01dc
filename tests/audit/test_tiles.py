"""Tiles: paths of C2SP tlog-tiles, and the edge against a tree built whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import MalformedInput
from audit.merkle import leaf_hash, root_of
from audit.tiles import TileId, TreeEdge, available_width, hash_of_range, parse_tile_path, tiles_for_range

HASHES = [leaf_hash(str(number).encode()) for number in range(70_000)]


def test_paths_of_the_specification() -> None:
    assert TileId(0, 1_234_067).path == "0/x001/x234/067"
    assert TileId(2, 0, 1).path == "2/000.p/1"
    assert TileId(0, 273, 112).path == "0/273.p/112"


@given(st.integers(0, 63), st.integers(0, 10**12), st.integers(1, 256))
def test_paths_parse_back(level: int, index: int, width: int) -> None:
    tile = TileId(level, index, width)
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    "text", ["", "0", "0/0", "0/0000", "0/x000/000", "00/000", "64/000", "0/001.p/0", "0/001.p/256", "0/-01", "0/001/"]
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(MalformedInput):
        parse_tile_path(text)


def test_the_example_of_70_000_leaves() -> None:
    """tlog-tiles: 273 full tiles and p/112 at level 0, 1 full and p/17 at level 1, p/1 at level 2."""
    edge = TreeEdge()
    full: dict[TileId, bytes] = {}
    for hashed in HASHES:
        full.update(edge.append(hashed))
    assert sum(tile.level == 0 for tile in full) == 273
    assert [tile for tile in full if tile.level == 1] == [TileId(1, 0)]
    widths = [available_width(0, 273, 70_000), available_width(1, 1, 70_000), available_width(2, 0, 70_000)]
    assert widths == [112, 17, 1]
    assert edge.root() == root_of(HASHES)
    assert full[TileId(0, 5)] == b"".join(HASHES[5 * 256 : 6 * 256])
    assert full[TileId(1, 0)][:32] == root_of(HASHES[:256])


@given(st.integers(0, 3000))
def test_an_edge_is_taken_up_again_from_its_partial_tiles(size: int) -> None:
    whole = TreeEdge()
    for hashed in HASHES[:size]:
        whole.append(hashed)
    first = HASHES[size - size % 256 : size]
    second = [root_of(HASHES[at : at + 256]) for at in range(0, size - size % 256, 256)]
    again = TreeEdge.from_partial_tiles(size, [first, second] if second else [first])
    for hashed in HASHES[size : size + 300]:
        assert again.append(hashed) == whole.append(hashed)
    assert again.root() == whole.root() == root_of(HASHES[: size + 300])


def test_hash_of_a_range_comes_from_few_tiles() -> None:
    size = 1000
    tiles = {}
    for tile in tiles_for_range(0, size, size):
        if tile.level == 0:
            body = HASHES[tile.index * 256 : tile.index * 256 + tile.width]
        else:
            body = [root_of(HASHES[at * 256 : (at + 1) * 256]) for at in range(tile.width)]
        tiles[tile] = b"".join(body)
    assert hash_of_range(0, size, size, tiles) == root_of(HASHES[:size])
    assert len(tiles) == 2
