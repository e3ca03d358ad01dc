"""A log of many leaves, built once and kept: what a proof costs in it, and what a citizen's page weighs.

Built through the sequencer's own writer, in large batches and without waiting for the disk: leaves, records, chains,
tiles and heads are those of a real log. The persons who are measured have their accesses spread over all of it; the
rest belongs to persons with a few accesses each.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from audit.access import accesses
from audit.batch import Step
from audit.entry import Entry
from audit.note import NoteSigner
from audit.proofs import leaf_proof
from audit.publisher import Publisher
from audit.store import create_schema, open_engine
from audit.subject_keys import SubjectKeys
from audit.tag import SubjectKey
from audit.writer import LogWriter

ORIGIN: Final = "bench.example/audit/2026"
COUNTS: Final = (10, 1_000, 10_000)
_MONTH: Final = "2026-11"
_TIME_MS: Final = 1_795_308_434_123
_KEK, _INDEX_KEY = bytes(range(32)), bytes(32)
_STEP_ENTRIES: Final = 1024
_BATCH_STEPS: Final = 16
_ACCESSES_EACH: Final = 8
_RECORD: Final = b'{"action":"read","client":"DE-TEST/GOV/MUSTERSTADT/APP","purpose":"' + b"x" * 300 + b'"}'
_SHORT_RECORD: Final = b'{"action":"read"}'
_SALT_BYTES: Final = 44
_ROUNDS: Final = 3

Progress = Callable[[str, float, float], None]


@dataclass(frozen=True, slots=True)
class Page:
    """What one person's month costs. Times in milliseconds, weights in bytes."""

    accesses: int
    milliseconds: float
    cpu_ms: float
    bytes: int
    gzip_bytes: int


@dataclass(frozen=True, slots=True)
class BigLog:
    """The figures of one log."""

    leaves: int
    built_seconds: float
    database_bytes: int
    proof_micros: float
    proof_bytes: int
    pages: tuple[Page, ...]

    def as_values(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


async def measure_big_log(folder: Path, leaves: int, progress: Progress) -> BigLog:
    """The figures of a log of so many leaves, kept in `folder` and built there if it is missing. Raises AuditError."""
    folder = folder / f"log-{leaves}"
    file, built = folder / "log.sqlite", folder / "built.json"
    seconds = 0.0
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        begun = perf_counter()
        await _build(folder, leaves, progress)
        seconds = perf_counter() - begun
        built.write_text(json.dumps({"seconds": round(seconds, 1)}), "utf-8")
    else:
        seconds = json.loads(built.read_text("utf-8"))["seconds"]
    engine, key_engine = open_engine(f"sqlite+aiosqlite:///{file}"), open_engine(_keys_url(folder))
    try:
        keys = SubjectKeys(key_engine, _KEK, _INDEX_KEY)
        publisher = Publisher(
            engine,
            NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32)))),
            lock_file=folder / "lock",
            origin=ORIGIN,
            clock_ms=lambda: _TIME_MS,
        )
        note = await publisher.publish()
        async with engine.connect() as connection:
            times = []
            for number in range(200):
                begun = perf_counter()
                proof = await leaf_proof(connection, publisher.log, number * 7919 % leaves, note)
                times.append(perf_counter() - begun)
        pages = []
        for number, count in enumerate(COUNTS):
            if count > leaves // 10:
                continue
            progress("proofs", number, len(COUNTS))
            pages.append(await _page(engine, keys, publisher, count))
        return BigLog(
            leaves,
            round(seconds, 1),
            file.stat().st_size,
            round(sorted(times)[len(times) // 2] * 1e6, 1),
            len(proof.encode()),
            tuple(pages),
        )
    finally:
        await engine.dispose()
        await key_engine.dispose()


async def _page(engine: Any, keys: SubjectKeys, publisher: Publisher, count: int) -> Page:
    best, best_cpu, body = float("inf"), float("inf"), b""
    for _ in range(_ROUNDS if count < max(COUNTS) else 1):
        begun, cpu = perf_counter(), process_time()
        bundle = await accesses(engine, keys, _reference(count), _MONTH, publisher=publisher)
        body = json.dumps(bundle.as_json(), separators=(",", ":")).encode()
        best, best_cpu = min(best, perf_counter() - begun), min(best_cpu, process_time() - cpu)
        if len(bundle.accesses) != count:
            raise RuntimeError("the kept log is not the one that was built: remove it")
    return Page(count, round(best * 1000, 1), round(best_cpu * 1000, 1), len(body), len(gzip.compress(body, 6)))


def _reference(count: int) -> str:
    return f"person with {count} accesses"


def _keys_url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'keys.sqlite'}"


async def _build(folder: Path, leaves: int, progress: Progress) -> None:
    engine, key_engine = open_engine(f"sqlite+aiosqlite:///{folder / 'log.sqlite'}"), open_engine(_keys_url(folder))
    try:
        await create_schema(engine)
        keys = SubjectKeys(key_engine, _KEK, _INDEX_KEY)
        await keys.create_schema()
        measured = {count: await keys.key_for(_reference(count)) for count in COUNTS if count <= leaves // 10}
    finally:
        await engine.dispose()
        await key_engine.dispose()
    _write(folder / "log.sqlite", _entries(leaves, measured), leaves, progress)


def _entries(leaves: int, measured: dict[int, SubjectKey]) -> Iterator[Entry]:
    """As many entries as leaves; those of the measured persons at even distances."""
    places: dict[int, SubjectKey] = {}
    for count, key in measured.items():
        for number in range(count):
            place = number * (leaves // count)
            while place in places:
                place += 1
            places[place] = key
    other, used = SubjectKey(os.urandom(32)), 0
    for index in range(leaves):
        if index in places:
            yield Entry("access", places[index], bytes(32), _RECORD, _TIME_MS)
            continue
        if used == _ACCESSES_EACH:
            other, used = SubjectKey(os.urandom(32)), 0
        used += 1
        yield Entry("access", other, bytes(32), _SHORT_RECORD, _TIME_MS)


def _write(file: Path, entries: Iterator[Entry], leaves: int, progress: Progress) -> None:
    engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # Nobody else reads it yet, and who is interrupted begins anew.
        connection.isolation_level = None
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-500000", "locking_mode=EXCLUSIVE"):
            connection.execute(f"PRAGMA {pragma}")

    writer, done = LogWriter(ORIGIN), 0
    with engine.connect() as connection:
        writer.open(connection)
        while done < leaves:
            steps: list[Step] = []
            while len(steps) < _BATCH_STEPS and (some := tuple(islice(entries, _STEP_ENTRIES))):
                salts = os.urandom(_SALT_BYTES * len(some))
                cut = tuple(salts[at : at + _SALT_BYTES] for at in range(0, len(salts), _SALT_BYTES))
                steps.append(Step(some, cut, lambda _: ()))
                done += len(some)
            writer.commit(connection, writer.prepare(connection, steps, _TIME_MS))
            progress("building a log", done, leaves)
    engine.dispose()
