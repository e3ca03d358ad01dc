"""A person's keys and tags: what ties leaves to a person for those who hold the key, and to nobody for the rest.

A person has a random key K_s. From it comes one key a month, K_m, and from that the tag in the month's leaves and the
key of the month's records. K_m may be handed to the citizen; K_s never leaves. Destroying K_s turns every tag and
record of the person into noise. Where keys are kept: see `subject_keys`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
_MONTHS_KEPT: Final = 4


@dataclass(frozen=True, slots=True)
class MonthKey:
    """K_m and what comes of it. Opens the person's records of one month in one log, and nothing else."""

    key: bytes = field(repr=False)
    tag: bytes
    cipher: AESGCM = field(repr=False, compare=False)


class SubjectKey:
    """K_s of one person. Safe to use from several threads."""

    __slots__ = ("_key", "_months")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a subject key has 32 bytes")
        self._key = key
        self._months: dict[tuple[str, str], MonthKey] = {}

    def month(self, origin: str, month: str) -> MonthKey:
        """The key of a month ("2026-11", UTC) in the log named `origin`; the last few are kept ready."""
        known = self._months.get((origin, month))
        if known is not None:
            return known
        label = b"xgw/month/v1\0" + origin.encode() + b"\0" + month.encode()
        made = month_key(hmac.digest(self._key, label, "sha256"))
        if len(self._months) >= _MONTHS_KEPT:
            self._months = {}
        self._months[origin, month] = made
        return made


def month_key(key: bytes) -> MonthKey:
    """K_m with its tag and cipher."""
    return MonthKey(key, hmac.digest(key, b"tag", "sha256"), AESGCM(hmac.digest(key, b"record", "sha256")))


def month_of(time_ms: int) -> str:
    """The month (UTC) of a leaf's time: "2026-11"."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m")


def months_between(first_ms: int, last_ms: int) -> list[str]:
    """Every month (UTC) from the first time to the last."""
    months, last = [month_of(first_ms)], month_of(last_ms)
    while months[-1] < last:
        year, month = int(months[-1][:4]), int(months[-1][5:])
        months.append(f"{year + month // 12:04d}-{month % 12 + 1:02d}")
    return months
