"""Finding messages by time, client, service and id."""

from __future__ import annotations

import os

import pytest

from audit.message_cipher import MessageCipher
from audit.message_reader import Criteria, MessageReader
from audit.operators import record_access
from tests.audit.factory import NOVEMBER_MS, message, open_log

HOUR = 3_600_000


async def test_messages_are_found(database_url: str) -> None:
    async with open_log(database_url) as log:
        records = [
            message(b"%d" % number, time_ms=NOVEMBER_MS + number * HOUR, message_id=f"Frage {number}",
                    client=f"DE-TEST/GOV/MUSTERSTADT/{'app' if number % 2 else 'app2'}")
            for number in range(20)
        ]  # fmt: skip
        # A request that waited: its row is behind younger ones.
        records.insert(12, message(b"late", time_ms=NOVEMBER_MS + 5 * HOUR, message_id="spät"))
        await log.append(messages=records[:10])
        await log.append(messages=records[10:])
        reader = MessageReader(log.engine, MessageCipher({}, None, os.urandom))

        async def found(**criteria: object) -> list[str]:
            headers = await reader.search(Criteria(**criteria), 100)  # type: ignore[arg-type]
            return [header.message_id for header in headers]

        assert len(await found()) == 21
        assert await found(from_ms=NOVEMBER_MS + 18 * HOUR) == ["Frage 18", "Frage 19"]
        assert await found(until_ms=NOVEMBER_MS + HOUR) == ["Frage 0"]
        assert await found(from_ms=NOVEMBER_MS + 40 * HOUR) == []
        between = {"from_ms": NOVEMBER_MS + 4 * HOUR, "until_ms": NOVEMBER_MS + 7 * HOUR}
        assert await found(client="DE-TEST/GOV/MUSTERSTADT/app", **between) == ["Frage 5"]
        assert await found(message_id="Frage 7") == ["Frage 7"]
        assert await found(message_id=records[3].request_id) == ["Frage 3"]
        # A member's name finds its subsystems, not its neighbours; a subsystem's its services.
        assert len(await found(client="DE-TEST/GOV/MUSTERSTADT")) == 21
        assert await found(client="DE-TEST/GOV/MUSTER") == []
        assert len(await found(service="DE-TEST/COM/STADTWERKE/ADAPTER")) == 21
        assert len(await reader.search(Criteria(), 5)) == 5
        (one,) = await reader.search(Criteria(message_id="Frage 7"), 5)
        assert (one.owner, one.member) == ("DE-TEST/COM/STADTWERKE/ADAPTER", "DE-TEST/COM/STADTWERKE")
        assert [opened.message for opened in await reader.open([one])] == [b"7"]


async def test_who_looks_is_written_down_for_ever(database_url: str) -> None:
    from sqlalchemy import select, text
    from sqlalchemy.exc import DBAPIError

    from audit.store import operator_access

    async with open_log(database_url) as log:
        await record_access(
            log.engine, operator=" Muster ", reason="Anfrage 7", action="search",
            criteria={"client": None, "message_id": "x"}, time_ms=NOVEMBER_MS,
        )  # fmt: skip
        for operator, reason in (("", "x"), ("x", " ")):
            with pytest.raises(ValueError, match="needed"):
                await record_access(
                    log.engine, operator=operator, reason=reason, action="search", criteria={}, time_ms=NOVEMBER_MS
                )
        async with log.engine.connect() as connection:
            row = (await connection.execute(select(operator_access))).one()
        assert row[1:] == (NOVEMBER_MS, "Muster", "Anfrage 7", "search", '{"message_id": "x"}')
        for statement in ("UPDATE operator_access SET operator = 'x'", "DELETE FROM operator_access"):
            with pytest.raises(DBAPIError):
                async with log.engine.begin() as connection:
                    await connection.execute(text(statement))
