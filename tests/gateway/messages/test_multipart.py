"""Multipart bodies as gateways write them, and the boundaries that content types name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.mime import split_related
from gateway.messages.multipart import MalformedMultipart, join_multipart, media_type_and_boundary


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_what_gateways_write_comes_apart_byte_for_byte(contents: list[bytes]) -> None:
    boundary = "xtopUnlikely"
    parts = split_related(join_multipart([(b"content-type: a/b", one) for one in contents], boundary), boundary)
    assert [part.data for part in parts] == contents
    assert {part.content_type for part in parts} == {"a/b"}


def test_a_part_without_headers() -> None:
    (part,) = split_related(join_multipart([(b"", b"\r\n")], "b"), "b")
    assert (part.content_type, part.headers, part.data) == ("", (), b"\r\n")


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
