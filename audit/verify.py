"""Verifies a whole log from its rows: trusts nothing that is stored, recomputes everything.

Leaves, indices, times, persons' chains, tiles, roots, every published checkpoint, records against their commitments (of
persons whose keys are given), releases against what was withheld, and the message log's digests and links. Reads one
snapshot, so it may run beside a live sequencer. Returns what it found; an empty list of findings is a sound log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.announcements import KEY, announced_keys, parse_announced_keys
from audit.checkpoint import parse_checkpoint
from audit.erasure import KIND as ERASE
from audit.erasure import Erasure, IndexRange, parse_erasure
from audit.errors import AuditError, LogInconsistent, MalformedInput, ProofInvalid, RecordUnopenable
from audit.leaf import MAX_INTEGER, NO_PREVIOUS, Leaf, parse_leaf
from audit.merkle import leaf_hash
from audit.message_cipher import MessageCipher
from audit.note import NoteKey, parse_note, verify_note
from audit.record import open_record
from audit.release import KIND as RELEASE
from audit.release import Released, verify_release
from audit.store import RECORD_OF_ENTRY, checkpoint, log_entry, log_head, log_tile, record, subject_head
from audit.subject_keys import SubjectKeys
from audit.tag import MonthKey, months_between
from audit.tiles import TreeEdge
from audit.verify_messages import verify_messages

_CHUNK: Final = 2048
# More findings than anyone reads; the count goes on.
_MAX_FINDINGS: Final = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction. `index` is that of the entry, tile or message concerned."""

    code: str
    index: int | None = None


@dataclass(slots=True)
class LogReport:
    """What `verify_log` saw of one log."""

    origin: str
    size: int
    root: bytes
    messages: int
    records_opened: int = 0
    checkpoints: int = 0
    # Time-stamps that hold; whoever trusts time-stamping authorities counts them.
    stamps: int = 0
    # Those that the log's `key` leaves name as its signers.
    keys: tuple[NoteKey, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    findings_total: int = 0

    def found(self, code: str, index: int | None = None) -> None:
        """Note a contradiction."""
        self.findings_total += 1
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(code, index))

    def require_sound(self) -> LogReport:
        """This report, if it has no findings; raises LogInconsistent otherwise."""
        if self.findings_total:
            raise LogInconsistent(f"{self.findings_total} contradictions, the first: {self.findings[0].code}")
        return self


async def verify_log(
    engine: AsyncEngine,
    *,
    origin: str,
    keys: SubjectKeys | None = None,
    verifiers: tuple[NoteKey, ...] = (),
    progress: Callable[[int, int], None] | None = None,
    messages: MessageCipher | None = None,
) -> LogReport:
    """Recompute the log named `origin`. `progress` is told (entries done, entries in all).

    The newest checkpoint has to be signed by one of `verifiers`; older ones also by a key that a leaf below it names.
    Messages that are sealed are opened and compared with `messages`.
    """
    async with engine.connect() as connection:
        # One snapshot for everything that follows.
        if connection.dialect.name == "postgresql":
            await connection.execution_options(isolation_level="REPEATABLE READ")
        else:
            await connection.exec_driver_sql("BEGIN")
        head = (await connection.execute(select(log_head).where(log_head.c.origin == origin))).first()
        if head is None:
            raise LogInconsistent("no such log")
        report = LogReport(origin, head.size, bytes(head.root), head.messages)
        await _Verification(connection, head, report, verifiers, progress).run(keys)
        await verify_messages(connection, head, report.found, messages)
        await connection.rollback()
    return report


