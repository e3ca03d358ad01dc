"""The run: both paths up, warmed, then measured in turn, round by round; at the end the road's logs recomputed.

The order changes with each round (a b, b a, …), so that a machine that gets slower or faster during the run favours
nobody. CPU time is that of each process over a round, divided by all exchanges of the round.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp

from bench.backend import ANSWER_BODY, REQUEST_BODY
from bench.cases import STREAM, StreamFigures, build_case, stream, try_case
from bench.gateway_metrics import GatewayMetrics, between
from bench.load import Job, Result
from bench.machine import describe_machine
from bench.plain import HOST
from bench.processes import CPUTime, NotMeasurable, Worker, cpu_times, free_base_port, machine_time, started
from bench.road import LogFacts, Road, open_road
from bench.sampler import START
from gateway.city.plan import BANK, CITY, Plan

ROAD: Final = "road"
PROXY: Final = "proxy"
# Behind the city's last port.
_PROXY_OFFSETS: Final = (60, 61)
_RAMP_SHARE: Final = 0.1
_RAMP_MOST: Final = 0.5
_ANSWER_SECONDS: Final = 120.0
_OWN_RECORDS: Final = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure."""

    rounds: int
    seconds: float
    warm_up_seconds: float
    concurrency: int
    profile: Path | None = None
    cases: tuple[str, ...] = ()
    case_seconds: float = 3.0
    stream_bytes: int = 100 << 20

    @property
    def load_seconds(self) -> float:
        """How long there is load in all."""
        return 2 * (self.warm_up_seconds + self.rounds * self.seconds + len(self.cases) * self.case_seconds)


@dataclass(frozen=True, slots=True)
class Round:
    """A path's figures of one round, with milliseconds of CPU per exchange for each process.

    `idle` and `others` are shares of all cores: unused, and used by what is no part of the path.
    """

    result: Result
    cpu_ms: Mapping[str, CPUTime]
    idle: float
    others: float

    @property
    def cpu_ms_in_all(self) -> float:
        """That of all processes of the path together."""
        return sum(used.total for used in self.cpu_ms.values())


@dataclass(slots=True)
class Measurement:
    """What a run gave. Rounds of both paths belong together by their position."""

    settings: Settings
    machine: Mapping[str, str | int | float]
    rounds: dict[str, list[Round]] = field(default_factory=lambda: {ROAD: [], PROXY: []})
    road_exchanges: int = 0
    entries_expected: int = 0
    gateways: Mapping[str, GatewayMetrics] = field(default_factory=dict)
    logs: Mapping[str, LogFacts] = field(default_factory=dict)
    cases: dict[str, dict[str, Round]] = field(default_factory=dict)
    streams: Mapping[str, StreamFigures] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """The road's exchanges per second over the proxies', of each round."""
        pairs = zip(self.rounds[ROAD], self.rounds[PROXY], strict=True)
        return [road.result.per_second / proxy.result.per_second for road, proxy in pairs if proxy.result.counted]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(self.ratios) if self.ratios else 0.0

    @property
    def cpu_ratio(self) -> float:
        """The proxies' CPU time per exchange over the road's: the ratio if both kept all cores busy."""
        road, proxy = (median(r.cpu_ms_in_all for r in self.rounds[name]) for name in (ROAD, PROXY))
        return proxy / road if road else 0.0


# What the run is at, and how far: a sentence, seconds of load done, seconds in all.
Progress = Callable[[str, float, float], None]


@dataclass(frozen=True, slots=True)
class _Path:
    """One of the two paths: where the load asks, with what heads, and whose CPU time counts."""

    port: int
    heads: tuple[str, ...]
    load: Worker
    gateways: tuple[Worker, Worker]
    backend: Worker

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All its processes, in the order in which a request meets them."""
        return (self.load, *self.gateways, self.backend)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a round sends, and the answer that counts."""

    body: bytes
    answer: bytes
    ramp_seconds: float = 0.0


_SMALL: Final = _Asked(REQUEST_BODY, ANSWER_BODY)


