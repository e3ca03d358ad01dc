"""Multipart bodies: one verdict, whether read whole or in any pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.multipart import (
    End,
    MalformedMultipart,
    MultipartLimits,
    MultipartReader,
    PartData,
    PartEnd,
    PartHeader,
    join_multipart,
    media_type_and_boundary,
    split_multipart,
)

LIMITS = MultipartLimits(max_header_bytes=200, max_headers=4, max_parts=4, max_total=4000)
Parts = list[tuple[PartHeader, bytes]]


def read(data: bytes, boundary: str, cuts: list[int]) -> Parts:
    reader = MultipartReader(boundary, LIMITS)
    parts: Parts = []
    header, content, ended = None, b"", False
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(edges):
        for event in reader.feed(data[begin:end]):
            assert not ended
            match event:
                case PartHeader():
                    assert header is None
                    header, content = event, b""
                case PartData(piece):
                    assert piece
                    content += piece
                case PartEnd():
                    assert header is not None
                    parts.append((header, content))
                    header = None
                case End():
                    ended = True
    reader.close()
    assert ended
    return parts


def both(data: bytes, boundary: str, cuts: list[int]) -> Parts | None:
    """The verdict of both ways to read, which must be one."""
    try:
        whole = split_multipart(data, boundary, LIMITS)
    except MalformedMultipart:
        with pytest.raises(MalformedMultipart):
            read(data, boundary, cuts)
        return None
    assert read(data, boundary, cuts) == whole
    return whole


CUTS = st.lists(st.integers(0, 5000), max_size=30)
CONTENT = st.binary(max_size=60) | st.lists(
    st.sampled_from([b"\r\n", b"--b", b"-", b"\r", b"\n", b"b", b"x"]), max_size=8
).map(b"".join)


@given(st.lists(CONTENT, min_size=1, max_size=4), CUTS)
def test_round_trip(contents: list[bytes], cuts: list[int]) -> None:
    boundary = "xtopUnlikely"
    data = join_multipart([(b"content-type: a/b", content) for content in contents], boundary)
    parts = both(data, boundary, cuts)
    assert parts is not None
    assert [content for _, content in parts] == contents
    assert {header.media_type for header, _ in parts} == {"a/b"}


TOKENS = [
    b"--b",
    b"--b--",
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n--b",
    b"--",
    b"a: b",
    b"x",
    b"\r",
    b"\n",
    b":",
    b"content-type: a/b",
    b"b",
    b"\0",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=16).map(b"".join), CUTS)
def test_both_readers_give_one_verdict_on_anything(data: bytes, cuts: list[int]) -> None:
    both(data, "b", cuts)
    both(b"--b\r\ncontent-type: a/b\r\n\r\n" + data + b"\r\n--b--\r\n", "b", cuts)


@given(st.lists(st.sampled_from([*TOKENS, b"--a:b", b"\r\n--a:b"]), max_size=14).map(b"".join), CUTS)
def test_a_boundary_with_a_colon_is_no_header(data: bytes, cuts: list[int]) -> None:
    both(b"--a:b\r\n" + data + b"\r\n--a:b--\r\n", "a:b", cuts)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\r\n--b\r\nc: d\r\n\r\nx\r\n--b--\r\n",
        b"preamble\r\n--b\r\nc: d\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nc: d\r\n\r\nx\r\n--b--\r\nepilogue",
        b"--b\r\nc: d\r\n\r\nx\r\n--b--\r",
        b"--b\r\nc: d\r\n\r\nx\r\n--b",
        b"--b\r\nc: d\r\n\r\nx",
        b"--b\nc: d\n\nx\n--b--\n",
        b"--b \r\nc: d\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nc: d\r\n\r\nx\r\n--bb\r\n\r\n\r\n--b--\r\n",
        b"--b\r\nc: d\r\n folded\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nc : d\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nc\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nc: \xff\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nc: a\0b\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\ncontent-type: a/b\r\nContent-Type: c/d\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nc: d\r\n\r\n--b--\r\n",
        b"--b\r\nc: d\r\n\r\n--b\r\nc: d\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\n" + b"c: d\r\n" * 5 + b"\r\nx\r\n--b--\r\n",
        b"--b\r\nc: " + b"d" * 300 + b"\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nc: d\r\n\r\nx\r\n" * 5 + b"--b--\r\n",
        b"--b\r\nc: d\r\n\r\n" + b"x" * 5000 + b"\r\n--b--\r\n",
        b"--b\r\n" + b"x" * 3000,
    ],
)
def test_refused(data: bytes) -> None:
    assert both(data, "b", []) is None
    assert both(data, "b", list(range(len(data)))) is None


@pytest.mark.parametrize(
    ("data", "contents"),
    [
        (b"--b--", []),
        (b"--b--\r\n", []),
        (b"--b\r\n\r\n\r\n--b--", [b""]),
        (b"--b\r\n\r\n\r\n\r\n--b--", [b"\r\n"]),
        (b"--b\r\nC: d\r\n\r\n--bx\r\n--b--", None),
        (b"--b\r\nC:\td \r\n\r\n -- b\r\n-b\r\n--b--", [b" -- b\r\n-b"]),
    ],
)
def test_edges(data: bytes, contents: list[bytes] | None) -> None:
    parts = both(data, "b", list(range(len(data))))
    assert (None if parts is None else [content for _, content in parts]) == contents


def test_the_reader_holds_nothing_back_but_a_possible_delimiter() -> None:
    reader = MultipartReader("b")
    reader.feed(b"--b\r\nc: d\r\n\r\n")
    assert reader.feed(b"x" * 100) == [PartData(b"x" * 100)]
    assert reader.feed(b"\r\n--") == []
    assert reader.feed(b"y") == [PartData(b"\r\n--y")]


def test_a_header_that_never_ends_is_refused_early() -> None:
    reader = MultipartReader("b", LIMITS)
    reader.feed(b"--b\r\n")
    for _ in range(33):
        reader.feed(b"c: d\r\n")
    with pytest.raises(MalformedMultipart):
        reader.feed(b"c: d\r\n" * 2)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("multipart/mixed; charset=UTF-8; boundary=xtopAbc", ("multipart/mixed", "xtopAbc")),
        ('Multipart/Mixed;BOUNDARY="a b:c"', ("multipart/mixed", "a b:c")),
        ("multipart/mixed", ("multipart/mixed", None)),
        ("text/xml;boundary=" + "b" * 70, ("text/xml", "b" * 70)),
        ("", ("", None)),
    ],
)
def test_boundary(content_type: str, expected: tuple[str, str | None]) -> None:
    assert media_type_and_boundary(content_type) == expected


@pytest.mark.parametrize(
    "content_type",
    [
        "a/b; boundary=",
        "a/b; boundary=" + "b" * 71,
        'a/b; boundary="b "',
        "a/b; boundary=b\r\n",
        "a/b; boundary=b\0",
        "a/b; boundary=ö",
        "a/b; boundary=a; boundary=b",
        "a/b; boundary=a*b",
        "x" * 2000,
    ],
)
def test_bad_boundaries(content_type: str) -> None:
    if content_type.endswith("\r\n"):
        assert media_type_and_boundary(content_type)[1] == "b"
        return
    with pytest.raises(MalformedMultipart):
        media_type_and_boundary(content_type)
