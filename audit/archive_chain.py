"""The chain through the archives of the message log: each container's digest rests on the one before it.

Follows X-Road's message log archives (UG-SS chapter 11): the file `linkinginfo` in each archive begins with the digest
and the name that the archive before it ended with, and gives for each container
`hex(SHA-512(digest before || hex(SHA-512(container))))`. So no container can be changed, dropped or slipped in, and no
archive lost, without the chain breaking. Archives that X-Road made with another hash name it, and are read.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from audit.errors import MalformedInput, ProofInvalid

LINKING_INFO: Final = "linkinginfo"
_ALGORITHM: Final = "SHA-512"
_NONE: Final = "-"
_HASHES: Final = {"SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
# Of the archive before, which may have had another hash.
_DIGEST: Final = re.compile("(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})")
_MAX_LINKING_INFO: Final = 64 << 20
_MAX_CONTAINER: Final = 256 << 20
# What the library raises for an archive that it can't read.
_UNREADABLE: Final = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(NotImplementedError, RuntimeError, EOFError, ValueError),
)
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o600 << 16


@dataclass(frozen=True, slots=True)
class ArchiveEnd:
    """Where an archive ends: its last digest (hexadecimal) and its file's name. Both empty before the first one."""

    digest: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class VerifiedArchive:
    """An archive whose containers are those that its chain says, and which follows the one before."""

    previous: ArchiveEnd
    digest: str
    containers: tuple[str, ...]


def next_digest(previous: str, container: bytes, algorithm: str = _ALGORITHM) -> str:
    """The digest of the container that follows the one with the digest `previous` (hexadecimal, or empty)."""
    name = _HASHES[algorithm]
    return hashlib.new(name, (previous + hashlib.new(name, container).hexdigest()).encode()).hexdigest()


def linking_info(previous: ArchiveEnd, links: Sequence[tuple[str, str]]) -> bytes:
    """The file's text; `links` are digest and name of each container."""
    lines = [f"{previous.digest or _NONE} {previous.name or _NONE} {_ALGORITHM}"]
    lines += [f"{digest} {name}" for digest, name in links]
    return "\n".join([*lines, ""]).encode()


class ArchiveBuilder:
    """One archive in the making: the same containers give the same bytes."""

    def __init__(self, previous: ArchiveEnd) -> None:
        self._previous = previous
        self._links: list[tuple[str, str]] = []
        self._names: set[str] = set()
        self._buffer = io.BytesIO()
        self._archive = zipfile.ZipFile(self._buffer, "w", zipfile.ZIP_STORED)

    @property
    def digest(self) -> str:
        """The last digest so far."""
        return self._links[-1][0] if self._links else self._previous.digest

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._buffer.tell()

    def __len__(self) -> int:
        return len(self._links)

    def add(self, name: str, container: bytes) -> None:
        """The next container. A name that is taken gets a number."""
        unique, number = name, 1
        while unique in self._names or unique == LINKING_INFO:
            path = PurePosixPath(name)
            unique, number = f"{path.stem}-{number}{path.suffix}", number + 1
        digest = next_digest(self.digest, container)
        self._names.add(unique)
        self._links.append((digest, unique))
        self._write(unique, container)

    def finish(self) -> bytes:
        """The archive's bytes; nothing can be added any more."""
        self._write(LINKING_INFO, linking_info(self._previous, self._links))
        self._archive.close()
        return self._buffer.getvalue()

    def _write(self, name: str, content: bytes) -> None:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.create_system = 3
        entry.external_attr = _MODE
        self._archive.writestr(entry, content)


def verify_archive(archive: bytes, *, previous: str | None = None) -> VerifiedArchive:
    """The archive, if its containers and its chain agree and, unless None, it follows the digest `previous`.

    `previous` is empty for the first archive. Raises MalformedInput, ProofInvalid.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            names = [info.filename for info in opened.infolist()]
            # 1. Each name once, or two readers could read two different files.
            if len(set(names)) != len(names):
                raise MalformedInput("an archive with two files of one name")
            begin, algorithm, links = _parse(_read(opened, LINKING_INFO, _MAX_LINKING_INFO))
            # 2. It follows the archive that it should follow.
            if previous is not None and not hmac.compare_digest(begin.digest, previous):
                raise ProofInvalid("the archive does not follow the given one")
            # Whoever names one file thousands of times has it read as often.
            if len({name for _, name in links}) != len(links):
                raise ProofInvalid("the chain names a file twice")
            # 3. Each container's digest is the one that follows from the digest before and its bytes.
            digest = begin.digest
            for stated, name in links:
                digest = next_digest(digest, _read(opened, name, _MAX_CONTAINER), algorithm)
                if not hmac.compare_digest(digest, stated):
                    raise ProofInvalid("a container is not the one that was archived")
            # 4. Nothing lies in it that the chain doesn't name.
            if {name for _, name in links} | {LINKING_INFO} != set(names):
                raise ProofInvalid("a file that the chain does not name")
    except _UNREADABLE:
        raise MalformedInput("not an archive of the message log") from None
    return VerifiedArchive(begin, digest, tuple(name for _, name in links))


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ProofInvalid("a file that the chain names is missing") from None
    if info.file_size > limit or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MalformedInput("a file of the archive is too large, or packed in an unknown way")
    with archive.open(info) as opened:
        content = opened.read(limit + 1)
    if len(content) > limit:
        raise MalformedInput("a file of the archive is too large")
    return content


def _parse(text: bytes) -> tuple[ArchiveEnd, str, list[tuple[str, str]]]:
    try:
        first, *rest = text.decode("utf-8").splitlines()
        digest, name, algorithm = first.split(" ")
        links = [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in rest]
    except (UnicodeDecodeError, ValueError, IndexError):
        raise MalformedInput("the linking info can't be read") from None
    if algorithm not in _HASHES or any(not _DIGEST.fullmatch(stated) for stated, _ in links):
        raise MalformedInput("the linking info can't be read")
    if (digest == _NONE) != (name == _NONE) or not (digest == _NONE or _DIGEST.fullmatch(digest)):
        raise MalformedInput("the linking info can't be read")
    return ArchiveEnd() if digest == _NONE else ArchiveEnd(digest, name), algorithm, links
