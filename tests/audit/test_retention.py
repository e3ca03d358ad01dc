"""What is past its time is gone, and the log is as sound as before."""

from __future__ import annotations

from sqlalchemy import func, select

from audit.message_stamps import Stamp, advance, ensure_progress, store_stamp, unstamped
from audit.retention import delete_expired_records, delete_message_bodies
from audit.store import message_attachment, message_record, record
from audit.verify import verify_log
from tests.audit.factory import NOVEMBER_MS, ORIGIN, access, exchange, message, open_log, subject


async def test_records_and_bodies_go_and_the_log_stays_sound(database_url: str) -> None:
    async with open_log(database_url) as log:
        await log.append(access(subject()), messages=[message(attachments=(b"old",), time_ms=NOVEMBER_MS - 1)])
        await log.append(*[exchange() for _ in range(600)], messages=[message(attachments=(b"new",))])
        assert await delete_expired_records(log.engine, at_ms=NOVEMBER_MS) == 0
        assert await delete_expired_records(log.engine, at_ms=NOVEMBER_MS + 1) == 601
        await ensure_progress(log.engine)
        # Nothing goes before it has its time-stamp.
        assert await delete_message_bodies(log.engine, before_ms=NOVEMBER_MS + 1) == 0
        for stored_ms in (NOVEMBER_MS - 1, NOVEMBER_MS):
            (first, *_) = await unstamped(log.engine, 1, 10)
            await store_stamp(log.engine, Stamp(b"token", stored_ms, "tsa"), [first], stored_ms=stored_ms)
        await advance(log.engine, 1)
        assert await delete_message_bodies(log.engine, before_ms=NOVEMBER_MS) == 1
        async with log.engine.connect() as connection:
            assert (await connection.execute(select(func.count()).select_from(record))).scalar_one() == 0
            bodies = (await connection.execute(select(message_attachment.c.body))).scalars().all()
            messages = (await connection.execute(select(message_record.c.message).order_by("id"))).scalars().all()
        assert bodies == [b"new"]
        assert [body is None for body in messages] == [True, False]
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()
