"""What the figures depend on, and what a durable write costs where the databases are."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

_WRITES: Final = 50
_WRITE_BYTES: Final = 4096


def describe_machine(folder: Path) -> dict[str, str | int | float]:
    """Cores, processor, interpreter, and the disk below `folder`."""
    model = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "python": platform.python_version(),
        "file_system": file_system(folder),
        "durable_write_ms": durable_write_ms(folder),
    }


def file_system(folder: Path) -> str:
    """The type of the file system that `folder` is on, from proc(5)'s `mounts`."""
    best, found = "", "unknown"
    with suppress(OSError):
        for line in Path("/proc/mounts").read_text("utf-8").splitlines():
            _, point, kind, *_ = line.split(" ")
            if folder.resolve().is_relative_to(point) and len(point) >= len(best):
                best, found = point, kind
    return found


def durable_write_ms(folder: Path) -> float:
    """The median time in milliseconds to append 4 KiB to a file and have it on disk."""
    file, times = folder / "durable-write", []
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(_WRITES):
            begun = perf_counter()
            os.write(descriptor, bytes(_WRITE_BYTES))
            os.fdatasync(descriptor)
            times.append((perf_counter() - begun) * 1000)
    finally:
        os.close(descriptor)
        file.unlink()
    return round(median(times), 3)
