"""Replay keys: a message is logged once, in whichever batch, process and year's log."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from audit.errors import DuplicateRecord
from audit.store import log_entry
from audit.verify import verify_log
from tests.audit.factory import ORIGIN, exchange, message, open_log


async def test_a_replayed_message_fails_alone_in_one_batch_and_over_batches(database_url: str) -> None:
    async with open_log(database_url) as log:
        calls = [log.append(exchange(), messages=[message(unique=b"replay")]) for _ in range(3)]
        results = await asyncio.gather(*calls, log.append(exchange()), return_exceptions=True)
        assert [type(result) for result in results] == [tuple, DuplicateRecord, DuplicateRecord, tuple]
        later = await asyncio.gather(
            log.append(exchange(), messages=[message(unique=b"replay")]),
            log.append(exchange(), messages=[message(unique=b"other")]),
            return_exceptions=True,
        )
        assert [type(result) for result in later] == [DuplicateRecord, tuple]
        async with log.engine.connect() as connection:
            assert (await connection.execute(select(func.count()).select_from(log_entry))).scalar_one() == 3
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()


@pytest.mark.parametrize("origin", [ORIGIN, "gateway.example/audit/2027"], ids=["the same log", "next year's log"])
async def test_a_message_passes_once_at_all_processes_of_a_database(database_url: str, origin: str) -> None:
    """Also at New Year, when one process has changed over to the new log and the other hasn't."""
    async with open_log(database_url) as one, open_log(database_url, origin=origin) as other:
        keys = [b"replay-%d" % number for number in range(20)]
        calls = [log.append(exchange(), messages=[message(unique=key)]) for key in keys for log in (one, other)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        for first, second in zip(results[::2], results[1::2], strict=True):
            assert {type(first), type(second)} == {tuple, DuplicateRecord}
        for log in (one, other):
            again = await asyncio.gather(
                *(log.append(exchange(), messages=[message(unique=key)]) for key in keys), return_exceptions=True
            )
            assert {type(result) for result in again} == {DuplicateRecord}
        for each in {ORIGIN, origin}:
            (await verify_log(one.engine, origin=each)).require_sound()
