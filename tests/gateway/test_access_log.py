"""What a gateway's access log does over hours and years: time-stamps, keys that change, what it says of itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, update

from audit.checkpoint import parse_checkpoint
from audit.checkpoint_stamps import newest_stamp, stamps_of
from audit.cosignature import verify_checkpoint, verify_cosignatures
from audit.entry import Entry
from audit.errors import ProofInvalid
from audit.http import add_routes
from audit.leaf import parse_leaf
from audit.note import NoteKey, parse_note, parse_vkey
from audit.period_store import newest_index
from audit.record import open_record
from audit.store import checkpoint_stamp, log_entry, record
from audit.subject_keys import withheld
from audit.verify import verify_log
from gateway.checkpoint_stamping import CheckpointStamping, count_verified_stamps, verify_checkpoint_stamp
from gateway.log_announcements import Announcements, announce_keys, announce_page
from gateway.logs import OwnLogs
from gateway.witnessing import index_month, index_year_end
from tests.audit.factory import no_messages
from tests.gateway.test_logs import KEY, OLD, Place, place
from trust.errors import FetchFailed, TrustError
from trust.parameters import ApprovedTSA
from trust.testca.authority import CertificateAuthority
from trust.testca.time_stamping import TimeStampingAuthority
from trust.timestamp import VerifiedTimestamp, add_certificate, build_request, parse_response, verify_token

__all__ = ["place"]
SEED = bytes(range(32))


class Stamps:
    """A time-stamping authority that needs no network, and can be silent."""

    def __init__(self, place: Place, folder: Path) -> None:
        issuer = CertificateAuthority.load_or_create(folder / "authority", "DE-TEST", clock=place.clock.now)
        self.approved = issuer.approved_tsa("http://127.0.0.1:9/tsa")
        self._authority, self._clock = TimeStampingAuthority(issuer.time_stamping, place.clock.now), place.clock
        self.silent = False

    async def stamp(self, digest: bytes, authorities: Sequence[ApprovedTSA]) -> VerifiedTimestamp:
        assert list(authorities) == [self.approved]
        if self.silent:
            raise FetchFailed("silent", code="timestamping_failed")
        token = parse_response(self._authority.answer(build_request(digest)))
        token = add_certificate(token, self.approved.certificate)
        return verify_token(
            token, digest=digest, tsa_certificate=self.approved.certificate, at=self._clock.now() + timedelta(seconds=1)
        )


async def test_each_hour_a_checkpoint_gets_a_time_stamp(place: Place, tmp_path: Path) -> None:
    place.clock.time = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    source = Stamps(place, tmp_path)
    async with place.logs() as logs:
        stamping = CheckpointStamping(place.engine, logs, source, lambda: [source.approved], place.clock)
        await place.record(logs, "erika")
        await logs.publisher.publish()
        source.silent = True
        with pytest.raises(TrustError):
            await stamping.round()
        source.silent = False
        assert await stamping.round()
        assert not await stamping.round()
        place.clock.time += timedelta(minutes=59)
        assert not await stamping.round()
        place.clock.time += timedelta(minutes=1)
        await place.record(logs, "erika")
        note = await logs.publisher.publish()
        assert await stamping.round()
        assert not await CheckpointStamping(place.engine, logs, source, list, place.clock).round()
        log, at = logs.publisher.log, place.clock.now() + timedelta(seconds=1)
        async with place.engine.connect() as connection:
            assert await count_verified_stamps(connection, log, [source.approved], at=at) == (2, 0)
            stamp = await newest_stamp(connection, log)
            assert stamp is not None
            found = await verify_checkpoint_stamp(connection, stamp, [source.approved], at=at)
            assert found == parse_checkpoint(parse_note(note).text)
        app = web.Application()
        add_routes(app, place.engine, logs.publishers, current=lambda: logs.publisher, public_url="https://gw.example")
        async with TestClient(TestServer(app)) as client:
            served = await (await client.get("/audit/2026/timestamp")).json()
            assert (served["checkpoint"], served["time"]) == (note.decode(), "2026-11-22T13:00:00+00:00")
            assert (await client.get("/audit/2025/timestamp")).status == 404
            (listed,) = await (await client.get("/audit/logs")).json()
            assert (listed["prefix"], listed["state"]) == ("https://gw.example/audit/2026", "active")
    # A stamp over another tree than the log's, and one whose checkpoint was exchanged, don't hold.
    async with place.engine.begin() as connection:
        other = note.replace(b"\n2\n", b"\n1\n").decode()
        await connection.execute(update(checkpoint_stamp).where(checkpoint_stamp.c.size == 2).values(note=other))
    async with place.engine.connect() as connection:
        assert await count_verified_stamps(connection, log, [source.approved], at=at) == (1, 1)


async def test_a_finished_year_s_last_checkpoint_gets_a_time_stamp_once(place: Place, tmp_path: Path) -> None:
    source = Stamps(place, tmp_path)

    async def stamped(logs: OwnLogs) -> dict[str, list[int]]:
        """After a round: the sizes of each year's stamped checkpoints."""
        await CheckpointStamping(place.engine, logs, source, lambda: [source.approved], place.clock).round()
        async with place.engine.connect() as connection:
            found = {year: await stamps_of(connection, log.log) for year, log in logs.publishers.items()}
        return {year: [parse_checkpoint(parse_note(one.note).text).size for one in of] for year, of in found.items()}

    async with place.logs() as logs:
        await place.record(logs, "erika")
        await logs.publisher.publish()
        assert await stamped(logs) == {"2026": [1]}
        # The year's last moments: within the hour, so not stamped any more while the year lasts.
        await place.record(logs, "max")
        await logs.publisher.publish()
        assert await stamped(logs) == {"2026": [1]}
        place.clock.time += timedelta(seconds=1)
        old = await logs.change_over()
        assert old is not None
        await index_year_end(place.engine, old, OLD)
        await old.close()
        await logs.publishers["2026"].publish()
        assert await stamped(logs) == {"2026": [1, 3], "2027": [0]}
        place.clock.time += timedelta(minutes=30)
        assert await stamped(logs) == {"2026": [1, 3], "2027": [0]}
    # Hours and restarts later the old log has what it needs, and the new one goes on.
    place.clock.time += timedelta(hours=2)
    async with place.logs() as logs:
        assert await stamped(logs) == {"2026": [1, 3], "2027": [0, 0]}
        at = place.clock.now() + timedelta(seconds=1)
        async with place.engine.connect() as connection:
            for log in logs.publishers.values():
                assert await count_verified_stamps(connection, log.log, [source.approved], at=at) == (2, 0)


