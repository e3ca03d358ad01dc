"""The documents that the metaservices answer with (PR-META, PR-MREST), and service descriptions made fit for strangers.

listClients in XML and JSON, listMethods and allowedMethods as JSON and as the content of a SOAP body; a WSDL without
the service's address, an OpenAPI document without its servers' hosts. Who asks, and what there is, is
`gateway.exchange.metaservices`'.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import yaml
from lxml import etree

from trust import xml
from trust.errors import MalformedInput
from trust.identifiers import ClientId, ServiceId, SubsystemId

XROAD: Final = "http://x-road.eu/xsd/xroad.xsd"
IDENTIFIERS: Final = "http://x-road.eu/xsd/identifiers"
_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
# PR-META: what getWsdl puts in place of the service's address.
ENDPOINT_ADDRESS: Final = "http://example.org/xroad-endpoint"

JSON_TYPE: Final = "application/json"
MAX_DESCRIPTION: Final = 1 << 20

_SOAP_ADDRESSES: Final = (
    "{http://schemas.xmlsoap.org/wsdl/soap/}address",
    "{http://schemas.xmlsoap.org/wsdl/soap12/}address",
)
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")
_MAX_DEPTH: Final = 64
_MAX_EVENTS: Final = 200_000


class UnusableDescription(Exception):
    """The stored description isn't what it was taken for."""


@dataclass(frozen=True, slots=True)
class ListedClient:
    """A member or subsystem of the global configuration with its names."""

    identifier: ClientId
    name: str
    subsystem_name: str | None = None


@dataclass(frozen=True, slots=True)
class ListedMethod:
    """A REST service with its endpoints (method and path)."""

    identifier: ServiceId
    service_type: Literal["REST", "OPENAPI"]
    endpoints: tuple[tuple[str, str], ...] = ()


# -- listClients --


def accepts_json(accept: Iterable[str]) -> bool:
    """Whether any `Accept` header names application/json; quality values don't count (as X-Road's proxy)."""
    return any(part.partition(";")[0].strip().lower() == JSON_TYPE for value in accept for part in value.split(","))


def build_client_list_json(clients: Iterable[ListedClient]) -> bytes:
    """listClients' answer as JSON; what isn't there has no key."""
    return _json({"member": [_client_json(client) for client in clients]})


def _client_json(client: ListedClient) -> dict[str, Any]:
    names = {"name": client.name, "subsystem_name": client.subsystem_name}
    return {"id": _client_id_json(client.identifier)} | {key: name for key, name in names.items() if name is not None}


def _client_id_json(client: ClientId) -> dict[str, str]:
    found = {
        "object_type": "SUBSYSTEM" if isinstance(client, SubsystemId) else "MEMBER",
        "xroad_instance": client.instance,
        "member_class": client.member_class,
        "member_code": client.member_code,
    }
    return found | {"subsystem_code": client.subsystem_code} if isinstance(client, SubsystemId) else found


def build_client_list_xml(clients: Iterable[ListedClient]) -> bytes:
    """listClients' answer as XML, UTF-8."""
    parts = ['<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n']
    parts.append(f'<xrd:clientList xmlns:xrd="{XROAD}" xmlns:id="{IDENTIFIERS}">')
    for client in clients:
        kind = "SUBSYSTEM" if isinstance(client.identifier, SubsystemId) else "MEMBER"
        parts.append(f'<xrd:member><xrd:id id:objectType="{kind}">{_client_elements(client.identifier)}</xrd:id>')
        parts.append(f"<xrd:name>{escape(client.name)}</xrd:name>")
        if client.subsystem_name is not None:
            parts.append(f"<xrd:subsystemName>{escape(client.subsystem_name)}</xrd:subsystemName>")
        parts.append("</xrd:member>")
    parts.append("</xrd:clientList>")
    return "".join(parts).encode()


def _client_elements(client: ClientId) -> str:
    names = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")
    return "".join(
        f"<id:{name}>{escape(segment)}</id:{name}>" for name, segment in zip(names, client.segments, strict=False)
    )


# -- listMethods, allowedMethods --


def build_method_list_json(methods: Iterable[ListedMethod]) -> bytes:
    """The answer over REST."""
    return _json({"service": [_method_json(method) for method in methods]})


def _method_json(method: ListedMethod) -> dict[str, Any]:
    provider = method.identifier.provider
    return {
        "object_type": "SERVICE",
        "xroad_instance": provider.instance,
        "member_class": provider.member_class,
        "member_code": provider.member_code,
        "subsystem_code": provider.subsystem_code if isinstance(provider, SubsystemId) else None,
        "service_code": method.identifier.service_code,
        "service_type": method.service_type,
        "endpoint_list": [{"method": verb, "path": path} for verb, path in method.endpoints],
    }


