"""The archives of the message log: stamped messages as containers in ZIP files, linked by hash, handed on by a command.

Follows X-Road's message log archives (UG-SS chapter 11). The file is on the disk before the archive counts, and gets
its name after that: a crash leaves a file that is finished or one that is forgotten, and never two archives that follow
the same one. The transfer command gets the file's path; it is tried again until it succeeds.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from audit import message_archives, message_stamps
from audit.archive_chain import ArchiveBuilder, ArchiveEnd
from audit.message_reader import MessageHeader
from gateway.clock import Clock
from gateway.message_log.export import Exporter, NamedContainer, file_name_part
from gateway.message_log.metrics import MessageLogMetrics
from trust.durable import write_atomically

_JOB: Final = "archive"
_LEASE_SECONDS: Final = 3600
_CHUNK: Final = 100
_PENDING: Final = ".pending-"
_NAME_DIGITS: Final = 16


class Grouping(StrEnum):
    """Whose messages share an archive."""

    NONE = "none"
    MEMBER = "member"
    SUBSYSTEM = "subsystem"


@dataclass(frozen=True, slots=True)
class ArchivingPolicy:
    """`transfer_command` is a program and its arguments; the archive's path follows them."""

    directory: Path
    grouping: Grouping = Grouping.NONE
    max_bytes: int = 32 << 20
    transfer_command: tuple[str, ...] = ()
    transfer_timeout_seconds: float = 600


@dataclass(slots=True)
class _Open:
    """The archive of one group in the making."""

    builder: ArchiveBuilder
    headers: list[MessageHeader]


class Archiver:
    """Archives the messages of every log in one database. Use from one event loop."""

    def __init__(
        self,
        exporter: Exporter,
        policy: ArchivingPolicy,
        *,
        clock: Clock,
        metrics: MessageLogMetrics,
        log: FilteringBoundLogger,
    ) -> None:
        self.policy = policy
        self._exporter = exporter
        self._engine = exporter.reader.engine
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._holder = os.urandom(8).hex()

    async def round(self) -> tuple[str, ...]:
        """Archive what waits, then transfer; the names of the archives made. Leaves it to another that is at it."""
        now_ms = self._clock.now_ms()
        until_ms = now_ms + _LEASE_SECONDS * 1000
        if not await message_stamps.take_lease(self._engine, _JOB, self._holder, now_ms=now_ms, until_ms=until_ms):
            return ()
        try:
            await self._recover()
            made = await self._archive()
            await self._transfer()
        finally:
            await message_stamps.release_lease(self._engine, _JOB, self._holder)
        return made

    async def _recover(self) -> None:
        """Give finished archives of a process that died their names; forget unfinished ones."""
        directory = self.policy.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = {archive.name for archive in await message_archives.archives(self._engine)}
        for path in directory.glob(f"{_PENDING}*"):
            name = path.name.removeprefix(_PENDING)
            if name in known:
                path.rename(directory / name)
            else:
                path.unlink()

    async def _archive(self) -> tuple[str, ...]:
        await message_stamps.ensure_progress(self._engine)
        made: list[str] = []
        groups: dict[str, _Open] = {}
        async for header, container in self._containers():
            grouping = self._group_of(header)
            group = groups.get(grouping)
            if group is not None and group.builder.size + len(container.content) > self.policy.max_bytes:
                made.append(await self._finish(grouping, groups.pop(grouping)))
                group = None
            if group is None:
                end = await message_archives.last_end(self._engine, grouping)
                group = groups[grouping] = _Open(ArchiveBuilder(end), [])
            group.builder.add(container.name, container.content)
            group.headers.append(header)
        for grouping, group in groups.items():
            made.append(await self._finish(grouping, group))
        for log in await message_archives.logs_in_order(self._engine):
            await message_archives.advance_archived(self._engine, log)
        return tuple(made)

    async def _containers(self) -> AsyncIterator[tuple[MessageHeader, NamedContainer]]:
        for log in await message_archives.logs_in_order(self._engine):
            after = await message_archives.archived_before(self._engine, log)
            while headers := await message_archives.unarchived(self._engine, log, after, _CHUNK):
                for header in headers:
                    (container,) = await self._exporter.export([header])
                    yield header, container
                after = headers[-1].id

    async def _finish(self, grouping: str, group: _Open) -> str:
        digest = group.builder.digest
        name = archive_name(grouping, [header.time_ms for header in group.headers], digest)
        directory = self.policy.directory
        pending = directory / (_PENDING + name)
        # 1. The file is whole and durable; 2. the archive counts; 3. the file gets its name.
        write_atomically(pending, group.builder.finish(), mode=0o600)
        keys = [(header.log, header.id) for header in group.headers]
        end = ArchiveEnd(digest, name)
        await message_archives.store_archive(self._engine, end, grouping, keys, created_ms=self._clock.now_ms())
        pending.rename(directory / name)
        self._metrics.archived(len(keys))
        self._log.info("messages archived", count=len(keys), path=name)
        return name

    def _group_of(self, header: MessageHeader) -> str:
        match self.policy.grouping:
            case Grouping.NONE:
                return ""
            case Grouping.MEMBER:
                return header.member
            case Grouping.SUBSYSTEM:
                return header.owner

    async def _transfer(self) -> None:
        command = self.policy.transfer_command
        if not command:
            return
        waiting = await message_archives.archives(self._engine, waiting=True)
        for number, archive in enumerate(waiting):
            if not await self._hand_on(command, self.policy.directory / archive.name):
                # In order: the receiver's chain has no holes, and a dead receiver costs one attempt a round.
                self._metrics.transfer_failed()
                self._metrics.waiting_for_transfer(len(waiting) - number)
                self._log.error("archive not transferred, it is tried again", path=archive.name, hint="run the command")
                return
            await message_archives.note_transfer(self._engine, archive, at_ms=self._clock.now_ms())
        self._metrics.waiting_for_transfer(0)

    async def _hand_on(self, command: Sequence[str], path: Path) -> bool:
        try:
            process = await asyncio.create_subprocess_exec(
                *command, str(path), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except OSError:
            return False
        try:
            async with asyncio.timeout(self.policy.transfer_timeout_seconds):
                return await process.wait() == 0
        except TimeoutError:
            return False
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def archive_name(grouping: str, times_ms: Sequence[int], digest: str) -> str:
    """`mlog[-<grouping>]-<start>-<end>-<16 hexadecimal digits>.zip`, times in UTC."""
    start, end = (f"{datetime.fromtimestamp(at / 1000, UTC):%Y%m%d%H%M%S}" for at in (min(times_ms), max(times_ms)))
    group = [file_name_part(grouping.replace("/", "_"))] if grouping else []
    return "-".join(["mlog", *group, start, end, digest[:_NAME_DIGITS]]) + ".zip"