async def test_a_year_that_ended_while_nothing_could_be_stamped_is_stamped_later(place: Place, tmp_path: Path) -> None:
    async with place.logs() as logs:
        await place.record(logs, "erika")
    place.clock.time += timedelta(days=30)
    source = Stamps(place, tmp_path)
    async with place.logs() as logs:
        assert await CheckpointStamping(place.engine, logs, source, lambda: [source.approved], place.clock).round()
        old = logs.publishers["2026"]
        async with place.engine.connect() as connection:
            stamp = await newest_stamp(connection, old.log)
        assert stamp is not None
        assert stamp.note == await old.latest()


async def test_december_is_indexed_before_its_log_closes(place: Place) -> None:
    async with place.logs() as logs:
        for person in ("erika", "max", "erika"):
            await place.record(logs, person)
        place.clock.time += timedelta(seconds=1)
        old = await logs.change_over()
        assert old is not None
        assert await place.record(logs, "erika") != OLD
        await index_year_end(place.engine, old, OLD)
        await old.close()
        index = await newest_index(place.engine, OLD, "2026-12")
        assert index is not None
        # Two persons; the index itself is the old log's last leaf, in the old year.
        assert (index.record.rows, index.record.upto, index.leaf_index) == (2, 3, 3)
        assert datetime.fromtimestamp(index.made_ms / 1000, UTC).year == 2026
        # On New Year's Day nobody indexes December once more.
        assert not await index_month(place.engine, logs, place.clock)
        place.clock.time += timedelta(days=1)
        assert await index_month(place.engine, logs, place.clock)
        assert not await index_month(place.engine, logs, place.clock)
        app = web.Application()
        add_routes(app, place.engine, logs.publishers, current=lambda: logs.publisher)
        async with TestClient(TestServer(app)) as client:
            listed = await (await client.get("/audit/logs")).json()
            assert [log["state"] for log in listed] == ["closed", "active"]
            assert all(log["prefix"].startswith("http://127.0.0.1:") for log in listed)


