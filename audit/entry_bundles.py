"""Entry bundles: C2SP tlog-tiles, the entries of a tile one after the other, each with its length before it.

For auditors and mirrors alone: entries are pseudonymous, and whoever holds a person's key could follow them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from audit.errors import MalformedInput
from audit.tiles import WIDTH, TileId, parse_tile_path

_LENGTH_BYTES: Final = 2
MAX_BUNDLE_BYTES: Final = WIDTH * (_LENGTH_BYTES + 0xFFFF)


def build_bundle(entries: Iterable[bytes]) -> bytes:
    """The bundle's bytes; an entry has at most 65,535."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def parse_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """The entries of a bundle of this width. Raises MalformedInput."""
    entries, at = [], 0
    while at < len(data):
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        if at + _LENGTH_BYTES > len(data) or end > len(data):
            raise MalformedInput("an entry bundle breaks off")
        entries.append(data[at + _LENGTH_BYTES : end])
        at = end
    if len(entries) != width:
        raise MalformedInput(f"an entry bundle of {width} entries holds {len(entries)}")
    return tuple(entries)


def parse_bundle_path(text: str) -> TileId:
    """`<N>[.p/<W>]` as the tile of level 0 that it belongs to."""
    return parse_tile_path(f"0/{text}")
