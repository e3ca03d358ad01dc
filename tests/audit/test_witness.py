"""C2SP tlog-witness: what a witness cosigns, and who catches a log that tells two stories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.checkpoint import Checkpoint
from audit.cosignature import CosignatureSigner
from audit.errors import AuditError, LogUnavailable, MalformedInput, SizeConflict
from audit.http import add_witness_routes
from audit.merkle import EMPTY_ROOT, Frontier, leaf_hash
from audit.note import NoteSigner, parse_note
from audit.policy import Policy, parse_policy, verify_witnessed
from audit.publisher import Publisher
from audit.store import create_schema, open_engine
from audit.witness import AddCheckpoint, key_for, origin_hash, parse_add_checkpoint
from audit.witness_client import WitnessedPublisher
from audit.witness_store import Witness
from tests.audit.factory import NOVEMBER_MS, ORIGIN, Clock, OpenLog, exchange, open_log

LOG = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())


def tree(*leaves: bytes) -> Checkpoint:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf_hash(leaf))
    return Checkpoint(ORIGIN, frontier.size, frontier.root())


def asked(old: int, checkpoint: Checkpoint, *path: bytes, signer: NoteSigner = LOG) -> bytes:
    return AddCheckpoint(old, path, signer.sign(checkpoint.text)).encode()


@asynccontextmanager
async def witness_on(url: str, name: str = "w.example/witness") -> AsyncIterator[tuple[Witness, AsyncEngine]]:
    engine = open_engine(url)
    await create_schema(engine)
    signer = CosignatureSigner(name, Ed25519PrivateKey.generate())
    try:
        yield Witness(engine, signer, [LOG.verifier], clock_ms=Clock()), engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def served(witness: Witness) -> AsyncIterator[str]:
    app = web.Application()
    add_witness_routes(app, witness)
    async with _running(app) as url:
        yield url


@asynccontextmanager
async def _running(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/witness"
    finally:
        await runner.cleanup()


async def test_the_statuses_of_the_specification(database_url: str) -> None:
    one, two, other = tree(b"a"), tree(b"a", b"b"), tree(b"a", b"x")
    proof = leaf_hash(b"b")
    stranger = NoteSigner("stranger.example/audit/2026", Ed25519PrivateKey.generate())
    impostor = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
    async with witness_on(database_url) as (witness, _), served(witness) as url, aiohttp.ClientSession() as http:

        async def post(body: bytes) -> tuple[int, bytes, str]:
            async with http.post(f"{url}/add-checkpoint", data=body) as answer:
                return answer.status, await answer.read(), answer.content_type

        assert (await post(b"nonsense"))[0] == 400
        assert (await post(b"x" * 200_000))[0] == 413
        assert (await post(asked(2, one)))[0] == 400
        assert (
            await post(
                AddCheckpoint(0, (), stranger.sign(f"{stranger.name}\n0\n{one.text.split(chr(10))[2]}\n")).encode()
            )
        )[0] == 404
        assert (await post(asked(0, one, signer=impostor)))[0] == 403
        assert (await post(asked(0, one, proof)))[0] == 422
        status, line, _ = await post(asked(0, one))
        assert status == 200
        assert line.startswith("\u2014 w.example/witness ".encode())
        # The same again is the same; a size that we don't think is a conflict that says what we do.
        assert (await post(asked(1, one)))[0] == 200
        assert await post(asked(0, two)) == (409, b"1\n", "text/x.tlog.size")
        assert (await post(asked(1, two, leaf_hash(b"x"))))[0] == 422
        assert (await post(asked(1, two, proof)))[0] == 200
        # Equal sizes with another root: two stories.
        assert (await post(asked(2, other)))[0] == 422
        assert await post(asked(1, one)) == (409, b"2\n", "text/x.tlog.size")
        async with http.get(f"{url}/{origin_hash(ORIGIN)}/checkpoint") as answer:
            assert parse_note(await answer.read()).text == two.text
        async with http.get(f"{url}/{origin_hash('unknown')}/checkpoint") as answer:
            assert answer.status == 404


async def test_of_two_histories_at_once_one_is_cosigned(database_url: str) -> None:
    """Check and memory are one step: a race between two stories has one winner."""
    async with witness_on(database_url) as (witness, _):
        stories = [tree(b"a", bytes([number])) for number in range(8)]
        results = await asyncio.gather(
            *(witness.add_checkpoint(asked(0, story)) for story in stories), return_exceptions=True
        )
        assert sum(isinstance(result, bytes) for result in results) == 1
        assert all(isinstance(result, bytes | AuditError) for result in results)
        seen = await witness.seen(ORIGIN)
        assert seen in stories


async def test_what_was_cosigned_outlives_the_process(database_url: str) -> None:
    async with witness_on(database_url) as (witness, engine):
        await witness.add_checkpoint(asked(0, tree(b"a", b"b")))
        again = Witness(
            engine, CosignatureSigner("w.example", Ed25519PrivateKey.generate()), [LOG.verifier], clock_ms=Clock()
        )
        with pytest.raises(SizeConflict):
            await again.add_checkpoint(asked(0, tree(b"a")))


def test_a_log_keeps_its_key_over_new_year_and_no_other_change() -> None:
    later = key_for(LOG.verifier, ORIGIN.replace("2026", "2027"))
    assert later is not None
    assert later.public == LOG.verifier.public
    assert key_for(LOG.verifier, "other.example/audit/2027") is None
    assert key_for(LOG.verifier, ORIGIN + "/2027") is None


@given(st.binary(max_size=300))
def test_any_bytes_are_no_request(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_add_checkpoint(data)


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_a_request_reads_back(old: int, path: list[bytes]) -> None:
    request = AddCheckpoint(old, tuple(path), LOG.sign(Checkpoint(ORIGIN, 2**62, EMPTY_ROOT).text))
    assert parse_add_checkpoint(request.encode()) == request


# The log's side.


@asynccontextmanager
async def witnessed_log(
    url: str, folder: Path, witnesses: dict[str, str], keys: dict[str, Witness], quorum: str
) -> AsyncIterator[tuple[OpenLog, Publisher, WitnessedPublisher, Policy]]:
    lines = [f"log {LOG.verifier.text}"]
    lines += [f"witness {name} {keys[name].verifier.text} {witnesses[name]}" for name in witnesses]
    policy = parse_policy("\n".join([*lines, f"group enough {quorum} {' '.join(witnesses)}", "quorum enough", ""]))
    async with open_log(url, lock_file=folder / "lock") as log, aiohttp.ClientSession() as http:
        publisher = Publisher(
            log.engine, LOG, lock_file=folder / "lock", origin=ORIGIN, clock_ms=log.clock, witnessed=True
        )
        await publisher.publish()
        client = WitnessedPublisher(log.engine, publisher, policy, http, clock_ms=log.clock)
        await client.start()
        yield log, publisher, client, policy


@asynccontextmanager
async def two_witnesses(tmp_path: Path) -> AsyncIterator[tuple[dict[str, Witness], dict[str, str]]]:
    async with (
        witness_on(f"sqlite+aiosqlite:///{tmp_path}/w1.db", "one.example") as (first, _),
        witness_on(f"sqlite+aiosqlite:///{tmp_path}/w2.db", "two.example") as (second, _),
        served(first) as first_url,
        served(second) as second_url,
    ):
        yield {"one": first, "two": second}, {"one": first_url, "two": second_url}


async def test_only_what_a_quorum_has_seen_is_public(database_url: str, tmp_path: Path) -> None:
    async with (
        two_witnesses(tmp_path) as (keys, urls),
        witnessed_log(database_url, tmp_path, urls, keys, "all") as (log, publisher, client, policy),
    ):
        with pytest.raises(LogUnavailable):
            await publisher.latest()
        for size in (3, 4, 300):
            while True:
                (receipt,) = await log.append(exchange())
                if receipt.index >= size - 1:
                    break
            await publisher.publish()
            assert publisher.newest_note != b""
            assert await client.round()
            witnessed = verify_witnessed(await publisher.latest(), policy)
            assert witnessed.checkpoint.size == size
            assert {c.witness for c in witnessed.cosignatures} == {"one.example", "two.example"}
        assert client.seconds_without_quorum == 0
        assert [report.problem for report in client.reports] == ["", ""]


async def test_an_idle_log_is_confirmed_again_and_a_missing_quorum_counts(tmp_path: Path, database_url: str) -> None:
    async with two_witnesses(tmp_path) as (keys, urls):
        gone = urls | {"two": "http://127.0.0.1:9/witness"}
        async with witnessed_log(database_url, tmp_path, gone, keys, "all") as (log, publisher, client, _):
            log.clock.now_ms += 90_000
            assert not await client.round()
            assert client.seconds_without_quorum == 90
            assert [(report.name, report.problem) for report in client.reports][1] == ("two", "can't be reached")
            with pytest.raises(LogUnavailable):
                await publisher.latest()
        async with witnessed_log(database_url, tmp_path, urls, keys, "all") as (log, publisher, client, _):
            assert await client.round()
            log.clock.now_ms += 30_000
            assert await client.round()
            assert client.seconds_without_quorum == 0
        # After a restart, what was public is public again, and the time counts on.
        async with witnessed_log(database_url, tmp_path, gone, keys, "all") as (log, publisher, client, _):
            assert await publisher.latest()
            log.clock.now_ms = NOVEMBER_MS + 30_000 + 7_000
            assert client.seconds_without_quorum == 7


async def test_a_restored_backup_is_caught_by_the_witnesses(tmp_path: Path, database_url: str) -> None:
    """Even with the lock file gone: the witnesses have seen a larger tree, and say so."""
    async with two_witnesses(tmp_path) as (keys, urls):
        other = f"sqlite+aiosqlite:///{tmp_path}/old.db"
        async with witnessed_log(database_url, tmp_path, urls, keys, "all") as (log, publisher, client, _):
            for _ in range(5):
                await log.append(exchange())
            await publisher.publish()
            assert await client.round()
        backup = tmp_path / "restored"
        backup.mkdir()
        async with witnessed_log(other, backup, urls, keys, "all") as (log, publisher, client, _):
            await log.append(exchange())
            await publisher.publish()
            assert not await client.round()
            assert all("larger tree" in report.problem for report in client.reports)
            for _ in range(4):
                await log.append(exchange())
            await publisher.publish()
            assert not await client.round()
            assert all("another history" in report.problem for report in client.reports)
            with pytest.raises(LogUnavailable):
                await publisher.latest()


@pytest.mark.parametrize("answer", [b"\xff\xfe\n", b"", b"\n" * 9_000, "\u2014 two.example AAAA\n".encode()])
async def test_a_witness_that_answers_nonsense_spoils_nobody_elses_quorum(tmp_path: Path, answer: bytes) -> None:
    """Whatever one of them sends, the others' cosignatures count."""
    async with two_witnesses(tmp_path) as (keys, urls), _listening(_saying(answer)) as liar:
        both = urls | {"two": liar}
        log = f"sqlite+aiosqlite:///{tmp_path}/log.db"
        async with witnessed_log(log, tmp_path, both, keys, "any") as (_, publisher, client, policy):
            assert await client.round()
            (cosignature,) = verify_witnessed(await publisher.latest(), policy).cosignatures
            assert cosignature.witness == "one.example"
            assert [report.problem for report in client.reports if report.name == "two"] != [""]


async def test_a_witness_that_repeats_itself_takes_nobody_elses_place(tmp_path: Path) -> None:
    """A note holds 64 signatures: were all of one witness's lines kept, those of the others would be cut off."""
    async with two_witnesses(tmp_path) as (keys, urls):
        witness = keys["one"]

        async def again_and_again(request: web.Request) -> web.Response:
            return web.Response(body=await witness.add_checkpoint(await request.read()) * 63)

        async with _listening(again_and_again) as loud:
            log = f"sqlite+aiosqlite:///{tmp_path}/log.db"
            urls["one"] = loud
            async with witnessed_log(log, tmp_path, urls, keys, "all") as (_, publisher, client, policy):
                assert await client.round()
                note = await publisher.latest()
        assert {c.witness for c in verify_witnessed(note, policy).cosignatures} == {"one.example", "two.example"}
        assert len(parse_note(note).signatures) == 3


def _saying(body: bytes) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=body)

    return handle


@asynccontextmanager
async def _listening(handle: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/witness/add-checkpoint", handle)
    async with _running(app) as url:
        yield url
