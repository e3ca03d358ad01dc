"""Chooses ports on loopback: free ones that stay out of the way of outgoing connections, or a row from a base port.

A free port is free when it is looked at. Whoever takes it before the instance does makes the start fail with a line
that names it.
"""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.errors import StartRefused

_FIRST: Final = 10_240
_LAST: Final = 32_000
_TRIES: Final = 2000
_EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class FreePorts:
    """Gives out each port once. `taken`: those that the topology fixes."""

    def __init__(self, taken: frozenset[int] = frozenset()) -> None:
        self._given = set(taken)
        self._last = _below_ephemeral()

    def row(self, host: str, count: int) -> int:
        """The first of `count` free ports in a row. Raises StartRefused."""
        for _ in range(_TRIES):
            first = random.randrange(_FIRST, self._last - count)  # noqa: S311 - no secret
            row = range(first, first + count)
            if self._given.isdisjoint(row) and all(_is_free(host, port) for port in row):
                self._given.update(row)
                return first
        raise StartRefused(f"no {count} free ports in a row at {host}: stop what uses them, or name ports in the file")


def _below_ephemeral() -> int:
    """Ports from here on are given to outgoing connections: one of those would be in the way later."""
    with suppress(OSError, ValueError):
        low = int(_EPHEMERAL.read_text("ascii").split()[0])
        if low > _FIRST + 1000:
            return min(low, 60_000)
    return _LAST


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
