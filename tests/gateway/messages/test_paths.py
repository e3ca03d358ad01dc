"""Paths and globs of access rights, and every glob against a regular expression."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.messages import paths
from gateway.messages.paths import PathRefused, matches_glob, normalise_path

# Glob, path, whether it matches. A `*` is anything but a slash, two or more are anything; a backslash takes the next
# star or backslash by its word; everything else, the signs of regular expressions too, is itself, from end to end.
CASES = [
    ("/bills/*", "/bills/2026-11", True),
    ("/bills/*", "/bills/", True),
    ("/bills/*", "/bills/2026-11/pdf", False),
    ("/bills/*", "/bills", False),
    ("/*/pdf", "/2026-11/pdf", True),
    ("/bills/*/pdf", "/bills/a/b/pdf", False),
    ("/bills/**", "/bills/2026-11/pdf", True),
    ("/**/pdf", "/bills/2026-11/pdf", True),
    ("/**/pdf", "/bills/2026-11/xml", False),
    ("****", "/bills\n/2026-11", True),
    ("**", "", True),
    ("", "/", False),
    ("/bills", "/bills/", False),
    ("/bills", "/old/bills", False),
    ("/a?b", "/axb", False),
    ("/(a|b)+$", "/(a|b)+$", True),
    ("/[a-z]", "/q", False),
    (r"/bills/\*", "/bills/*", True),
    (r"/bills/\*", "/bills/x", False),
    (r"/\\*", r"/\any", True),
    (r"/\d", r"/\d", True),
    (r"/\d", "/7", False),
    ("/end\\", "/end\\", True),
]

GLOBS = st.text(alphabet="*/ab\\.", max_size=12)
PATHS = st.text(alphabet="/ab*\\.\n", max_size=12)


@pytest.mark.parametrize(("glob", "path", "matches"), CASES)
def test_what_a_glob_fits(glob: str, path: str, matches: bool) -> None:
    assert matches_glob(glob, path) is matches


def as_regex(glob: str) -> re.Pattern[str]:
    """The glob as the regular expression that X-Road makes of it; `*` is possessive."""
    made = ""
    for part in re.findall(r"\\[*\\]|\*\*+|.", glob, re.DOTALL):
        made += ".*" if part.startswith("**") else "[^/]*+" if part == "*" else re.escape(part[-1])
    return re.compile(made, re.DOTALL)


@given(GLOBS, PATHS)
@example("/*a", "/aa")
@example("**a**", "bab")
def test_every_glob_is_its_regular_expression(glob: str, path: str) -> None:
    assert matches_glob(glob, path) is bool(as_regex(glob).fullmatch(path))


@given(GLOBS, st.data())
def test_what_fills_a_globs_gaps_matches(glob: str, data: st.DataObject) -> None:
    gaps = {"*": st.just(""), "**": st.text(alphabet="/ab", max_size=4)}
    parts = re.findall(r"\\[*\\]|\*\*+|.", glob, re.DOTALL)
    names = ["**" if part.startswith("**") else part for part in parts]
    filled = "".join(data.draw(gaps[name]) if name in gaps else name[-1] for name in names)
    assert matches_glob(glob, filled) is bool(as_regex(glob).fullmatch(filled))
    assert matches_glob("**", filled)


def test_a_hostile_glob_takes_no_longer() -> None:
    """As a regular expression it would be tried in more ways than there is time."""
    assert not matches_glob("**a" * 40 + "b", "a" * 8000)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("", ""),
        ("/", "/"),
        ("/bills/2026/11", "/bills/2026/11"),
        ("/bills/./2026", "/bills/2026"),
        ("/bills/old/../new", "/bills/new"),
        ("/bills/old/../../links", "/links"),
        ("/bills/%2E/2026", "/bills/2026"),
        ("/bills/old/%2E%2e/new", "/bills/new"),
        ("/bills/old/%2e%2e/%2E%2E/links", "/links"),
        ("/bills/.", "/bills/"),
        ("/bills/..", "/"),
        ("/a%2Fb", "/a/b"),
        ("/bills//2026///11", "/bills/2026/11"),
        ("/Stra%C3%9Fe%20a;x=1,@", "/Straße a;x=1,@"),
        ("/100%25", "/100%"),
    ],
)
def test_normalised(raw: str, path: str) -> None:
    assert normalise_path(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        "/bills/old/../../%2e%2e/links",
        "/..",
        "..",
        "/a/../..",
        "/a..b",
        "/...",
        "/a/..;x/b",
        "/a/..%5Cb",
        "/%252e%252e/x",
        "/a%2F..%2F..%2Fb",
        "/%zz",
        "/a%",
        "/%ff",
        "/a%00",
        "/a%0Ab",
        "/a%E2%80%A8b",
    ],
)
def test_refused(raw: str) -> None:
    with pytest.raises(PathRefused):
        normalise_path(raw)


@given(st.text(alphabet="/.%2eEfFa;\\c5", max_size=24))
def test_no_way_up_ever_gets_through(raw: str) -> None:
    try:
        path = normalise_path(raw)
    except PathRefused:
        return
    assert ".." not in path
    assert ".." not in unquote(path)
    assert "/./" not in path
    assert not path.endswith("/.")
    assert normalise_path(quote(path, safe="/")) == path or "//" in path


@given(st.lists(st.text(alphabet="abcäß %?#", min_size=1, max_size=4), max_size=5))
def test_what_was_encoded_comes_out(segments: list[str]) -> None:
    path = "".join("/" + segment for segment in segments)
    assert normalise_path(quote(path)) == path


@given(st.text(alphabet="/aZ0_~-.%2\n", max_size=12))
def test_a_plain_path_is_what_the_long_way_makes_of_it(path: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_PLAIN", re.compile("(?!)"))
        expected = _normalised(path)
    assert _normalised(path) == expected


def _normalised(path: str) -> str | None:
    try:
        return normalise_path(path)
    except PathRefused:
        return None
