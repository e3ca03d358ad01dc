"""Multipart bodies piece by piece give what the reader of whole bodies gives, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from gateway.messages.http_fields import Header
from gateway.messages.mime import MAX_HEADER_BYTES, split_related
from gateway.messages.multipart import MalformedMultipart
from gateway.messages.related_reader import ContentData, ContentEnd, PartBegin, RelatedReader

BOUNDARY = "B"
PIECES = [
    *(b"--B", b"--B--", b"--Bx", b"--", b"-", b"B", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n"),
    *(b" ", b"\t", b":", b"x", b"a: b", b"content-type: x", b"\r\n--B\r\n", b"\n--B--", b"\r\na: b\r\n\r\n"),
]
Found = list[tuple[str, tuple[Header, ...], bytes]]


def whole(data: bytes, boundary: str = BOUNDARY) -> Found | None:
    try:
        return [(part.content_type, part.headers, bytes(part.data)) for part in split_related(data, boundary)]  # type: ignore[arg-type]
    except MalformedMultipart:
        return None


def piecewise(data: bytes, cuts: list[int], boundary: str = BOUNDARY) -> Found | None:
    reader, events, position = RelatedReader(boundary), [], 0
    try:
        for cut in sorted(min(cut, len(data)) for cut in cuts):
            events += reader.feed(data[position:cut])
            position = max(position, cut)
        events += reader.feed(data[position:])
        events += reader.close()
    except MalformedMultipart:
        return None
    found: Found = []
    inside = False
    for happened in events:
        match happened:
            case PartBegin(part):
                assert not inside
                inside = True
                found.append((part.content_type, part.headers, b""))
            case ContentData(content):
                assert inside
                assert content
                found[-1] = (*found[-1][:2], found[-1][2] + content)
            case ContentEnd():
                assert inside
                inside = False
    assert not inside
    return found


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join), st.lists(st.integers(0, 80), max_size=8))
@example(b"--B\r\na: b\r\n\r\ninhalt\r\n--B--", [])
@example(b"--B\r\n\r\n--B", [3])
@example(b"vorrede\r\n--B\n\nx\n--B--\nnachrede", [9, 10, 11])
def test_any_cutting_gives_the_same(data: bytes, cuts: list[int]) -> None:
    expected = whole(data)
    event("refused" if expected is None else f"{min(len(expected), 3)} parts")
    assert piecewise(data, cuts) == expected


@given(
    st.lists(st.sampled_from([*PIECES, b"--a:b", b"\r\n--a:b"]), max_size=14).map(b"".join),
    st.lists(st.integers(0, 80), max_size=8),
)
def test_a_boundary_with_a_colon_is_no_header(data: bytes, cuts: list[int]) -> None:
    data = b"--a:b\r\n" + data + b"\r\n--a:b--\r\n"
    assert piecewise(data, cuts, "a:b") == whole(data, "a:b")


def test_a_reader_takes_as_many_parts_as_it_is_told() -> None:
    data = b"--B\r\n\r\n\r\n" * 3 + b"--B--"
    assert len(split_related(data, BOUNDARY, 3)) == 3
    with pytest.raises(MalformedMultipart):
        split_related(data, BOUNDARY, 2)
    assert RelatedReader(BOUNDARY, 3).feed(data)
    with pytest.raises(MalformedMultipart):
        RelatedReader(BOUNDARY, 2).feed(data)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.integers(1, 7))
def test_what_was_joined_comes_apart(contents: list[bytes], step: int) -> None:
    data = b"".join(b"--B\r\nContent-Type: x/y\r\n\r\n" + content + b"\r\n" for content in contents) + b"--B--\r\n"
    found = piecewise(data, list(range(0, len(data), step)))
    assert found == whole(data)
    if not any(b"--B" in content for content in contents):
        assert found is not None
        assert [content for _, _, content in found] == contents


def test_it_holds_little_back() -> None:
    reader = RelatedReader(BOUNDARY)
    reader.feed(b"--B\r\na: b\r\n\r\n")
    out = 0
    for _ in range(100):
        out += sum(len(one.data) for one in reader.feed(b"x" * 1000) if isinstance(one, ContentData))
    assert out > 100_000 - 100


@pytest.mark.parametrize(
    "data",
    [
        b"--B\r\na: " + b"x" * (MAX_HEADER_BYTES + 100),
        b"--B\r\n\r\nx\r\n--B" + b" " * 2000,
        b"--B\r\n\r\n" * 102,
    ],
    ids=["headers", "blanks", "parts"],
)
def test_what_would_be_held_back_is_bounded(data: bytes) -> None:
    with pytest.raises(MalformedMultipart):
        RelatedReader(BOUNDARY).feed(data)
