"""Service descriptions made fit for strangers: a WSDL without the service's address, an OpenAPI document without its
servers' hosts (PR-META, PR-MREST). They may be large: whoever calls from the event loop does so beside it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import yaml
from lxml import etree

from trust import xml
from trust.errors import MalformedInput

# PR-META: what getWsdl puts in place of the service's address.
ENDPOINT_ADDRESS: Final = "http://example.org/xroad-endpoint"
# As X-Road has it, which reads no larger ones when services are added.
MAX_DESCRIPTION: Final = 10 << 20
# Elements of a WSDL, or values of an OpenAPI document: some ten bytes each.
MAX_DESCRIPTION_NODES: Final = 1_000_000
_SOAP_ADDRESSES: Final = (
    "{http://schemas.xmlsoap.org/wsdl/soap/}address",
    "{http://schemas.xmlsoap.org/wsdl/soap12/}address",
)
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")
_MAX_DEPTH: Final = 64
# servers, one of them, its url.
_URL_DEPTH: Final = 3
_MAX_EVENTS: Final = 2_000_000


class UnusableDescription(Exception):
    """The stored description isn't what it was taken for."""


@lru_cache(maxsize=16)
def hide_addresses(wsdl: bytes) -> bytes:
    """The WSDL with `soap:address` leading nowhere, in UTF-8. Raises UnusableDescription."""
    try:
        root = xml.parse(wsdl, max_bytes=MAX_DESCRIPTION, max_elements=MAX_DESCRIPTION_NODES)
    except MalformedInput:
        raise UnusableDescription("not well-formed XML") from None
    for address in root.iter(*_SOAP_ADDRESSES):
        if address.get("location") is not None:
            address.set("location", ENDPOINT_ADDRESS)
    return etree.tostring(root.getroottree(), encoding="UTF-8", xml_declaration=True)


@lru_cache(maxsize=16)
def hide_servers(document: bytes) -> bytes:
    """The OpenAPI document with the path alone in each `servers` entry's `url`; one with variables stays.

    JSON stays JSON and YAML stays YAML; in YAML nothing but these texts changes. Raises UnusableDescription.
    """
    try:
        text = document.decode("utf-8-sig")
        if text.lstrip().startswith("{"):
            tree = _without_hosts(json.loads(text))
            return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
        return _yaml_without_hosts(text).encode()
    except (ValueError, RecursionError, yaml.YAMLError):
        raise UnusableDescription("neither JSON nor YAML") from None


def is_json(document: bytes) -> bool:
    """Whether an OpenAPI document is written in JSON."""
    return document.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def _without_hosts(tree: Any) -> Any:
    servers = tree.get("servers")
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, dict) and isinstance(server.get("url"), str):
            server["url"] = _path_of(server["url"])
    return tree


def _yaml_without_hosts(text: str) -> str:
    edits: list[tuple[int, int, str]] = []
    for start, end, url in _server_urls(text):
        if (hidden := _path_of(url)) != url:
            # A name or type in front of the value stays: others may refer to it.
            properties = _PROPERTIES.match(text, start)
            begin = start if properties is None else properties.end()
            edits.append((begin, end, json.dumps(hidden, ensure_ascii=False)))
    pieces: list[str] = []
    position = 0
    for start, end, replacement in sorted(set(edits)):
        # What stands after a block scalar begins on a line of its own.
        tail = "\n" if text[start:end].endswith("\n") else ""
        pieces += (text[position:start], replacement, tail)
        position = end
    return "".join((*pieces, text[position:]))


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read: the key of a mapping's next value, None while the key itself is due."""

    is_mapping: bool
    on_the_way: bool
    key: str | None = None
    key_is_due: bool = True

    def leads_to(self, depth: int) -> bool:
        """Whether its next value is on the way servers, list, url; `depth` is its own, from 1."""
        match depth:
            case 1:
                return self.on_the_way and self.is_mapping and not self.key_is_due and self.key == "servers"
            case 2:
                return self.on_the_way and not self.is_mapping
            case 3:
                return self.on_the_way and self.is_mapping and not self.key_is_due and self.key == "url"
            case _:
                return False

    def pass_on(self, key: str | None) -> None:
        """A key or value is over. `key`: its text, if it is a scalar."""
        if self.is_mapping:
            self.key, self.key_is_due = (key if self.key_is_due else None), not self.key_is_due


def _server_urls(text: str) -> list[tuple[int, int, str]]:
    """Where the `url` of each server begins and ends, and its value. Raises UnusableDescription.

    Read from libyaml's flat stream of events: making a tree takes several times as long, and its composer recurses
    without a limit.
    """
    found: list[tuple[int, int, str]] = []
    opened: list[_Open] = []
    by_alias, documents = False, 0
    for number, event in enumerate(yaml.parse(text, yaml.CSafeLoader)):
        documents += isinstance(event, yaml.DocumentStartEvent)
        if len(opened) > _MAX_DEPTH or number > _MAX_EVENTS or documents > 1:
            raise UnusableDescription("too deeply nested or too large")
        last = opened[-1] if opened else None
        on_the_way = last is not None and last.leads_to(len(opened))
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Open(isinstance(event, yaml.MappingStartEvent), on_the_way or last is None))
        elif isinstance(event, yaml.CollectionEndEvent):
            opened.pop()
            if opened:
                opened[-1].pass_on(None)
        elif isinstance(event, yaml.NodeEvent) and last is not None:
            by_alias = by_alias or (on_the_way and isinstance(event, yaml.AliasEvent))
            if on_the_way and len(opened) == _URL_DEPTH and isinstance(event, yaml.ScalarEvent):
                found.append(_place(event))
            last.pass_on(event.value if isinstance(event, yaml.ScalarEvent) else None)
    # Rare enough for the tree: servers that are written elsewhere and only named here.
    return _composed_server_urls(text) if by_alias else found


def _composed_server_urls(text: str) -> list[tuple[int, int, str]]:
    servers = _value(yaml.compose(text, yaml.CSafeLoader), "servers")
    listed = servers.value if isinstance(servers, yaml.SequenceNode) else ()
    urls = [_value(server, "url") for server in listed]
    return [_place(url) for url in urls if isinstance(url, yaml.ScalarNode)]


def _place(scalar: yaml.ScalarEvent | yaml.ScalarNode) -> tuple[int, int, str]:
    assert scalar.start_mark is not None
    assert scalar.end_mark is not None
    return scalar.start_mark.index, scalar.end_mark.index, str(scalar.value)


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _path_of(url: str) -> str:
    return url if "{" in url and "}" in url else urlsplit(url).path
