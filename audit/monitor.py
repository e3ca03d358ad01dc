"""The monitor: follows several gateways' logs and says what one of them has and no other.

Double entry: both gateways of an exchange log the same blinded exchange id. An id that stands in one log alone is an
exchange that the other gateway did not log, or one that never reached it; whoever keeps the log can open the entry and
say which. Each log is followed from where the last visit ended, entry by entry, so that a history that was rewritten
does not give the root that its log signs.

What was seen is kept in one SQLite file. It holds no personal data: ids and times alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from audit.checkpoint import Checkpoint
from audit.cosignature import verify_checkpoint
from audit.entry_bundles import MAX_BUNDLE_BYTES, parse_bundle
from audit.errors import AuditError, LogInconsistent, LogRolledBack, LogUnavailable, MalformedInput, ProofInvalid
from audit.leaf import Leaf, parse_leaf
from audit.merkle import Frontier, leaf_hash
from audit.note import MAX_NOTE_BYTES
from audit.policy import LogLine
from audit.tiles import WIDTH, TileId
from audit.witness import key_for

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_MAX_LIST_BYTES: Final = 1 << 20
_DOUBLE_ENTRY_KINDS: Final = ("access", "withheld", "exchange")
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS log(id INTEGER PRIMARY KEY, origin TEXT UNIQUE NOT NULL, size INTEGER NOT NULL,
    root BLOB NOT NULL, peaks TEXT NOT NULL, last_ms INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS seen(m BLOB NOT NULL, log INTEGER NOT NULL, idx INTEGER NOT NULL, t INTEGER NOT NULL,
    PRIMARY KEY(m, log)) STRICT, WITHOUT ROWID;
"""
_ONE_SIDED: Final = """
SELECT origin, idx, t, m FROM (
    SELECT m, min(log) AS log, min(idx) AS idx, max(t) AS t, count(*) AS logs FROM seen GROUP BY m
) JOIN log ON log.id = log WHERE logs = 1 AND t < ? ORDER BY origin, idx
"""


@dataclass(frozen=True, slots=True)
class Followed:
    """A log as far as it was followed: signed by its key, recomputed from its entries."""

    checkpoint: Checkpoint
    new_entries: int


@dataclass(frozen=True, slots=True)
class OneSided:
    """An exchange that one log alone has: the log, the entry's index, its time (ms, UTC) and its blinded id."""

    origin: str
    index: int
    time_ms: int
    exchange: bytes


