"""The Merkle tree of RFC 6962 section 2.1: hashes, proofs, and their verification.

Builds inclusion and consistency proofs as lists of leaf ranges (who stores hashes, resolves them: see `tiles`), and
verifies proofs by the algorithms of RFC 9162 sections 2.1.3.2 and 2.1.4.2. Every hash is SHA-256, 32 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from audit.errors import OutOfRange, ProofInvalid

HASH_BYTES: Final = 32
# What the length of an odd number of hashes has beyond pairs.
_ODD: Final = 2 * HASH_BYTES - 1
EMPTY_ROOT: Final = sha256(b"").digest()
# A tree of 2^63 leaves has paths of 63 hashes; no honest proof is longer.
MAX_PATH: Final = 63

Range = tuple[int, int]


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962 2.1: SHA-256(0x00 || leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 2.1: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees of a growing tree, largest first: enough to append and to name the root."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    @classmethod
    def from_peaks(cls, size: int, peaks: Sequence[bytes]) -> Frontier:
        """A stored frontier: one root for each bit set in `size`, largest subtree first."""
        if len(peaks) != size.bit_count():
            raise OutOfRange("a tree has one peak for each bit set in its size")
        frontier = cls()
        frontier.size = size
        frontier._peaks = list(peaks)
        return frontier

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """What `from_peaks` takes."""
        return tuple(self._peaks)

    def append(self, hashed: bytes) -> None:
        """Add one leaf hash; one node hash on average."""
        peaks, size = self._peaks, self.size
        while size & 1:
            hashed = node_hash(peaks.pop(), hashed)
            size >>= 1
        peaks.append(hashed)
        self.size += 1

    def root(self) -> bytes:
        return fold(self._peaks)

    def copy(self) -> Frontier:
        other = Frontier()
        other.size = self.size
        other._peaks = self._peaks.copy()
        return other


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees of falling size, joined from the right."""
    if not peaks:
        return EMPTY_ROOT
    result = peaks[-1]
    for left in reversed(peaks[:-1]):
        result = node_hash(left, result)
    return result


def root_of(hashes: Iterable[bytes]) -> bytes:
    """MTH over leaf hashes (RFC 6962 2.1)."""
    level = b"".join(hashes)
    while len(level) > HASH_BYTES:
        # Of an odd number the last goes up as it is: that is where RFC 6962 splits.
        level = nodes_above(level) + level[len(level) & ~_ODD :]
    return level or EMPTY_ROOT


def nodes_above(level: bytes) -> bytes:
    """The nodes above pairs of hashes that follow one another; the last of an odd number has none."""
    pairs = range(0, len(level) & ~_ODD, 2 * HASH_BYTES)
    return b"".join([sha256(b"\x01" + level[at : at + 2 * HASH_BYTES]).digest() for at in pairs])


def perfect_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """A proof's range as perfect subtrees, left to right: (height, index) stands for leaves index*2^height onwards."""
    result = []
    while start < end:
        height = (end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        result.append((height, start >> height))
        start += 1 << height
    return result


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """PATH(index, D[size]) of RFC 6962 2.1.1: the leaf ranges whose hashes form the proof, the leaf's sibling first."""
    if not 0 <= index < size:
        raise OutOfRange("no such leaf in a tree of this size")
    start, end = 0, size
    path: list[Range] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    path.reverse()
    return path


def consistency_ranges(old: int, new: int) -> list[Range]:
    """PROOF(old, D[new]) of RFC 6962 2.1.2 as leaf ranges; empty when old is 0 or equals new."""
    if not 0 <= old <= new:
        raise OutOfRange("the old tree is larger than the new one")
    if old in (0, new):
        return []
    start, end = 0, new
    path: list[Range] = []
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    # SUBPROOF's flag b: the old tree's own root is left out only when it is a whole subtree from leaf 0.
    if start:
        path.append((start, end))
    path.reverse()
    return path


def _split(size: int) -> int:
    """The largest power of two strictly below size (size > 1)."""
    return 1 << ((size - 1).bit_length() - 1)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bytes:
    """RFC 9162 2.1.3.2: the leaf hash is at `index` of the tree of this size and root. Returns the leaf hash."""
    if not 0 <= index < size:
        raise ProofInvalid("index outside of the tree")
    _require_hashes(leaf, root, *path)
    node, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofInvalid("inclusion path too long")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    if last or result != root:
        raise ProofInvalid("inclusion path does not lead to the root")
    return leaf


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bytes:
    """RFC 9162 2.1.4.2: the tree of size `old` is a prefix of the tree of size `new`. Returns the new root."""
    if not 0 <= old <= new:
        raise ProofInvalid("the old tree is larger than the new one")
    _require_hashes(old_root, new_root, *path)
    if old in (0, new):
        # Nothing to prove: the empty tree is a prefix of each, a tree of itself. Both come with an empty path.
        if path or old_root != (new_root if old == new else EMPTY_ROOT):
            raise ProofInvalid("trees differ")
        return new_root
    if not path:
        raise ProofInvalid("empty consistency path")
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    node, last = old - 1, new - 1
    while node & 1:
        node >>= 1
        last >>= 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofInvalid("consistency path too long")
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            second = node_hash(second, sibling)
        node >>= 1
        last >>= 1
    if last or first != old_root or second != new_root:
        raise ProofInvalid("consistency path does not join the trees")
    return new_root


def _require_hashes(*hashes: bytes) -> None:
    if len(hashes) > MAX_PATH + 3 or any(len(hashed) != HASH_BYTES for hashed in hashes):
        raise ProofInvalid("a proof is of at most 63 hashes of 32 bytes")
