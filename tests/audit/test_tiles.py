"""Tiles: paths of C2SP tlog-tiles, and the edge against a tree built whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import MalformedInput
from audit.merkle import inclusion_ranges, leaf_hash, root_of
from audit.tiles import (
    TileId,
    TileNodes,
    TreeEdge,
    available_width,
    full_levels,
    hashes_of,
    parse_tile_path,
    places_of,
)

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
    places = places_of(0, size, size)
    tiles = {place.tile: TileNodes(body_of(place.tile)) for place in places}
    assert hashes_of([places], tiles) == [root_of(HASHES[:size])]
    assert len(tiles) == 2


def body_of(tile: TileId) -> bytes:
    if tile.level == 0:
        return b"".join(HASHES[tile.index * 256 : tile.index * 256 + tile.width])
    return b"".join(root_of(HASHES[at * 256 : (at + 1) * 256]) for at in range(tile.width))


@settings(deadline=None)
@given(st.integers(1, 3000), st.lists(st.integers(0, 2999), min_size=1, max_size=8))
def test_hashes_of_many_ranges_are_those_of_each(size: int, indices: list[int]) -> None:
    ranges = [part for index in indices for part in inclusion_ranges(index % size, size)]
    places = [places_of(start, end, size) for start, end in ranges]
    tiles = {tile: TileNodes(body_of(tile)) for tile in {place.tile for some in places for place in some}}
    expected = [root_of(HASHES[start:end]) for start, end in ranges]
    assert hashes_of(places, tiles) == expected
    assert [hashes_of([some], tiles)[0] for some in places] == expected


@pytest.mark.parametrize(("index", "size", "levels"), [(0, 255, 0), (0, 256, 1), (255, 256, 1), (256, 511, 0)])
def test_below_how_many_full_tiles_a_leaf_is(index: int, size: int, levels: int) -> None:
    assert full_levels(index, size) == levels
    assert full_levels(index << 8, size << 8) == levels + 1


@pytest.mark.parametrize("width", [1, 2, 5, 255, 256])
def test_the_nodes_above_a_tile_s_hashes(width: int) -> None:
    body = b"".join(HASHES[:width])
    for count in (1, 2, 4, 8, 128):
        for offset in range(0, width - count + 1, count):
            assert TileNodes(body).root(offset, count) == root_of(HASHES[offset : offset + count])
