"""The processes of a run: start, wait until ready, count their CPU time, stop."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from bench.plain import HOST

ROOT: Final = Path(__file__).resolve().parents[1]
_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class NotMeasurable(Exception):
    """The run can't give a figure. The text says why, and where to look."""


@dataclass(frozen=True, slots=True)
class CPUTime:
    """Seconds of CPU that a process has used, all its threads together."""

    user: float
    system: float

    def __sub__(self, earlier: CPUTime) -> CPUTime:
        return CPUTime(self.user - earlier.user, self.system - earlier.system)

    @property
    def total(self) -> float:
        """Both together."""
        return self.user + self.system


class Worker:
    """A running process of the measure."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def output(self) -> asyncio.StreamReader:
        """What it prints."""
        assert self._process.stdout is not None
        return self._process.stdout

    def tell(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def cpu_time(self) -> CPUTime:
        """proc(5): fields 14 and 15 of `stat`, counted from behind the name, which may hold anything."""
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text("utf-8")
        except OSError:
            raise self.ended() from None
        fields = stat.rpartition(")")[2].split()
        return CPUTime(int(fields[11]) / _TICKS, int(fields[12]) / _TICKS)

    def forget_peak_memory(self) -> None:
        """From now on `peak_memory` counts anew: proc(5), `clear_refs`."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", "ascii")

    def peak_memory(self) -> int:
        """The most memory that it had in use, in bytes: proc(5), `VmHWM`."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text("utf-8")
        except OSError:
            raise self.ended() from None
        return int(status.partition("VmHWM:")[2].split(None, 1)[0]) * 1024

    async def wait_for_answer(self, http: aiohttp.ClientSession, url: str) -> None:
        """Returns when `url` answers 200. Raises NotMeasurable."""
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            self.require_running()
            with suppress(aiohttp.ClientError):
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
        raise NotMeasurable(f"the {self.name} did not become ready within {_READY_SECONDS:g} s")

    def require_running(self) -> None:
        """Raises NotMeasurable if it has ended."""
        if self._process.returncode is not None:
            raise self.ended()

    def ended(self) -> NotMeasurable:
        """The error that it has ended, with its last words: its folder is gone when somebody reads this."""
        words = self._log.read_text("utf-8", "replace").strip()[-2000:] or "it said nothing"
        return NotMeasurable(f"the {self.name} has ended: {words}")

    async def stop(self) -> None:
        """Ends it as an operator would; returns when it is gone."""
        if self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def started(folder: Path, name: str, *arguments: str, talks: bool = False) -> AsyncIterator[Worker]:
    """Within the block `python -m arguments…` runs; its messages are in `folder`. `talks`: with pipes in and out."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            stdin=PIPE if talks else asyncio.subprocess.DEVNULL,
            stdout=PIPE if talks else output,
            stderr=output,
            cwd=ROOT,
            # Ctrl-C in the terminal is for us; we stop the others in order.
            start_new_session=True,
        )
    worker = Worker(name, process, log)
    try:
        yield worker
    finally:
        await worker.stop()


def free_base_port(offsets: Iterable[int]) -> int:
    """A port from which on all of `offsets` are free now; below the range from which systems take outgoing ports."""
    wanted = sorted(offsets)
    for _ in range(200):
        base = random.randrange(10_000, 32_000, 100)
        if all(_is_free(base + offset) for offset in wanted):
            return base
    raise NotMeasurable("no free ports on loopback")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def machine_time() -> tuple[float, float]:
    """Seconds that all cores together were busy, and idle, since the start: proc(5)'s `stat`, first line."""
    user, nice, system, idle, waiting, interrupt, soft, stolen = (
        int(ticks) / _TICKS for ticks in Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:9]
    )
    return user + nice + system + interrupt + soft + stolen, idle + waiting


def cpu_times(workers: Sequence[Worker]) -> dict[str, CPUTime]:
    """What each has used so far, by name."""
    return {worker.name: worker.cpu_time() for worker in workers}
