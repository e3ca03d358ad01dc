"""The only door to XML parsing: bytes in, an element tree of bounded size, depth and kind out.

Follows the OWASP advice for libxml2: no document type declaration at all (so no entities, no external subset), no
network, a byte limit before the parser runs and element and depth limits after it. Comments and processing
instructions are kept, so that a caller for whom they matter (signatures) can refuse them. Canonical form is
`trust.canonical`'s.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from lxml import etree

from trust.errors import MalformedInput

_BOM: Final = b"\xef\xbb\xbf"
# What may stand before the root element: white space, processing instructions (the XML declaration too), comments.
_PROLOGUE: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n]+|<\?.*?\?>|<!--.*?-->)*", re.DOTALL)
_DECLARATION: Final = re.compile(rb"""<\?xml[ \t\r\n][^>]*?encoding[ \t\r\n]*=[ \t\r\n]*["']([^"'<>]*)["']""")
# Supersets of ASCII in which '<' is always a '<': our look at the prologue and the parser's can't disagree.
_ENCODINGS: Final = frozenset(
    {b"utf-8", b"utf8", b"us-ascii", b"ascii", b"iso-8859-1", b"iso-8859-15", b"windows-1252"}
)

_COUNT: Final = etree.XPath("count(//*)")


def parse(data: bytes, *, max_bytes: int = 1 << 20, max_depth: int = 64, max_elements: int = 10_000) -> etree._Element:
    """The root element of a well-formed, namespace-aware document within the limits.

    Raises MalformedInput.
    """
    if len(data) > max_bytes:
        raise MalformedInput(f"XML of {len(data)} bytes exceeds the limit of {max_bytes}")
    # Every element has a start tag, nearly every one an end tag: cheaper to count '<' than to build a tree for nothing.
    if data.count(b"<") > 2 * max_elements + 64:
        raise MalformedInput("XML has too many tags")
    _check_prologue(data)
    # A parser per document: a shared one would make threads wait for each other.
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        collect_ids=False,
        remove_comments=False,
        remove_pis=False,
        strip_cdata=False,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError, LookupError) as error:
        raise MalformedInput(f"not well-formed XML: {type(error).__name__}") from None
    _check_tree(root, max_depth, max_elements)
    return root


def _check_prologue(data: bytes) -> None:
    declaration = _DECLARATION.match(data, 3 if data.startswith(_BOM) else 0)
    if declaration and declaration.group(1).lower() not in _ENCODINGS:
        raise MalformedInput("XML encoding not accepted")
    prologue = _PROLOGUE.match(data)
    start = prologue.end() if prologue else 0
    if data[start : start + 1] != b"<":
        raise MalformedInput("not XML in an encoding that is accepted")
    if data[start : start + 2] == b"<!":
        raise MalformedInput("XML with a document type declaration")


def _check_tree(root: etree._Element, max_depth: int, max_elements: int) -> None:
    # The prologue was looked at before the parser ran; this is the parser's own answer to the same question.
    if root.getroottree().docinfo.internalDTD is not None:
        raise MalformedInput("XML with a document type declaration")
    count = _COUNT(root)
    if not isinstance(count, float) or count > max_elements:
        raise MalformedInput("XML has too many elements")
    if _deeper_than(max_depth)(root):
        raise MalformedInput("XML is nested too deeply")


@lru_cache(maxsize=8)
def _deeper_than(depth: int) -> etree.XPath:
    return etree.XPath("boolean(" + "/*" * (depth + 1) + ")")
