"""Time-stamps for the message log: in batches by default, one for each message before it goes on where that is set.

Follows X-Road's message log (UG-SIGDOC, UG-SS chapter 11). One message: the stamp is over the octets of its signature's
value, as X-Road's verifier has it, and becomes the signature's SignatureTimeStamp. Several: over a hash chain result
whose chain has SHA-512 of each signature document as its inputs. Nothing is stored that wasn't verified.

When stamping fails for longer than the operator accepts, new messages are refused. Since when it fails, the database
says: no process forgets it, and each sees what another has stamped.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Protocol

from cryptography import x509
from structlog.typing import FilteringBoundLogger

from audit import message_stamps
from audit.message_reader import MessageHeader, MessageReader
from audit.message_stamps import Stamp, StampingState
from gateway.clock import Clock
from gateway.message_log.metrics import MessageLogMetrics
from trust.costs import CostStrategy, in_order
from trust.errors import FetchFailed, TrustError
from trust.hashchain import TIMESTAMP_FILES, build_batch
from trust.parameters import ApprovedTSA
from trust.timestamp import VerifiedTimestamp
from trust.xades import signature_value

BATCH: Final = 10_000
_CHUNK: Final = 250
_JOB: Final = "stamp"
# UG-SYSPAR: 20 s to connect and 60 s to answer, for each authority.
_AUTHORITY_SECONDS: Final = 80
_MARGIN_SECONDS: Final = 60
# An alarm comes when a quarter of the time that stamping may fail has passed.
_ALARM_PART: Final = 4


class TimestampSource(Protocol):
    """Gets verified time-stamps (`trust.timestamp_client.TimestampClient`)."""

    async def stamp(self, digest: bytes, authorities: Sequence[ApprovedTSA]) -> VerifiedTimestamp:
        """A stamp over a SHA-512 digest, of the first authority that gives a good one. Raises TrustError."""
        ...


@dataclass(frozen=True, slots=True)
class StampingPolicy:
    """`acceptable_failure_seconds`: how long stamping may fail before messages are refused; 0 for ever."""

    immediate: bool = False
    acceptable_failure_seconds: float = 14_400
    strategy: CostStrategy = CostStrategy.NONE


def authorities_in_order(authorities: Sequence[ApprovedTSA], strategy: CostStrategy) -> tuple[ApprovedTSA, ...]:
    """The authorities to ask, in the configuration's order among those that cost alike."""
    return in_order(authorities, lambda authority: authority.cost_type, strategy)


