"""The inputs that cost a parser the most: twice as many bytes take twice the time, not four times, and little memory.

Each case doubles until it takes long enough to be measured, or until the parser's own bound refuses it unread. Time is
this process's own, so that what else a machine does counts as little as may be.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuzz.worst_cases import CASES, OWN, Make

_LARGEST = 1 << 20
_MEASURABLE = 0.005
_RATIO = 3.5
# What a parser may hold at once, for each byte that it was given, beside a fixed amount.
_BYTES_PER_BYTE = 100
_FIXED_BYTES = 32 << 20


def _seconds(run: Callable[[bytes], object], data: bytes) -> float:
    start = time.process_time()
    with suppress(*OWN):
        run(data)
    return time.process_time() - start


def _measured(run: Callable[[bytes], object], make: Make) -> tuple[bytes, bytes, float]:
    """The first size that takes long enough (or the largest), its double, and the time of the first in seconds."""
    size = 64
    while True:
        data = make(size)
        taken = _seconds(run, data)
        if taken > _MEASURABLE or len(data) >= _LARGEST or size >= _LARGEST:
            return data, make(2 * size), taken
        size *= 2


def _resident(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(field))) * 1024


def _peak(run: Callable[[bytes], object], data: bytes) -> int:
    """Bytes by which the process grew at most. 0 where nobody tells (only Linux does)."""
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return 0
    reset.write_text("5")
    before = _resident("VmRSS")
    _seconds(run, data)
    return _resident("VmHWM") - before


@pytest.mark.parametrize(("run", "make"), CASES.values(), ids=CASES)
def test_time_and_memory_grow_with_the_input_and_no_faster(run: Callable[[bytes], object], make: Make) -> None:
    gc.disable()
    try:
        once, twice, taken = _measured(run, make)
        assert taken < 5, "an input of a megabyte takes seconds"
        assert _peak(run, twice) < _FIXED_BYTES + _BYTES_PER_BYTE * len(twice)
        # What is refused unread is quick at any size.
        if taken > _MEASURABLE:
            _require_linear(run, once, twice)
    finally:
        gc.enable()


def _require_linear(run: Callable[[bytes], object], once: bytes, twice: bytes) -> None:
    ratios = []
    for _ in range(6):
        # The shorter of three: other work only ever adds.
        first, second = (min(_seconds(run, data) for _ in range(3)) for data in (once, twice))
        ratios.append(second / first)
        if ratios[-1] < _RATIO:
            return
    pytest.fail(f"twice the input takes {min(ratios):.1f} times as long")
