"""Reading ZIP archives from strangers: bytes in, entries of bounded number and size out.

Follows PKWARE's APPNOTE 6.3.10 sections 4.3 and 4.4, as far as ASiC containers need it (ETSI EN 319 162-1 annex A).
An archive says everything twice, in local headers and in the central directory, and readers differ in whom they
believe. So here both must say the same, and the entries, the directory and its end must fill the file without gap or
overlap: every reader finds the same files in what is accepted. What only large or protected archives need (ZIP64,
several disks, encryption, methods other than store and deflate) is refused.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trust.errors import ContainerInvalid

NOT_A_ZIP: Final = "asic_malformed_zip"
DUPLICATE: Final = "asic_duplicate_entry"
UNSAFE_NAME: Final = "asic_unsafe_entry_name"
TOO_LARGE: Final = "asic_too_large"
ENCRYPTED: Final = "asic_encrypted_entry"
COMPRESSION: Final = "asic_unsupported_compression"
ZIP64: Final = "asic_unsupported_zip"

_END: Final = struct.Struct("<4s4H2LH")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_END_MARK: Final = b"PK\x05\x06"
_CENTRAL_MARK: Final = b"PK\x01\x02"
_LOCAL_MARK: Final = b"PK\x03\x04"
_DESCRIPTOR_MARK: Final = b"PK\x07\x08"
_MAX_COMMENT: Final = 0xFFFF
_NEWEST_VERSION: Final = 63
_STORED: Final = 0
_DEFLATED: Final = 8
_FLAG_ENCRYPTED: Final = 0x0001
_FLAG_DESCRIPTOR: Final = 0x0008
_FLAG_UTF8: Final = 0x0800
# Encryption of the strong kind (bit 6), compressed patches (5) and a hidden directory (13) change what follows.
_FLAGS_ENCRYPTED: Final = _FLAG_ENCRYPTED | 0x0040 | 0x2000
# Bits 1 and 2 say how hard deflate tried.
_FLAGS_KNOWN: Final = _FLAG_DESCRIPTOR | _FLAG_UTF8 | 0x0006
_EXTRA_ZIP64: Final = 0x0001
_EXTRA_UNICODE_PATH: Final = 0x7075
_EXTRA_AES: Final = 0x9901
_CREATED_ON_UNIX: Final = 3
_SYMBOLIC_LINK: Final = 0o120000
_FILE_TYPE: Final = 0o170000
_DRIVE: Final = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an archive may be, and what it unpacks to, in bytes and entries.

    `ratio` is how many times larger than the archive its contents may be; contents up to `free_bytes` may be any number
    of times larger, since an honest message can consist of zeros.
    """

    archive_bytes: int = 64 << 20
    entries: int = 1100
    entry_bytes: int = 64 << 20
    total_bytes: int = 128 << 20
    ratio: int = 100
    free_bytes: int = 32 << 20
    name_bytes: int = 255


