"""Free loopback ports, and a clock that can be wrong."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

HOST = "127.0.0.1"
# Below the ports that the system gives to outgoing connections: one of those would be in the way later.
_FIRST = 11_000
_SHARES = 8
_SHARE = 2_600
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# Two runs on one machine begin at different places.
_given = random.randrange(_SHARE)


def free_port() -> int:
    """A port that nobody listens at."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row. No test process is given a port twice, or one of another's share."""
    for _ in range(_SHARE):
        first = _next(count)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(_bound(port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


def _next(count: int) -> int:
    """The row after the last one, from the start again at the share's end: by then the first ones are closed."""
    global _given  # noqa: PLW0603 - what this process has given out
    if _given + count > _SHARE:
        _given = 0
    first = _FIRST + _WORKER % _SHARES * _SHARE + _given
    _given += count
    return first


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock


class ShiftedClock:
    """The machine's clock, ahead by `ahead`."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)
