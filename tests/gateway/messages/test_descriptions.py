"""Service descriptions for strangers: what is left of their addresses, and that the rest stays as it was."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.messages.descriptions import ENDPOINT_ADDRESS, UnusableDescription, hide_addresses, hide_servers
from trust.xml import parse

WSDL = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!-- Mußterstadt -->
<w:definitions xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/"
  xmlns:s12="http://schemas.xmlsoap.org/wsdl/soap12/"><w:service name="S">
  <w:port name="A"><s:address location='http://intern.example:8080/a?x=1&amp;y'/></w:port>
  <w:port name="B"><s12:address location="http://intern.example/b"/></w:port>
  <w:documentation>siehe <s:address>http://bleibt.example</s:address></w:documentation>
</w:service></w:definitions>"""


def test_a_wsdl_without_its_addresses() -> None:
    hidden = hide_addresses(WSDL.encode("iso-8859-1"))
    assert b"intern.example" not in hidden
    assert hidden.count(ENDPOINT_ADDRESS.encode()) == 2
    assert "<!-- Mußterstadt -->".encode() in hidden
    same = etree.tostring(parse(WSDL.encode("iso-8859-1")), method="c14n").decode()
    for location in ("http://intern.example:8080/a?x=1&amp;y", "http://intern.example/b"):
        same = same.replace(location, ENDPOINT_ADDRESS)
    assert etree.tostring(parse(hidden), method="c14n").decode() == same
    with pytest.raises(UnusableDescription):
        hide_addresses(b"<!DOCTYPE a><a/>")


YAML = """# Ümläute ☃ 😀
openapi: 3.0.3
info: {title: x}   # bleibt
servers:
  - url: 'https://intern.example:8443/v1'
    description: https://intern.example bleibt im Text
  - url: >-
      https://intern.example
    description: b
  - {url: https://intern.example/x, description: q}
  - url: "https://{host}/v2"
  - url: &mit https://intern.example/anker
x-andere: {url: *mit}
paths: {}
"""


def test_yaml_keeps_all_but_the_hosts() -> None:
    hidden = hide_servers(YAML.encode()).decode()
    assert [server["url"] for server in yaml.safe_load(hidden)["servers"]] == [
        "/v1", "", "/x", "https://{host}/v2", "/anker",
    ]  # fmt: skip
    assert yaml.safe_load(hidden)["x-andere"]["url"] == "/anker"
    assert [line for line in hidden.splitlines() if "url" not in line] == [
        line for line in YAML.splitlines() if "url" not in line and line != "      https://intern.example"
    ]


@pytest.mark.parametrize(
    ("document", "urls"),
    [
        ("x: &a {url: 'http://h/p'}\nservers: [*a]", ["/p"]),
        ("x: &a [{url: 'http://h/p'}]\nservers: *a", ["/p"]),
        ("x: &a http://h/p\nservers: [{url: *a}]", ["/p"]),
        ("servers: [{url: 'http://h/p'}]\nx: {servers: [{url: 'http://h/q'}]}", ["/p"]),
        ("servers: {url: 'http://h/p'}", None),
        ("servers: [{? [url] : 'http://h/p', ? {url: 'http://h/k'} : x, url: 'http://h/q'}]", ["/q"]),
        (
            "? [servers]\n: [{url: 'http://h/p'}]\nservers: [[{url: 'http://h/n'}], {variables: {url: 'http://h/v'}}]",
            [],
        ),
        ("- servers: [{url: 'http://h/p'}]", None),
    ],
)
def test_only_the_servers_addresses_are_hidden_in_yaml(document: str, urls: list[str] | None) -> None:
    hidden = hide_servers(document.encode()).decode()
    if urls is None:
        assert hidden == document
        return
    servers = yaml.compose(hidden, yaml.SafeLoader)
    found = [
        value.value
        for key, listed in servers.value if key.value == "servers"
        for server in listed.value if isinstance(server, yaml.MappingNode)
        for name, value in server.value if name.value == "url"
    ]  # fmt: skip
    assert found == urls
    kept = [part for part in ("http://h/k", "http://h/n", "http://h/v") if part in document]
    assert all(part in hidden for part in kept)


def test_a_description_may_be_as_large_as_x_roads() -> None:
    text = f"openapi: 3.0.3\nx-filler: {'a' * (9 << 20)}\nservers:\n- url: http://intern.example/p\n"
    assert hide_servers.__wrapped__(text.encode()).endswith(b'- url: "/p"\n')
    many = WSDL.replace("</w:definitions>", "<w:message name='m'/>" * 200_000 + "</w:definitions>")
    assert ENDPOINT_ADDRESS.encode() in hide_addresses.__wrapped__(many.encode("iso-8859-1"))


def test_json_stays_json() -> None:
    document = {"openapi": "3.0.1", "servers": [{"url": "https://intern.example/v1"}, {"url": "/x"}, {}], "paths": {}}
    assert json.loads(hide_servers(json.dumps(document).encode())) == document | {
        "servers": [{"url": "/v1"}, {"url": "/x"}, {}]
    }


@pytest.mark.parametrize("data", [b"\xff", b"{", b"a: [" * 100, b"a: [b", b"{}{}"])
def test_what_is_no_description(data: bytes) -> None:
    with pytest.raises(UnusableDescription):
        hide_servers(data)


@given(st.text(max_size=60), st.sampled_from(["{}", "servers: [{url: %s}]", "servers: [%s]", "servers:\n- url: %s\n"]))
def test_whatever_stands_there_is_hidden_or_refused(text: str, form: str) -> None:
    document = (form.replace("%s", text)).encode("utf-8", "surrogatepass")
    try:
        hidden = hide_servers(document)
    except UnusableDescription:
        return
    assert isinstance(hidden, bytes)
