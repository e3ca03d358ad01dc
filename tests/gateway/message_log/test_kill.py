"""kill -9 at random moments under load, of a process that logs, signs, time-stamps and archives.

A few times here, on each database; 100 times on each with `make soak`, which sets DATENWEG_SOAK_KILLS. After each kill:
what was acknowledged is there and what is there verifies. At the end whoever comes next finishes: every message has one
time-stamp that holds and is in one archive, and the archives follow one another.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import zipfile
from asyncio.subprocess import Process
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509 import load_der_x509_certificate
from sqlalchemy import select

from audit.archive_chain import verify_archive
from audit.checkpoint import Checkpoint
from audit.cosignature import verify_checkpoint
from audit.entry import parse_receipt
from audit.lock_file import read_lock_file
from audit.merkle import leaf_hash
from audit.message_keys import MessageKeys
from audit.message_stamps import stamps
from audit.store import log_entry, message_record, open_engine
from audit.subject_keys import SubjectKeys
from audit.tree_reader import root_at
from audit.verify import verify_log
from tests.audit.factory import ORIGIN
from tests.gateway.message_log.rig import Rig, open_rig
from tests.gateway.message_log.test_archiving import linked
from tests.gateway.message_log.victim import INDEX_KEY, KEK, SIGNER
from tests.trust.containers import LATER, making
from trust.hashchain import TIMESTAMP_FILES, build_batch
from trust.testca.authority import KeyPair
from trust.timestamp import verify_token
from trust.xades import signature_value

ROOT = Path(__file__).parents[3]
SOAK = os.environ.get("DATENWEG_SOAK_KILLS")
KILLS = int(SOAK or "3")
# A log is killed so often; then another one begins.
KILLS_OF_ONE = 10
# By count and not by the clock: amid the load, wherever that is.
LINES = 500
LOGS = -(-KILLS // KILLS_OF_ONE)


@dataclass
class Said:
    """What the killed had promised."""

    logged: dict[str, str] = field(default_factory=dict)
    published: dict[int, Checkpoint] = field(default_factory=dict)
    archived: list[str] = field(default_factory=list)
    stamped: int = 0
    kills: int = 0

    def hear(self, word: str, rest: str) -> None:
        """Notes a line."""
        match word:
            case "logged":
                request_id, receipt = rest.split(" ", 1)
                self.logged[request_id] = receipt
            case "published":
                found = verify_checkpoint(b64decode(rest), (SIGNER.verifier,))
                self.published[found.size] = found
            case "archived":
                self.archived.append(rest)
            case "stamped":
                self.stamped += int(rest)
            case _:
                raise AssertionError(f"{word} {rest}")


@dataclass
class Victims:
    """Whoever is killed next."""

    process: Process
    authority: KeyPair

    async def _line(self) -> tuple[str, str]:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = (await self.process.stdout.readline()).decode()
        assert line.endswith("\n"), "the process that makes victims is gone"
        word, _, rest = line[:-1].partition(" ")
        return word, rest

    async def kill_one(self, url: str, folder: Path, said: Said, lines: int) -> None:
        """One works on this database until it has said so many lines; then SIGKILL."""
        assert self.process.stdin is not None
        # Two hours after the one before it: nobody holds a lease any more.
        self.process.stdin.write(f"{url} {folder} {said.kills * 2}\n".encode())
        word, pid = await self._line()
        assert word == "begun", "the log didn't open after a kill"
        for _ in range(lines):
            said.hear(*await self._line())
        os.kill(int(pid), signal.SIGKILL)
        said.kills += 1
        # What it said before it died is promised as well.
        while (line := await self._line())[0] != "ended":
            said.hear(*line)


@asynccontextmanager
async def victims() -> AsyncIterator[Victims]:
    """A process that makes victims."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gateway.message_log.victim", cwd=ROOT, limit=1 << 20,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        word, certificate, key = (await process.stdout.readline()).decode().split()
        assert word == "ready"
        private = load_der_private_key(b64decode(key), None)
        assert isinstance(private, EllipticCurvePrivateKey)
        yield Victims(process, KeyPair(private, load_der_x509_certificate(b64decode(certificate))))
    finally:
        # With whatever it made.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def require_kept(url: str, folder: Path, said: Said) -> int:
    """Everything that was promised is there, and everything that is there verifies; how many entries that are."""
    engine, key_engine = open_engine(url), open_engine(f"sqlite+aiosqlite:///{folder / 'keys.sqlite'}")
    try:
        cipher = await MessageKeys(key_engine, KEK).cipher(sealing=False, now_ms=0)
        persons = SubjectKeys(key_engine, KEK, INDEX_KEY)
        report = await verify_log(engine, origin=ORIGIN, keys=persons, verifiers=(SIGNER.verifier,), messages=cipher)
        report.require_sound()
        assert report.records_opened == report.size == report.messages
        async with engine.connect() as connection:
            rows = await connection.execute(select(log_entry.c.idx, log_entry.c.leaf))
            leaves = {index: leaf_hash(bytes(leaf)) for index, leaf in rows}
            rows = await connection.execute(select(message_record.c.request_id, message_record.c.entry_from))
            places = {row.request_id: row.entry_from for row in rows}
            for checkpoint in said.published.values():
                # A checkpoint that the world has seen is still one of this log.
                assert await root_at(connection, 1, checkpoint.size) == checkpoint.root
        for request_id, promised in said.logged.items():
            receipt = parse_receipt(promised)
            assert places.get(request_id) == receipt.index
            assert leaves[receipt.index] == receipt.leaf_hash
        signed = read_lock_file(folder / "lock")
        assert signed is not None
        assert max(said.published, default=0) <= signed.size <= report.size
        assert {name for name in said.archived if not (folder / "archive" / name).is_file()} == set()
        return report.size
    finally:
        await engine.dispose()
        await key_engine.dispose()


