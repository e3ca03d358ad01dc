"""Messages get time-stamps that others verify; what is no good stamp is not stored; failing has its limit."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from audit import message_stamps
from audit.store import message_stamp, time_stamp
from gateway.message_log.stamping import Stamper, authorities_in_order
from tests.gateway.message_log.rig import Rig, open_rig
from tests.trust.containers import make, making
from trust.asic import SignatureForm, StampForm, read_container
from trust.costs import CostStrategy
from trust.errors import TimestampInvalid, TrustError
from trust.hashchain import parse_hash_chain
from trust.parameters import ApprovedTSA, CostType
from trust.testca.authority import KeyPair
from trust.timestamp import verify_token
from trust.xades import signature_value


async def tokens(rig: Rig) -> list[message_stamps.Stamp]:
    async with rig.engine.connect() as connection:
        numbers = (await connection.execute(select(time_stamp.c.id).order_by(time_stamp.c.id))).scalars().all()
    found = await message_stamps.stamps(rig.engine, numbers)
    return [found[number] for number in numbers]


async def test_one_message_gets_a_stamp_of_its_own(rig: Rig) -> None:
    record = rig.record()
    await rig.log(record)
    assert await rig.stamper().round() == 1
    (stamp,) = await tokens(rig)
    verified = verify_token(
        stamp.token,
        digest=hashlib.sha512(signature_value(record.signature).decoded).digest(),
        tsa_certificate=rig.making.tsa.certificate_der,
        at=rig.clock.now(),
    )
    assert int(verified.time.timestamp() * 1000) == stamp.time_ms
    (container,) = await rig.exporter().containers("DE-TEST-4711", rig.record().client)
    assert rig.making.verify(container.content).timestamp_form is StampForm.SIGNATURE
    # X-Road's verifier looks for the token beside the signature, XAdES within.
    read = read_container(container.content)
    assert read.timestamp == stamp.token
    assert b"SignatureTimeStamp" in read.signature
    await rig.require_sound()


async def test_many_messages_share_one(rig: Rig) -> None:
    await rig.log_many(7)
    assert await rig.stamper().round() == 7
    assert rig.authorities[0].asked == 1
    (stamp,) = await tokens(rig)
    assert stamp.result is not None
    digest = hashlib.sha512(stamp.result).digest()
    verify_token(stamp.token, digest=digest, tsa_certificate=rig.making.tsa.certificate_der, at=rig.clock.now())
    containers = await rig.exporter().containers("DE-TEST-4711", None)
    assert len({container.name for container in containers}) == 7
    for container in containers:
        verified = rig.making.verify(container.content)
        assert verified.timestamp_form is StampForm.BATCH
        assert verified.attachments_verified == ("/attachment1",)
        assert parse_hash_chain(read_container(container.content).timestamp_hash_chain or b"").steps
    assert await rig.stamper().round() == 0
    assert rig.authorities[0].asked == 1


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("form", list(SignatureForm))
async def test_every_form_of_signature_is_exported(rig: Rig, form: SignatureForm, count: int) -> None:
    signed = rig.making.signed(form)
    record = replace(
        rig.record(),
        message=signed.message,
        signature=signed.signature,
        hash_chain_result=signed.signature_hash_chain_result,
        hash_chain=signed.signature_hash_chain,
        message_id="eine",
    )
    await rig.log(record, *[rig.record() for _ in range(count - 1)])
    await rig.stamper().round()
    (container,) = await rig.exporter().containers("eine", None)
    verified = rig.making.verify(container.content)
    assert (verified.form, verified.attachments_verified) == (form, ("/attachment1",))
    assert container == (await rig.exporter().containers("eine", None))[0]


def openssl() -> str:
    found = shutil.which("openssl")
    if found is None:
        pytest.skip("NOT CHECKED AGAINST OPENSSL: no openssl on this machine")
    return found


@pytest.mark.parametrize("count", [1, 5])
async def test_openssl_verifies_the_stamps(rig: Rig, tmp_path: Path, count: int) -> None:
    program = openssl()
    records = [rig.record() for _ in range(count)]
    await rig.log(*records)
    await rig.stamper().round()
    (stamp,) = await tokens(rig)
    data = stamp.result if stamp.result is not None else signature_value(records[0].signature).decoded
    (tmp_path / "token").write_bytes(stamp.token)
    (tmp_path / "root").write_bytes(rig.making.world.authority.certificate.public_bytes(Encoding.PEM))
    at = str(int(rig.clock.now().timestamp()))
    for content, verdict in ((data, True), (data + b" ", False)):
        (tmp_path / "data").write_bytes(content)
        result = await asyncio.to_thread(
            subprocess.run,
            [program, "ts", "-verify", "-data", tmp_path / "data", "-in", tmp_path / "token", "-token_in",
             "-CAfile", tmp_path / "root", "-attime", at],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert ("Verification: OK" in result.stdout) is verdict, result.stderr


async def test_what_was_never_signed_is_not_stamped(rig: Rig) -> None:
    await rig.log(rig.record(signature=b"", message=b"", attachments=(), outcome="server.serverproxy.io_error"))
    await rig.log_many(2)
    assert await rig.stamper().round() == 2
    assert await rig.stamped() == [False, True, True]
    assert await message_stamps.logs_to_stamp(rig.engine) == []


async def test_batches_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.message_log.stamping.BATCH", 3)
    await rig.log_many(7)
    assert await rig.stamper().round() == 7
    assert rig.authorities[0].asked == 3
    assert await rig.stamped() == [True] * 7


async def test_several_processes_stamp_once(rig: Rig) -> None:
    await rig.log_many(6)
    first, second = rig.stamper(), rig.stamper()
    done = await asyncio.gather(first.round(), second.round())
    assert sorted(done) == [0, 6]
    assert len(await tokens(rig)) == 1


async def test_a_process_that_died_with_the_job_does_not_hold_it_for_ever(rig: Rig) -> None:
    await rig.log_many(2)
    now = rig.clock.now_ms()
    assert await message_stamps.take_lease(rig.engine, "stamp", "dead", now_ms=now, until_ms=now + 60_000)
    stamper = rig.stamper()
    assert await stamper.round() == 0
    rig.clock.advance(seconds=61)
    assert await stamper.round() == 2


async def test_a_crash_between_token_and_store_loses_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.log_many(3)
    real = message_stamps.store_stamp

    async def crash(*_: Any, **__: Any) -> int:
        raise SQLAlchemyError("the disk is gone")

    monkeypatch.setattr(message_stamps, "store_stamp", crash)
    with pytest.raises(SQLAlchemyError):
        await rig.stamper().round()
    assert rig.authorities[0].asked == 1
    assert await rig.stamped() == [False] * 3
    monkeypatch.setattr(message_stamps, "store_stamp", real)
    assert await rig.stamper().round() == 3
    assert len(await tokens(rig)) == 1


async def test_a_half_stored_stamp_leaves_no_trace(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.log_many(2)
    monkeypatch.setattr(message_stamps, "_insert_stamps", lambda _: "INSERT INTO no_such_table VALUES (1)")
    with pytest.raises(SQLAlchemyError):
        await rig.stamper().round()
    assert await tokens(rig) == []
    monkeypatch.undo()
    assert await rig.stamper().round() == 2


async def test_a_message_keeps_its_first_stamp(rig: Rig) -> None:
    await rig.log_many(2)
    headers = await rig.headers()
    await rig.stamper().stamp(headers[:1])
    await rig.stamper().stamp(headers)
    async with rig.engine.connect() as connection:
        count = (await connection.execute(select(func.count()).select_from(message_stamp))).scalar_one()
    assert count == 2
    after = await rig.headers()
    assert after[0].stamp != after[1].stamp
    # The second batch's chain still leads to the message that only it has.
    (container,) = await rig.exporter().export(after[1:])
    assert rig.making.verify(container.content).timestamp_form is StampForm.BATCH


# -- at once


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - tasks tell nobody how far they are
            await asyncio.sleep(0.005)


async def test_whoever_waits_shares_a_stamp(rig: Rig) -> None:
    records = [rig.record() for _ in range(5)]
    await rig.log(*records)
    stamper, (authority,) = rig.stamper(immediate=True), rig.authorities
    authority.free.clear()
    waiting = [asyncio.create_task(stamper.stamp_exchange(records[0].request_id))]
    await until(lambda: authority.asked == 1)
    waiting += [asyncio.create_task(stamper.stamp_exchange(record.request_id)) for record in records[1:]]
    await until(lambda: len(stamper._waiting) == 4)
    authority.free.set()
    await asyncio.gather(*waiting)
    assert await rig.stamped() == [True] * 5
    assert authority.asked == 2
    await stamper.stamp_exchange(records[0].request_id)
    assert authority.asked == 2


async def test_who_waits_is_told_of_a_failure(rig: Rig) -> None:
    record = rig.record()
    await rig.log(record)
    rig.authorities[0].dead = True
    stamper = rig.stamper(immediate=True)
    with pytest.raises(TrustError):
        await stamper.stamp_exchange(record.request_id)
    rig.authorities[0].dead = False
    await stamper.stamp_exchange(record.request_id)
    assert await rig.stamped() == [True]


# -- authorities


def other_pair() -> KeyPair:
    return make().tsa


async def test_a_dead_authority_is_followed_by_the_next(database_url: str, tmp_path: Path) -> None:
    async with open_rig(database_url, tmp_path, making(), pairs=(other_pair(), making().tsa)) as rig:
        first, second = rig.authorities
        first.dead = True
        await rig.log_many(2)
        assert await rig.stamper().round() == 2
        assert (first.asked, second.asked) == (1, 1)


def another_digest(_: bytes) -> bytes:
    from trust.timestamp import build_request

    return build_request(hashlib.sha512(b"another").digest())


@pytest.mark.parametrize("wrong", ["imprint", "signer", "future", "past"])
async def test_a_wrong_token_is_refused_and_not_stored(rig: Rig, wrong: str) -> None:
    await rig.log_many(2)
    (authority,) = rig.authorities
    match wrong:
        case "imprint":
            authority.changes = another_digest
        case "signer":
            authority.signs_with = other_pair()
        case _:
            authority.clock = type(rig.clock)(rig.clock.time)
            authority.clock.advance(seconds=3600 if wrong == "future" else -3600)
    with pytest.raises(TimestampInvalid) as refused:
        await rig.stamper().round()
    assert refused.value.code == "mlog.timestamp_response_validation_failed"
    assert await tokens(rig) == []
    assert await rig.stamped() == [False, False]


async def test_an_authority_that_is_not_listed_is_not_asked(rig: Rig) -> None:
    await rig.log_many(1)
    with pytest.raises(TrustError) as refused:
        await rig.stamper(using=()).round()
    assert refused.value.code == "mlog.no_timestamping_provider_found"
    assert rig.authorities[0].asked == 0


def test_costs_choose_the_order() -> None:
    paid = ApprovedTSA("p", "http://p", b"p", CostType.PAID)
    free = ApprovedTSA("f", "http://f", b"f", CostType.FREE)
    assert authorities_in_order((paid, free), CostStrategy.NONE) == (paid, free)
    assert authorities_in_order((paid, free), CostStrategy.FREE_FIRST) == (free, paid)


# -- how long it may fail


async def failing(stamper: Stamper) -> None:
    with pytest.raises(TrustError):
        await stamper.round()


async def test_failing_is_survived_until_the_period_ends(rig: Rig) -> None:
    stamper = rig.stamper(acceptable_failure_seconds=100)
    await rig.log_many(1)
    await stamper.round()
    (authority,) = rig.authorities
    authority.dead = True
    rig.clock.advance(seconds=1000)
    await rig.log_many(1)
    # Nothing waited while nothing was logged: the period begins with the message that waits.
    await failing(stamper)
    assert not stamper.alarming
    rig.clock.advance(seconds=26)
    await failing(stamper)
    assert (stamper.alarming, stamper.refusing) == (True, False)
    rig.clock.advance(seconds=75)
    await failing(stamper)
    assert stamper.refusing
    # Another process, or this one after a restart, knows it from the database.
    another = rig.stamper(acceptable_failure_seconds=100)
    await another.refresh()
    assert another.refusing
    assert not rig.stamper(acceptable_failure_seconds=0).refusing
    authority.dead = False
    await stamper.round()
    assert not stamper.refusing
    assert not stamper.alarming
    await another.refresh()
    assert not another.refusing


async def test_never_refusing_is_possible(rig: Rig) -> None:
    stamper = rig.stamper(acceptable_failure_seconds=0)
    rig.authorities[0].dead = True
    await rig.log_many(1)
    rig.clock.advance(seconds=1_000_000)
    await failing(stamper)
    assert not stamper.refusing
    assert stamper.failing_seconds() == 1_000_000


def test_the_rigs_authority_is_for_time_stamping() -> None:
    usage = making().tsa.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert usage.critical
