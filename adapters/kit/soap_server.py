"""A small SOAP 1.1 server (document/literal wrapped): one POST endpoint, its WSDL at `?wsdl`.

For sandboxes, and for adapters that are SOAP services on the road: an answer repeats the request's header, as the road
wants it (PR-MESS 2.2).

SOAP 1.1 sections 4 (envelope, mustUnderstand), 4.4 (fault codes) and 6.1 (HTTP). Requests are parsed bounded and
validated against the WSDL's own schema before a handler sees them, answers before they leave.
"""

from __future__ import annotations

import html
import re
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from typing import Final, Protocol

from aiohttp import web
from lxml import etree

from adapters.kit.xml import MalformedXML, load_wsdl_schema, parse, require_valid, serialise

ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_ADDRESS: Final = re.compile(rb'(<soap:address\s+location=")[^"]*')


class SOAPHandler(Protocol):
    """An operation: a valid request element in, the response element out. Raises ServiceFault."""

    def __call__(self, request: etree._Element, /) -> etree._Element: ...


class ServiceFault(Exception):
    """A fault that the WSDL declares: `detail` is its element, `text` its faultstring."""

    def __init__(self, detail: etree._Element, text: str) -> None:
        super().__init__(text)
        self.detail = detail
        self.text = text


def build_soap_handler(
    wsdl: bytes, namespace: str, handlers: Mapping[str, SOAPHandler]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """An aiohttp handler for the endpoint. `handlers` is keyed by operation (the request element's local name)."""
    schema = load_wsdl_schema(wsdl)

    async def handle(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(body=_at(wsdl, request), content_type="text/xml", charset="utf-8")
        if request.content_type != "text/xml":
            return web.Response(status=415)
        try:
            root = parse(await request.read(), max_bytes=64 << 10)
            operation = _operation(root)
            name = etree.QName(operation)
            handler = handlers.get(name.localname)
            if name.namespace != namespace or handler is None:
                return _fault("Client", "Unbekannte Operation.")
            # SOAP 1.1 section 6.1.1: the action is quoted; ours is namespace and operation.
            if request.headers.get("SOAPAction", "").strip('"') != f"{namespace}/{name.localname}":
                return _fault("Client", "SOAPAction passt nicht zur Operation.")
            answer = require_valid(handler(require_valid(operation, schema)), schema)
        except _VersionMismatch:
            return _fault("VersionMismatch", "Nur SOAP 1.1.")
        except _MustUnderstand:
            return _fault("MustUnderstand", "Unbekannter Kopfeintrag.")
        except MalformedXML:
            return _fault("Client", "Die Nachricht entspricht nicht der Schnittstelle.")
        except ServiceFault as fault:
            return _fault("Client", fault.text, fault.detail)
        return _envelope_response(answer, 200, root.find(f"{{{ENVELOPE}}}Header"))

    return handle


def _at(wsdl: bytes, request: web.Request) -> bytes:
    """The description with the address at which it was asked for: whoever reads it there calls the service there."""
    address = html.escape(str(request.url.with_query(None))).encode()
    return _ADDRESS.sub(lambda found: found[1] + address, wsdl)


class _VersionMismatch(Exception):
    pass


class _MustUnderstand(Exception):
    pass


def _operation(root: etree._Element) -> etree._Element:
    name = etree.QName(root)
    if name.localname != "Envelope":
        raise MalformedXML("not an envelope")
    if name.namespace != ENVELOPE:
        raise _VersionMismatch
    header = root.find(f"{{{ENVELOPE}}}Header")
    if header is not None and any(entry.get(f"{{{ENVELOPE}}}mustUnderstand") == "1" for entry in header):
        raise _MustUnderstand
    body = root.find(f"{{{ENVELOPE}}}Body")
    if body is None or len(body) != 1:
        raise MalformedXML("not one body entry")
    return body[0]


def _fault(code: str, text: str, detail: etree._Element | None = None) -> web.Response:
    fault = etree.Element(f"{{{ENVELOPE}}}Fault", nsmap={"soap": ENVELOPE})
    etree.SubElement(fault, "faultcode").text = f"soap:{code}"
    etree.SubElement(fault, "faultstring").text = text
    if detail is not None:
        etree.SubElement(fault, "detail").append(detail)
    return _envelope_response(fault, 500)


def _envelope_response(entry: etree._Element, status: int, header: etree._Element | None = None) -> web.Response:
    envelope = etree.Element(f"{{{ENVELOPE}}}Envelope", nsmap={"soap": ENVELOPE})
    if header is not None:
        envelope.append(deepcopy(header))
    etree.SubElement(envelope, f"{{{ENVELOPE}}}Body").append(entry)
    return web.Response(status=status, body=serialise(envelope), content_type="text/xml", charset="utf-8")
