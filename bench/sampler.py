"""Runs a module as `python -m` would, and samples where its CPU time goes. Run as a process.

    python -m bench.sampler FILE MODULE ARGUMENTS…

Every millisecond of CPU time a signal asks the main thread for its stack; a sample weighs what the main thread has used
since the one before, and other threads' use is counted apart. From the signal START on; written at the end as folded
stacks (`frame;frame;frame nanoseconds`, outermost first), the form that flame graph tools read.

Python notices a signal only between some instructions. One that is noticed as a function begins belongs to what ran
before: to the caller, or, where an event loop called, to the loop's own code, which is C.
"""

from __future__ import annotations

import dis
import runpy
import signal
import sys
import sysconfig
from collections import Counter
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from pathlib import Path
from time import process_time_ns, thread_time_ns
from types import CodeType, FrameType
from typing import Final

START: Final = signal.SIGUSR1
LOOP: Final = "event loop:C code"
OTHER_THREADS: Final = "other threads:all"
_INTERVAL_SECONDS: Final = 0.001
_RESUME: Final = dis.opmap["RESUME"]
_SUSPENDABLE: Final = CO_COROUTINE | CO_GENERATOR | CO_ASYNC_GENERATOR
_ROOTS: Final = (
    str(Path(__file__).resolve().parents[1]),
    sysconfig.get_path("purelib"),
    sysconfig.get_path("stdlib"),
)


class Sampler:
    """Collects weighted stacks of the main thread."""

    def __init__(self) -> None:
        self.stacks: Counter[tuple[CodeType, ...]] = Counter()
        self.others_ns = 0
        self._labels: dict[CodeType, str] = {}
        self._thread_ns = self._process_ns = 0

    def start(self, _number: int, _frame: FrameType | None) -> None:
        """The handler of START."""
        self._thread_ns, self._process_ns = thread_time_ns(), process_time_ns()
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)

    def sample(self, _number: int, frame: FrameType | None) -> None:
        """The handler of the timer's signal."""
        thread_ns, process_ns = thread_time_ns(), process_time_ns()
        weight = thread_ns - self._thread_ns
        self.others_ns += max(0, process_ns - self._process_ns - weight)
        self.stacks[_stack(frame)] += weight
        # The sampler's own work belongs to nobody.
        self._thread_ns, self._process_ns = thread_time_ns(), process_time_ns()

    def folded(self) -> str:
        """All samples as folded stacks."""
        lines: Counter[str] = Counter()
        for codes, weight in self.stacks.items():
            lines[";".join(self._label(code) for code in codes) or LOOP] += weight
        if self.others_ns:
            lines[OTHER_THREADS] += self.others_ns
        return "".join(f"{stack} {weight}\n" for stack, weight in lines.most_common())

    def _label(self, code: CodeType) -> str:
        label = self._labels.get(code)
        if label is None:
            label = self._labels[code] = f"{_short(code.co_filename)}:{code.co_qualname}".replace(";", ",")
        return label


def _stack(frame: FrameType | None) -> tuple[CodeType, ...]:
    """The stack to which the time before this moment belongs; empty for the event loop's own C code."""
    if frame is not None and frame.f_lasti >= 0:
        code = frame.f_code.co_code
        if code[frame.f_lasti] == _RESUME:
            # After an await it was not the awaiting coroutine that ran before, but whoever resumed it.
            resumed = code[frame.f_lasti + 1] & 3 > 1
            frame = frame.f_back
            while resumed and frame is not None and frame.f_code.co_flags & _SUSPENDABLE:
                frame = frame.f_back
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    codes.reverse()
    return tuple(codes)


def _short(path: str) -> str:
    for root in _ROOTS:
        if path.startswith(root + "/"):
            return path[len(root) + 1 :]
    return path


def main() -> None:
    """Runs the module; writes the samples however it ends."""
    file, module, *arguments = sys.argv[1:]
    sampler = Sampler()
    signal.signal(START, sampler.start)
    signal.signal(signal.SIGPROF, sampler.sample)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(file).write_text(sampler.folded(), "utf-8")


if __name__ == "__main__":
    main()
