"""The adapters' door to lxml: bounded parsing, and schemas out of a WSDL.

`trust.xml` is the road's own door; adapters reach the road over HTTP only and so have this small one for SOAP.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 20_000
_WSDL: Final = "http://schemas.xmlsoap.org/wsdl/"
_XSD: Final = "http://www.w3.org/2001/XMLSchema"


class MalformedXML(Exception):
    """The bytes are not the XML that they should be."""


def parse(data: bytes, *, max_bytes: int = 1 << 20) -> etree._Element:
    """An XML document's root.

    Refuses a DTD, entities, processing instructions, nesting deeper than 32 and more than 20,000 elements; loads
    nothing. Raises MalformedXML.
    """
    if len(data) > max_bytes:
        raise MalformedXML("too large")
    parser = etree.XMLPullParser(
        events=("start", "end", "pi"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
    )
    depth = elements = 0
    try:
        for start in range(0, len(data), 16 << 10):
            parser.feed(data[start : start + (16 << 10)])
            for action, _ in parser.read_events():
                if action == "pi":
                    raise MalformedXML("processing instruction")
                depth += 1 if action == "start" else -1
                elements += action == "start"
                if depth > MAX_DEPTH or elements > MAX_ELEMENTS:
                    raise MalformedXML("too deep or too many elements")
        root = parser.close()
    except etree.XMLSyntaxError:
        raise MalformedXML("not well-formed") from None
    # Without a DTD the parser refuses every entity but the five predefined ones itself.
    if root.getroottree().docinfo.internalDTD is not None:
        raise MalformedXML("document type declaration")
    return root


def serialise(root: etree._Element) -> bytes:
    """A document in UTF-8 with its XML declaration."""
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def load_wsdl_schema(wsdl: bytes) -> etree.XMLSchema:
    """The inline schema of one of our own WSDLs."""
    schema = parse(wsdl).find(f"{{{_WSDL}}}types/{{{_XSD}}}schema")
    if schema is None:
        raise MalformedXML("the WSDL has no inline schema")
    return etree.XMLSchema(schema)


def require_valid(element: etree._Element, schema: etree.XMLSchema) -> etree._Element:
    """The element, if it is valid against the schema. Raises MalformedXML."""
    if not schema.validate(element):
        raise MalformedXML("not valid against the schema")
    return element
