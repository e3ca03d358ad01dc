"""The period index: which persons a log has entries about in a month, how many each, and where each chain ends.

A month's tags, sorted, each with its count and the hash of its newest leaf, are the leaves of an RFC 6962 tree of its
own, whose root the log commits to in a leaf of kind `index`. So a person can be shown that nothing was cut off the end
of their chain (the row is in the tree), or that the log holds nothing about them at all (two neighbours with a gap
where their tag would be). Anybody with the log's entries rebuilds the index and compares the root.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from audit.errors import MalformedInput, ProofInvalid
from audit.merkle import EMPTY_ROOT, HASH_BYTES, inclusion_ranges, leaf_hash, root_of, verify_inclusion

KIND: Final = "index"
_PREFIX: Final = b"xgw/index/v1\0"
_PERIOD: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_MAX_RECORD_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, order=True)
class IndexRow:
    """One tag of the month: how many leaves its chain has, and the newest one's hash."""

    tag: bytes
    count: int
    head: bytes

    @property
    def leaf(self) -> bytes:
        """The row as a leaf of the index's tree."""
        return _PREFIX + self.tag + self.count.to_bytes(8, "big") + self.head


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What the log's index leaf commits to: the period, the root over its tags in all entries before `upto`."""

    period: str
    upto: int
    rows: int
    root: bytes

    def encode(self) -> bytes:
        """ASCII JSON, keys sorted, no blanks: committed to as it is."""
        value = {
            "period": self.period,
            "root": b64encode(self.root).decode(),
            "rows": self.rows,
            "upto": self.upto,
            "v": 1,
        }
        return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


@dataclass(frozen=True, slots=True)
class RowProof:
    """A row and its inclusion path in the index's tree."""

    position: int
    row: IndexRow
    path: tuple[bytes, ...]


class PeriodIndex:
    """The index of one period: rows sorted by tag, each tag once."""

    def __init__(self, rows: Sequence[IndexRow]) -> None:
        self.rows = sorted(rows)
        if any(one.tag == other.tag for one, other in zip(self.rows, self.rows[1:], strict=False)):
            raise MalformedInput("a tag stands in an index once")
        self._hashes = [leaf_hash(row.leaf) for row in self.rows]

    @property
    def root(self) -> bytes:
        return root_of(self._hashes)

    def proof(self, tag: bytes) -> tuple[RowProof, ...]:
        """What proves the tag's row, one proof; or its absence: its neighbours, two, or one at either end, or none."""
        at = bisect_left(self.rows, tag, key=lambda row: row.tag)
        if at < len(self.rows) and self.rows[at].tag == tag:
            return (self._row_proof(at),)
        return tuple(self._row_proof(position) for position in (at - 1, at) if 0 <= position < len(self.rows))

    def _row_proof(self, position: int) -> RowProof:
        ranges = inclusion_ranges(position, len(self.rows))
        path = tuple(root_of(self._hashes[start:end]) for start, end in ranges)
        return RowProof(position, self.rows[position], path)


def parse_index_record(data: bytes) -> IndexRecord:
    """Read an index record; the bytes must be the ones that `encode` makes. Raises MalformedInput."""
    if len(data) > _MAX_RECORD_BYTES:
        raise MalformedInput("not an index record")
    try:
        value = json.loads(data)
        found = IndexRecord(value["period"], value["upto"], value["rows"], b64decode(value["root"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise MalformedInput("not an index record") from None
    if not all(type(number) is int and 0 <= number < 2**53 for number in (found.upto, found.rows)):
        raise MalformedInput("not an index record")
    # What isn't a string has no match, and what isn't written as `encode` writes it isn't what was committed to.
    if not _PERIOD.fullmatch(str(found.period)) or len(found.root) != HASH_BYTES or found.encode() != data:
        raise MalformedInput("not an index record in canonical form")
    return found


def verify_row(index: IndexRecord, proofs: Sequence[RowProof], tag: bytes) -> IndexRow | None:
    """The tag's row in the index, or None if the proofs show that it has none. Raises ProofInvalid."""
    for proof in proofs:
        verify_inclusion(leaf_hash(proof.row.leaf), proof.position, index.rows, proof.path, index.root)
    match tuple(proofs):
        case () if index.rows == 0 and index.root == EMPTY_ROOT:
            return None
        case (only,) if only.row.tag == tag:
            return only.row
        case (only,) if only.position == 0 and tag < only.row.tag:
            return None
        case (only,) if only.position == index.rows - 1 and only.row.tag < tag:
            return None
        case (left, right) if right.position == left.position + 1 and left.row.tag < tag < right.row.tag:
            return None
    raise ProofInvalid("the rows prove neither that the tag is in the index nor that it is not")
