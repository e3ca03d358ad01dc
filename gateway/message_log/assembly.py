"""The message log of one gateway, put together: keys, reader, stamper, exporter, archiver, and their jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from audit.message_cipher import MessageCipher
from audit.message_keys import MessageKeys
from audit.message_reader import MessageReader
from audit.retention import delete_message_bodies
from gateway.clock import Clock
from gateway.followers import Follower
from gateway.message_log.archiving import Archiver, ArchivingPolicy, Grouping
from gateway.message_log.export import Exporter
from gateway.message_log.metrics import MessageLogMetrics
from gateway.message_log.stamping import Stamper, StampingPolicy
from gateway.settings import GatewaySettings
from trust.costs import CostStrategy
from trust.errors import TrustError
from trust.globalconf import VerifiedConfiguration
from trust.timestamp_client import TimestampClient

DEFAULT_INTERVAL_SECONDS: Final = 60
_TICK_SECONDS: Final = 1.0
_RETENTION_SECONDS: Final = 3600.0
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class MessageLog:
    """The parts of one gateway's message log. `archiver` is None where archiving is off."""

    keys: MessageKeys
    cipher: MessageCipher
    reader: MessageReader
    stamper: Stamper
    exporter: Exporter
    archiver: Archiver | None


async def open_keys(
    settings: GatewaySettings, subject_engine: AsyncEngine, record_key: bytes, *, now_ms: int
) -> tuple[MessageKeys, MessageCipher]:
    """The keys of messages at rest, wrapped under the node's record key, and the cipher that uses them."""
    keys = MessageKeys(subject_engine, record_key)
    await keys.create_schema()
    return keys, await keys.cipher(sealing=settings.message_encryption, now_ms=now_ms)


async def open_message_log(
    settings: GatewaySettings,
    engine: AsyncEngine,
    keys: tuple[MessageKeys, MessageCipher],
    *,
    http: aiohttp.ClientSession,
    configuration: Callable[[], VerifiedConfiguration],
    clock: Clock,
    metrics: MessageLogMetrics,
    log: FilteringBoundLogger,
) -> MessageLog:
    """The message log over the node's database; how stamping stands is read. `configuration` gives the one in force."""
    reader = MessageReader(engine, keys[1])
    policy = StampingPolicy(
        immediate=settings.message_stamping == "immediate",
        acceptable_failure_seconds=settings.acceptable_timestamp_failure_seconds,
        strategy=CostStrategy(settings.timestamp_cost_strategy),
    )
    stamper = Stamper(
        reader,
        TimestampClient(http, clock.now),
        lambda: configuration().parameters.approved_tsas,
        policy=policy,
        clock=clock,
        metrics=metrics,
        log=log,
    )
    await stamper.refresh()
    exporter = Exporter(reader, stamper)
    archiver = None
    if settings.message_archiving:
        archiving = archiving_policy(settings)
        archiver = Archiver(exporter, archiving, clock=clock, metrics=metrics, log=log)
    return MessageLog(*keys, reader, stamper, exporter, archiver)


def archiving_policy(settings: GatewaySettings) -> ArchivingPolicy:
    """Where and how the gateway archives."""
    return ArchivingPolicy(
        settings.message_archive_directory,
        Grouping(settings.message_archive_grouping),
        settings.message_archive_max_bytes,
        settings.message_archive_transfer_command,
        settings.message_archive_transfer_timeout_seconds,
    )


def message_log_followers(
    message_log: MessageLog,
    settings: GatewaySettings,
    *,
    configuration: Callable[[], VerifiedConfiguration],
    clock: Clock,
    metrics: MessageLogMetrics,
    log: FilteringBoundLogger,
) -> tuple[Follower, ...]:
    """The message log's jobs, not yet started."""
    stamping = _Stamping(message_log, settings, configuration, log)
    followers = [
        Follower("timestamps", min(_TICK_SECONDS, stamping.interval), lambda _: stamping.tick(), clock),
        Follower(
            "messages", _RETENTION_SECONDS, lambda _: _retention(message_log, settings, clock, metrics, log), clock
        ),
    ]
    archiver = message_log.archiver
    if archiver is not None:
        followers.append(Follower("archive", settings.message_archive_interval_seconds, _archiving(archiver), clock))
    return tuple(followers)


class _Stamping:
    """Stamps as often as the configuration in force says, and takes up new keys of the messages on the way."""

    def __init__(
        self,
        message_log: MessageLog,
        settings: GatewaySettings,
        configuration: Callable[[], VerifiedConfiguration],
        log: FilteringBoundLogger,
    ) -> None:
        self._message_log = message_log
        self._settings = settings
        self._configuration = configuration
        self._log = log
        self._last = -DEFAULT_INTERVAL_SECONDS * 1_000_000.0

    @property
    def interval(self) -> float:
        """Seconds between two rounds: the operator's, else the configuration's."""
        own = self._settings.message_stamping_interval_seconds
        private = self._configuration().private
        return own or (private.time_stamping_interval_seconds if private else 0) or DEFAULT_INTERVAL_SECONDS

    async def tick(self) -> None:
        """A round if it is time for one. A failure of the authorities is the alarm's to tell, not this job's end."""
        if monotonic() - self._last < self.interval:
            return
        self._last = monotonic()
        await self._message_log.keys.refresh(self._message_log.cipher, sealing=self._settings.message_encryption)
        try:
            await self._message_log.stamper.round()
        except TrustError as error:
            self._log.warning("no time-stamp", code=error.code, hint="check the time-stamping authorities")


def _archiving(archiver: Archiver) -> Callable[[Follower], Awaitable[None]]:
    async def work(_: Follower) -> None:
        await archiver.round()

    return work


async def _retention(
    message_log: MessageLog,
    settings: GatewaySettings,
    clock: Clock,
    metrics: MessageLogMetrics,
    log: FilteringBoundLogger,
) -> None:
    before_ms = clock.now_ms() - settings.message_retention_days * _DAY_MS
    archived = message_log.archiver is not None
    count = await delete_message_bodies(message_log.reader.engine, before_ms=before_ms, archived=archived)
    if count:
        metrics.emptied(count)
        log.info("messages emptied whose retention has ended", count=count)
