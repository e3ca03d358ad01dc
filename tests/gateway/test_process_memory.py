"""Freed memory stays with the process: a large block that is freed and wanted again costs no page faults."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

ROUNDS = 200
FAULTS = f"""
import resource, sys
from gateway.process_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def rounds():
    for _ in range({ROUNDS}):
        # Three at once: more than glibc keeps by itself, whatever it has learned of the sizes before.
        blocks = [bytes(1 << 20) for _ in range(3)]
rounds()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
rounds()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], check=True, capture_output=True, text=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc gives memory back this way")
def test_a_freed_block_stays() -> None:
    assert page_faults("keep") < ROUNDS < page_faults("leave")
