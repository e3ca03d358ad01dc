"""The documents that the metaservices answer with (PR-META, PR-MREST).

listClients in XML and JSON, listMethods and allowedMethods as JSON and as the content of a SOAP body. Who asks, and
what there is, is `gateway.exchange.metaservices`'; the descriptions are `gateway.messages.descriptions`'.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from xml.sax.saxutils import escape

from trust import xml
from trust.errors import MalformedInput
from trust.identifiers import ClientId, ServiceId, SubsystemId

XROAD: Final = "http://x-road.eu/xsd/xroad.xsd"
IDENTIFIERS: Final = "http://x-road.eu/xsd/identifiers"
_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"

JSON_TYPE: Final = "application/json"


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


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