class Monitor:
    """Follows logs. One at a time per state file."""

    def __init__(
        self, state: Path, http: aiohttp.ClientSession, *, token_for: Callable[[str], str | None] = lambda _: None
    ) -> None:
        """`token_for` gives, by origin, what the log's operator gave their auditor for its entries."""
        self._database = sqlite3.connect(state)
        self._database.executescript("PRAGMA journal_mode=WAL;" + _SCHEMA)
        self._http = http
        self._token_for = token_for

    def close(self) -> None:
        """Give the state file back."""
        self._database.close()

    async def follow(self, line: LogLine) -> Followed:
        """Follow a log to its newest checkpoint; what was seen is durable on return.

        Raises LogUnavailable (can't be reached), ProofInvalid (not its key's signature), LogRolledBack (smaller than
        before), LogInconsistent (its entries do not give the root that it signed).
        """
        note = await self._get(f"{line.url}/checkpoint", MAX_NOTE_BYTES)
        checkpoint = verify_checkpoint(note, [line.key])
        if line.key.name != checkpoint.origin:
            raise ProofInvalid("the checkpoint is of another log")
        number, frontier, last_ms = self._known(checkpoint.origin)
        if checkpoint.size < frontier.size:
            raise LogRolledBack(f"smaller than before: {checkpoint.size} entries, once {frontier.size}")
        before = frontier.size
        try:
            while frontier.size < checkpoint.size:
                last_ms = await self._portion(line, number, frontier, checkpoint.size, last_ms)
            if frontier.root() != checkpoint.root:
                raise LogInconsistent("the entries do not give the root that the log has signed")
        except BaseException:
            # What a log said before it was caught lying, or fell silent, is not known.
            self._database.rollback()
            raise
        peaks = json.dumps([peak.hex() for peak in frontier.peaks])
        values = (frontier.size, checkpoint.root, peaks, last_ms, number)
        self._database.execute("UPDATE log SET size=?, root=?, peaks=?, last_ms=? WHERE id=?", values)
        self._database.commit()
        return Followed(checkpoint, frontier.size - before)

    async def years_of(self, line: LogLine) -> tuple[LogLine, ...]:
        """A policy's log and those of its other years: which its gateway lists, and which were followed before.

        A log keeps its key and its place over New Year, and changes the year in its name and address. Raises
        LogUnavailable, MalformedInput.
        """
        keeper, _, year = line.key.name.rpartition("/")
        place, _, last = (line.url or "").rpartition("/")
        if last != year:
            return (line,)
        query = "SELECT origin FROM log WHERE origin LIKE ? ESCAPE '\\' AND size > 0"
        origins = {origin for (origin,) in self._database.execute(query, (_escaped(keeper) + "/____",))}
        origins |= _listed(await self._get(f"{place}/logs", _MAX_LIST_BYTES))
        keys = {origin: key for origin in origins if (key := key_for(line.key, origin)) is not None} | {
            line.key.name: line.key
        }
        return tuple(LogLine(key, f"{place}/{origin.rpartition('/')[2]}") for origin, key in sorted(keys.items()))

    def one_sided(self, *, before_ms: int) -> Iterator[OneSided]:
        """The exchanges before a time that one of the followed logs alone has."""
        with closing(self._database.execute(_ONE_SIDED, (before_ms,))) as rows:
            for origin, index, time_ms, exchange in rows:
                yield OneSided(origin, index, time_ms, exchange)

    def _known(self, origin: str) -> tuple[int, Frontier, int]:
        self._database.execute(
            "INSERT OR IGNORE INTO log(origin, size, root, peaks, last_ms) VALUES (?, 0, x'', '[]', 0)", (origin,)
        )
        query = "SELECT id, size, peaks, last_ms FROM log WHERE origin=?"
        number, size, peaks, last_ms = self._database.execute(query, (origin,)).fetchone()
        return number, Frontier.from_peaks(size, [bytes.fromhex(peak) for peak in json.loads(peaks)]), last_ms

    async def _portion(self, line: LogLine, number: int, frontier: Frontier, size: int, last_ms: int) -> int:
        """Take the entries of the next tile up to the size; the time of the last one."""
        index = frontier.size // WIDTH
        tile = TileId(0, index, min(WIDTH, size - index * WIDTH))
        url = f"{line.url}/tile/entries/{tile.path.removeprefix('0/')}"
        token = self._token_for(line.key.name)
        entries = parse_bundle(await self._get(url, MAX_BUNDLE_BYTES, token=token), tile.width)
        rows = []
        for entry in entries[frontier.size - index * WIDTH :]:
            leaf = _leaf(entry)
            if leaf.time_ms < last_ms:
                raise LogInconsistent("time runs backwards in the log")
            last_ms = leaf.time_ms
            if leaf.kind in _DOUBLE_ENTRY_KINDS:
                rows.append((leaf.exchange, number, frontier.size, leaf.time_ms))
            frontier.append(leaf_hash(entry))
        self._database.executemany("INSERT OR IGNORE INTO seen(m, log, idx, t) VALUES (?, ?, ?, ?)", rows)
        return last_ms

    async def _get(self, url: str, limit: int, *, token: str | None = None) -> bytes:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            async with self._http.get(url, headers=headers, timeout=_TIMEOUT, allow_redirects=False) as answer:
                if answer.status in (401, 403):
                    raise LogUnavailable("the log's entries are for its auditor: a token is needed")
                if answer.status != 200:
                    raise LogUnavailable(f"the log answers with status {answer.status}")
                content = b""
                async for chunk in answer.content.iter_any():
                    content += chunk
                    if len(content) > limit:
                        raise LogUnavailable("the log's answer is too long")
                return content
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise LogUnavailable("the log can't be reached") from None


def _listed(body: bytes) -> set[str]:
    try:
        listed: Any = json.loads(body)
        return {str(log["origin"]) for log in listed}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedInput("not a list of logs") from None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _leaf(entry: bytes) -> Leaf:
    try:
        return parse_leaf(entry)
    except AuditError:
        raise LogInconsistent("an entry of the log is no leaf") from None


def followable(lines: Sequence[LogLine]) -> tuple[LogLine, ...]:
    """The logs whose address is known."""
    return tuple(line for line in lines if line.url is not None)
