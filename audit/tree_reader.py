"""Reads a stored log's tree: tiles, partial tiles, roots, proofs.

Below the head's size nothing ever changes, so reads need no lock and no transaction: the size is read first, everything
else below it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.errors import LogInconsistent, OutOfRange
from audit.merkle import EMPTY_ROOT, HASH_BYTES, Range, consistency_ranges, inclusion_ranges, leaf_hash, root_of
from audit.store import log_entry, log_head, log_tile
from audit.tiles import WIDTH, TileId, TileNodes, full_levels, hashes_of, places_of

# Proofs that are made between two looks at the loop.
_TOGETHER: Final = 100
# A level's partial tile follows from up to 255 full ones below it, 65,000 hashes that each proof needs again: 8 MiB.
_ROOTS_KEPT: Final = 1024


async def size_of(connection: AsyncConnection, log: int) -> int:
    """The log's size now."""
    size = (await connection.execute(select(log_head.c.size).where(log_head.c.log == log))).scalar()
    if size is None:
        raise OutOfRange("no such log")
    return int(size)


async def tile_bytes(connection: AsyncConnection, log: int, tile: TileId) -> bytes:
    """A tile's hashes; a partial one is made from what is below it. The caller checks it against the log's size."""
    return (await _tiles(connection, log, {tile}))[tile]


async def _partial(connection: AsyncConnection, log: int, tile: TileId) -> bytes:
    first, end = tile.index * WIDTH, tile.index * WIDTH + tile.width
    if tile.level == 0:
        where = (log_entry.c.log == log, log_entry.c.idx >= first, log_entry.c.idx < end)
        leaves = (await connection.execute(select(log_entry.c.leaf).where(*where).order_by(log_entry.c.idx))).scalars()
        hashes = [leaf_hash(leaf) for leaf in leaves]
    else:
        below = (
            log_tile.c.log == log,
            log_tile.c.level == tile.level - 1,
            log_tile.c.idx >= first,
            log_tile.c.idx < end,
        )
        bodies = (await connection.execute(select(log_tile.c.body).where(*below).order_by(log_tile.c.idx))).scalars()
        hashes = [_root_of_full(bytes(body)) for body in bodies]
    if len(hashes) != tile.width:
        raise OutOfRange("no such tile yet")
    return b"".join(hashes)


@lru_cache(_ROOTS_KEPT)
def _root_of_full(body: bytes) -> bytes:
    """A full tile's root. By content, so that nothing stored can be taken for something else."""
    return root_of([body])


async def entries_of(connection: AsyncConnection, log: int, tile: TileId) -> list[bytes]:
    """The entries of a tile of level 0, as stored."""
    first = tile.index * WIDTH
    where = (log_entry.c.log == log, log_entry.c.idx >= first, log_entry.c.idx < first + tile.width)
    leaves = (await connection.execute(select(log_entry.c.leaf).where(*where).order_by(log_entry.c.idx))).scalars()
    entries = [bytes(leaf) for leaf in leaves]
    if len(entries) != tile.width:
        raise OutOfRange("no such entries yet")
    return entries


async def hashes_of_ranges(connection: AsyncConnection, log: int, ranges: Sequence[Range], size: int) -> list[bytes]:
    """The hash of each leaf range, in a tree of this size."""
    places = [places_of(start, end, size) for start, end in ranges]
    tiles = await _tiles(connection, log, {place.tile for some in places for place in some})
    return hashes_of(places, {tile: TileNodes(body) for tile, body in tiles.items()})


async def root_at(connection: AsyncConnection, log: int, size: int) -> bytes:
    """The root that the log had at this size."""
    if size == 0:
        return EMPTY_ROOT
    await _require_size(connection, log, size)
    return (await hashes_of_ranges(connection, log, [(0, size)], size))[0]


async def inclusion_path(connection: AsyncConnection, log: int, index: int, size: int) -> list[bytes]:
    """The inclusion proof of a leaf in the tree of this size."""
    return (await inclusion_paths(connection, log, [index], size))[0]


async def inclusion_paths(
    connection: AsyncConnection, log: int, indices: Sequence[int], size: int
) -> list[list[bytes]]:
    """The inclusion proofs of many leaves in the tree of this size.

    Through full tiles a proof takes each node's sibling. What is above them is the same for all leaves of a subtree,
    and found once.
    """
    await _require_size(connection, log, size)
    paths: list[list[bytes]] = []
    tops: dict[tuple[int, int], list[bytes]] = {}
    partial: dict[TileId, TileNodes] = {}
    for at in range(0, len(indices), _TOGETHER):
        some = [(index, full_levels(index, size)) for index in indices[at : at + _TOGETHER]]
        missing = {
            (levels, index >> (8 * levels)): inclusion_ranges(index, size)[8 * levels :]
            for index, levels in some
            if (levels, index >> (8 * levels)) not in tops
        }
        places = {top: [places_of(start, end, size) for start, end in ranges] for top, ranges in missing.items()}
        wanted = {TileId(level, index >> (8 * level + 8)) for index, levels in some for level in range(levels)}
        wanted |= {place.tile for ranges in places.values() for of_range in ranges for place in of_range}
        tiles = await _tiles(connection, log, wanted - partial.keys())
        nodes = partial | {tile: TileNodes(body) for tile, body in tiles.items()}
        # A level has one partial tile, which costs a look at all the full ones below it.
        partial |= {tile: found for tile, found in nodes.items() if tile.width < WIDTH}
        tops |= {top: hashes_of(ranges, nodes) for top, ranges in places.items()}
        for index, levels in some:
            path: list[bytes] = []
            for level in range(levels):
                position = index >> (8 * level)
                path += nodes[TileId(level, position // WIDTH)].siblings(position % WIDTH)
            paths.append(path + tops[levels, index >> (8 * levels)])
    return paths


async def _tiles(connection: AsyncConnection, log: int, wanted: Collection[TileId]) -> dict[TileId, bytes]:
    """These tiles' hashes: the stored ones, and those that have been filled since, with one query."""
    if not wanted:
        return {}
    levels: dict[int, list[int]] = {}
    for tile in sorted(wanted):
        levels.setdefault(tile.level, []).append(tile.index)
    here = (
        (log_tile.c.log == log) & (log_tile.c.level == level) & log_tile.c.idx.in_(of_level)
        for level, of_level in levels.items()
    )
    rows = await connection.execute(select(log_tile.c.level, log_tile.c.idx, log_tile.c.body).where(or_(*here)))
    stored = {(level, index): bytes(body) for level, index, body in rows}
    tiles = {}
    for tile in wanted:
        body = stored.get((tile.level, tile.index))
        if body is None:
            if tile.width == WIDTH:
                raise OutOfRange("no such tile")
            body = await _partial(connection, log, tile)
        tiles[tile] = body[: tile.width * HASH_BYTES]
        if len(tiles[tile]) != tile.width * HASH_BYTES:
            raise LogInconsistent("a stored tile is too short")
    return tiles


async def consistency_path(connection: AsyncConnection, log: int, old: int, new: int) -> list[bytes]:
    """The proof that the tree of size `old` is a prefix of the tree of size `new`."""
    await _require_size(connection, log, new)
    return await hashes_of_ranges(connection, log, consistency_ranges(old, new), new)


async def _require_size(connection: AsyncConnection, log: int, size: int) -> None:
    if not 0 <= size <= await size_of(connection, log):
        raise OutOfRange("the log is smaller than this size")
