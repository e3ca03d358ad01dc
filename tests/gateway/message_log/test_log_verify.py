"""`datenweg log verify` on a gateway's own log: its checkpoints' time-stamps count, and one that is false shows."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select, update

from audit.store import checkpoint_stamp
from gateway.admin.log import verify_logs
from gateway.checkpoint_stamping import CheckpointStamping
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import gateway_pair
from tests.gateway.message_log.test_gateway import stamping
from trust.timestamp_client import TimestampClient


async def test_a_checkpoint_s_time_stamp_is_verified_with_the_log(tmp_path: Path) -> None:
    with captured_output() as output:
        async with gateway_pair(tmp_path, output) as pair, stamping(pair):
            assert (await pair.call("echo")).status == 200
            gateway, settings = pair.consumer.gateway, pair.consumer.settings
            node, source = gateway.node, TimestampClient(pair.http, gateway.node.clock.now)
            authorities = node.trust.latest.configuration.parameters.approved_tsas
            # The hourly job, now.
            await CheckpointStamping(gateway.engine, gateway.logs, source, lambda: authorities, node.clock).round()
            (sound,) = await verify_logs(settings)
            assert (sound.stamps, sound.findings) == (1, [])
            async with gateway.engine.begin() as connection:
                token = (await connection.execute(select(checkpoint_stamp.c.token))).scalar_one()
                changed = token[:-1] + bytes([token[-1] ^ 1])
                await connection.execute(update(checkpoint_stamp).values(token=changed))
            (report,) = await verify_logs(settings)
            assert (report.stamps, [found.code for found in report.findings]) == (0, ["time_stamp_does_not_hold"])
