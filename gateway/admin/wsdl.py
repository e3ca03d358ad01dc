"""Reads the operations of a WSDL 1.1 description, as X-Road registers them (PR-MESS 4.0 sections 2.2 and 4.2).

Each operation of a SOAP 1.1 binding over HTTP is a service; its code is the operation's name, its version the element
`xrd:version` in the binding's operation. Imports aren't followed: nothing is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.admin.errors import InvalidDescription
from trust.errors import TrustError
from trust.xml import parse

MAX_BYTES: Final = 1 << 20
_WSDL: Final = "{http://schemas.xmlsoap.org/wsdl/}"
_SOAP: Final = "{http://schemas.xmlsoap.org/wsdl/soap/}"
_XROAD: Final = "{http://x-road.eu/xsd/xroad.xsd}"
_HTTP_TRANSPORT: Final = "http://schemas.xmlsoap.org/soap/http"


@dataclass(frozen=True, slots=True)
class SOAPOperation:
    """One operation of a SOAP service; `address` is its port's, where the document has one."""

    name: str
    version: str | None
    address: str = ""


def parse_wsdl(data: bytes) -> tuple[SOAPOperation, ...]:
    """The operations in a WSDL document, at least one. Raises InvalidDescription."""
    try:
        root = parse(data, max_bytes=MAX_BYTES)
    except TrustError:
        raise InvalidDescription("WSDL: not well-formed XML, larger than 1 MiB, or with a document type") from None
    if root.tag != f"{_WSDL}definitions":
        raise InvalidDescription("WSDL: the root element is not wsdl:definitions (WSDL 1.1)")
    addresses = _addresses(root)
    operations: dict[tuple[str, str | None], SOAPOperation] = {}
    for binding in root.iterfind(f"{_WSDL}binding"):
        soap = binding.find(f"{_SOAP}binding")
        if soap is None or soap.get("transport") != _HTTP_TRANSPORT:
            continue
        for element in binding.iterfind(f"{_WSDL}operation"):
            name = element.get("name")
            if not name:
                raise InvalidDescription("WSDL: an operation without a name")
            version = element.findtext(f"{_XROAD}version")
            version = (version or "").strip() or None
            operations[name, version] = SOAPOperation(name, version, addresses.get(binding.get("name", ""), ""))
    if not operations:
        raise InvalidDescription("WSDL: no operation in a SOAP 1.1 binding over HTTP")
    return tuple(operations.values())


def _addresses(root: etree._Element) -> dict[str, str]:
    """The address of the first port of each binding, by the binding's local name."""
    found: dict[str, str] = {}
    for port in root.iterfind(f"{_WSDL}service/{_WSDL}port"):
        address = port.find(f"{_SOAP}address")
        if address is not None:
            found.setdefault(port.get("binding", "").rpartition(":")[2], address.get("location", "").strip())
    return found