@dataclass(frozen=True, slots=True)
class _Header:
    """One line of the central directory."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int

    @property
    def is_directory(self) -> bool:
        return self.name.endswith("/")


def read_archive(data: bytes, limits: Limits) -> dict[str, bytes]:
    """The files in a ZIP archive by name, in the order of their bytes; entries for directories are left out.

    Raises ContainerInvalid with one of the codes above.
    """
    if len(data) > limits.archive_bytes:
        raise _invalid("the archive is too large", TOO_LARGE)
    headers, directory_start = _directory(data, limits)
    _require_distinct(headers)
    _require_bounded(headers, len(data), limits)
    headers.sort(key=lambda header: header.offset)
    files: dict[str, bytes] = {}
    position = 0
    for header in headers:
        # Entry after entry from the first byte to the directory: nothing before, between, or shared by two.
        if header.offset != position:
            raise _invalid("something stands between the entries")
        start, position = _locate(data, header, directory_start)
        content = _content(data[start : start + header.compressed], header)
        if not header.is_directory:
            files[header.name] = content
    if position != directory_start:
        raise _invalid("something stands between the entries and the directory")
    return files


def _directory(data: bytes, limits: Limits) -> tuple[list[_Header], int]:
    end = _find_end(data)
    _, disk, first_disk, here, count, size, start, _ = _END.unpack_from(data, end)
    if 0xFFFF in (disk, first_disk, here, count) or 0xFFFFFFFF in (size, start):
        raise _invalid("a ZIP64 archive", ZIP64)
    if disk or first_disk or here != count:
        raise _invalid("a part of an archive")
    if count > limits.entries:
        raise _invalid("the archive has too many entries", TOO_LARGE)
    if data[max(0, end - 20) :].startswith(b"PK\x06\x07"):
        raise _invalid("a ZIP64 archive", ZIP64)
    if start + size != end:
        raise _invalid("the directory isn't where its end says")
    headers = []
    position = start
    for _ in range(count):
        header, position = _central_header(data, position, end, limits)
        headers.append(header)
    if position != end:
        raise _invalid("the directory has another length than its end says")
    return headers, start


def _find_end(data: bytes) -> int:
    """Where the end record begins. There is one, and its comment ends the file."""
    search_from = max(0, len(data) - _END.size - _MAX_COMMENT)
    found = data.rfind(_END_MARK, search_from)
    if found < 0 or not _ends_file(data, found):
        raise _invalid("something stands after the archive, or its end is missing")
    # Another record that fits as well is where another reader might begin. One that doesn't is of an archive within.
    earlier = data.find(_END_MARK, search_from)
    while earlier < found:
        if _ends_file(data, earlier):
            raise _invalid("an archive with two ends")
        earlier = data.find(_END_MARK, earlier + 1)
    return found


def _ends_file(data: bytes, end: int) -> bool:
    return end + _END.size <= len(data) and end + _END.size + _END.unpack_from(data, end)[-1] == len(data)


def _central_header(data: bytes, position: int, end: int, limits: Limits) -> tuple[_Header, int]:
    if position + _CENTRAL.size > end:
        raise _invalid("the directory is cut off")
    fields = _CENTRAL.unpack_from(data, position)
    mark, made_by, needed, flags, method, _, _, crc, compressed, size = fields[:10]
    name_length, extra_length, comment_length, disk, _, attributes, offset = fields[10:]
    name_start = position + _CENTRAL.size
    following = name_start + name_length + extra_length + comment_length
    if mark != _CENTRAL_MARK or following > end:
        raise _invalid("the directory is damaged")
    if 0xFFFFFFFF in (compressed, size, offset) or disk == 0xFFFF:
        raise _invalid("a ZIP64 entry", ZIP64)
    if disk:
        raise _invalid("a part of an archive")
    raw_name = data[name_start : name_start + name_length]
    extra = data[name_start + name_length : name_start + name_length + extra_length]
    _check_extra(extra)
    _check_version(needed)
    _check_method(flags, method)
    if made_by >> 8 == _CREATED_ON_UNIX and (attributes >> 16) & _FILE_TYPE == _SYMBOLIC_LINK:
        raise _invalid("an entry that is a link", UNSAFE_NAME)
    name = _name(raw_name, flags, limits)
    header = _Header(name, raw_name, flags, method, crc, compressed, size, offset)
    if header.is_directory and (size or crc):
        raise _invalid("a directory with content")
    return header, following


def _check_version(needed: int) -> None:
    # APPNOTE 4.4.3: in tenths, in the lower byte. Readers turn away what is newer than they are.
    if needed & 0xFF > _NEWEST_VERSION:
        raise _invalid("an entry for readers of a later version", COMPRESSION)


def _check_method(flags: int, method: int) -> None:
    if flags & _FLAGS_ENCRYPTED:
        raise _invalid("an encrypted entry", ENCRYPTED)
    if flags & ~_FLAGS_KNOWN or method not in (_STORED, _DEFLATED):
        raise _invalid("an entry packed in another way than store and deflate", COMPRESSION)


def _check_extra(extra: bytes) -> None:
    for kind in _extra_kinds(extra):
        if kind == _EXTRA_ZIP64:
            raise _invalid("a ZIP64 entry", ZIP64)
        if kind == _EXTRA_AES:
            raise _invalid("an encrypted entry", ENCRYPTED)
        if kind == _EXTRA_UNICODE_PATH:
            raise _invalid("an entry with a second name", UNSAFE_NAME)


def _extra_kinds(extra: bytes) -> Iterator[int]:
    position = 0
    while position < len(extra):
        if position + 4 > len(extra):
            raise _invalid("an entry's extra field is damaged")
        kind, length = struct.unpack_from("<2H", extra, position)
        position += 4 + length
        if position > len(extra):
            raise _invalid("an entry's extra field is damaged")
        yield kind


def _name(raw: bytes, flags: int, limits: Limits) -> str:
    """The entry's name, when it means the same place below the container's root to everyone."""
    try:
        # Without the flag a name is in the code page of whoever packed it; only ASCII is the same in all of them.
        name = raw.decode("utf-8" if flags & _FLAG_UTF8 else "ascii")
    except UnicodeDecodeError:
        raise _invalid("a name in an unknown encoding", UNSAFE_NAME) from None
    segments = name.removesuffix("/").split("/")
    if (
        len(raw) > limits.name_bytes
        or not name.isprintable()
        or "\\" in name
        or _DRIVE.match(name)
        or any(segment in ("", ".", "..") or segment != segment.strip() for segment in segments)
    ):
        raise _invalid("an entry's name is not a plain relative path", UNSAFE_NAME)
    return name


def _require_distinct(headers: list[_Header]) -> None:
    # Some file systems take names for the same that differ in case or in how an accent is written.
    names = {unicodedata.normalize("NFC", header.name).casefold().removesuffix("/") for header in headers}
    if len(names) != len(headers):
        raise _invalid("two entries of one name", DUPLICATE)


def _require_bounded(headers: list[_Header], archive_bytes: int, limits: Limits) -> None:
    total = sum(header.size for header in headers)
    if total > limits.total_bytes or any(header.size > limits.entry_bytes for header in headers):
        raise _invalid("the contents are too large", TOO_LARGE)
    if total > limits.free_bytes and total > limits.ratio * archive_bytes:
        raise _invalid("the contents are too large for so small an archive", TOO_LARGE)


def _locate(data: bytes, header: _Header, directory_start: int) -> tuple[int, int]:
    """Where the entry's content starts and where the entry ends, once its local header agrees with the directory."""
    if header.offset + _LOCAL.size > directory_start:
        raise _invalid("an entry is cut off")
    mark, needed, flags, method, _, _, crc, compressed, size, name_length, extra_length = _LOCAL.unpack_from(
        data, header.offset
    )
    name_start = header.offset + _LOCAL.size
    start = name_start + name_length + extra_length
    end = start + header.compressed
    if mark != _LOCAL_MARK or end > directory_start:
        raise _invalid("an entry is not where the directory says")
    if flags & _FLAGS_ENCRYPTED:
        raise _invalid("an encrypted entry", ENCRYPTED)
    if 0xFFFFFFFF in (compressed, size):
        raise _invalid("a ZIP64 entry", ZIP64)
    _check_extra(data[name_start + name_length : start])
    _check_version(needed)
    same = (data[name_start : name_start + name_length], flags, method) == (
        header.raw_name,
        header.flags,
        header.method,
    )
    written = (crc, compressed, size)
    stated = (header.crc, header.compressed, header.size)
    if not flags & _FLAG_DESCRIPTOR:
        if not same or written != stated:
            raise _invalid("an entry's own header contradicts the directory")
        return start, end
    # APPNOTE 4.4.4 bit 3: zeros here, the figures behind the content. Some writers fill in what they know already.
    if not same or any(here not in (0, there) for here, there in zip(written, stated, strict=True)):
        raise _invalid("an entry's own header contradicts the directory")
    figures = struct.pack("<3L", *stated)
    # APPNOTE 4.3.9.3: the descriptor's mark is optional.
    for descriptor in (_DESCRIPTOR_MARK + figures, figures):
        if data[end : min(end + len(descriptor), directory_start)] == descriptor:
            return start, end + len(descriptor)
    raise _invalid("an entry's descriptor contradicts the directory")


def _content(packed: bytes, header: _Header) -> bytes:
    if header.method == _STORED:
        content = packed
    else:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            # One byte more than stated is enough to know that the statement is false.
            content = inflate.decompress(packed, header.size + 1)
        except zlib.error:
            raise _invalid("an entry can't be unpacked") from None
        if len(content) <= header.size and (not inflate.eof or inflate.unused_data):
            raise _invalid("an entry's content doesn't end where it should")
    if len(content) != header.size or zlib.crc32(content) != header.crc:
        raise _invalid("an entry's content isn't what the directory says")
    return content


def _invalid(message: str, code: str = NOT_A_ZIP) -> ContainerInvalid:
    return ContainerInvalid(message, code=code)