async def require_stamped(rig: Rig, certificate: bytes) -> None:
    """Every message has one time-stamp, and every token holds for the messages that refer to it."""
    headers = await rig.headers()
    assert all(header.stamp is not None for header in headers)
    numbers = {header.stamp for header in headers if header.stamp is not None}
    for number, stamp in (await stamps(rig.engine, sorted(numbers))).items():
        # The few over which a killed process and its successor both had a token, keep the first one's.
        mine = [header for header in headers if header.stamp == number]
        documents = await rig.reader.signatures(mine)
        if stamp.result is None:
            (document,) = documents
            digest = hashlib.sha512(signature_value(document).decoded).digest()
        else:
            assert build_batch(stamp.inputs, files=TIMESTAMP_FILES)[0] == stamp.result
            assert {hashlib.sha512(document).digest() for document in documents} <= set(stamp.inputs)
            digest = hashlib.sha512(stamp.result).digest()
        verify_token(stamp.token, digest=digest, tsa_certificate=certificate, at=LATER)


async def finish(url: str, folder: Path, said: Said, authority: KeyPair) -> None:
    """The next one to come does what is left to do."""
    async with open_rig(url, folder, making(), pairs=(authority,)) as rig:
        rig.clock.advance(seconds=said.kills * 2 * 3600)
        await rig.stamper().round()
        await rig.archiver(folder / "archive").round()
        headers = await rig.headers()
        await require_stamped(rig, authority.certificate_der)
        archives = sorted((folder / "archive").iterdir())
        assert not [path for path in archives if path.name.startswith(".")], "an unfinished archive stayed"
        held: Counter[str] = Counter()
        for path in _in_order(archives):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".asice"):
                        held[name] += 1
            verify_archive(path.read_bytes())
        linked(_in_order(archives))
        assert set(held.values()) == {1}
        assert held.total() == len(headers)


def _in_order(archives: list[Path]) -> list[Path]:
    """The archives as they follow one another: each names the one before it."""
    before = {}
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            before[archive.read("linkinginfo").decode().splitlines()[0].split(" ")[1]] = path
    assert len(before) == len(archives), "two archives follow the same one"
    ordered, name = [], "-"
    while name in before:
        ordered.append(before[name])
        name = ordered[-1].name
    return ordered


@pytest.mark.parametrize("log", range(LOGS))
async def test_whatever_was_acknowledged_outlives_the_kill(
    database_url: str, tmp_path: Path, log: int, capsys: pytest.CaptureFixture[str]
) -> None:
    database, before = database_url.partition("+")[0], log * KILLS_OF_ONE
    chance = random.Random(f"{log} {database_url.partition(':')[0]}")
    said = Said()
    async with victims() as killed:
        for _ in range(min(KILLS_OF_ONE, KILLS - before)):
            await killed.kill_one(database_url, tmp_path, said, chance.randint(1, LINES))
            size = await require_kept(database_url, tmp_path, said)
            if SOAK:
                show(capsys, f"{database}: kill {before + said.kills} of {KILLS}, log {log + 1} of {LOGS}", said, size)
        await finish(database_url, tmp_path, said, killed.authority)
    assert said.logged


def show(capsys: pytest.CaptureFixture[str], where: str, said: Said, size: int) -> None:
    """A line for whoever waits for hours: one that is written over on a terminal."""
    with capsys.disabled():
        line = (
            f"{where}: {len(said.logged)} acknowledged of {size} entries, {len(said.published)} checkpoints, "
            f"{said.stamped} stamped, {len(said.archived)} archives: nothing lost, all verifies"
        )
        sys.stdout.write(f"\r{line}\033[K" if sys.stdout.isatty() else f"{line}\n")
        sys.stdout.flush()