def build_method_list_body(name: str, services: Sequence[ServiceId]) -> str:
    """The element in the answer's SOAP body; its prefixes are those of `soap_answer`."""
    listed = "".join(
        f'<xroad:service id:objectType="SERVICE">{_client_elements(service.provider)}'
        f"<id:serviceCode>{escape(service.service_code)}</id:serviceCode>"
        f"{_optional('id:serviceVersion', service.service_version)}</xroad:service>"
        for service in services
    )
    return f"<xroad:{name}Response>{listed}</xroad:{name}Response>"


def read_wsdl_request(message: bytes) -> tuple[str, str | None]:
    """Service code ("" if there is none) and version that a getWsdl message asks for. Raises MalformedInput."""
    root = xml.parse(message)
    # A message that got this far has one element in its body.
    asked = next(iter(root.iterfind(f"{{{_ENVELOPE}}}Body/*")), None)
    if asked is None:
        raise MalformedInput("no body")
    code = (asked.findtext(f"{{{XROAD}}}serviceCode") or "").strip()
    return code, (asked.findtext(f"{{{XROAD}}}serviceVersion") or "").strip() or None


def build_wsdl_request(client: ClientId, service: ServiceId, message_id: str) -> bytes:
    """A getWsdl message by which `client` asks for the description of `service`."""
    kind = "SUBSYSTEM" if isinstance(client, SubsystemId) else "MEMBER"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="{_ENVELOPE}" xmlns:xroad="{XROAD}"'
        f' xmlns:id="{IDENTIFIERS}"><SOAP-ENV:Header>'
        f'<xroad:client id:objectType="{kind}">{_client_elements(client)}</xroad:client>'
        f'<xroad:service id:objectType="SERVICE">{_client_elements(service.provider)}'
        "<id:serviceCode>getWsdl</id:serviceCode></xroad:service>"
        f"<xroad:id>{escape(message_id)}</xroad:id><xroad:protocolVersion>4.0</xroad:protocolVersion>"
        f"</SOAP-ENV:Header><SOAP-ENV:Body><xroad:getWsdl><xroad:serviceCode>{escape(service.service_code)}"
        f"</xroad:serviceCode>{_optional('xroad:serviceVersion', service.service_version)}</xroad:getWsdl>"
        "</SOAP-ENV:Body></SOAP-ENV:Envelope>"
    ).encode()


def build_wsdl_body(service_code: str, service_version: str | None) -> str:
    """The element in the body of getWsdl's answer; the WSDL is the attachment."""
    return (
        f"<xroad:getWsdlResponse><xroad:serviceCode>{escape(service_code)}</xroad:serviceCode>"
        f"{_optional('xroad:serviceVersion', service_version)}</xroad:getWsdlResponse>"
    )


def _optional(name: str, text: str | None) -> str:
    return "" if text is None else f"<{name}>{escape(text)}</{name}>"


# -- descriptions --


@lru_cache(maxsize=16)
def hide_addresses(wsdl: bytes) -> bytes:
    """The WSDL with `soap:address` leading nowhere, in UTF-8. Raises UnusableDescription."""
    try:
        root = xml.parse(wsdl, max_bytes=MAX_DESCRIPTION, max_elements=100_000)
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
            return _json(_without_hosts(json.loads(text)))
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
    # libyaml's composer recurses without a limit: look at the depth in its flat stream of events first.
    depth = 0
    for number, event in enumerate(yaml.parse(text, yaml.CSafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH or number > _MAX_EVENTS:
            raise UnusableDescription("too deeply nested or too large")
    servers = _value(yaml.compose(text, yaml.CSafeLoader), "servers")
    edits: list[tuple[int, int, str]] = []
    for server in servers.value if isinstance(servers, yaml.SequenceNode) else ():
        url = _value(server, "url")
        if isinstance(url, yaml.ScalarNode) and (hidden := _path_of(url.value)) != url.value:
            # A name or type in front of the value stays: others may refer to it.
            properties = _PROPERTIES.match(text, url.start_mark.index)
            start = properties.end() if properties is not None else url.start_mark.index
            edits.append((start, url.end_mark.index, json.dumps(hidden, ensure_ascii=False)))
    pieces: list[str] = []
    position = 0
    for start, end, replacement in sorted(set(edits)):
        # What stands after a block scalar begins on a line of its own.
        tail = "\n" if text[start:end].endswith("\n") else ""
        pieces += (text[position:start], replacement, tail)
        position = end
    return "".join((*pieces, text[position:]))


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _path_of(url: str) -> str:
    return url if "{" in url and "}" in url else urlsplit(url).path


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