async def test_withheld_accesses_are_counted_by_day_once_the_day_is_over(place: Place) -> None:
    place.clock.time = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    async with place.logs() as logs:
        hidden = await place.keys.key_for(withheld("erika"))

        async def withhold() -> None:
            entry = Entry("withheld", hidden, bytes(32), b"{}", place.clock.now_ms() + 1000)
            await logs.sequencer.append([entry], no_messages)

        await withhold()
        await withhold()
        place.clock.time += timedelta(days=1)
        await withhold()
        await place.record(logs, "max")
        assert await index_month(place.engine, logs, place.clock)
        # To everybody, whether anything about them was withheld or not.
        from gateway.accesses import OwnAccesses

        reader = OwnAccesses(place.engine, place.keys, logs)
        await logs.publisher.publish()
        for person in ("erika", "max"):
            bundle = await reader.bundle(person, "2026-11")
            assert bundle["withheld"] == [{"day": "2026-11-21", "accesses": 2}]
        assert (await reader.bundle("erika", "2026-11"))["accesses"] == []
        place.clock.time += timedelta(days=1)
        assert await index_month(place.engine, logs, place.clock)
        bundle = await reader.bundle("max", "2026-11")
        assert [day["accesses"] for day in bundle["withheld"]] == [2, 1]


async def said(place: Place, kind: str) -> list[dict[str, object]]:
    """What the log says of itself, in leaves of one kind."""
    joined = log_entry.join(record, (record.c.log == log_entry.c.log) & (record.c.idx == log_entry.c.idx))
    query = select(log_entry.c.leaf, record.c.body).select_from(joined).order_by(log_entry.c.idx)
    async with place.engine.connect() as connection:
        leaves = [(parse_leaf(leaf), body) for leaf, body in await connection.execute(query)]
    return [json.loads(open_record(None, body, leaf.commitment)[1]) for leaf, body in leaves if leaf.kind == kind]


async def test_the_log_names_its_keys_and_its_citizens_page_once(place: Place) -> None:
    async with place.logs() as logs:
        assert await announce_keys(logs)
        assert not await announce_keys(logs)
        assert await announce_page(logs, b"<html>1")
        assert not await announce_page(logs, b"<html>1")
        assert await announce_page(logs, b"<html>2")
    (named,) = await said(place, "key")
    assert [parse_vkey(str(vkey)).name for vkey in named["vkeys"]] == [OLD]  # type: ignore[attr-defined]
    assert len({page["sha256"] for page in await said(place, "policy")}) == 2
    page = Announcements(place.settings.model_copy(update={"citizen_log_keys": (str(named["vkeys"][0]),)}), "")  # type: ignore[index]
    async with place.logs() as logs:
        # A gateway without citizens has no page.
        await page.round(logs)
    assert len(await said(place, "policy")) == 2


@pytest.fixture
async def changed(place: Place) -> AsyncIterator[tuple[OwnLogs, Ed25519PrivateKey]]:
    """A log that was kept under one key, then opened under another with the first beside it, and an ML-DSA key."""
    async with place.logs() as logs:
        await place.record(logs, "erika")
        await announce_keys(logs)
    key = Ed25519PrivateKey.generate()
    logs = OwnLogs(place.engine, place.settings, key, place.clock, old_key=KEY, mldsa_seed=SEED)
    try:
        await logs.start()
        yield logs, key
    finally:
        await logs.close()


async def test_after_a_change_of_key_both_sign_and_the_log_says_so(
    place: Place, changed: tuple[OwnLogs, Ed25519PrivateKey]
) -> None:
    logs, _ = changed
    await place.record(logs, "erika")
    assert await announce_keys(logs)
    note = await logs.publisher.publish()
    new, old, mldsa = logs.publisher.verifiers
    assert (new.kind, old.kind, mldsa.kind) == (1, 1, 6)
    # Whoever knows one of them alone is content; who knows another, isn't.
    for key in (new, old, mldsa):
        assert verify_checkpoint(note, [key]).size == 4
    with pytest.raises(ProofInvalid):
        verify_checkpoint(note, [NoteKey(OLD, 1, bytes(32))])
    before, after = await said(place, "key")
    assert before["vkeys"] == [old.text]
    assert after["vkeys"] == [new.text, old.text, mldsa.text]
    (cosignature,) = verify_cosignatures(parse_note(note), [mldsa])
    assert cosignature.time == place.clock.now_ms() // 1000
    report = await verify_log(place.engine, origin=OLD, verifiers=(new, old))
    report.require_sound()
    # Once nobody knows the old key alone it goes, and the log goes on.
    await logs.close()
    alone = OwnLogs(place.engine, place.settings, changed[1], place.clock)
    await alone.start()
    await place.record(alone, "erika")
    assert verify_checkpoint(await alone.publisher.publish(), [new]).size == 5
    await alone.close()
