"""Reads the operations of a WSDL 1.1 description, as X-Road registers them (PR-MESS 4.0 sections 2.2 and 4.2).

Each operation of a SOAP binding over HTTP is a service; its code is the operation's name, its version the element
`version` in the binding's operation. X-Road takes bindings of SOAP 1.2, too, though messages are SOAP 1.1: a service
often describes both. Imports aren't followed: nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.admin.errors import InvalidDescription
from gateway.messages.descriptions import MAX_DESCRIPTION, MAX_DESCRIPTION_NODES
from trust.errors import TrustError
from trust.xml import parse

_WSDL: Final = "{http://schemas.xmlsoap.org/wsdl/}"
# In the order in which they count, where an operation has several bindings.
_SOAP: Final = ("{http://schemas.xmlsoap.org/wsdl/soap/}", "{http://schemas.xmlsoap.org/wsdl/soap12/}")
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
        root = parse(data, max_bytes=MAX_DESCRIPTION, max_elements=MAX_DESCRIPTION_NODES)
    except TrustError:
        raise InvalidDescription("WSDL: not well-formed XML, larger than 10 MiB, or with a document type") from None
    if root.tag != f"{_WSDL}definitions":
        raise InvalidDescription("WSDL: the root element is not wsdl:definitions (WSDL 1.1)")
    operations: dict[tuple[str, str | None], SOAPOperation] = {}
    for soap in _SOAP:
        for operation in _operations(root, soap):
            operations.setdefault((operation.name, operation.version), operation)
    if not operations:
        raise InvalidDescription("WSDL: no operation in a SOAP binding over HTTP")
    return tuple(operations.values())


def _operations(root: etree._Element, soap: str) -> Iterator[SOAPOperation]:
    addresses = _addresses(root, soap)
    for binding in root.iterfind(f"{_WSDL}binding"):
        kind = binding.find(f"{soap}binding")
        if kind is None or kind.get("transport") != _HTTP_TRANSPORT:
            continue
        for element in binding.iterfind(f"{_WSDL}operation"):
            name = element.get("name")
            if not name:
                raise InvalidDescription("WSDL: an operation without a name")
            yield SOAPOperation(name, _version(element), addresses.get(binding.get("name", ""), ""))


def _version(operation: etree._Element) -> str | None:
    # Like X-Road's parser: by its local name. Descriptions of before the namespace of today are still in use.
    stated = (child for child in operation.iterchildren("{*}version") if not str(child.tag).startswith(_WSDL))
    version = next(stated, None)
    return None if version is None else (version.text or "").strip() or None


def _addresses(root: etree._Element, soap: str) -> dict[str, str]:
    """The address of the first port of each binding, by the binding's local name."""
    found: dict[str, str] = {}
    for port in root.iterfind(f"{_WSDL}service/{_WSDL}port"):
        address = port.find(f"{soap}address")
        if address is not None:
            found.setdefault(port.get("binding", "").rpartition(":")[2], address.get("location", "").strip())
    return found
