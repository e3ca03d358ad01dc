"""Leaves, records, tags and receipts: round trips, one spelling each, and what must not open."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from hashlib import sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import Entry, Receipt, parse_receipt
from audit.errors import MalformedInput, RecordUnopenable
from audit.leaf import Chain, build_leaf, exchange_id, parse_leaf
from audit.message_log import digest_of
from audit.record import commit, open_record, seal_record
from audit.tag import SubjectKey, month_of, months_between
from tests.audit.factory import NOVEMBER_MS, message

HASH = st.binary(min_size=32, max_size=32)
INTEGER = st.integers(0, 2**53 - 1)
CHAINS = st.none() | st.builds(Chain, HASH, st.integers(1, 2**53 - 1), HASH)


@given(st.from_regex(r"\A[a-z]{1,16}\Z"), HASH, HASH, INTEGER, CHAINS)
def test_leaves_round_trip_and_are_sorted_json(kind: str, c: bytes, m: bytes, t: int, chain: Chain | None) -> None:
    data = build_leaf(kind.encode(), c, m, t, chain)
    leaf = parse_leaf(data)
    assert (leaf.kind, leaf.commitment, leaf.exchange, leaf.time_ms, leaf.chain) == (kind, c, m, t, chain)
    assert json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() == data


@given(st.binary(max_size=400))
def test_other_bytes_are_no_leaf(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_leaf(data)


def test_every_change_of_a_leaf_is_another_leaf_or_none() -> None:
    data = build_leaf(b"access", bytes(32), bytes(32), 1, Chain(bytes(32), 1, bytes(32)))
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            assert parse_leaf(changed) != parse_leaf(data)
        except MalformedInput:
            continue


def test_a_leaf_has_all_of_the_chain_or_nothing() -> None:
    data = build_leaf(b"access", bytes(32), bytes(32), 1, Chain(bytes(32), 1, bytes(32)))
    with pytest.raises(MalformedInput):
        parse_leaf(data[: data.index(b',"tag"')] + b',"v":1}')


@given(st.binary(max_size=200))
def test_records_open_under_their_month_only(record: bytes) -> None:
    person = SubjectKey(os.urandom(32))
    month, nonce, iv = person.month("o", "2026-11"), os.urandom(32), os.urandom(12)
    commitment = commit(nonce, record)
    stored = seal_record(month, nonce, iv, record, commitment)
    assert open_record(month, stored, commitment) == (nonce, record)
    for other in (
        person.month("o", "2026-12"),
        person.month("p", "2026-11"),
        SubjectKey(os.urandom(32)).month("o", "2026-11"),
    ):
        with pytest.raises(RecordUnopenable):
            open_record(other, stored, commitment)
    with pytest.raises(RecordUnopenable):
        open_record(month, stored, commit(os.urandom(32), record))
    with pytest.raises(RecordUnopenable):
        open_record(month, stored[:20], commitment)
    with pytest.raises(RecordUnopenable):
        open_record(month, bytes(32) + stored[32:], commitment)


def test_records_about_nobody() -> None:
    commitment = commit(bytes(32), b"{}")
    stored = seal_record(None, bytes(32), b"", b"{}", commitment)
    assert open_record(None, stored, commitment) == (bytes(32), b"{}")
    with pytest.raises(RecordUnopenable):
        open_record(None, stored + b" ", commitment)


def test_tags_link_neither_months_nor_logs() -> None:
    person = SubjectKey(bytes(32))
    tags = {person.month(origin, month).tag for origin in ("a", "b") for month in ("2026-10", "2026-11", "2026-12")}
    assert len(tags) == 6
    assert person.month("a", "2026-10") == SubjectKey(bytes(32)).month("a", "2026-10")
    assert "00" * 16 not in repr(person.month("a", "2026-10"))


def test_months() -> None:
    assert month_of(NOVEMBER_MS) == "2026-11"
    assert months_between(NOVEMBER_MS, NOVEMBER_MS + 40 * 86_400_000) == ["2026-11", "2026-12", "2027-01"]


@given(st.from_regex(r"\A[!-~]{1,60}\Z"), INTEGER, HASH)
def test_receipts_round_trip(origin: str, index: int, hashed: bytes) -> None:
    receipt = Receipt(origin, index, hashed)
    assert parse_receipt(receipt.encode()) == receipt


@pytest.mark.parametrize(
    "text", ["", "o 1", "o 01 " + "A" * 43 + "=", "o 1 " + "A" * 42 + "B=", "a b 1 " + "A" * 43 + "="]
)
def test_other_texts_are_no_receipt(text: str) -> None:
    with pytest.raises(MalformedInput):
        parse_receipt(text)


def test_entries_are_consistent() -> None:
    with pytest.raises(ValueError, match="subject"):
        Entry("access", None, bytes(32), b"{}", 0)
    with pytest.raises(ValueError, match="32 bytes"):
        Entry("exchange", None, b"", b"{}", 0)


def test_exchange_ids_differ_by_nonce_only_insiders_know() -> None:
    assert exchange_id(bytes(32), "id", b"digest") != exchange_id(b"\x01" * 32, "id", b"digest")


@given(st.lists(st.binary(max_size=3), max_size=3), st.lists(st.binary(max_size=3), max_size=3))
def test_no_two_messages_share_a_digest(one: list[bytes], other: list[bytes]) -> None:
    first = message(b"", request_id="r", message_id="m", attachments=tuple(one))
    second = message(b"", request_id="r", message_id="m", attachments=tuple(other))
    assert (digest_of(first) == digest_of(second)) == (one == other)


@pytest.mark.parametrize("size", [256 * 1024, 256 * 1024 + 1])
def test_a_long_attachment_is_hashed_once(size: int) -> None:
    """Its SHA-512 digest stands for it, whoever computed it; a shorter one stands there itself."""
    body = bytes(size)
    record = message(b"", request_id="r", message_id="m", attachments=(b"short", body))
    told = replace(record, attachment_digests=(bytes(64), sha512(body).digest()))
    lied = replace(record, attachment_digests=(sha512(b"short").digest(), bytes(64)))
    assert told == record
    assert digest_of(told) == digest_of(record)
    assert (digest_of(lied) == digest_of(record)) == (size <= 256 * 1024)
    # Neither the digest itself nor another body of the same length passes for the body.
    for other in (sha512(body).digest(), b"\x01" + body[1:]):
        assert digest_of(replace(record, attachments=(b"short", other))) != digest_of(record)
