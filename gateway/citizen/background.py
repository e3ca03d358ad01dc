"""Jobs of the citizen's application that are done again and again while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from gateway.logging import describe_error, get_logger

_STOP_SECONDS: Final = 5
_log = get_logger()


@asynccontextmanager
async def repeating(work: Callable[[], Awaitable[object]], *, interval_ms: int, failure: str) -> AsyncIterator[None]:
    """Within this block `work` is done every `interval_ms`. At its end the round under way gets a moment to finish.

    `failure` is the log's sentence for a round that fails: the job outlives a database that is away for a while.
    """
    stopping = asyncio.Event()
    task = asyncio.create_task(_repeat(work, interval_ms, failure, stopping))
    try:
        yield
    finally:
        stopping.set()
        _, unfinished = await asyncio.wait({task}, timeout=_STOP_SECONDS)
        for late in unfinished:
            late.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _repeat(
    work: Callable[[], Awaitable[object]], interval_ms: int, failure: str, stopping: asyncio.Event
) -> None:
    while not stopping.is_set():
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the job must go on; what failed is due again
            _log.error(failure, **describe_error(error))
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), interval_ms / 1000)