class Stamper:
    """Stamps the messages of every log in one database. Use from one event loop; several processes may share one."""

    def __init__(
        self,
        reader: MessageReader,
        source: TimestampSource,
        authorities: Callable[[], Sequence[ApprovedTSA]],
        *,
        policy: StampingPolicy,
        clock: Clock,
        metrics: MessageLogMetrics,
        log: FilteringBoundLogger,
    ) -> None:
        """`authorities` gives those of the configuration in force."""
        self.policy = policy
        self.reader = reader
        self._engine = reader.engine
        self._source = source
        self._authorities = authorities
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._holder = os.urandom(8).hex()
        self._state = StampingState(None, None)
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[list[MessageHeader], asyncio.Future[TrustError | None]]] = []
        metrics.watch(self.failing_seconds)

    # -- what others ask

    @property
    def failing_seconds(self) -> Callable[[], float]:
        """For how long messages have waited without any success; 0 while all is well."""

        def seconds() -> float:
            oldest = self._state.oldest_unstamped_ms
            if oldest is None:
                return 0.0
            since = max(oldest, self._state.last_success_ms or 0)
            return max(0, self._clock.now_ms() - since) / 1000

        return seconds

    @property
    def alarming(self) -> bool:
        """Whether a quarter of the time that stamping may fail has passed."""
        accepted = self.policy.acceptable_failure_seconds
        return accepted > 0 and self.failing_seconds() > accepted / _ALARM_PART

    @property
    def refusing(self) -> bool:
        """Whether new messages are to be refused, because stamping has failed for too long."""
        if self._state.oldest_unstamped_ms is None:
            return False
        accepted = self.policy.acceptable_failure_seconds
        return accepted > 0 and self.failing_seconds() > accepted

    async def refresh(self) -> None:
        """Look into the database how stamping stands."""
        self._state = await message_stamps.stamping_state(self._engine)

    # -- the background job

    async def round(self) -> int:
        """Stamp whatever waits; how many messages that were. Leaves it to another process that is at it.

        Raises TrustError when there is something to stamp and no authority gave a good token.
        """
        await message_stamps.ensure_progress(self._engine)
        try:
            if not await message_stamps.logs_to_stamp(self._engine) or not await self._lease():
                return 0
            try:
                return await self._stamp_all()
            finally:
                await message_stamps.release_lease(self._engine, _JOB, self._holder)
        finally:
            await self.refresh()
            if self.alarming:
                self._log.error(
                    "messages are not time-stamped",
                    code="timestamping_failed",
                    age_seconds=round(self.failing_seconds()),
                    hint="check the time-stamping authorities: messages will be refused",
                )

    async def _stamp_all(self) -> int:
        done = 0
        for log in await message_stamps.logs_to_stamp(self._engine):
            while messages := await message_stamps.unstamped(self._engine, log, BATCH):
                await self.stamp(messages)
                await message_stamps.advance(self._engine, log)
                done += len(messages)
                if len(messages) < BATCH or not await self._lease():
                    break
            else:
                await message_stamps.advance(self._engine, log)
        return done

    async def _lease(self) -> bool:
        now_ms = self._clock.now_ms()
        seconds = _AUTHORITY_SECONDS * max(1, len(self._authorities())) + _MARGIN_SECONDS
        return await message_stamps.take_lease(
            self._engine, _JOB, self._holder, now_ms=now_ms, until_ms=now_ms + seconds * 1000
        )

    # -- at once

    async def stamp_exchange(self, request_id: str) -> None:
        """The messages of this exchange are stamped on return. Raises TrustError.

        Whoever waits when the last stamp is there, shares the next one.
        """
        messages = [message for message in await self.reader.of_request(request_id) if message.stamp is None]
        if not messages:
            return
        waiter: asyncio.Future[TrustError | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((messages, waiter))
        async with self._turn:
            if not waiter.done():
                await self._serve_waiting()
        failure = waiter.result()
        if failure is not None:
            raise failure

    async def _serve_waiting(self) -> None:
        taken, self._waiting = self._waiting, []
        outcome: TrustError | None = FetchFailed("stamping was interrupted", code="timestamping_failed")
        try:
            unique = {(message.log, message.id): message for messages, _ in taken for message in messages}
            for _, group in groupby(sorted(unique), key=lambda key: key[0]):
                await self.stamp([unique[key] for key in group])
            outcome = None
        except TrustError as error:
            outcome = error
        finally:
            for _, waiter in taken:
                if not waiter.done():
                    waiter.set_result(outcome)

    async def stamp(self, messages: Sequence[MessageHeader]) -> None:
        """Stamp these messages of one log together; durable on return. Raises TrustError."""
        signed: list[tuple[MessageHeader, bytes]] = []
        document = b""
        for at in range(0, len(messages), _CHUNK):
            some = messages[at : at + _CHUNK]
            for message, signature in zip(some, await self.reader.signatures(some), strict=True):
                if signature:
                    document = signature
                    signed.append((message, hashlib.sha512(signature).digest()))
            # Whoever logs meanwhile gets the loop back.
            await asyncio.sleep(0)
        if not signed:
            return
        try:
            inputs = [digest for _, digest in signed]
            stamp = await (self._single(document) if len(signed) == 1 else self._batch(inputs))
        except TrustError:
            self._metrics.stamping_failed()
            raise
        await message_stamps.store_stamp(
            self._engine, stamp, [message for message, _ in signed], stored_ms=self._clock.now_ms()
        )
        self._metrics.stamped(len(signed))

    async def _single(self, document: bytes) -> Stamp:
        digest = hashlib.sha512(signature_value(document).decoded).digest()
        return _stored(await self._ask(digest))

    async def _batch(self, inputs: Sequence[bytes]) -> Stamp:
        # The chains themselves follow from the inputs again whenever a message is exported.
        result, _ = await asyncio.to_thread(build_batch, inputs, files=TIMESTAMP_FILES)
        return _stored(await self._ask(hashlib.sha512(result).digest()), result, tuple(inputs))

    async def _ask(self, digest: bytes) -> VerifiedTimestamp:
        authorities = authorities_in_order(self._authorities(), self.policy.strategy)
        return await self._source.stamp(digest, authorities)


def _stored(verified: VerifiedTimestamp, result: bytes | None = None, inputs: tuple[bytes, ...] = ()) -> Stamp:
    signer = x509.load_der_x509_certificate(verified.tsa_certificate).subject.rfc4514_string()
    return Stamp(verified.token, int(verified.time.timestamp() * 1000), signer, result, inputs)
