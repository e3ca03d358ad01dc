"""Large bodies for the tests: made as they are sent, digested as they come, never in memory as a whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import StreamReader, web

# Repeats nowhere within a body: a piece that is lost, doubled or moved shows in the digest.
_BLOCK = 1 << 16


async def make(size: int, chunk: int = 1 << 18) -> AsyncIterator[bytes]:
    """`size` bytes."""
    made = number = 0
    while made < size:
        blocks = []
        while sum(map(len, blocks)) < chunk:
            blocks.append(number.to_bytes(8, "big") * (_BLOCK // 8))
            number += 1
        piece = b"".join(blocks)[: size - made]
        made += len(piece)
        yield piece


async def digest(size: int) -> str:
    """The digest of what `make` makes."""
    hashed = hashlib.sha256()
    async for piece in make(size):
        hashed.update(piece)
    return hashed.hexdigest()


async def take(stream: StreamReader) -> tuple[int, str]:
    """The size and digest of what comes."""
    hashed, size = hashlib.sha256(), 0
    while chunk := await stream.readany():
        size += len(chunk)
        hashed.update(chunk)
    return size, hashed.hexdigest()


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    """A service: `/take` tells size and digest of what it got, `/make/<size>` sends so much, `/break/<size>` stops
    before that.
    """
    what, _, argument = request.raw_path.partition("?")[0].removeprefix("/dienst").lstrip("/").partition("/")
    if what == "take":
        size, found = await take(request.content)
        return web.json_response({"size": size, "digest": found})
    answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    answer.content_length = int(argument)
    await answer.prepare(request)
    async for piece in make(int(argument) if what == "make" else int(argument) // 2):
        await answer.write(piece)
    if what == "break":
        assert request.transport is not None
        request.transport.abort()
    else:
        await answer.write_eof()
    return answer


def resident_bytes(pid: int, line: str = "VmHWM") -> int:
    """How much memory a process has in use (`VmRSS`), or had at most (`VmHWM`)."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    found = re.search(rf"^{line}:\s+([0-9]+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) * 1024


def open_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def spooled_files(pid: int, folder: Path) -> list[str]:
    """The files of a spool directory that a process holds open."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(folder))]
