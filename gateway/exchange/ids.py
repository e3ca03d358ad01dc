"""New ids for exchanges: UUIDs in their text form (RFC 9562), without `uuid`'s objects in between."""

from __future__ import annotations

import os
from typing import Final

_VARIANT: Final = 0b10 << 62


def random_id() -> str:
    """A UUID of version 4 (section 5.4): nothing but randomness."""
    random = int.from_bytes(os.urandom(16), "big")
    return _text(random & ~(0xF << 76 | 0b11 << 62) | 0x4 << 76 | _VARIANT)


def growing_id(at_ms: int) -> str:
    """A UUID of version 7 (section 5.7): grows with time, so that the logs' indexes grow at one end."""
    random = int.from_bytes(os.urandom(10), "big")
    return _text(
        (at_ms & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (random >> 62 & 0xFFF) << 64 | _VARIANT | random & (1 << 62) - 1
    )


def _text(value: int) -> str:
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
