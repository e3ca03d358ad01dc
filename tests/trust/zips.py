"""ZIP archives byte by byte, so that a test can have them say anything."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Entry:
    """One file; `local` and `central` override fields of the two headers (by the names used below)."""

    name: str | bytes
    data: bytes
    method: int = 8
    flags: int = 0
    local: Mapping[str, Any] = field(default_factory=dict)
    central: Mapping[str, Any] = field(default_factory=dict)
    packed: bytes | None = None
    descriptor: bytes | None = None
    after: bytes = b""


def deflate(data: bytes) -> bytes:
    """Raw deflate."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def descriptor(data: bytes, packed: bytes, *, mark: bool = True) -> bytes:
    """A data descriptor, with or without its mark."""
    return (b"PK\x07\x08" if mark else b"") + struct.pack("<3L", zlib.crc32(data), len(packed), len(data))


def pack(
    entries: Sequence[Entry], *, comment: bytes = b"", before: bytes = b"", after: bytes = b"", **end: int
) -> bytes:
    """The archive; `end` overrides fields of its end record."""
    body, directory = before, b""
    for entry in entries:
        packed = entry.packed
        if packed is None:
            packed = deflate(entry.data) if entry.method == 8 else entry.data
        name = entry.name.encode() if isinstance(entry.name, str) else entry.name
        fields: dict[str, Any] = {
            "mark": b"PK\x03\x04", "made_by": 20, "version": 20, "flags": entry.flags, "method": entry.method,
            "crc": zlib.crc32(entry.data), "compressed": len(packed), "size": len(entry.data), "name": name,
            "extra": b"", "comment": b"", "disk": 0, "attributes": 0, "offset": len(body),
        }  # fmt: skip
        streamed = {"crc": 0, "compressed": 0, "size": 0} if entry.flags & 8 else {}
        here = {**fields, **streamed, **entry.local}
        body += struct.pack(
            "<4s5H3L2H", here["mark"], here["version"], here["flags"], here["method"], 0, 0x21, here["crc"],
            here["compressed"], here["size"], len(here["name"]), len(here["extra"]),
        )  # fmt: skip
        body += here["name"] + here["extra"] + packed
        if entry.flags & 8:
            body += descriptor(entry.data, packed) if entry.descriptor is None else entry.descriptor
        body += entry.after
        there = {**fields, "mark": b"PK\x01\x02", **entry.central}
        directory += struct.pack(
            "<4s6H3L5H2L", there["mark"], there["made_by"], there["version"], there["flags"], there["method"], 0, 0x21,
            there["crc"], there["compressed"], there["size"], len(there["name"]), len(there["extra"]),
            len(there["comment"]), there["disk"], 0, there["attributes"], there["offset"],
        )  # fmt: skip
        directory += there["name"] + there["extra"] + there["comment"]
    last = {
        "disk": 0, "first": 0, "here": len(entries), "count": len(entries), "size": len(directory),
        "start": len(body), "comment_length": len(comment), **end,
    }  # fmt: skip
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", *last.values())
    return body + directory + record + comment + after
