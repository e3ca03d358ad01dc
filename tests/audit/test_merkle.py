"""The tree against the recursive definitions of RFC 6962, and verifiers against everything that is not a proof."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import OutOfRange, ProofInvalid
from audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    perfect_subtrees,
    root_of,
    verify_consistency,
    verify_inclusion,
)

HASHES = [leaf_hash(str(number).encode()) for number in range(300)]
SIZES = st.integers(1, 300)


def mth(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962 2.1, as written."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << ((len(hashes) - 1).bit_length() - 1)
    return node_hash(mth(hashes[:k]), mth(hashes[k:]))


def path(m: int, hashes: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 2.1.1, as written."""
    if len(hashes) == 1:
        return []
    k = 1 << ((len(hashes) - 1).bit_length() - 1)
    if m < k:
        return [*path(m, hashes[:k]), mth(hashes[k:])]
    return [*path(m - k, hashes[k:]), mth(hashes[:k])]


def subproof(m: int, hashes: Sequence[bytes], whole: bool) -> list[bytes]:
    """RFC 6962 2.1.2, as written."""
    if m == len(hashes):
        return [] if whole else [mth(hashes)]
    k = 1 << ((len(hashes) - 1).bit_length() - 1)
    if m <= k:
        return [*subproof(m, hashes[:k], whole), mth(hashes[k:])]
    return [*subproof(m - k, hashes[k:], False), mth(hashes[:k])]


def test_the_empty_tree() -> None:
    assert EMPTY_ROOT == root_of([]) == Frontier().root() == mth([])


@given(SIZES)
def test_roots(size: int) -> None:
    assert root_of(HASHES[:size]) == mth(HASHES[:size])


@given(st.data())
def test_inclusion(data: st.DataObject) -> None:
    size = data.draw(SIZES)
    index = data.draw(st.integers(0, size - 1))
    proof = [mth(HASHES[start:end]) for start, end in inclusion_ranges(index, size)]
    assert proof == path(index, HASHES[:size])
    root = mth(HASHES[:size])
    assert verify_inclusion(HASHES[index], index, size, proof, root) == HASHES[index]
    wrong_index = data.draw(st.integers(0, size).filter(lambda other: other != index))
    for arguments in (
        (HASHES[index], wrong_index, size, proof, root),
        (leaf_hash(b"other"), index, size, proof, root),
        (HASHES[index], index, size, [*proof, root], root),
        (HASHES[index], index, size, proof, bytes(32)),
    ):
        with pytest.raises(ProofInvalid):
            verify_inclusion(*arguments)
    if proof:
        with pytest.raises(ProofInvalid):
            verify_inclusion(HASHES[index], index, size, proof[:-1], root)


@given(st.data())
def test_consistency(data: st.DataObject) -> None:
    new = data.draw(SIZES)
    old = data.draw(st.integers(1, new))
    proof = [mth(HASHES[start:end]) for start, end in consistency_ranges(old, new)]
    assert proof == subproof(old, HASHES[:new], True)
    old_root, new_root = mth(HASHES[:old]), mth(HASHES[:new])
    assert verify_consistency(old, old_root, new, new_root, proof) == new_root
    for arguments in (
        (old, bytes(32), new, new_root, proof),
        (old, old_root, new, bytes(32), proof),
        (old, old_root, new, new_root, [*proof, new_root]),
    ):
        with pytest.raises(ProofInvalid):
            verify_consistency(*arguments)


def test_consistency_from_the_empty_tree() -> None:
    assert consistency_ranges(0, 5) == []
    assert verify_consistency(0, EMPTY_ROOT, 5, mth(HASHES[:5]), []) == mth(HASHES[:5])
    with pytest.raises(ProofInvalid):
        verify_consistency(0, HASHES[0], 5, mth(HASHES[:5]), [])


def test_hashes_of_other_lengths_are_refused() -> None:
    with pytest.raises(ProofInvalid):
        verify_inclusion(b"", 0, 1, [], b"")
    with pytest.raises(ProofInvalid):
        verify_consistency(1, HASHES[0], 1, HASHES[0][:31], [])


def test_places_outside_of_the_tree() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(OutOfRange):
            inclusion_ranges(index, size)
    with pytest.raises(OutOfRange):
        consistency_ranges(6, 5)


@given(SIZES)
def test_a_frontier_is_its_peaks(size: int) -> None:
    peaks = [mth(HASHES[i << h : (i + 1) << h]) for h, i in perfect_subtrees(0, size)]
    assert Frontier.from_peaks(size, peaks).root() == mth(HASHES[:size])
    with pytest.raises(OutOfRange):
        Frontier.from_peaks(size, [*peaks, bytes(32)])
