"""Publishing, the lock file, and what others can fetch and verify over HTTP."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import LogRolledBack, MalformedInput, ProofInvalid
from audit.http import add_routes
from audit.lock_file import read_lock_file, require_not_behind, swap_lock_file
from audit.merkle import root_of, verify_consistency
from audit.note import NoteSigner, verify_note
from audit.proofs import parse_leaf_proof, verify_leaf_proof
from audit.publisher import Publisher
from tests.audit.factory import ORIGIN, OpenLog, exchange, open_log

SIGNER = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())


@asynccontextmanager
async def published(log: OpenLog, lock_file: Path) -> AsyncIterator[Publisher]:
    publisher = Publisher(log.engine, SIGNER, lock_file=lock_file, origin=ORIGIN, clock_ms=log.clock)
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.close()


async def test_a_checkpoint_is_signed_when_the_log_grew(database_url: str, tmp_path: Path) -> None:
    async with open_log(database_url) as log, published(log, tmp_path / "lock") as publisher:
        empty = await publisher.latest()
        receipts = await log.append(exchange(), exchange(), exchange())
        note = await publisher.publish()
        assert await publisher.publish() == await publisher.latest() == note != empty
        signed = parse_checkpoint(verify_note(note, [publisher.verifier]).text)
        assert signed == Checkpoint(ORIGIN, 3, root_of([receipt.leaf_hash for receipt in receipts]))
        assert read_lock_file(tmp_path / "lock") == signed == publisher.published


async def test_a_restart_goes_on_where_the_lock_file_is(database_url: str, tmp_path: Path) -> None:
    async with open_log(database_url) as log:
        async with published(log, tmp_path / "lock") as publisher:
            await log.append(exchange())
            note = await publisher.publish()
        async with published(log, tmp_path / "lock") as again:
            assert await again.latest() == note


async def test_a_database_behind_the_lock_file_refuses_to_start(database_url: str, tmp_path: Path) -> None:
    lock_file = tmp_path / "lock"
    async with open_log(database_url, lock_file=lock_file) as log, published(log, lock_file):
        await log.append(exchange())
    ahead = SIGNER.sign(Checkpoint(ORIGIN, 2, bytes(32)).text)
    swap_lock_file(lock_file, expected=read_lock_file(lock_file), note=ahead)
    with pytest.raises(LogRolledBack):
        async with open_log(database_url, lock_file=lock_file):
            pass


async def test_a_database_with_another_past_refuses_to_start(database_url: str, tmp_path: Path) -> None:
    lock_file = tmp_path / "lock"
    async with open_log(database_url) as log:
        await log.append(exchange(), exchange())
        lock_file.write_bytes(SIGNER.sign(Checkpoint(ORIGIN, 1, bytes(32)).text))
        with pytest.raises(LogRolledBack):
            await require_not_behind(log.engine, ORIGIN, lock_file)
        with pytest.raises(LogRolledBack):
            async with published(log, lock_file):
                pass


async def test_what_was_signed_but_not_yet_published_is_taken_up(database_url: str, tmp_path: Path) -> None:
    lock_file = tmp_path / "lock"
    async with open_log(database_url) as log:
        receipts = await log.append(exchange())
        # A crash after the lock file was swapped, before the database had the checkpoint.
        note = SIGNER.sign(Checkpoint(ORIGIN, 1, receipts[0].leaf_hash).text)
        swap_lock_file(lock_file, expected=None, note=note)
        async with published(log, lock_file) as one, published(log, lock_file) as two:
            assert await one.latest() == await two.latest() == note
            await log.append(exchange())
            assert await one.publish() == await two.publish() != note


async def test_two_publishers_do_not_sign_past_each_other(sqlite_url: str, tmp_path: Path) -> None:
    async with open_log(sqlite_url) as log, published(log, tmp_path / "lock") as one:
        await log.append(exchange())
        other = SIGNER.sign(Checkpoint(ORIGIN, 1, bytes(32)).text)
        swap_lock_file(tmp_path / "lock", expected=read_lock_file(tmp_path / "lock"), note=other)
        with pytest.raises(LogRolledBack):
            await one.publish()
        # Put right again, so that the publisher closes in peace.
        (tmp_path / "lock").unlink()
        (tmp_path / "lock").write_bytes(await one.latest())


async def test_a_slower_publisher_does_not_put_the_lock_file_back(sqlite_url: str, tmp_path: Path) -> None:
    lock_file = tmp_path / "lock"

    class SlowPublisher(Publisher):
        overtaken = False

        async def _head(self) -> Checkpoint:
            head = await super()._head()
            if head.size == 1 and not self.overtaken:
                self.overtaken = True
                await log.append(exchange())
                await quick.publish()
            return head

    async with open_log(sqlite_url) as log, published(log, lock_file) as quick:
        slow = SlowPublisher(log.engine, SIGNER, lock_file=lock_file, origin=ORIGIN, clock_ms=log.clock)
        await log.append(exchange())
        await slow.publish()
        assert slow.overtaken
        assert slow.published == quick.published == read_lock_file(lock_file)
        assert slow.published.size == 2


async def test_a_publisher_knows_how_old_its_checkpoint_may_be(sqlite_url: str, tmp_path: Path) -> None:
    async with open_log(sqlite_url) as log:
        publisher = Publisher(log.engine, SIGNER, lock_file=tmp_path / "lock", origin=ORIGIN, clock_ms=log.clock)
        assert publisher.behind_seconds == inf
        await publisher.publish()
        assert publisher.behind_seconds < 5
        (tmp_path / "lock").write_bytes(SIGNER.sign(Checkpoint(ORIGIN, 1, bytes(32)).text))
        before = publisher.behind_seconds
        with pytest.raises(LogRolledBack):
            await publisher.publish()
        assert publisher.behind_seconds >= before


async def test_another_logs_lock_file_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(SIGNER.sign(Checkpoint("gateway.example/audit/2025", 0, bytes(32)).text))
    async with open_log(sqlite_url) as log:
        with pytest.raises(LogRolledBack):
            async with published(log, tmp_path / "lock"):
                pass


def test_the_lock_file_swaps_only_what_it_expects(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = Checkpoint(ORIGIN, 1, bytes(32)), Checkpoint(ORIGIN, 2, bytes(32))
    swap_lock_file(path, expected=None, note=SIGNER.sign(first.text))
    with pytest.raises(LogRolledBack):
        swap_lock_file(path, expected=None, note=SIGNER.sign(second.text))
    swap_lock_file(path, expected=first, note=SIGNER.sign(second.text))
    assert read_lock_file(path) == second
    path.write_bytes(b"")
    with pytest.raises(MalformedInput):
        read_lock_file(path)


@asynccontextmanager
async def served(log: OpenLog, publisher: Publisher) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    add_routes(app, log.engine, {"2026": publisher})
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_everything_that_is_public_verifies(database_url: str, tmp_path: Path) -> None:
    async with (
        open_log(database_url) as log,
        published(log, tmp_path / "lock") as publisher,
        served(log, publisher) as client,
    ):
        receipts = list(await log.append(*[exchange() for _ in range(300)]))
        old = parse_checkpoint((await publisher.publish()).decode().split("\n\n")[0] + "\n")
        receipts += await log.append(*[exchange() for _ in range(300)])
        await publisher.publish()
        hashes = [receipt.leaf_hash for receipt in receipts]

        async def get(path: str) -> bytes:
            response = await client.get(path)
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            return await response.read()

        (listed,) = await (await client.get("/audit/logs")).json()
        keys = {"vkey": SIGNER.verifier.text, "vkeys": [SIGNER.verifier.text]}
        assert listed.pop("prefix").endswith("/audit/2026")
        assert listed == {"origin": ORIGIN, **keys, "first_index": 0, "state": "active"}
        signed = parse_checkpoint(verify_note(await get("/audit/2026/checkpoint"), [SIGNER.verifier]).text)
        assert signed.root == root_of(hashes)
        assert await get("/audit/2026/tile/0/001") == b"".join(hashes[256:512])
        assert await get("/audit/2026/tile/0/002.p/88") == b"".join(hashes[512:])
        assert await get("/audit/2026/tile/0/000.p/5") == b"".join(hashes[:5])
        assert await get("/audit/2026/tile/1/000.p/2") == root_of(hashes[:256]) + root_of(hashes[256:512])
        for query, size in (("index=7", 600), ("index=7&size=300", 300)):
            proof = parse_leaf_proof(await get(f"/audit/2026/proof/inclusion?{query}"))
            assert parse_leaf_proof(proof.encode()) == proof
            assert verify_leaf_proof(proof, hashes[7], origin=ORIGIN, keys=[SIGNER.verifier]) == size
            with pytest.raises(ProofInvalid):
                verify_leaf_proof(proof, hashes[8], origin=ORIGIN, keys=[SIGNER.verifier])
        body = (await get("/audit/2026/proof/consistency?old=300")).decode()
        lines = body.split("\n\n")[0].split("\n")
        path = [b64decode(line) for line in lines[1:]]
        assert lines[0] == "old 300"
        verify_consistency(300, old.root, 600, signed.root, path)


async def test_what_never_changes_may_be_cached_for_ever(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        open_log(sqlite_url) as log,
        published(log, tmp_path / "lock") as publisher,
        served(log, publisher) as client,
    ):
        await log.append(*[exchange() for _ in range(300)])
        await publisher.publish()
        for path, caching, kind in (
            ("tile/0/000", "public, max-age=31536000, immutable", "application/octet-stream"),
            ("tile/0/001.p/44", "public, max-age=31536000, immutable", "application/octet-stream"),
            ("checkpoint", "public, max-age=1", "text/plain; charset=utf-8"),
        ):
            answer = await client.get(f"/audit/2026/{path}")
            assert (answer.headers["Cache-Control"], answer.headers["Content-Type"]) == (caching, kind)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/audit/2025/checkpoint", 404),
        ("/audit/2026/tile/0/001", 404),
        ("/audit/2026/tile/0/000.p/9", 404),
        ("/audit/2026/tile/0/0", 400),
        ("/audit/2026/tile/..%2F..", 400),
        ("/audit/2026/proof/inclusion?index=3", 404),
        ("/audit/2026/proof/inclusion?index=-1", 400),
        ("/audit/2026/proof/inclusion", 400),
        ("/audit/2026/proof/inclusion?index=0&size=2", 404),
        ("/audit/2026/proof/consistency?old=4", 404),
    ],
)
async def test_what_is_not_there_is_refused(sqlite_url: str, tmp_path: Path, path: str, status: int) -> None:
    async with open_log(sqlite_url) as log, published(log, tmp_path / "lock") as publisher:
        await log.append(exchange(), exchange(), exchange())
        await publisher.publish()
        # Appended, but covered by no checkpoint yet: not public.
        await log.append(*[exchange() for _ in range(6)])
        async with served(log, publisher) as client:
            assert (await client.get(path)).status == status


async def test_publishing_goes_on_after_a_failure(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.publisher.INTERVAL_SECONDS", 0.01)
    failed, published_again = asyncio.Event(), asyncio.Event()

    class WatchedSigner(NoteSigner):
        def sign(self, text: str) -> bytes:
            if "\n1\n" in text:
                published_again.set()
            return super().sign(text)

    signer = WatchedSigner(ORIGIN, Ed25519PrivateKey.generate())
    async with open_log(sqlite_url) as log:
        options = {"lock_file": tmp_path / "lock", "origin": ORIGIN, "clock_ms": log.clock}
        publisher = Publisher(log.engine, signer, on_failure=lambda _: failed.set(), **options)  # type: ignore[arg-type]
        await publisher.start()
        await log.append(exchange())
        async with log.engine.begin() as connection:
            await connection.execute(text("ALTER TABLE log_head RENAME TO hidden"))
        async with asyncio.timeout(5):
            await failed.wait()
        async with log.engine.begin() as connection:
            await connection.execute(text("ALTER TABLE hidden RENAME TO log_head"))
        async with asyncio.timeout(5):
            await published_again.wait()
        await publisher.close()
        assert publisher.published.size == 1