async def measure(settings: Settings, folder: Path, progress: Progress) -> Measurement:
    """The whole run, below `folder`, which should lie on the disk that a gateway would use. Raises NotMeasurable."""
    base_port = free_base_port((*range(3), *range(10, 50), *_PROXY_OFFSETS))
    plan = Plan(folder, base_port)
    backend_port = plan.adapter_port(BANK)
    proxy_ports = tuple(base_port + offset for offset in _PROXY_OFFSETS)
    measurement = Measurement(settings, describe_machine(folder))
    progress("setting up the city", 0, settings.load_seconds)
    async with AsyncExitStack() as running:
        enter = running.enter_async_context
        http = await enter(aiohttp.ClientSession())
        backend = await enter(started(folder, "backend", "bench.backend", str(backend_port)))
        second = await enter(started(folder, "second proxy", "bench.proxy", str(proxy_ports[1]), str(backend_port)))
        first = await enter(started(folder, "first proxy", "bench.proxy", str(proxy_ports[0]), str(proxy_ports[1])))
        load = await enter(started(folder, "load", "bench.load", talks=True))
        road = await enter(open_road(plan, backend_port, settings.profile))
        for worker, port in ((backend, backend_port), (second, proxy_ports[1]), (first, proxy_ports[0])):
            await worker.wait_for_answer(http, f"http://{HOST}:{port}/")
        citizens = await road.admit(http, settings.concurrency)
        heads = tuple(_head(road, citizen) for citizen in citizens)
        paths = {
            ROAD: _Path(road.port, heads, load, (road.consumer, road.provider), backend),
            PROXY: _Path(proxy_ports[0], heads, load, (first, second), backend),
        }
        await _try_out(http, road, paths)
        measurement.road_exchanges += 1
        await _warm_up(settings, measurement, paths, load, progress)
        before = await road.metrics(http)
        await _rounds(settings, measurement, paths, load, progress)
        after = await road.metrics(http)
        await _measure_cases(settings, measurement, paths, load=load, http=http, progress=progress)
        measurement.gateways = {name: between(before[name], after[name]) for name in before}
    progress("recomputing both logs", settings.load_seconds, settings.load_seconds)
    # One leaf for each exchange, and one for each consent that was pushed.
    measurement.entries_expected = measurement.road_exchanges + road.pushes
    measurement.logs = await road.verified_logs()
    for name, facts in measurement.logs.items():
        expected = measurement.entries_expected
        # The log's own records, of a month's index, come on top.
        if facts.messages != 2 * expected or not 0 <= facts.entries - expected <= _OWN_RECORDS:
            raise NotMeasurable(
                f"the {name}'s log has {facts.entries} entries and {facts.messages} messages; {expected} exchanges "
                "were answered"
            )
    return measurement


async def _warm_up(
    settings: Settings, measurement: Measurement, paths: Mapping[str, _Path], load: Worker, progress: Progress
) -> None:
    done = 0.0
    for name, path in paths.items():
        progress(f"warming up the {name}", done, settings.load_seconds)
        warm = await _round(load, path, settings.warm_up_seconds, settings.concurrency)
        done += settings.warm_up_seconds
        if name == ROAD:
            measurement.road_exchanges += warm.result.answered


async def _rounds(
    settings: Settings, measurement: Measurement, paths: Mapping[str, _Path], load: Worker, progress: Progress
) -> None:
    if settings.profile is not None:
        for worker in paths[ROAD].gateways:
            worker.signal(START)
    done = 2 * settings.warm_up_seconds
    for number in range(settings.rounds):
        for name in (ROAD, PROXY) if number % 2 == 0 else (PROXY, ROAD):
            progress(f"round {number + 1} of {settings.rounds}: {name}", done, settings.load_seconds)
            measured = await _round(load, paths[name], settings.seconds, settings.concurrency)
            measurement.rounds[name].append(measured)
            done += settings.seconds
            if name == ROAD:
                measurement.road_exchanges += measured.result.answered
    progress("stopping", done, settings.load_seconds)


