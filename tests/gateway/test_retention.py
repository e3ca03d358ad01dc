"""Records of accesses go when their time is up, without anybody's doing; what the tree proves stays."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import cast

from sqlalchemy import func, select

from audit.entry import Entry
from audit.sequencer import Sequencer
from audit.store import create_schema, log_entry, open_engine, record
from audit.tag import SubjectKey
from audit.verify import verify_log
from gateway.clock import SystemClock
from gateway.configuration import FollowedConfiguration
from gateway.exchange.node import Node
from gateway.followers import build_followers
from gateway.key_follower import KeyFollower
from gateway.logging import get_logger
from gateway.logs import OwnLogs
from gateway.tls_contexts import TLSContexts
from gateway.witnessing import Witnessing

ORIGIN = "DE-TEST/GOV/MUSTERSTADT/city-1/audit/2026"


async def test_records_go_when_their_time_is_up(database_url: str) -> None:
    engine, clock = open_engine(database_url), SystemClock()
    await create_schema(engine)
    sequencer = Sequencer(engine, origin=ORIGIN, clock_ms=clock.now_ms)
    await sequencer.start()
    now_ms, person = clock.now_ms(), SubjectKey(bytes(32))
    hour = int(timedelta(hours=1) / timedelta(milliseconds=1))
    for expires_ms in (now_ms - 1, now_ms + hour):
        await sequencer.append([Entry("access", person, bytes(32), b"{}", expires_ms)], lambda _: ())
    settings = SimpleNamespace(
        configuration_interval_seconds=60, store_poll_seconds=1, witness_interval_seconds=10, citizen_port=None
    )
    node = cast("Node", SimpleNamespace(settings=settings, clock=clock, log=get_logger()))
    followers = build_followers(
        node,
        cast("FollowedConfiguration", None),
        cast("TLSContexts", None),
        cast("OwnLogs", SimpleNamespace(engine=engine)),
        cast("Witnessing", SimpleNamespace(policy_text="")),
        keys=cast("KeyFollower", None),
    )
    (retention,) = [follower for follower in followers if follower.name == "retention"]
    await retention.round()
    async with engine.connect() as connection:
        assert (await connection.execute(select(record.c.idx))).scalars().all() == [1]
        assert (await connection.execute(select(func.count()).select_from(log_entry))).scalar_one() == 2
    await sequencer.close()
    (await verify_log(engine, origin=ORIGIN)).require_sound()
    await engine.dispose()
