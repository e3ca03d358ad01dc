"""The monitor: double entry over two logs, and each way in which a log may lie to it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import Entry
from audit.entry_bundles import build_bundle, parse_bundle
from audit.errors import LogInconsistent, LogRolledBack, LogUnavailable, MalformedInput, ProofInvalid
from audit.http import add_routes
from audit.monitor import Monitor
from audit.note import NoteSigner
from audit.policy import LogLine
from audit.publisher import Publisher
from tests.audit.factory import NOVEMBER_MS, OpenLog, open_log

TOKEN = "the-auditors"


def of(exchange: bytes) -> Entry:
    return Entry("exchange", None, exchange, b"{}", NOVEMBER_MS + 1)


class Served:
    """A log with its publisher, and where it is served."""

    def __init__(self, log: OpenLog, publisher: Publisher, url: str) -> None:
        self.log, self.publisher, self.url = log, publisher, url
        self.line = LogLine(publisher.verifier, url)

    async def append(self, *exchanges: bytes) -> None:
        for exchange in exchanges:
            await self.log.append(of(exchange))
        await self.publisher.publish()


@asynccontextmanager
async def served(folder: Path, name: str, key: Ed25519PrivateKey | None = None) -> AsyncIterator[Served]:
    origin = f"{name}.example/audit/2026"
    async with open_log(f"sqlite+aiosqlite:///{folder}/{name}.db", origin=origin) as log:
        signer = NoteSigner(origin, key or Ed25519PrivateKey.generate())
        publisher = Publisher(log.engine, signer, lock_file=folder / f"{name}.lock", origin=origin, clock_ms=log.clock)
        await publisher.publish()
        app = web.Application()
        add_routes(app, log.engine, {"2026": publisher}, auditor_token=TOKEN)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield Served(log, publisher, f"http://127.0.0.1:{runner.addresses[0][1]}/audit/2026")
        finally:
            await runner.cleanup()


@asynccontextmanager
async def monitor(folder: Path, token: str | None = TOKEN) -> AsyncIterator[Monitor]:
    async with aiohttp.ClientSession() as http:
        watching = Monitor(folder / "monitor.db", http, token_for=lambda _: token)
        try:
            yield watching
        finally:
            watching.close()


async def test_what_one_log_has_and_the_other_lacks(tmp_path: Path) -> None:
    shared = [os.urandom(32) for _ in range(600)]
    hidden, late = os.urandom(32), os.urandom(32)
    async with served(tmp_path, "one") as one, served(tmp_path, "two") as two:
        await one.append(*shared, hidden)
        await two.append(*reversed(shared))
        async with monitor(tmp_path) as watching:
            assert (await watching.follow(one.line)).new_entries == 601
            assert (await watching.follow(two.line)).new_entries == 600
            (found,) = watching.one_sided(before_ms=NOVEMBER_MS + 1)
            assert (found.origin, found.index, found.exchange) == ("one.example/audit/2026", 600, hidden)
            # What is young may still be on its way to the other log.
            assert list(watching.one_sided(before_ms=NOVEMBER_MS)) == []
        await two.append(hidden, late)
        # Another visit goes on where the last one ended.
        async with monitor(tmp_path) as watching:
            assert (await watching.follow(one.line)).new_entries == 0
            assert (await watching.follow(two.line)).new_entries == 2
            assert [found.exchange for found in watching.one_sided(before_ms=NOVEMBER_MS + 1)] == [late]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Where a log's other stories are kept."""
    found = (tmp_path / "backup", tmp_path / "rewritten", tmp_path / "stranger")
    for folder in found:
        folder.mkdir()
    return found


async def test_a_log_that_lies_is_caught(tmp_path: Path, places: tuple[Path, Path, Path]) -> None:
    backup, rewritten, elsewhere = places
    key, exchanges = Ed25519PrivateKey.generate(), [os.urandom(32) for _ in range(300)]
    async with monitor(tmp_path) as watching:
        async with served(tmp_path, "one", key) as one:
            await one.append(*exchanges)
            await watching.follow(one.line)
        async with served(backup, "one", key) as one:
            await one.append(*exchanges[:10])
            with pytest.raises(LogRolledBack, match="once 300"):
                await watching.follow(one.line)
        async with served(rewritten, "one", key) as one:
            await one.append(os.urandom(32), *exchanges[1:], os.urandom(32))
            with pytest.raises(LogInconsistent, match="root"):
                await watching.follow(one.line)
            # A lie leaves nothing in what is known.
            assert len(list(watching.one_sided(before_ms=NOVEMBER_MS + 1))) == 300
        async with served(elsewhere, "one") as one:
            stranger = LogLine(NoteSigner("one.example/audit/2026", key).verifier, one.url)
            with pytest.raises(ProofInvalid):
                await watching.follow(stranger)


async def test_entries_are_for_the_auditor_alone(tmp_path: Path) -> None:
    async with served(tmp_path, "one") as one:
        await one.append(os.urandom(32))
        for token in (None, "another"):
            async with monitor(tmp_path, token) as watching:
                with pytest.raises(LogUnavailable, match="token"):
                    await watching.follow(one.line)
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            for path, status in (("000.p/1", 200), ("000", 404), ("000.p/2", 404), ("1", 400)):
                async with http.get(f"{one.url}/tile/entries/{path}") as answer:
                    assert answer.status == status, path
    async with monitor(tmp_path) as watching:
        with pytest.raises(LogUnavailable, match="reached"):
            await watching.follow(one.line)


async def test_entries_are_given_once_they_are_published(tmp_path: Path) -> None:
    """What no checkpoint covers yet isn't the log's word to anybody, the auditor included."""
    async with served(tmp_path, "one") as one:
        await one.append(os.urandom(32))
        await one.log.append(of(os.urandom(32)))
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
            for path, status in (("000.p/1", 200), ("000.p/2", 404)):
                async with http.get(f"{one.url}/tile/entries/{path}") as answer:
                    assert answer.status == status, path
            await one.publisher.publish()
            async with http.get(f"{one.url}/tile/entries/000.p/2") as answer:
                assert answer.status == 200


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_reads_back(entries: list[bytes]) -> None:
    assert parse_bundle(build_bundle(entries), len(entries)) == tuple(entries)
    with pytest.raises(MalformedInput):
        parse_bundle(build_bundle(entries) + b"\0", len(entries))


@given(st.binary(max_size=100), st.integers(0, 256))
def test_any_bytes_are_a_bundle_or_malformed(data: bytes, width: int) -> None:
    try:
        assert build_bundle(parse_bundle(data, width)) == data
    except MalformedInput:
        return
