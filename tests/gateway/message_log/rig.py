"""A message log without a gateway around it: a real log, real signatures, time-stamping authorities on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from audit.message_cipher import MessageCipher
from audit.message_keys import MessageKeys
from audit.message_log import MessageRecord
from audit.message_reader import Criteria, MessageHeader, MessageReader
from audit.sequencer import Sequencer
from audit.store import create_schema, open_engine
from audit.verify import LogReport, verify_log
from gateway.message_log.archiving import Archiver, ArchivingPolicy
from gateway.message_log.export import Exporter
from gateway.message_log.stamping import Stamper, StampingPolicy
from gateway.metrics import Metrics
from tests.audit.factory import ORIGIN, message
from tests.clocks import ManualClock
from tests.trust.containers import REQUEST, RESPONSE, Making
from tests.trust.factory import NOW
from trust.parameters import ApprovedTSA
from trust.testca.authority import KeyPair
from trust.testca.time_stamping import TimeStampingAuthority
from trust.timestamp_client import TimestampClient

CLIENT = "DE-TEST/GOV/MUSTERSTADT/app"
SERVICE = "DE-TEST/COM/STADTWERKE/rechnungen/bills"


@dataclass
class Authority:
    """A time-stamping authority that can be dead, or do what it shouldn't."""

    pair: KeyPair
    clock: ManualClock
    url: str = ""
    asked: int = 0
    dead: bool = False
    signs_with: KeyPair | None = None
    changes: Any = None
    requests: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    @property
    def approved(self) -> ApprovedTSA:
        return ApprovedTSA("Zeitstelle", self.url, self.pair.certificate_der)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked += 1
        if self.dead:
            return web.Response(status=503)
        asked = await request.read()
        self.requests.append(asked)
        await self.free.wait()
        if self.changes is not None:
            asked = self.changes(asked)
        answer = TimeStampingAuthority(self.signs_with or self.pair, self.clock.now).answer(asked)
        self.answers.append(answer)
        return web.Response(body=answer, content_type="application/timestamp-reply")


@dataclass
class Rig:
    """A log and what works on it."""

    making: Making
    clock: ManualClock
    sequencer: Sequencer
    reader: MessageReader
    keys: MessageKeys
    authorities: list[Authority]
    http: aiohttp.ClientSession
    metrics: Metrics

    @property
    def engine(self) -> Any:
        return self.reader.engine

    def stamper(self, *, using: Sequence[Authority] | None = None, **policy: Any) -> Stamper:
        """Another process' stamper on the same database."""
        chosen = self.authorities if using is None else using
        return Stamper(
            self.reader,
            TimestampClient(self.http, self.clock.now),
            lambda: [authority.approved for authority in chosen],
            policy=StampingPolicy(**policy),
            clock=self.clock,
            metrics=Metrics(self.clock).message_log,
            log=structlog.get_logger(),
        )

    def exporter(self, stamper: Stamper | None = None) -> Exporter:
        return Exporter(self.reader, stamper)

    def archiver(self, directory: Path, **policy: Any) -> Archiver:
        return Archiver(
            self.exporter(),
            ArchivingPolicy(directory, **policy),
            clock=self.clock,
            metrics=self.metrics.message_log,
            log=structlog.get_logger(),
        )

    def record(self, *, body: bytes = b'{"frage":"wie viele?"}', **fields: Any) -> MessageRecord:
        """A message as it is logged, with its real signature."""
        direction = fields.setdefault("direction", "request")
        content = REQUEST if direction == "request" else RESPONSE
        signed = self.making.signed(message=content, attachments=(body,))
        values = {
            "role": "consumer", "client": CLIENT, "service": SERVICE, "time_ms": self.clock.now_ms(),
            "signature": signed.signature, "attachments": (body,), "message_id": "DE-TEST-4711",
        }  # fmt: skip
        return message(content, **(values | fields))

    async def log(self, *records: MessageRecord) -> None:
        await self.sequencer.append((), lambda _: records)

    async def log_many(self, count: int, **fields: Any) -> None:
        await self.log(*[self.record(**fields) for _ in range(count)])

    async def headers(self) -> list[MessageHeader]:

        return await self.reader.search(Criteria(), 100_000)

    async def stamped(self) -> list[bool]:
        return [header.stamp is not None for header in await self.headers()]

    async def require_sound(self) -> LogReport:
        return (await verify_log(self.engine, origin=ORIGIN, messages=self.reader.cipher)).require_sound()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def open_rig(
    url: str, folder: Path, making: Making, *, pairs: Sequence[KeyPair] = (), sealing: bool = True
) -> AsyncIterator[Rig]:
    """A rig on this database; an authority for each of `pairs`, else one."""
    clock = ManualClock(NOW)
    async with AsyncExitStack() as stack:
        engine, key_engine = open_engine(url), open_engine(f"sqlite+aiosqlite:///{folder / 'keys.sqlite'}")
        stack.push_async_callback(engine.dispose)
        stack.push_async_callback(key_engine.dispose)
        await create_schema(engine)
        keys = MessageKeys(key_engine, bytes(range(32)))
        await keys.create_schema()
        cipher: MessageCipher = await keys.cipher(sealing=sealing, now_ms=clock.now_ms())
        sequencer = Sequencer(engine, origin=ORIGIN, clock_ms=clock.now_ms, sealer=cipher)
        await sequencer.start()
        stack.push_async_callback(sequencer.close)
        authorities = []
        for pair in pairs or (making.tsa,):
            authority = Authority(pair, clock)
            app = web.Server(authority.handle)
            runner = web.ServerRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            port = free_port()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            authority.url = f"http://127.0.0.1:{port}/tsa"
            authorities.append(authority)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Rig(making, clock, sequencer, MessageReader(engine, cipher), keys, authorities, http, Metrics(clock))
