"""What can't be logged isn't forwarded, and what was received once is known for ever: on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from gateway.app import Gateway
from gateway.messages.faults import Fault, Hop
from gateway.messages.transport import TransportMessage
from gateway.node_keys import load_keys
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.records import logged, message_count, require_sound
from tests.gateway.exchange.refusals import check_afterwards, check_refusal, watch
from tests.gateway.exchange.rogue import CallingRogue
from tests.gateway.exchange.town import service

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("pair", ["sqlite", "postgres"], indirect=True, scope="module"),
]
CONSUMER, PROVIDER = Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY


@asynccontextmanager
async def broken(gateway: Gateway, direction: str) -> AsyncIterator[None]:
    """Within the block the database refuses messages of this direction, as a full or failing disk would."""
    make: tuple[str, ...]
    mend: tuple[str, ...]
    if gateway.engine.dialect.name == "postgresql":
        make = (
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'kanarienvogel'; END $$""",
            f"""CREATE TRIGGER broken BEFORE INSERT ON message_record FOR EACH ROW
                WHEN (NEW.direction = '{direction}') EXECUTE FUNCTION refuse()""",
        )
        mend = ("DROP TRIGGER broken ON message_record", "DROP FUNCTION refuse()")
    else:
        make = (
            # IF NOT EXISTS makes SQLite look again: a pooled connection may remember the trigger of an earlier block.
            f"""CREATE TRIGGER IF NOT EXISTS broken BEFORE INSERT ON message_record WHEN NEW.direction = '{direction}'
                BEGIN SELECT RAISE(ABORT, 'kanarienvogel'); END""",
        )
        mend = ("DROP TRIGGER broken",)
    await _execute(gateway, make)
    try:
        yield
    finally:
        await _execute(gateway, mend)


async def _execute(gateway: Gateway, statements: tuple[str, ...]) -> None:
    async with gateway.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def test_the_consumer_can_not_log_the_request(pair: GatewayPair) -> None:
    seen = watch(pair)
    before = await message_count(pair.provider.gateway)
    async with broken(pair.consumer.gateway, "request"):
        answer = await pair.call("echo", headers=pair.citizen())
    assert answer.headers["X-Road-Error"] == "server.clientproxy.logging_failed"
    # Not a byte went to the provider.
    assert await message_count(pair.provider.gateway) == before
    assert await logged(pair.provider.gateway, answer.request_id) == []
    # The request was signed, so how it ended is logged as soon as that is possible: here it was.
    for entry in await logged(pair.consumer.gateway, answer.request_id):
        assert entry.summary == (
            "response",
            answer.headers["X-Road-Error"],
            [("failed", answer.headers["X-Road-Error"])],
        )
    assert seen.new_calls == 0
    await check_afterwards(seen)
    assert (await pair.call("echo")).status == 200


async def test_the_provider_can_not_log_the_request(pair: GatewayPair) -> None:
    seen = watch(pair)
    async with broken(pair.provider.gateway, "request"):
        answer = await pair.call("echo", headers=pair.citizen())
    await check_refusal(seen, answer, "server.serverproxy.logging_failed", 500, PROVIDER, consumer="failed")
    assert (await pair.call("echo")).status == 200


async def test_the_provider_can_not_log_a_denial(pair: GatewayPair) -> None:
    """Not even a refusal is given as one that is not in the log."""
    seen = watch(pair)
    async with broken(pair.provider.gateway, "request"):
        answer = await pair.call("ohne-recht")
    assert answer.headers["X-Road-Error"] == "server.serverproxy.logging_failed"
    assert await logged(pair.provider.gateway, answer.request_id) == []
    await check_afterwards(seen)


async def test_the_provider_can_not_log_the_answer(pair: GatewayPair) -> None:
    seen = watch(pair)
    async with broken(pair.provider.gateway, "response"):
        answer = await pair.call("echo", headers=pair.citizen())
    assert answer.headers["X-Road-Error"] == "server.serverproxy.logging_failed"
    assert b"dienst" not in answer.body
    assert seen.new_calls == 1
    # That it was asked is in the log; that it answered is not, and nobody has the answer.
    assert [e.summary for e in await logged(pair.provider.gateway, answer.request_id)] == [("request", "ok", [])]
    code = answer.headers["X-Road-Error"]
    ours = [entry.summary for entry in await logged(pair.consumer.gateway, answer.request_id)]
    assert ours == [("request", "ok", []), ("response", code, [("failed", code)])]
    await check_afterwards(seen)


