"""What a process says at each start of the protections that it does without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.exchange.insecure import InsecurePart
from gateway.logging import get_logger
from gateway.settings import Settings

# An error, so that no `log_level` is silent about it.
_SHOUT: Final = "INSECURE MODE"


def shout_modes(settings: Settings, node: str) -> None:
    """A line for each insecure setting in force."""
    for mode in settings.insecure_modes:
        get_logger(node=node).error(_SHOUT, mode=mode)


def shout_parts(parts: Iterable[InsecurePart], node: str) -> None:
    """A line for each service and client that does without a protection."""
    for part in parts:
        get_logger(node=node).error(_SHOUT, mode=part.mode, service=part.identifier)