async def _measure_cases(
    settings: Settings,
    measurement: Measurement,
    paths: Mapping[str, _Path],
    *,
    load: Worker,
    http: aiohttp.ClientSession,
    progress: Progress,
) -> None:
    """The cases beside the small exchange: one round of each path, the road first, after one exchange to try it."""
    for number, name in enumerate(settings.cases):
        done = settings.load_seconds - 2 * (len(settings.cases) - number) * settings.case_seconds
        progress(f"case {name}", done, settings.load_seconds)
        if name == STREAM:
            measurement.streams = {
                which: await stream(http, path.port, path.heads[0], path.gateways, settings.stream_bytes)
                for which, path in paths.items()
            }
            measurement.road_exchanges += 1
            continue
        measurement.cases[name] = {}
        for which, path in paths.items():
            case = build_case(name, path.heads, road=which == ROAD)
            expected = await try_case(http, f"http://{HOST}:{path.port}", case)
            job_path = replace(path, heads=case.heads)
            connections = case.connections or settings.concurrency
            asked = _Asked(case.body, expected, case.ramp_seconds)
            measured = await _round(load, job_path, settings.case_seconds, connections, asked)
            measurement.cases[name][which] = measured
            if which == ROAD:
                measurement.road_exchanges += 1 + measured.result.answered


async def _round(
    load: Worker,
    path: _Path,
    seconds: float,
    concurrency: int,
    asked: _Asked = _SMALL,
) -> Round:
    for worker in path.workers:
        worker.require_running()
    ramp = asked.ramp_seconds if asked.ramp_seconds > _RAMP_MOST else min(_RAMP_MOST, seconds * _RAMP_SHARE)
    job = Job(HOST, path.port, concurrency, ramp, seconds, path.heads, asked.body.decode(), asked.answer.decode())
    before, machine_before = cpu_times(path.workers), machine_time()
    load.tell(json.dumps(asdict(job)))
    try:
        line = await asyncio.wait_for(load.output.readline(), seconds + _ANSWER_SECONDS)
    except TimeoutError:
        raise NotMeasurable("the load does not come to an end") from None
    after, machine_after = cpu_times(path.workers), machine_time()
    if not line:
        raise load.ended()
    result = Result(**json.loads(line))
    if result.failed:
        raise NotMeasurable(f"{result.failed} requests without a good answer, the first: {result.failure}")
    if not result.counted:
        raise NotMeasurable("no exchange within a round: measure for longer (--seconds)")
    used = {name: after[name] - before[name] for name in before}
    busy, idle = (late - early for late, early in zip(machine_after, machine_before, strict=True))
    ours, whole = sum(cpu.total for cpu in used.values()), busy + idle or 1.0
    share = 1000 / result.answered
    cpu_ms = {name: CPUTime(cpu.user * share, cpu.system * share) for name, cpu in used.items()}
    return Round(result, cpu_ms, idle / whole, max(0.0, busy - ours) / whole)


def _head(road: Road, citizen: Mapping[str, str]) -> str:
    fields = {
        "Host": f"{HOST}:{road.port}",
        "X-Road-Client": CITY.subsystem.encoded,
        "Content-Type": "application/json; charset=utf-8",
        "Accept": "application/json",
        **citizen,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {road.target} HTTP/1.1\r\n{lines}"


async def _try_out(http: aiohttp.ClientSession, road: Road, paths: Mapping[str, _Path]) -> None:
    """One request on each path: same answer from both, with the logs' receipts from the road. Raises NotMeasurable."""
    for name, path in paths.items():
        request_line, *lines = path.heads[0].split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines if line)
        url = f"http://{HOST}:{path.port}{request_line.split(' ')[1]}"
        async with http.post(url, data=REQUEST_BODY, headers=fields) as answer:
            content = await answer.read()
            if answer.status != 200 or content != ANSWER_BODY:
                raise NotMeasurable(f"the {name} answers {answer.status} {content[:500].decode('utf-8', 'replace')}")
            if name == ROAD:
                road.require_receipts(answer.headers)
