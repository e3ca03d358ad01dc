"""kill -9 in the middle of appending: what was acknowledged is there, and the log is sound."""

from __future__ import annotations

import random
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from sqlalchemy import select

from audit.leaf import parse_leaf
from audit.merkle import leaf_hash
from audit.store import log_entry, open_engine
from audit.verify import verify_log
from tests.audit.factory import ORIGIN, exchange, open_log

ROOT = Path(__file__).parents[2]
# Appends for ever from 16 callers and prints each receipt once it has it.
WRITER = """
import asyncio, sys
from tests.audit.factory import access, message, open_log, subject

async def main():
    async with open_log(sys.argv[1]) as log:
        people = [subject() for _ in range(5)]
        async def caller(number):
            while True:
                for receipt in await log.append(access(people[number % 5]), messages=[message()]):
                    print(receipt.encode(), flush=True)
        await asyncio.gather(*map(caller, range(16)))

asyncio.run(main())
"""


@pytest.mark.parametrize("run", range(3))
async def test_nothing_acknowledged_is_lost(database_url: str, run: int) -> None:
    acknowledged = _write_and_kill(database_url, random.Random(run).randint(100, 500))
    engine = open_engine(database_url)
    (await verify_log(engine, origin=ORIGIN)).require_sound()
    async with engine.connect() as connection:
        rows = await connection.execute(select(log_entry.c.idx, log_entry.c.leaf))
        stored = {index: bytes(leaf) for index, leaf in rows}
    await engine.dispose()
    for _, index, hashed in acknowledged:
        leaf = stored[int(index)]
        assert parse_leaf(leaf).kind == "access"
        assert leaf_hash(leaf) == b64decode(hashed)
    async with open_log(database_url) as log:
        assert (await log.append(exchange()))[0].index == len(stored)


def _write_and_kill(url: str, lines: int) -> list[list[str]]:
    """Every receipt that the writer had printed when it was killed: by count, not by the clock, amid its commits."""
    command = [sys.executable, "-c", WRITER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        printed = [writer.stdout.readline() for _ in range(lines)]
        writer.kill()
        printed += writer.stdout.readlines()
    # A line that was cut in two by the kill is no acknowledgement.
    return [line.split() for line in printed if line.endswith("\n")]
