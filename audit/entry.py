"""What is appended, and the receipt that comes back."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final, Literal

from audit.errors import MalformedInput
from audit.leaf import MAX_INTEGER
from audit.tag import SubjectKey

# `withheld`: an access that the law keeps from the person for now, under another tag than theirs; `release` gives it to
# them later. From `index` on the kinds are the log's own words about itself.
Kind = Literal["access", "withheld", "release", "exchange", "index", "erase", "key", "policy"]
_ABOUT_PERSONS: Final = frozenset({"access", "withheld", "release"})
_RECEIPT: Final = re.compile(r"([!-~]{1,255}) (0|[1-9]\d{0,15}) ([A-Za-z0-9+/]{43}=)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf to come. What is about a person has a subject (one entry per person); the other kinds have none."""

    kind: Kind
    subject: SubjectKey | None
    exchange: bytes
    record: bytes
    expires_ms: int

    def __post_init__(self) -> None:
        if (self.kind in _ABOUT_PERSONS) != (self.subject is not None):
            raise ValueError("an entry about a person has a subject, any other has none")
        if len(self.exchange) != 32 or not 0 <= self.expires_ms <= MAX_INTEGER:
            raise ValueError("exchange id of 32 bytes, expiry below 2^53 ms")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A leaf's place in a log. Rides in the signed answer; the peer keeps it."""

    origin: str
    index: int
    leaf_hash: bytes

    def encode(self) -> str:
        """`<origin> <index> <base64 leaf hash>`."""
        return f"{self.origin} {self.index} {b64encode(self.leaf_hash).decode()}"


def parse_receipt(text: str) -> Receipt:
    """The inverse of `Receipt.encode`, strict."""
    match = _RECEIPT.fullmatch(text)
    if match is None:
        raise MalformedInput("not a receipt")
    receipt = Receipt(match[1], int(match[2]), b64decode(match[3]))
    if receipt.encode() != text or receipt.index > MAX_INTEGER:
        raise MalformedInput("not a receipt in canonical form")
    return receipt