class _Verification:
    def __init__(
        self,
        connection: AsyncConnection,
        head: Row[Any],
        report: LogReport,
        verifiers: tuple[NoteKey, ...],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._connection = connection
        self._head = head
        self._report = report
        self._verifiers = verifiers
        self._progress = progress
        self._edge = TreeEdge()
        self._chains: dict[bytes, tuple[int, bytes]] = {}
        self._months: dict[bytes, MonthKey] = {}
        self._signed: dict[int, bytes] = {}
        # Up to which entry a given key vouches for the tree, and the keys that its leaves name.
        self._vouched: int | None = None
        self._announced: tuple[NoteKey, ...] | None = None
        self._last_ms = 0
        self._tiles = 0
        self._keys_given = False
        # Entries under tags that no person's key gives, as ranges, and what the log says was erased.
        self._nobodys: list[IndexRange] = []
        self._erasures: list[Erasure] = []
        # What was released by which entry.
        self._released: list[tuple[int, Released]] = []

    async def run(self, keys: SubjectKeys | None) -> None:
        await self._read_checkpoints()
        if keys is not None:
            await self._read_keys(keys)
        self._compare_checkpoint()
        for start in range(0, self._head.size, _CHUNK):
            await self._entries(start, min(start + _CHUNK, self._head.size))
            if self._progress is not None:
                self._progress(min(start + _CHUNK, self._head.size), self._head.size)
        await self._finish()

    async def _entries(self, start: int, end: int) -> None:
        joined = log_entry.outerjoin(record, RECORD_OF_ENTRY)
        query = (
            select(log_entry.c.idx, log_entry.c.leaf, log_entry.c.tag, log_entry.c.n, record.c.body)
            .select_from(joined)
            .where(log_entry.c.log == self._head.log, log_entry.c.idx >= start, log_entry.c.idx < end)
            .order_by(log_entry.c.idx)
        )
        expected = start
        for row in await self._connection.execute(query):
            if row.idx != expected:
                self._report.found("entry_missing", expected)
                expected = row.idx
            await self._entry(row)
            expected += 1
        if expected != end:
            self._report.found("entry_missing", expected)

    async def _entry(self, row: Any) -> None:
        hashed = leaf_hash(row.leaf)
        try:
            self._leaf(row, parse_leaf(row.leaf), hashed)
        except MalformedInput:
            self._report.found("leaf_malformed", row.idx)
        for tile, body in self._edge.append(hashed):
            self._tiles += 1
            where = (log_tile.c.log == self._head.log, log_tile.c.level == tile.level, log_tile.c.idx == tile.index)
            if (await self._connection.execute(select(log_tile.c.body).where(*where))).scalar() != body:
                self._report.found("tile_differs", row.idx)
        self._compare_checkpoint()

    def _leaf(self, row: Any, leaf: Leaf, hashed: bytes) -> None:
        if leaf.time_ms < self._last_ms:
            self._report.found("time_runs_backwards", row.idx)
        self._last_ms = max(self._last_ms, leaf.time_ms)
        month: MonthKey | None = None
        if leaf.chain is None:
            if row.tag is not None or row.n is not None:
                self._report.found("index_columns_differ", row.idx)
        else:
            if (row.tag, row.n) != (leaf.chain.tag, leaf.chain.number):
                self._report.found("index_columns_differ", row.idx)
            number, previous = self._chains.get(leaf.chain.tag, (0, NO_PREVIOUS))
            if (leaf.chain.number, leaf.chain.previous) != (number + 1, previous):
                self._report.found("person_chain_broken", row.idx)
            self._chains[leaf.chain.tag] = (leaf.chain.number, hashed)
            month = self._months.get(leaf.chain.tag)
            if month is None:
                if self._keys_given:
                    self._note_nobodys(row.idx)
                return
        if row.body is not None:
            self._record(row, leaf, month)

    def _record(self, row: Any, leaf: Leaf, month: MonthKey | None) -> None:
        try:
            _, opened = open_record(month, row.body, leaf.commitment)
            self._report.records_opened += 1
            if leaf.kind == ERASE:
                self._erasures.append(parse_erasure(opened))
            if leaf.kind == RELEASE:
                self._released.append((row.idx, verify_release(leaf, opened)[0]))
            if leaf.kind == KEY:
                self._report.keys += parse_announced_keys(opened)
        except RecordUnopenable:
            self._report.found("record_does_not_open", row.idx)
        except ProofInvalid:
            self._report.found("release_differs", row.idx)

    def _note_nobodys(self, index: int) -> None:
        if self._nobodys and self._nobodys[-1][1] == index - 1:
            self._nobodys[-1] = (self._nobodys[-1][0], index)
        else:
            self._nobodys.append((index, index))

    async def _compare_erasures(self) -> None:
        """Each person has one key, and each entry is under the key of a person, unless the log says that it went.

        A second key for one person, under which their accesses could be hidden from them, shows here.
        """
        if not self._nobodys:
            return
        erasures = [*self._erasures, *await self._erasures_elsewhere()]
        for first, last in self._nobodys:
            for index in range(first, last + 1):
                if not any(erasure.covers(self._head.origin, index) for erasure in erasures):
                    self._report.found("person_without_key", index)

    async def _erasures_elsewhere(self) -> list[Erasure]:
        """What later years' logs say about this one: a closed log takes no leaf any more."""
        joined = log_entry.join(record, RECORD_OF_ENTRY)
        query = select(log_entry.c.leaf, record.c.body).select_from(joined)
        found = []
        # A leaf about nobody has no tag: few have none besides exchanges about nobody.
        where = (log_entry.c.log != self._head.log, log_entry.c.tag.is_(None), record.c.expires_ms == MAX_INTEGER)
        for data, body in await self._connection.execute(query.where(*where)):
            leaf = parse_leaf(data)
            if leaf.kind == ERASE:
                found.append(parse_erasure(open_record(None, body, leaf.commitment)[1]))
        return found

    async def _compare_releases(self) -> None:
        """What was released stands where the release says, in this log or in another year's that is still there."""
        for index, released in self._released:
            joined = log_head.outerjoin(
                log_entry, (log_entry.c.log == log_head.c.log) & (log_entry.c.idx == released.index)
            )
            query = select(log_entry.c.leaf).select_from(joined).where(log_head.c.origin == released.origin)
            row = (await self._connection.execute(query)).first()
            if row is not None and row.leaf != released.leaf:
                self._report.found("release_differs", index)

    def _compare_checkpoint(self) -> None:
        signed = self._signed.pop(self._edge.size, None)
        if signed is not None and signed != self._edge.root():
            self._report.found("checkpoint_root_differs", self._edge.size)

    async def _read_checkpoints(self) -> None:
        query = select(checkpoint.c.size, checkpoint.c.note).where(checkpoint.c.log == self._head.log)
        for size, note in await self._connection.execute(query.order_by(checkpoint.c.size.desc())):
            self._report.checkpoints += 1
            try:
                signed = parse_checkpoint(await self._signed_text(size, note.encode()))
            except AuditError:
                self._report.found("checkpoint_signature_invalid", size)
                continue
            if (signed.origin, signed.size) != (self._head.origin, size):
                self._report.found("checkpoint_differs", size)
            self._signed[size] = signed.root

    async def _signed_text(self, size: int, data: bytes) -> str:
        if not self._verifiers:
            return parse_note(data).text
        try:
            text = verify_note(data, self._verifiers).text
        except ProofInvalid:
            if self._vouched is None:
                raise
            # A key of before a change may be gone. The log names it, in the tree that a newer checkpoint signs.
            if self._announced is None:
                self._announced = await announced_keys(self._connection, self._head.log, below=self._vouched)
            return verify_note(data, self._announced).text
        self._vouched = max(size, self._vouched or 0)
        return text

    async def _read_keys(self, keys: SubjectKeys) -> None:
        if not self._head.size:
            return
        query = select(log_entry.c.leaf).where(log_entry.c.log == self._head.log).order_by(log_entry.c.idx).limit(1)
        try:
            first = parse_leaf((await self._connection.execute(query)).scalar_one())
        except MalformedInput:
            return
        months = months_between(min(first.time_ms, self._head.last_ms), self._head.last_ms)
        self._keys_given = True
        async for key in keys.everyone():
            for month in months:
                made = key.month(self._head.origin, month)
                self._months[made.tag] = made

    async def _finish(self) -> None:
        head, edge, report = self._head, self._edge, self._report
        await self._compare_erasures()
        await self._compare_releases()
        if edge.size != head.size or edge.root() != head.root:
            report.found("root_differs")
        # The head's time may be later: a batch of messages without leaves moves it on too.
        if self._last_ms > head.last_ms:
            report.found("time_runs_backwards")
        for size in self._signed:
            report.found("checkpoint_beyond_log", size)
        tiles = await self._count(select(func.count()).select_from(log_tile).where(log_tile.c.log == head.log))
        entries = await self._count(select(func.count()).select_from(log_entry).where(log_entry.c.log == head.log))
        if tiles != self._tiles:
            report.found("tiles_too_many")
        if entries > head.size:
            report.found("entries_beyond_head")
        query = select(subject_head.c.tag, subject_head.c.n, subject_head.c.head).where(subject_head.c.log == head.log)
        heads = {bytes(tag): (n, bytes(newest)) for tag, n, newest in await self._connection.execute(query)}
        if heads != self._chains:
            report.found("subject_heads_differ")

    async def _count(self, query: Select[Any]) -> int:
        return int((await self._connection.execute(query)).scalar_one())
