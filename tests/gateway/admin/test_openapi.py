"""OpenAPI documents as they are registered: their operations, and what is said of mistakes."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.errors import InvalidDescription
from gateway.admin.openapi import MAX_BYTES, Operation, parse_openapi, read_openapi

YAML = b"""
openapi: 3.0.3
info: {title: Kontostand, version: "1.0"}
paths:
  /accounts/{id}:
    parameters:
      - $ref: '#/components/parameters/Id'
    get:
      operationId: balance
      responses:
        "200": {description: Der Kontostand}
        default: {$ref: '#/components/responses/Error'}
  /link:
    post:
      responses: {"201": {description: created}}
components:
  parameters:
    Id: {name: id, in: path, required: true, schema: {type: string}}
  responses:
    Error: {description: went wrong}
"""


def document(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "T", "version": "1"},
        "paths": {"/a": {"get": {"responses": {"200": {"description": "ok"}}}}},
    }
    return base | changes


def test_operations_of_a_yaml_description() -> None:
    description = parse_openapi(YAML)
    assert (description.title, description.version) == ("Kontostand", "1.0")
    assert description.operations == (
        Operation("GET", "/accounts/{id}", "balance"),
        Operation("POST", "/link", None),
    )


def test_json_too_with_a_byte_order_mark() -> None:
    data = b"\xef\xbb\xbf" + json.dumps(document()).encode()
    assert parse_openapi(data).operations == (Operation("GET", "/a", None),)


def get(operation: Any) -> dict[str, Any]:
    return {"paths": {"/a": {"get": operation}}}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"openapi": "2.0"}, "openapi"),
        ({"openapi": 3.1}, "openapi"),
        ({"info": {"title": "T"}}, "info/version"),
        ({"paths": {}}, "no operation"),
        ({"paths": {"a": {}}}, "starts with"),
        ({"paths": []}, "paths"),
        (get({"responses": {}}), "at least one response"),
        (get({"responses": {"99": {"description": ""}}}), "not a response status"),
        (get({"responses": {"200": {}}}), "responses/200"),
        (get({"responses": {"200": {"$ref": "#/components/absent"}}}), "nothing is at"),
        (get({"responses": {"200": {"$ref": "http://198.51.100.1/x.yaml"}}}), "leaves the document"),
        (get([]), "paths//a/get"),
        ({"paths": {"/a/{id}": {"get": {"responses": {"200": {"description": ""}}}}}}, "'id' is not declared"),
        ({"paths": {"/a": {"parameters": 7, "get": {"responses": {"200": {"description": ""}}}}}}, "parameters"),
        ({"paths": {"/a": {"parameters": [7], "get": {"responses": {"200": {"description": ""}}}}}}, "parameters/0"),
        (
            {
                "paths": {
                    path: {"get": {"operationId": "same", "responses": {"200": {"description": ""}}}}
                    for path in ("/a", "/b")
                }
            },
            "used twice",
        ),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidDescription, match=named):
        parse_openapi(json.dumps(document(**changes)).encode())


RESPONSES = {"200": {"description": ""}}


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"info": {"title": "T"}}, "info/version is missing"),
        ({"paths": {}}, "no operation"),
        (get({"responses": {}}), "at least one response"),
        (get({"responses": {"200": {}}}), "no description"),
        (get({"responses": {"99": {"description": ""}}}), "not a response status"),
        (get({"responses": RESPONSES, "parameters": [{"$ref": "#/absent"}]}), "nothing is at"),
        (get({"responses": RESPONSES, "parameters": [{"$ref": "other.yaml#/Id"}]}), "leaves the document"),
        ({"paths": {"/a/{id}": {"get": {"responses": RESPONSES}}}}, "'id' is not declared"),
    ],
)
def test_mistakes_that_leave_the_operations_alone_are_warnings(changes: dict[str, Any], warning: str) -> None:
    description = read_openapi(json.dumps(document(**changes)).encode())
    assert [operation.path for operation in description.operations] == list(document(**changes)["paths"])
    (found,) = description.warnings
    assert warning in found


def test_a_version_without_quotes_is_a_number_and_counts() -> None:
    assert parse_openapi(YAML.replace(b'version: "1.0"', b"version: 1.0")).version == "1.0"


@pytest.mark.parametrize("url", [None, ["a", "list"], 7])
def test_an_address_that_is_no_text_is_none(url: Any) -> None:
    assert parse_openapi(json.dumps(document(servers=[{"url": url}, {"url": "/v1"}])).encode()).server == ""


@pytest.mark.parametrize(
    "data",
    [
        YAML.replace(b"  /link:", b"  /accounts/{id}:"),
        YAML.replace(b"operationId: balance", b"operationId: balance\n      operationId: other"),
        json.dumps(document()).replace('"get":', '"get": {"responses": {}}, "get":').encode(),
    ],
    ids=["path", "member", "json"],
)
def test_a_name_twice_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDescription, match="a name twice"):
        read_openapi(data)


def test_merges_may_repeat_a_name() -> None:
    merged = YAML.replace(b"  /link:", b"  /link: &link").replace(
        b"components:\n",
        b'  /other:\n    <<: *link\n    post:\n      responses: {"202": {description: ok}}\ncomponents:\n',
    )
    assert [(o.method, o.path) for o in parse_openapi(merged).operations][1:] == [("POST", "/link"), ("POST", "/other")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"key: [",
        b"just text",
        b"a: 2026-13-45",
        b"!!python/object/apply:os.system ['true']",
        b"[" * 100_000,
        b"{" + b'"a":{' * 50_000,
        b" " * (MAX_BYTES + 1),
    ],
    ids=["empty", "utf-16", "json", "yaml", "text", "date", "tag", "deep-yaml", "deep-json", "large"],
)
def test_what_is_no_description(data: bytes) -> None:
    with pytest.raises(InvalidDescription):
        parse_openapi(data)


def test_a_description_may_be_as_large_as_x_roads() -> None:
    schemas = {f"s{number}": {"type": "object", "properties": {"a": {}, "b": {}}} for number in range(60_000)}
    data = json.dumps(document(components={"schemas": schemas})).encode()
    assert 3 << 20 < len(data) < MAX_BYTES == 10 << 20
    assert parse_openapi(data).operations


def test_aliases_of_aliases_are_counted_where_they_are_used() -> None:
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)]
    with pytest.raises(InvalidDescription, match="too many"):
        parse_openapi(b"\n".join(levels))


def test_a_value_that_contains_itself_ends() -> None:
    with pytest.raises(InvalidDescription, match="too many or too deeply"):
        parse_openapi(b"a: &a [*a]")


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from(["get", "parameters", "responses", "$ref", "name", "in", "200", "operationId"])
    return st.dictionaries(keys | st.text(), values)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda t: st.lists(t) | _objects(t)))
def test_no_other_error_leaves_the_parser(tree: Any) -> None:
    for value in (tree, document(paths={"/a": {"get": tree}}), document(paths={"/a": tree}), document(info=tree)):
        with contextlib.suppress(InvalidDescription):
            parse_openapi(json.dumps(value).encode())
