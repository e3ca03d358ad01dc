"""`datenweg log verify` on a gateway's own log: the time-stamps of its checkpoints count, and one that is false shows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import func, select, update

from audit.store import checkpoint_stamp
from gateway.admin.log import verify_logs
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import gateway_pair


async def test_a_checkpoint_s_time_stamp_is_verified_with_the_log(tmp_path: Path) -> None:
    with captured_output() as output:
        async with gateway_pair(tmp_path, output) as pair:
            assert (await pair.call("echo")).status == 200
            engine = pair.consumer.gateway.engine
            async with asyncio.timeout(20), engine.connect() as connection:
                while not (await connection.execute(select(func.count()).select_from(checkpoint_stamp))).scalar():
                    await connection.rollback()
                    await asyncio.sleep(0.05)
            settings = pair.consumer.settings
            (sound,) = await verify_logs(settings)
            assert (sound.stamps, sound.findings) == (1, [])
            async with engine.begin() as connection:
                token = (await connection.execute(select(checkpoint_stamp.c.token))).scalar_one()
                changed = token[:-1] + bytes([token[-1] ^ 1])
                await connection.execute(update(checkpoint_stamp).values(token=changed))
            (report,) = await verify_logs(settings)
            assert (report.stamps, [found.code for found in report.findings]) == (0, ["time_stamp_does_not_hold"])
