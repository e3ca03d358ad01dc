"""Large messages are read beside the event loop: one of many small elements takes a second, and others must go on.

Small ones are read at once; a thread would cost more than the reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_Result = TypeVar("_Result")

# Of elements of four bytes this many take some ten milliseconds.
LARGE: Final = 128 * 1024


async def off_loop(size: int, read: Callable[_P, _Result], *args: _P.args, **kwargs: _P.kwargs) -> _Result:
    """What `read` returns or raises; in a thread if `size` bytes are many. It must share nothing that changes."""
    if size < LARGE:
        return read(*args, **kwargs)
    return await asyncio.to_thread(read, *args, **kwargs)
