"""Free loopback ports, and a clock that can be wrong."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens at."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    for _ in range(200):
        with ExitStack() as stack:
            # Below the ports that the system gives to outgoing connections: one of those would be in the way later.
            first = random.randrange(11_000, 32_000 - count)
            try:
                for port in range(first, first + count):
                    stack.enter_context(_bound(port))
            except OSError:
                continue
            return int(first)
    raise AssertionError("no free ports")


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
