"""The load: a closed loop over keep-alive connections. Run as a process; same code for both paths.

Each connection sends a request, waits for its answer, sends the next. HTTP/1.1 by hand, since a client library would
cost more than what is measured. An answer counts if its status is 200 and its body the expected one, byte for byte.

Reads one job a line (JSON, `Job`) from standard input and writes one result a line (`Result`); the end of input ends
it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Final, cast

import uvloop

_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_DRAIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """One round: `ramp_seconds` uncounted, then `seconds` counted.

    Connections take their heads (request line and header fields, without Content-Length) from `heads` in turn.
    """

    host: str
    port: int
    connections: int
    ramp_seconds: float
    seconds: float
    heads: tuple[str, ...]
    body: str
    expected: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a round gave. `answered` counts every good answer, `counted` those within the measured time."""

    counted: int
    answered: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failure: str = ""

    @property
    def per_second(self) -> float:
        """Exchanges per second."""
        return self.counted / self.seconds


class _Round:
    """What the connections of a round share: the times at which counting starts and sending ends."""

    def __init__(self, job: Job) -> None:
        self.expected = job.expected.encode()
        self.latencies: list[float] = []
        self.answered = self.failed = 0
        self.failure = ""
        self.counts_from = self.ends = 0.0

    def begin(self, ramp_seconds: float, seconds: float) -> None:
        self.counts_from = perf_counter() + ramp_seconds
        self.ends = self.counts_from + seconds

    def fail(self, reason: str) -> None:
        self.failed += 1
        self.failure = self.failure or reason


class _Connection(asyncio.Protocol):
    """One connection's loop. `done` resolves when it has sent its last request and has the answer."""

    def __init__(self, shared: _Round, request: bytes) -> None:
        self._round = shared
        self._request = request
        self._pieces: list[bytes] = []
        self._missing = 0
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        if not self.done.done():
            self._end("the connection was closed")

    def send(self) -> None:
        assert self._transport is not None
        self._sent_at = perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._missing > len(data):
            # A large answer: looked at when it is whole.
            self._missing -= len(data)
            self._pieces.append(data)
            return
        received = b"".join((*self._pieces, data)) if self._pieces else data
        self._missing = 0
        head, separator, body = received.partition(b"\r\n\r\n")
        length = _CONTENT_LENGTH.search(head) if separator else None
        if separator and length is None:
            self._end("an answer without Content-Length")
        elif length is None or len(body) < int(length[1]):
            self._pieces = [received]
            self._missing = 0 if length is None else int(length[1]) - len(body)
        else:
            self._pieces = []
            self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        now, shared = perf_counter(), self._round
        if not head.startswith(b"HTTP/1.1 200 ") or body != shared.expected:
            self._end((head[:200] + b" " + body[:400]).decode("latin-1"))
            return
        shared.answered += 1
        if shared.counts_from <= now < shared.ends:
            shared.latencies.append(now - self._sent_at)
        if now < shared.ends:
            self.send()
        else:
            self._end()

    def _end(self, failure: str = "") -> None:
        if failure:
            self._round.fail(failure)
        if not self.done.done():
            self.done.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def run_round(job: Job) -> Result:
    """One round of load, over fresh connections."""
    loop, shared = asyncio.get_running_loop(), _Round(job)
    connections: list[_Connection] = []
    for number in range(job.connections):
        connection = _Connection(shared, build_request(job.heads[number % len(job.heads)], job.body.encode()))
        await loop.create_connection(partial(_itself, connection), job.host, job.port)
        connections.append(connection)
    shared.begin(job.ramp_seconds, job.seconds)
    for connection in connections:
        connection.send()
    try:
        async with asyncio.timeout(job.ramp_seconds + job.seconds + _DRAIN_SECONDS):
            await asyncio.gather(*(connection.done for connection in connections))
    except TimeoutError:
        shared.fail("no answer")
    for connection in connections:
        connection.close()
    latencies = sorted(shared.latencies)
    return Result(
        counted=len(latencies),
        answered=shared.answered,
        failed=shared.failed,
        seconds=job.seconds,
        p50_ms=quantile(latencies, 0.50) * 1000,
        p99_ms=quantile(latencies, 0.99) * 1000,
        failure=shared.failure,
    )


def _itself(connection: _Connection) -> _Connection:
    return connection


def build_request(head: str, body: bytes) -> bytes:
    """The request's bytes."""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def quantile(ordered: list[float], share: float) -> float:
    """The nearest-rank quantile of ordered values; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def main() -> None:
    """Takes jobs until the input ends."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            values = json.loads(line)
            job = Job(**values | {"heads": tuple(values["heads"])})
            print(json.dumps(asdict(runner.run(run_round(job)))), flush=True)


if __name__ == "__main__":
    main()
