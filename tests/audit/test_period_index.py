"""The period index: membership and absence, and that no other answer can be proven."""

from __future__ import annotations

import os
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import MalformedInput, ProofInvalid
from audit.merkle import EMPTY_ROOT, leaf_hash, verify_inclusion
from audit.period_index import (
    IndexRecord,
    IndexRow,
    PeriodIndex,
    RowProof,
    parse_index_record,
    verify_row,
)
from audit.period_store import IndexProof, build_period_index, newest_index, prove
from audit.record import commit
from audit.tree_reader import root_at
from audit.verify import verify_log
from tests.audit.factory import ORIGIN, access, exchange, open_log, subject

TAGS = st.sets(st.binary(min_size=32, max_size=32), max_size=20)


def index_of(tags: set[bytes]) -> tuple[PeriodIndex, IndexRecord]:
    index = PeriodIndex([IndexRow(tag, number + 1, os.urandom(32)) for number, tag in enumerate(tags)])
    return index, IndexRecord("2026-11", 1000, len(index.rows), index.root)


@given(TAGS, st.binary(min_size=32, max_size=32))
def test_each_tag_is_proven_and_each_other_one_is_proven_absent(tags: set[bytes], other: bytes) -> None:
    index, record = index_of(tags)
    for row in index.rows:
        assert verify_row(record, index.proof(row.tag), row.tag) == row
    found = verify_row(record, index.proof(other), other)
    assert (found is None) is (other not in tags)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_no_proof_hides_a_row(size: int) -> None:
    """Of a tag in the index, no choice of neighbours proves the absence: one row alone included."""
    index, record = index_of({bytes([value]) * 32 for value in range(10, 10 + size)})
    for hidden in index.rows:
        others = [proof for row in index.rows if row is not hidden for proof in index.proof(row.tag)]
        with pytest.raises(ProofInvalid):
            verify_row(record, (), hidden.tag)
        for first in others:
            with pytest.raises(ProofInvalid):
                verify_row(record, (first,), hidden.tag)
            for second in others:
                with pytest.raises(ProofInvalid):
                    verify_row(record, (first, second), hidden.tag)


def test_a_changed_row_is_not_in_the_index() -> None:
    index, record = index_of({os.urandom(32) for _ in range(5)})
    (proof,) = index.proof(index.rows[2].tag)
    for row in (
        replace(proof.row, count=proof.row.count + 1),
        replace(proof.row, head=os.urandom(32)),
        replace(proof.row, tag=os.urandom(32)),
    ):
        with pytest.raises(ProofInvalid):
            verify_row(record, (replace(proof, row=row),), row.tag)
    with pytest.raises(ProofInvalid):
        verify_row(record, (replace(proof, position=3),), proof.row.tag)


def test_the_empty_index_proves_absence_alone() -> None:
    empty = IndexRecord("2026-11", 9, 0, EMPTY_ROOT)
    assert verify_row(empty, (), os.urandom(32)) is None
    with pytest.raises(ProofInvalid):
        verify_row(replace(empty, root=os.urandom(32)), (), os.urandom(32))


def test_a_tag_stands_in_an_index_once() -> None:
    row = IndexRow(os.urandom(32), 1, os.urandom(32))
    with pytest.raises(MalformedInput):
        PeriodIndex([row, replace(row, count=2)])


@given(st.binary(max_size=200))
def test_any_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_index_record(data)


@pytest.mark.parametrize(
    "change",
    [{"period": "2026-13"}, {"period": 202611}, {"rows": -1}, {"rows": True}, {"upto": 2**53}, {"root": b"short"}],
)
def test_a_record_out_of_form_is_refused(change: dict[str, Any]) -> None:
    record = IndexRecord("2026-11", 1000, 3, os.urandom(32))
    assert parse_index_record(record.encode()) == record
    with pytest.raises(MalformedInput):
        parse_index_record(replace(record, **change).encode())
    with pytest.raises(MalformedInput):
        parse_index_record(record.encode() + b" ")


def verified(proof: IndexProof, tag: bytes, size: int, root: bytes) -> IndexRow | None:
    """As the citizen's browser does it."""
    leaf, nonce, record = proof.leaf.encode(), b64decode(proof.nonce), b64decode(proof.record)
    verify_inclusion(leaf_hash(leaf), proof.index, size, [b64decode(h) for h in proof.proof], root)
    assert commit(nonce, record) in {b64decode(part) for part in proof.leaf.split('"')[3:4]}
    rows: list[RowProof] = []
    for row in proof.rows:
        position, tag_text, number, head, path = (row[key] for key in ("position", "tag", "n", "head", "path"))
        assert isinstance(position, int)
        assert isinstance(number, int)
        assert isinstance(path, list)
        hashes = tuple(b64decode(hashed) for hashed in path)
        rows.append(RowProof(position, IndexRow(b64decode(str(tag_text)), number, b64decode(str(head))), hashes))
    return verify_row(parse_index_record(record), rows, tag)


async def test_a_stored_month_is_indexed_committed_to_and_proven(database_url: str) -> None:
    people, stranger = [subject() for _ in range(5)], subject()
    async with open_log(database_url) as log:
        for person in people:
            for _ in range(3):
                await log.append(access(person), exchange())
        # December is another period.
        log.clock.now_ms += 15 * 86_400_000
        await log.append(access(people[0]))
        stored = await build_period_index(log.engine, log.sequencer, ORIGIN, "2026-11")
        assert (stored.record.rows, stored.record.upto) == (5, 31)
        assert stored.made_ms == log.clock.now_ms
        assert await newest_index(log.engine, ORIGIN, "2026-11") == stored
        assert await newest_index(log.engine, ORIGIN, "2026-10") is None
        async with log.engine.connect() as connection:
            size = stored.leaf_index + 1
            root = await root_at(connection, stored.log, size)
            assert await prove(connection, stored, os.urandom(32), size - 1) is None
            for person in people:
                tag = person.month(ORIGIN, "2026-11").tag
                proof = await prove(connection, stored, tag, size)
                assert proof is not None
                row = verified(proof, tag, size, root)
                assert row is not None
                assert row.count == 3
            tag = stranger.month(ORIGIN, "2026-11").tag
            proof = await prove(connection, stored, tag, size)
            assert proof is not None
            assert verified(proof, tag, size, root) is None
        # A newer index replaces the rows, not the leaf that committed to the old ones.
        again = await build_period_index(log.engine, log.sequencer, ORIGIN, "2026-11")
        assert again.leaf_index > stored.leaf_index
        assert again.record.root == stored.record.root
        december = await build_period_index(log.engine, log.sequencer, ORIGIN, "2026-12")
        assert december.record.rows == 1
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()
