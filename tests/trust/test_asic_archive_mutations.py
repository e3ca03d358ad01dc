"""Archives that were changed, so that two readers could read them differently: each refused with its code."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest

from tests.trust.containers import Change, entries
from tests.trust.zips import Entry, deflate, pack
from trust.asic import read_container
from trust.errors import TrustError


def local(index: int = 1, **fields: object) -> Change:
    """The entry's own header says something else."""
    return lambda found: pack([replace(e, local=fields) if n == index else e for n, e in enumerate(found)])


def central(index: int = 1, **fields: object) -> Change:
    """The directory says something else."""
    return lambda found: pack([replace(e, central=fields) if n == index else e for n, e in enumerate(found)])


def both(index: int = 1, **fields: object) -> Change:
    """Both say something else."""
    return lambda found: pack(
        [replace(e, local=fields, central=fields) if n == index else e for n, e in enumerate(found)]
    )


def add(*more: Entry) -> Change:
    return lambda found: pack([*found, *more])


def extra(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<2H", kind, len(content)) + content


def streamed(**fields: object) -> Change:
    """A descriptor that lies."""

    def change(found: list[Entry]) -> bytes:
        first = found[1]
        values = {"crc": zlib.crc32(first.data), "compressed": len(deflate(first.data)), "size": len(first.data)}
        lie = b"PK\x07\x08" + struct.pack("<3L", *{**values, **fields}.values())
        return pack([found[0], replace(first, flags=8, descriptor=lie), *found[2:]])

    return change


def bomb(found: list[Entry]) -> bytes:
    zeros = bytes(40 << 20)
    return pack([*found, Entry("attachment2", zeros)])


def quoted(found: list[Entry]) -> bytes:
    """A second archive in front of the first one's end: the comment holds an end record that fits as well."""
    inner = pack(found)
    return pack(found, comment=inner[-22:])


def shared_content(found: list[Entry]) -> bytes:
    """Two entries of one content: the way of the bombs that need no nesting."""
    return pack([*found[:-1], replace(found[-1], central={"offset": 0})])


NOT_A_ZIP = "asic_malformed_zip"
ARCHIVES: list[tuple[str, str, Change]] = [
    ("bytes before", NOT_A_ZIP, lambda e: b"MZ" + pack(e)),
    ("bytes before, offsets right", NOT_A_ZIP, lambda e: pack(e, before=b"#!/bin/sh\n")),
    ("bytes after", NOT_A_ZIP, lambda e: pack(e, after=b"\0")),
    ("another archive after", NOT_A_ZIP, lambda e: pack(e) + pack(e)),
    ("bytes between entries", NOT_A_ZIP, lambda e: pack([replace(e[0], after=b"hidden"), *e[1:]])),
    ("bytes before the directory", NOT_A_ZIP, lambda e: pack([*e[:-1], replace(e[-1], after=b"hidden")])),
    ("cut off", NOT_A_ZIP, lambda e: pack(e)[:-1]),
    ("half of it", NOT_A_ZIP, lambda e: pack(e)[:1000]),
    ("two ends", NOT_A_ZIP, quoted),
    ("no archive", "asic_mime_type_not_found", lambda _: b"%PDF-1.7"),
    ("nothing", "asic_mime_type_not_found", lambda _: b""),
    ("no entries", "asic_mime_type_not_found", lambda _: pack([])),
    ("an entry left out of the directory", NOT_A_ZIP, lambda e: pack(e, here=len(e) - 1, count=len(e) - 1)),
    ("more entries than there are", NOT_A_ZIP, lambda e: pack(e, here=len(e) + 1, count=len(e) + 1)),
    ("counts that differ", NOT_A_ZIP, lambda e: pack(e, here=1)),
    ("a second disk", NOT_A_ZIP, lambda e: pack(e, disk=1, first=1)),
    ("an entry on another disk", NOT_A_ZIP, central(disk=2)),
    ("the directory elsewhere", NOT_A_ZIP, lambda e: pack(e, start=0)),
    ("a damaged directory", NOT_A_ZIP, central(mark=b"PK\x01\x03")),
    ("another name in front", NOT_A_ZIP, local(name=b"massage.xml")),
    ("another method in front", NOT_A_ZIP, local(method=0)),
    ("other flags in front", NOT_A_ZIP, local(flags=0x0800)),
    ("another checksum in front", NOT_A_ZIP, local(crc=1)),
    ("another size in front", NOT_A_ZIP, local(size=1)),
    ("another packed size in front", NOT_A_ZIP, local(compressed=1)),
    ("another place", NOT_A_ZIP, central(offset=3)),
    ("a place beyond the end", NOT_A_ZIP, central(offset=1 << 30)),
    ("one content for two entries", NOT_A_ZIP, shared_content),
    ("a wrong checksum", NOT_A_ZIP, both(crc=1)),
    ("a size too small", NOT_A_ZIP, both(size=3)),
    ("a size too large", NOT_A_ZIP, both(size=1000)),
    ("content that isn't deflate", NOT_A_ZIP, lambda e: pack([e[0], replace(e[1], packed=b"\xff" * 9), *e[2:]])),
    ("content behind its end", NOT_A_ZIP, lambda e: pack([e[0], replace(e[1], packed=deflate(b"x") + b"y"), *e[2:]])),
    ("a descriptor with another checksum", NOT_A_ZIP, streamed(crc=1)),
    ("a descriptor with another size", NOT_A_ZIP, streamed(size=1)),
    ("a damaged extra field", NOT_A_ZIP, central(extra=b"\1\2\3")),
    ("an extra field that runs over", NOT_A_ZIP, local(extra=b"\x55\x54\x09\0\0")),
    ("a folder with content", NOT_A_ZIP, add(Entry("META-INF/", b"x"))),
    ("an attachment numbered too high", NOT_A_ZIP, add(Entry("attachment100000", b"x"))),
    ("two entries of one name", "asic_duplicate_entry", add(Entry("message.xml", b"other"))),
    ("two names that differ in case", "asic_duplicate_entry", add(Entry("MESSAGE.XML", b"other"))),
    ("two spellings of an accent", "asic_duplicate_entry",
     add(Entry("ä", b"1", flags=0x0800), Entry("a\u0308", b"2", flags=0x0800))),
    ("a file and a folder", "asic_duplicate_entry", add(Entry("message.xml/", b"", 0))),
    ("a path upwards", "asic_unsafe_entry_name", add(Entry("../attachment1", b"x"))),
    ("a path upwards within", "asic_unsafe_entry_name", add(Entry("META-INF/../../x", b"x"))),
    ("an absolute path", "asic_unsafe_entry_name", add(Entry("/etc/passwd", b"x"))),
    ("a backslash", "asic_unsafe_entry_name", add(Entry("..\\x", b"x"))),
    ("a drive", "asic_unsafe_entry_name", add(Entry("C:x", b"x"))),
    ("a dot", "asic_unsafe_entry_name", add(Entry("./x", b"x"))),
    ("an empty name", "asic_unsafe_entry_name", add(Entry("", b"x"))),
    ("an empty segment", "asic_unsafe_entry_name", add(Entry("a//x", b"x"))),
    ("a control character", "asic_unsafe_entry_name", add(Entry("message.xml\0", b"x"))),
    ("a name turned around", "asic_unsafe_entry_name", add(Entry("a\u202elmx", b"x", flags=0x0800))),
    ("a name in no known encoding", "asic_unsafe_entry_name", add(Entry(b"\xe4", b"x"))),
    ("a name that isn't UTF-8", "asic_unsafe_entry_name", add(Entry(b"\xe4", b"x", flags=0x0800))),
    ("a long name", "asic_unsafe_entry_name", add(Entry("x" * 256, b"x"))),
    ("a blank at the end of a name", "asic_unsafe_entry_name", add(Entry("message.xml ", b"x"))),
    ("a symbolic link", "asic_unsafe_entry_name",
     add(Entry("x", b"/etc", central={"made_by": 0x0314, "attributes": 0o120777 << 16}))),
    ("a second name in an extra field", "asic_unsafe_entry_name", central(extra=extra(0x7075, b"\1\0\0\0\0x"))),
    ("an encrypted entry", "asic_encrypted_entry", both(flags=1)),
    ("an entry encrypted only in front", "asic_encrypted_entry", local(flags=1)),
    ("strong encryption", "asic_encrypted_entry", both(flags=0x41)),
    ("a hidden directory", "asic_encrypted_entry", both(flags=0x2000)),
    ("AES", "asic_encrypted_entry", both(extra=extra(0x9901, b"\2\0AE\3\0\0"))),
    ("bzip2", "asic_unsupported_compression", both(method=12)),
    ("deflate64", "asic_unsupported_compression", both(method=9)),
    ("a patch", "asic_unsupported_compression", both(flags=0x20)),
    ("ZIP64 sizes", "asic_unsupported_zip", both(size=0xFFFFFFFF, compressed=0xFFFFFFFF)),
    ("ZIP64 sizes in front", "asic_unsupported_zip", local(size=0xFFFFFFFF, compressed=0xFFFFFFFF)),
    ("a ZIP64 extra field", "asic_unsupported_zip", both(extra=extra(1, b"\0" * 16))),
    ("a ZIP64 end", "asic_unsupported_zip", lambda e: pack(e, here=0xFFFF, count=0xFFFF)),
    ("a ZIP64 directory", "asic_unsupported_zip", lambda e: pack(e, start=0xFFFFFFFF)),
    ("an entry for later readers", "asic_unsupported_compression", both(version=178)),
    ("an entry for later readers in front", "asic_unsupported_compression", local(version=178)),
    ("a bomb", "asic_too_large", bomb),
    ("a size that only claims to be huge", "asic_too_large", both(size=1 << 31)),
    ("too many entries", "asic_too_large", lambda e: pack([*e, *(Entry(f"x{n}", b"", 0) for n in range(1100))])),
]  # fmt: skip


@pytest.mark.parametrize(("code", "change"), [(c, f) for _, c, f in ARCHIVES], ids=[name for name, _, _ in ARCHIVES])
def test_archives_that_readers_could_read_differently(code: str, change: Change) -> None:
    data = change(entries())
    with pytest.raises(TrustError) as refused:
        read_container(data)
    assert refused.value.code == code
