"""Reads a stored log's tree: tiles, partial tiles, roots, proofs.

Below the head's size nothing ever changes, so reads need no lock and no transaction: the size is read first, everything
else below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.errors import LogInconsistent, OutOfRange
from audit.merkle import EMPTY_ROOT, HASH_BYTES, Range, consistency_ranges, inclusion_ranges, leaf_hash, root_of
from audit.store import log_entry, log_head, log_tile
from audit.tiles import TILE_BYTES, WIDTH, TileId, hash_of_range, hashes_in, tiles_for_range

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
    where = (log_tile.c.log == log, log_tile.c.level == tile.level, log_tile.c.idx == tile.index)
    body = (await connection.execute(select(log_tile.c.body).where(*where))).scalar()
    if body is None:
        if tile.width == WIDTH:
            raise OutOfRange("no such tile")
        body = await _partial(connection, log, tile)
    return bytes(body[: tile.width * HASH_BYTES])


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
    return root_of(hashes_in(body))


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
    wanted: Iterable[TileId] = {tile for start, end in ranges for tile in tiles_for_range(start, end, size)}
    tiles = {tile: await tile_bytes(connection, log, tile) for tile in wanted}
    if any(len(body) != min(tile.width * HASH_BYTES, TILE_BYTES) for tile, body in tiles.items()):
        raise LogInconsistent("a stored tile is too short")
    return [hash_of_range(start, end, size, tiles) for start, end in ranges]


async def root_at(connection: AsyncConnection, log: int, size: int) -> bytes:
    """The root that the log had at this size."""
    if size == 0:
        return EMPTY_ROOT
    await _require_size(connection, log, size)
    return (await hashes_of_ranges(connection, log, [(0, size)], size))[0]


async def inclusion_path(connection: AsyncConnection, log: int, index: int, size: int) -> list[bytes]:
    """The inclusion proof of a leaf in the tree of this size."""
    await _require_size(connection, log, size)
    return await hashes_of_ranges(connection, log, inclusion_ranges(index, size), size)


async def inclusion_paths(
    connection: AsyncConnection, log: int, indices: Sequence[int], size: int
) -> list[list[bytes]]:
    """The inclusion proofs of many leaves in the tree of this size, each tile and each subtree's hash found once."""
    await _require_size(connection, log, size)
    ranges = [inclusion_ranges(index, size) for index in indices]
    found: dict[Range, bytes] = {}
    for at in range(0, len(ranges), _TOGETHER):
        missing = {part for some in ranges[at : at + _TOGETHER] for part in some if part not in found}
        tiles = await _tiles(connection, log, {tile for part in missing for tile in tiles_for_range(*part, size)})
        found |= {part: hash_of_range(*part, size, tiles) for part in missing}
    return [[found[part] for part in some] for some in ranges]


async def _tiles(connection: AsyncConnection, log: int, wanted: Iterable[TileId]) -> dict[TileId, bytes]:
    """These tiles; the full ones with one query for each level."""
    levels: dict[int, dict[int, TileId]] = {}
    tiles: dict[TileId, bytes] = {}
    for tile in wanted:
        if tile.width == WIDTH:
            levels.setdefault(tile.level, {})[tile.index] = tile
        else:
            tiles[tile] = await tile_bytes(connection, log, tile)
    for level, of_level in levels.items():
        where = (log_tile.c.log == log, log_tile.c.level == level, log_tile.c.idx.in_(list(of_level)))
        rows = await connection.execute(select(log_tile.c.idx, log_tile.c.body).where(*where))
        tiles |= {of_level[index]: bytes(body) for index, body in rows}
    if len(tiles) != sum(map(len, levels.values())) + sum(tile.width < WIDTH for tile in tiles):
        raise OutOfRange("no such tile")
    if any(len(body) != tile.width * HASH_BYTES for tile, body in tiles.items()):
        raise LogInconsistent("a stored tile is too short")
    return tiles


async def consistency_path(connection: AsyncConnection, log: int, old: int, new: int) -> list[bytes]:
    """The proof that the tree of size `old` is a prefix of the tree of size `new`."""
    await _require_size(connection, log, new)
    return await hashes_of_ranges(connection, log, consistency_ranges(old, new), new)


async def _require_size(connection: AsyncConnection, log: int, size: int) -> None:
    if not 0 <= size <= await size_of(connection, log):
        raise OutOfRange("the log is smaller than this size")
