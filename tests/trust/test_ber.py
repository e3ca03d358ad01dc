"""BER: tokens that aren't DER are read as what they say, bounded."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.containers import LATER, STAMPED_AT, making
from trust.ber import has_indefinite_length, with_definite_lengths
from trust.errors import TimestampInvalid
from trust.timestamp import add_certificate, imprint_of, verify_token


def loosen(data: bytes, *, depth: int = 3, segments: bool = True) -> bytes:
    """DER with indefinite lengths in its outer layers, octet strings there in two segments."""
    tag, first = data[0], data[1]
    begin = 2 + (first & 0x7F if first > 0x80 else 0)
    content = data[begin:]
    if tag == 0x04 and segments and len(content) > 2:
        return b"\x24\x80" + short(0x04, content[:2]) + short(0x04, content[2:]) + b"\0\0"
    if not tag & 0x20 or depth == 0:
        return data
    inner, position = b"", 0
    while position < len(content):
        end = end_of(content, position)
        inner += loosen(content[position:end], depth=depth - 1, segments=segments)
        position = end
    return bytes((tag, 0x80)) + inner + b"\0\0"


def short(tag: int, content: bytes) -> bytes:
    return bytes((tag, 0x82)) + len(content).to_bytes(2) + content


def end_of(data: bytes, start: int) -> int:
    first = data[start + 1]
    count = first & 0x7F if first > 0x80 else 0
    length = int.from_bytes(data[start + 2 : start + 2 + count]) if count else first
    return start + 2 + count + length


DATA = b"stamped"
DIGEST = hashlib.sha512(DATA).digest()


def test_a_token_in_ber_holds_like_the_same_in_der() -> None:
    token, certificate = making().token(DATA), making().tsa.certificate_der
    # The four outer layers are around what is signed; within, only DER is signed.
    ber = loosen(token, depth=4)
    assert has_indefinite_length(ber)
    assert not has_indefinite_length(token)
    assert with_definite_lengths(ber) == token
    stamp = verify_token(ber, digest=DIGEST, tsa_certificate=certificate, at=LATER)
    assert (stamp.time, stamp.token) == (STAMPED_AT, ber)
    assert imprint_of(ber) == ("sha512", DIGEST)
    assert add_certificate(ber, certificate) == add_certificate(token, certificate)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x80",
        b"\x30\x80\x05",
        b"\x30\x80\x02\x01\x01",
        b"\x30\x80\0\0\0",
        b"\x04\x80\0\0",
        b"\x30\x05\x02\x01",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x3f\x21\0",
        b"\x24\x80\x02\x01\x01\0\0",
        b"\x30\x80" * 40 + b"\0\0" * 40,
    ],
)
def test_what_is_no_value_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"value|tag|octet"):
        with_definite_lengths(data)
    with pytest.raises(TimestampInvalid):
        imprint_of(data)


@given(st.binary(max_size=64))
def test_only_errors_of_ours_leave_it(data: bytes) -> None:
    with pytest.raises(TimestampInvalid):
        imprint_of(b"\x30\x80" + data)