async def test_the_consumer_can_not_log_the_answer(pair: GatewayPair) -> None:
    seen = watch(pair)
    async with broken(pair.consumer.gateway, "response"):
        answer = await pair.call("echo", headers=pair.citizen())
    assert answer.headers["X-Road-Error"] == "server.clientproxy.logging_failed"
    assert b"dienst" not in answer.body
    assert "X-Datenweg-Consumer-Receipt" not in answer.headers
    assert [e.summary for e in await logged(pair.consumer.gateway, answer.request_id)] == [("request", "ok", [])]
    await check_afterwards(seen)


async def test_the_persons_keys_are_not_there(pair: GatewayPair) -> None:
    """Whoever can't record whose data it was, doesn't give the data."""
    gateway = pair.provider.gateway
    keys = gateway.node.subject_keys
    await _execute_on(keys, "ALTER TABLE subject_key RENAME TO verlegt")
    keys._cache.clear()
    seen = watch(pair)
    try:
        answer = await pair.call("echo", headers=pair.citizen())
    finally:
        await _execute_on(keys, "ALTER TABLE verlegt RENAME TO subject_key")
    assert answer.headers["X-Road-Error"] == "server.serverproxy.logging_failed"
    assert b"dienst" not in answer.body
    await check_afterwards(seen)


async def _execute_on(keys: object, statement: str) -> None:
    async with keys._engine.begin() as connection:  # type: ignore[attr-defined]
        await connection.execute(text(statement))


async def test_the_database_goes_away_and_comes_back(pair: GatewayPair) -> None:
    """The log's connection is cut: one batch may fail, the next one finds its way."""
    engine = pair.provider.gateway.engine
    if engine.dialect.name == "postgresql":
        async with engine.connect() as connection:
            await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
    else:
        connection_ = pair.provider.gateway.node.sequencer._connection
        assert connection_ is not None
        await connection_.close()
    first, second = await pair.call("echo"), await pair.call("echo")
    assert first.headers.get("X-Road-Error") in (None, "server.serverproxy.logging_failed")
    assert second.status == 200
    await require_sound(pair.provider.gateway)


async def test_a_replay_after_a_restart(pair: GatewayPair) -> None:
    keys = load_keys(pair.consumer.settings)
    city = CallingRogue(keys.signing, keys.authentication, pair.authority)
    url = f"https://127.0.0.1:{pair.provider.settings.peer_port}/"
    request_id, good = city.request(service("echo"))
    encoded = good.encode()
    assert isinstance(await city.send(url, request_id, encoded), TransportMessage)
    await pair.provider.restart()
    seen = watch(pair)
    answers = await asyncio.gather(*(city.send(url, request_id, encoded) for _ in range(3)))
    assert [a.code for a in answers if isinstance(a, Fault)] == ["server.serverproxy.replayed_message"] * 3
    assert seen.new_calls == 0
    await check_afterwards(seen)


async def test_many_at_once(pair: GatewayPair) -> None:
    """Batches of good and refused exchanges: each ends in its own way."""
    seen = watch(pair)
    codes = ["echo", "ohne-recht", "unbekannt", "tot"] * 15
    answers = await asyncio.gather(*(pair.call(code, headers=pair.citizen()) for code in codes))
    expected = {
        "echo": None,
        "ohne-recht": "server.serverproxy.access_denied",
        "unbekannt": "server.serverproxy.unknown_service",
        "tot": "server.serverproxy.service_failed.network_error",
    }
    assert [answer.headers.get("X-Road-Error") for answer in answers] == [expected[code] for code in codes]
    for answer in answers:
        assert len(await logged(pair.consumer.gateway, answer.request_id)) == 2
    await check_afterwards(seen)


async def test_a_consent_that_can_not_be_stored_is_not_acknowledged(pair: GatewayPair) -> None:
    gateway = pair.provider.gateway
    await _execute(gateway, ("ALTER TABLE consent_copy RENAME TO verlegt",))
    reference = "b7e2f1de-6a9f-4a63-9a51-6f1b0c9f2f11"
    seen = watch(pair)
    try:
        answer = await pair.push_consent(pair.consent_jws(reference), reference)
    finally:
        await _execute(gateway, ("ALTER TABLE verlegt RENAME TO consent_copy",))
    code = "server.serverproxy.database_error"
    await check_refusal(seen, answer, code, 500, PROVIDER, consumer="failed", provider="failed")
    refused = await pair.call("konto", headers=pair.citizen() | {"X-Datenweg-Consent": reference})
    assert refused.headers["X-Road-Error"] == "server.serverproxy.consent_invalid"
