"""YAML that is JSON in other words: which types there are, and what is refused before it costs anything."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.openapi import glob_of
from gateway.admin.plain_yaml import NotPlain, load_plain_yaml


def load(text: str) -> Any:
    return load_plain_yaml(text, max_nodes=1000, max_depth=16)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-12", -12),
        ("1.5", 1.5),
        ("-.5e3", -500.0),
        ("true", True),
        ("null", None),
        ("~", None),
        ("''", ""),
        ("'200'", "200"),
        ("2026-11-22", "2026-11-22"),
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
        ("12:30", "12:30"),
        ("1:30.5", "1:30.5"),
        ("0x1f", "0x1f"),
        ("0123", "0123"),
        ("1_000", "1_000"),
        ("=", "="),
        ("1" * 5000, "1" * 5000),
        ("!!str 7", "7"),
        ("[a, {b: 1}]", ["a", {"b": 1}]),
    ],
)
def test_a_value_has_the_type_that_yaml_1_2_gives_it(text: str, value: Any) -> None:
    found = load(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "tag", ["int", "float", "bool", "null", "timestamp", "binary", "set", "omap", "pairs", "merge"]
)
@pytest.mark.parametrize("value", ["x", '""', "[x]", "{x: 1}"])
def test_types_that_json_does_not_have_are_refused(tag: str, value: str) -> None:
    with pytest.raises(NotPlain):
        load(f"a: !!{tag} {value}")


def test_merges_are_made() -> None:
    assert load("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: [*a, *b], x: 3}")["c"] == {"x": 3, "y": 2}


def test_merges_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))]
    with pytest.raises(NotPlain):
        load("\n".join(lines))
    many = (
        "a: &a {" + ", ".join(f"k{n}: 1" for n in range(300)) + "}\n" + "\n".join(f"b{n}: {{<<: *a}}" for n in range(9))
    )
    with pytest.raises(NotPlain):
        load(many)


@pytest.mark.parametrize("text", ["a: &a {<<: *a}", "&a [*a]", "a: &a {<<: [*a, *a]}"])
def test_a_value_within_itself_ends(text: str) -> None:
    try:
        load(text)
    except (NotPlain, RecursionError, yaml.YAMLError):
        return


@pytest.mark.parametrize("text", ["[" * 17 + "]" * 17, "[" + "x," * 2000 + "]"])
def test_depth_and_size_are_bounded(text: str) -> None:
    with pytest.raises(NotPlain):
        load(text)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@given(_JSON)
def test_json_reads_as_json_does(value: Any) -> None:
    assert load(json.dumps(value)) == value


@given(st.text("{}/a*\\", max_size=12))
def test_a_template_becomes_the_glob_of_its_segments(template: str) -> None:
    """As a regular expression would do it, which takes quadratic time for a template of braces alone."""
    literals = re.split(r"\{[^/]*\}", template)
    assert glob_of(template) == "*".join(re.sub(r"([*\\])", r"\\\1", literal) for literal in literals)
