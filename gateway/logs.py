"""This gateway's access logs, one a year: the current one is written, all of them are read.

Each log has its own origin, tree and lock file. At start every log of this gateway that the database holds gets its
publisher, so that proofs of past years go on being served. At New Year a running gateway changes over: the new year's
log is opened, the old one finishes what it has accepted. A log never holds a time outside its year, so a month stands
in the log of its year alone: what is accepted before the change-over is done counts as the year's last moment.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.cosignature import MLDSASigner
from audit.lock_file import require_not_behind
from audit.message_log import ContentSealer
from audit.note import NoteSigner
from audit.publisher import Publisher
from audit.sequencer import BatchReport, Sequencer
from audit.store import checkpoint, log_head
from gateway.clock import Clock
from gateway.exchange.origins import origin_of
from gateway.logging import get_logger
from gateway.settings import GatewaySettings


class OwnLogs:
    """The logs of one gateway. Use from one event loop."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: GatewaySettings,
        key: Ed25519PrivateKey,
        clock: Clock,
        *,
        on_batch: Callable[[BatchReport], None] | None = None,
        on_failure: Callable[[Exception], None] | None = None,
        sealer: ContentSealer | None = None,
        witnessed: bool = False,
        mldsa_seed: bytes | None = None,
        old_key: Ed25519PrivateKey | None = None,
    ) -> None:
        """`on_failure` is told of each publication that failed.

        `mldsa_seed`: the key of a second, ML-DSA-44 line in each checkpoint. `old_key`: the one before `key`, which
        goes on signing beside it for those who know it alone.

        `witnessed`: checkpoints become public only once a quorum has cosigned them (gateway.witnessing).
        """
        self._engine = engine
        self._settings = settings
        self._key = key
        self._clock = clock
        self._on_batch = on_batch
        self._on_failure = on_failure
        self._witnessed = witnessed
        self._mldsa_seed = mldsa_seed
        self._old_key = old_key
        self._sealer = sealer
        self._stack = AsyncExitStack()
        self._year = 0
        self.publishers: dict[str, Publisher] = {}
        self.sequencer: Sequencer

    @property
    def engine(self) -> AsyncEngine:
        """The database that holds the logs."""
        return self._engine

    @property
    def publisher(self) -> Publisher:
        """The current year's."""
        return self.publishers[_name(self._year)]

    def publisher_of(self, month: str) -> Publisher:
        """The publisher of the log that holds a month ("2026-11"); the current one if that year has no log."""
        return self.publishers.get(month.partition("-")[0], self.publisher)

    async def start(self) -> None:
        """Opens the current year's log and publishes all that there are. Raises AuditError.

        Nothing is begun in a database that is behind a lock file of any year: one from before a log was opened knows
        nothing of that log.
        """
        for year in lock_file_years(self._settings):
            await require_not_behind(self._engine, origin_of(self._settings.server_id, year), self._lock_file(year))
        await self._say_what_is_missing()
        await self._open(self._clock.now().year)
        for year in await self._years():
            if _name(year) not in self.publishers:
                publisher = self._publisher(year)
                await publisher.publish()
                self.publishers[_name(year)] = publisher

    async def _say_what_is_missing(self) -> None:
        """The next checkpoint makes a lock file anew, and nobody knows then what the lost one would have said."""
        async with self._engine.connect() as connection:
            signed = select(log_head.c.origin).where(log_head.c.log.in_(select(checkpoint.c.log)))
            origins = set((await connection.execute(signed)).scalars())
        for year in await self._years():
            path = self._lock_file(year)
            if origin_of(self._settings.server_id, year) in origins and not path.exists():
                get_logger(node=self._settings.server_code).error(
                    "the checkpoint lock file is missing", path=str(path), hint="restore it if it was lost"
                )

    async def close(self) -> None:
        """Finishes what was accepted, publishes it, and stops."""
        await self._stack.aclose()

    async def change_over(self) -> Sequencer | None:
        """Opens the new year's log if a new year has begun; `sequencer` is then the new one.

        Returns the old one, for the caller to close once nobody is given it any more. Raises AuditError and the
        database's errors; the old one then stays.
        """
        year = self._clock.now().year
        if year <= self._year:
            return None
        old = self.sequencer
        await self._open(year)
        return old

    async def _open(self, year: int) -> None:
        sequencer, publisher = self._sequencer(year), self._publisher(year)
        async with AsyncExitStack() as opened:
            opened.push_async_callback(publisher.close)
            opened.push_async_callback(sequencer.close)
            await sequencer.start()
            await publisher.start()
            self._stack.push_async_callback(opened.pop_all().aclose)
        self._year, self.sequencer = year, sequencer
        self.publishers[_name(year)] = publisher

    def _sequencer(self, year: int) -> Sequencer:
        return Sequencer(
            self._engine,
            origin=origin_of(self._settings.server_id, year),
            clock_ms=_within(year, self._clock),
            on_batch=self._on_batch,
            lock_file=self._lock_file(year),
            sealer=self._sealer,
        )

    def _publisher(self, year: int) -> Publisher:
        origin = origin_of(self._settings.server_id, year)
        return Publisher(
            self._engine,
            NoteSigner(origin, self._key),
            lock_file=self._lock_file(year),
            origin=origin,
            clock_ms=self._clock.now_ms,
            on_failure=self._on_failure,
            witnessed=self._witnessed,
            old_signer=None if self._old_key is None else NoteSigner(origin, self._old_key),
            cosigner=None if self._mldsa_seed is None else MLDSASigner(origin, self._mldsa_seed),
        )

    def _lock_file(self, year: int) -> Path:
        return lock_file_of(self._settings, year)

    async def _years(self) -> list[int]:
        """The years whose logs of this gateway the database holds."""
        async with self._engine.connect() as connection:
            origins = (await connection.execute(select(log_head.c.origin))).scalars().all()
        found = ((origin, origin.rpartition("/")[2]) for origin in origins)
        years = [(origin, int(year)) for origin, year in found if year.isdecimal()]
        return [year for origin, year in years if origin == origin_of(self._settings.server_id, year)]


def lock_file_of(settings: GatewaySettings, year: int) -> Path:
    """Where the last signed checkpoint of a year's log is kept."""
    named = settings.checkpoint_lock_file
    return named.with_name(f"{named.stem}-{_name(year)}{named.suffix}")


def lock_file_years(settings: GatewaySettings) -> tuple[int, ...]:
    """The years of whose logs there is a lock file."""
    named = settings.checkpoint_lock_file
    found = named.parent.glob(f"{named.stem}-[0-9][0-9][0-9][0-9]{named.suffix}")
    return tuple(sorted(int(path.name[len(named.stem) + 1 :][:4]) for path in found))


def _name(year: int) -> str:
    return f"{year:04d}"


def _within(year: int, clock: Clock) -> Callable[[], int]:
    first, end = (int(datetime(at, 1, 1, tzinfo=UTC).timestamp() * 1000) for at in (year, year + 1))
    return lambda: min(max(clock.now_ms(), first), end - 1)
