"""What the log says about itself: leaves of kind `key` (who signs its checkpoints) and `policy` (what verifies them).

Said once, and again whenever it changes: whoever follows the log sees a key change, or another verifier's page, in the
very tree that they verify.
"""

from __future__ import annotations

import os
from typing import Literal

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.entry import Entry, Receipt
from audit.errors import OutOfRange
from audit.leaf import MAX_INTEGER
from audit.sequencer import Sequencer
from audit.store import announcement, log_head


async def announce(
    engine: AsyncEngine, sequencer: Sequencer, origin: str, kind: Literal["key", "policy"], record: bytes
) -> Receipt | None:
    """Put the record into the log unless its last one of this kind is the same. The leaf, or None; durable on return.

    Two processes that announce at once may both: said twice does no harm.
    """
    async with engine.connect() as connection:
        log = (await connection.execute(select(log_head.c.log).where(log_head.c.origin == origin))).scalar()
        if log is None:
            raise OutOfRange("no such log")
        where = (announcement.c.log == log, announcement.c.kind == kind)
        last = (await connection.execute(select(announcement.c.record).where(*where))).scalar()
    if last is not None and bytes(last) == record:
        return None
    entry = Entry(kind, None, os.urandom(32), record, MAX_INTEGER)
    (receipt,) = await sequencer.append((entry,), lambda _: ())
    async with engine.begin() as connection:
        await connection.execute(delete(announcement).where(*where))
        values = {"log": log, "kind": kind, "leaf": receipt.index, "record": record}
        await connection.execute(insert(announcement).values(values))
    return receipt
