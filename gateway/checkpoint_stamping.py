"""Each hour the newest public checkpoint of the access log gets a time-stamp of an approved authority (RFC 3161), and
so does the last one of a finished year's log.

The stamp is over SHA-512 of the checkpoint's bytes, cosignatures included: it says when that tree existed, and who had
seen it by then, to whoever trusts the authority, whatever becomes of the log's keys. What a finished year's log took in
its last hour is covered too, so the whole year is. An authority that doesn't answer is asked again in a minute; nothing
waits for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.checkpoint_stamps import CheckpointStamp, newest_stamp, stamps_of, store_checkpoint_stamp
from audit.errors import AuditError, LogUnavailable, OutOfRange
from audit.note import parse_note
from audit.publisher import Publisher
from audit.tree_reader import root_at
from gateway.clock import Clock
from gateway.exchange.node import Node
from gateway.followers import Follower
from gateway.logs import OwnLogs
from trust.errors import FetchFailed, TimestampInvalid, TrustError
from trust.parameters import ApprovedTSA
from trust.timestamp import VerifiedTimestamp, signer_of, verify_token

_ROUND_SECONDS: Final = 60.0
_EVERY: Final = timedelta(hours=1)


class TimestampSource(Protocol):
    """Gets verified time-stamps (`trust.timestamp_client.TimestampClient`)."""

    async def stamp(self, digest: bytes, authorities: Sequence[ApprovedTSA]) -> VerifiedTimestamp:
        """A stamp over a SHA-512 digest, of the first authority that gives a good one. Raises TrustError."""
        ...


class CheckpointStamping:
    """Stamps checkpoints of this gateway's logs. Use from one event loop."""

    def __init__(
        self,
        engine: AsyncEngine,
        logs: OwnLogs,
        source: TimestampSource,
        authorities: Callable[[], Sequence[ApprovedTSA]],
        clock: Clock,
    ) -> None:
        """`authorities` gives those of the configuration in force."""
        self._engine = engine
        self._logs = logs
        self._source = source
        self._authorities = authorities
        self._clock = clock

    async def round(self) -> bool:
        """Stamps what is due; whether anything was. Raises TrustError.

        Due is the current log's newest public checkpoint once the last stamp is an hour old, and a finished year's last
        public checkpoint as long as none is over that size.
        """
        authorities, current = self._authorities(), self._logs.publisher
        if not authorities:
            return False
        finished = [publisher for publisher in self._logs.publishers.values() if publisher is not current]
        stamped = [await self._stamp(current, authorities, self._hour_is_over)]
        stamped += [await self._stamp(publisher, authorities, _has_grown) for publisher in finished]
        return any(stamped)

    async def _stamp(
        self,
        publisher: Publisher,
        authorities: Sequence[ApprovedTSA],
        is_due: Callable[[CheckpointStamp, bytes], bool],
    ) -> bool:
        try:
            note = await publisher.latest()
        except LogUnavailable:
            return False
        async with self._engine.connect() as connection:
            last = await newest_stamp(connection, publisher.log)
        if last is not None and not is_due(last, note):
            return False
        stamp = await self._source.stamp(hashlib.sha512(note).digest(), authorities)
        authority = next((known.name for known in authorities if known.certificate == stamp.tsa_certificate), "")
        time_ms = int(stamp.time.timestamp() * 1000)
        if last is None or time_ms > last.time_ms:
            await store_checkpoint_stamp(
                self._engine, CheckpointStamp(publisher.log, note, stamp.token, time_ms, authority)
            )
        return True

    def _hour_is_over(self, last: CheckpointStamp, _: bytes) -> bool:
        return self._clock.now_ms() - last.time_ms >= _EVERY.total_seconds() * 1000


def _has_grown(last: CheckpointStamp, note: bytes) -> bool:
    return _checkpoint_in(last.note).size < _checkpoint_in(note).size


def _checkpoint_in(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note).text)


def stamping_follower(stamping: CheckpointStamping, node: Node) -> Follower:
    """The hourly job. Not one that the health check asks: a gateway serves well without."""

    async def work(_: Follower) -> None:
        try:
            await stamping.round()
        except TrustError as error:
            node.log.warning("no time-stamp", code=error.code, hint="check the time-stamping authorities")

    return Follower("checkpoint stamps", _ROUND_SECONDS, work, node.clock)


async def count_verified_stamps(
    connection: AsyncConnection, log: int, authorities: Sequence[ApprovedTSA], *, at: datetime
) -> tuple[int, int]:
    """How many of a log's stamps hold, and how many don't: token, authority, and the checkpoint's place in the log."""
    good = bad = 0
    for stamp in await stamps_of(connection, log):
        try:
            await verify_checkpoint_stamp(connection, stamp, authorities, at=at)
            good += 1
        except (TrustError, AuditError):
            bad += 1
    return good, bad


async def verify_checkpoint_stamp(
    connection: AsyncConnection, stamp: CheckpointStamp, authorities: Sequence[ApprovedTSA], *, at: datetime
) -> Checkpoint:
    """The stamped checkpoint, which the log still leads on from. Raises TrustError, AuditError."""
    if not authorities:
        raise FetchFailed("no time-stamping authority is approved", code="mlog.no_timestamping_provider_found")
    authority = signer_of(stamp.token, authorities)
    digest = hashlib.sha512(stamp.note).digest()
    verified = verify_token(stamp.token, digest=digest, tsa_certificate=authority.certificate, at=at)
    if int(verified.time.timestamp() * 1000) != stamp.time_ms:
        raise TimestampInvalid("the token states another time")
    checkpoint = _checkpoint_in(stamp.note)
    if await root_at(connection, stamp.log, checkpoint.size) != checkpoint.root:
        raise OutOfRange("the log has another root at the stamped size")
    return checkpoint
