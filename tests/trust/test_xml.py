"""The door to XML lets in what is bounded and plain, and answers everything else with our own error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import MalformedInput
from trust.xml import parse

BOMB = b'<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><b>&b;</b>'


@pytest.mark.parametrize(
    "document",
    [
        b"<a/>",
        b'<?xml version="1.0"?>\n<!-- c --><?p i?>\n<a/>',
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><a/>',
        "<?xml version='1.0' encoding='ISO-8859-1'?><a>\u00e4</a>".encode("latin-1"),
        b"<a><![CDATA[<!DOCTYPE html>]]></a>",
        b"<a><!-- <!DOCTYPE html> --></a>",
    ],
)
def test_plain_documents_are_parsed(document: bytes) -> None:
    assert parse(document).tag == "a"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"   ",
        b"text",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"<a><!-- -- --></a>",
        b"<x:a/>",
        b"<a>&e;</a>",
        b"<a>&#0;</a>",
        b"<a>\x00</a>",
        b"<a>\xff</a>",
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<?xml version='1.0'?><!-- --><!DOCTYPE a [<!ENTITY e SYSTEM 'http://127.0.0.1/'>]><a>&e;</a>",
        BOMB,
        "<a/>".encode("utf-16"),
        '<?xml version="1.0" encoding="UTF-16"?><a/>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="UTF-7"?><a/>',
        b'<?xml version="1.0" encoding="IBM037"?><a/>',
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b'<?xml version="1.0" encoding=""?><a/>',
        b"<" * 100,
    ],
)
def test_everything_else_is_refused(document: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse(document)


def test_size_is_bounded() -> None:
    assert parse(b"<a>" + b"x" * 13 + b"</a>", max_bytes=20).tag == "a"
    with pytest.raises(MalformedInput):
        parse(b"<a>" + b"x" * 14 + b"</a>", max_bytes=20)


@pytest.mark.parametrize("depth", [1, 2, 64])
def test_depth_is_bounded(depth: int) -> None:
    assert parse(b"<a>" * depth + b"</a>" * depth, max_depth=depth).tag == "a"
    with pytest.raises(MalformedInput):
        parse(b"<a>" * (depth + 1) + b"</a>" * (depth + 1), max_depth=depth)


def test_absurd_depth_is_refused() -> None:
    with pytest.raises(MalformedInput):
        parse(b"<a>" * 50_000 + b"</a>" * 50_000, max_elements=1_000_000)


@pytest.mark.parametrize("count", [10, 200])
def test_elements_are_counted(count: int) -> None:
    inner = b"<b></b>" * (count - 1)
    assert parse(b"<a>" + inner + b"</a>", max_elements=count).tag == "a"
    with pytest.raises(MalformedInput):
        parse(b"<a>" + inner + b"<b/></a>", max_elements=count)


def test_comments_are_kept_for_those_who_refuse_them() -> None:
    assert len(parse(b"<a><!-- c --><?p i?></a>")) == 2


@given(st.binary(max_size=200))
def test_no_foreign_error_for_bytes(data: bytes) -> None:
    with contextlib.suppress(MalformedInput):
        parse(data)


@given(st.text(alphabet="<>/!?-[]&;ab\"'= \n", max_size=60))
def test_no_foreign_error_for_markup(text: str) -> None:
    try:
        root = parse(text.encode())
    except MalformedInput:
        return
    assert root.getroottree().docinfo.internalDTD is None
