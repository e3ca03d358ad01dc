"""Where large bodies lie while their exchange lasts: in private temporary files that have no name.

A body stays in memory up to a threshold; what is longer goes to a file of the spool directory, mode 0600 and unlinked
from the beginning, so that neither a crash nor a body that broke off leaves one behind. Both kinds of room are bounded
for all exchanges together, and given back when an exchange ends. The digest is computed on the way in, in the thread
that writes: the event loop serves others meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

from gateway.bounded import ByteBudget, ByteShare
from gateway.messages.content import Content

# Small enough for the loop's other work and for many streams, large enough that the thread's hand-over costs little.
CHUNK_BYTES: Final = 256 * 1024
_THREADS: Final = 4


class SpoolUnwritable(Exception):
    """The spool directory takes no more: the disk is full, or fails. Our fault."""


class Spool:
    """One gateway's room for bodies. Used from one event loop."""

    def __init__(
        self,
        directory: Path,
        *,
        threshold: int,
        max_memory: int,
        max_spooled: int,
        on_failure: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        """`on_failure` is told when the directory fails: the callers only learn that there is no room."""
        self.on_failure = on_failure
        self.directory = directory
        self.threshold = threshold
        self.memory = ByteBudget(max_memory)
        self.spooled = ByteBudget(max_spooled)
        self._threads: ThreadPoolExecutor | None = None

    @property
    def threads(self) -> ThreadPoolExecutor:
        """What reads and writes the files."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="spool")
        return self._threads

    def bodies(self) -> Bodies:
        """The bodies of one exchange, within a `with` block; at its end their room is given back."""
        return Bodies(self)


class Bodies:
    """What one exchange holds."""

    __slots__ = ("_files", "memory", "spool", "spooled")

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.memory = ByteShare(spool.memory)
        self.spooled = ByteShare(spool.spooled)
        self._files: list[_File] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()
        self._files.clear()
        self.memory.give_back()
        self.spooled.give_back()

    def writer(self) -> BodyWriter:
        """Takes one body, or one attachment."""
        return BodyWriter(self)

    def open(self) -> _File:
        """A new file. Raises SpoolUnwritable."""
        try:
            descriptor = _open_unnamed(self.spool.directory)
        except OSError as error:
            self.spool.on_failure(error)
            raise SpoolUnwritable from None
        file = _File(descriptor, self.spool.threads)
        self._files.append(file)
        return file

    async def load(self, content: Content) -> bytes:
        """The whole of a content in memory, counted there. Raises BudgetSpent, OSError."""
        if isinstance(content, bytes):
            return content
        self.memory.take(content.size)
        if isinstance(content, SpooledBody):
            return await content.whole()
        return b"".join([chunk async for chunk in content.chunks()])


def _open_unnamed(directory: Path) -> int:
    flag = getattr(os, "O_TMPFILE", 0)
    if flag:
        try:
            return os.open(directory, flag | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            # Not every file system can. Then it has a name for a moment.
            pass
    descriptor, path = tempfile.mkstemp(prefix="body-", dir=directory)
    Path(path).unlink()
    return descriptor


class _File:
    """One open file without a name."""

    def __init__(self, descriptor: int, threads: ThreadPoolExecutor) -> None:
        self._descriptor = descriptor
        self._threads = threads
        self._lock = Lock()
        # The descriptor's number may be another file's the moment it is closed: no thread may still be using it, and
        # one may, of an exchange that was cut off.
        self._users = 1
        self._hash = hashlib.sha512()
        self.size = 0

    async def append(self, pieces: list[bytes]) -> None:
        """Writes these bytes at the end. Raises OSError."""
        self.size += sum(map(len, pieces))
        await self._run(lambda: self._append(pieces))

    def _append(self, pieces: list[bytes]) -> bytes:
        data = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        self._hash.update(data)
        while data:
            data = data[os.write(self._descriptor, data) :]
        return b""

    async def read(self, offset: int, most: int = CHUNK_BYTES) -> bytes:
        """The bytes from `offset` on, at most so many. Raises OSError."""
        return await self._run(lambda: os.pread(self._descriptor, most, offset))

    async def _run(self, work: Callable[[], bytes]) -> bytes:
        with self._lock:
            if self._users == 0:
                raise OSError("the exchange has ended")
            self._users += 1
        future = self._threads.submit(work)
        # Also of one that was cancelled before it began.
        future.add_done_callback(lambda _: self.close())
        return await asyncio.wrap_future(future)

    def digest(self) -> bytes:
        """The SHA-512 digest of what was written."""
        return self._hash.digest()

    def close(self) -> None:
        """Ends one use of the file, the last one closes it."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            os.close(self._descriptor)


class SpooledBody:
    """A content in a file. Reading is possible until its exchange's block ends."""

    __slots__ = ("_file", "digest", "size")

    def __init__(self, file: _File) -> None:
        self._file = file
        self.size = file.size
        self.digest = file.digest()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes from the beginning. Raises OSError."""
        offset = 0
        while offset < self.size:
            chunk = await self._file.read(offset)
            if not chunk:
                raise OSError("a spooled body is shorter than it was")
            yield chunk
            offset += len(chunk)

    async def whole(self) -> bytes:
        """All its bytes in one: a third of what it costs to read and join the chunks. Raises OSError."""
        data = await self._file.read(0, self.size)
        if len(data) != self.size:
            raise OSError("a spooled body is shorter than it was")
        return data


class BodyWriter:
    """Takes one content as it comes. Not for several callers at once."""

    __slots__ = ("_bodies", "_file", "_pending", "_waiting", "size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._file: _File | None = None
        self._pending: list[bytes] = []
        self._waiting = 0
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Takes the next bytes. Raises BudgetSpent, SpoolUnwritable."""
        self.size += len(data)
        self._waiting += len(data)
        self._pending.append(data)
        if self._file is not None:
            self._bodies.spooled.take(len(data))
            if self._waiting >= CHUNK_BYTES:
                await self._flush(self._file)
        elif self.size > self._bodies.spool.threshold:
            self._bodies.spooled.take(self.size)
            self._bodies.memory.give_back(self.size - len(data))
            self._file = self._bodies.open()
            await self._flush(self._file)
        else:
            self._bodies.memory.take(len(data))

    async def end(self) -> Content:
        """The whole content. Raises SpoolUnwritable."""
        if self._file is None:
            return b"".join(self._pending)
        if self._pending:
            await self._flush(self._file)
        return SpooledBody(self._file)

    async def _flush(self, file: _File) -> None:
        pending, self._pending, self._waiting = self._pending, [], 0
        try:
            await file.append(pending)
        except OSError as error:
            self._bodies.spool.on_failure(error)
            raise SpoolUnwritable from None
