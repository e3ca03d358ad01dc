"""Canonical XML: libxml2's for documents that others wrote, and the escaping rules for those that we write.

Follows Canonical XML 1.0 (REC-xml-c14n-20010315) and Exclusive Canonicalization 1.0 (REC-xml-exc-c14n-20020718), both
without comments; nothing else is accepted from a peer. A caller must have refused `xml:` attributes: inclusive
canonicalization of a subtree would inherit them, and libxml2 as lxml drives it doesn't.
"""

from __future__ import annotations

import binascii
import hashlib
from enum import Enum
from typing import Final

from lxml import etree

from trust.errors import MalformedInput

_MAX_BASE64: Final = 1 << 20
_LAST_OF_ONE: Final = b"AQgw"
_LAST_OF_TWO: Final = b"AEIMQUYcgkosw048"


class CanonicalisationMethod(Enum):
    """A canonicalization that a signature may name. The value is its URI."""

    INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
    EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"


class DigestAlgorithm(Enum):
    """A digest that a signature may name. The value is its URI. SHA-1 and MD5 have none here, so they are refused."""

    SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
    SHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
    SHA512 = "http://www.w3.org/2001/04/xmlenc#sha512"

    def digest(self, data: bytes) -> bytes:
        """The digest of `data`."""
        match self:
            case DigestAlgorithm.SHA256:
                return hashlib.sha256(data).digest()
            case DigestAlgorithm.SHA384:
                return hashlib.sha384(data).digest()
            case DigestAlgorithm.SHA512:
                return hashlib.sha512(data).digest()


def canonicalise(element: etree._Element, method: CanonicalisationMethod) -> bytes:
    """The canonical octets of the subtree at `element` (without its tail). Raises MalformedInput."""
    try:
        return etree.tostring(
            element, method="c14n", exclusive=method is CanonicalisationMethod.EXCLUSIVE, with_comments=False
        )
    except (etree.LxmlError, ValueError) as error:
        raise MalformedInput(f"no canonical form: {type(error).__name__}") from None


def escape_text(text: str) -> str:
    """Text as Canonical XML writes it between tags (section 2.3)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")


def escape_attribute(text: str) -> str:
    """Text as Canonical XML writes it in an attribute value (section 2.3)."""
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace('"', "&quot;")
        .replace("\t", "&#x9;")
        .replace("\n", "&#xA;")
        .replace("\r", "&#xD;")
    )


def encode_base64(data: bytes) -> bytes:
    """Base64 without line breaks."""
    return binascii.b2a_base64(data, newline=False)


def decode_base64(text: str | bytes) -> bytes:
    """The octets of xs:base64Binary without white space, in its one spelling. Raises MalformedInput."""
    if not text or len(text) > _MAX_BASE64:
        raise MalformedInput("base64 is empty or too long")
    try:
        data = text.encode("ascii") if isinstance(text, str) else text
        # Python's strict mode lets padding pass that follows a whole group, a group of nothing else among it.
        if len(data) % 4 or data.endswith(b"==="):
            raise MalformedInput("base64 comes in groups of four")
        octets = binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        raise MalformedInput("not base64") from None
    # XML Schema part 2 section 3.2.16: the bits that nothing needs are zero. So no octets have two spellings.
    if data.endswith(b"=") and data.rstrip(b"=")[-1:] not in (_LAST_OF_ONE if data.endswith(b"==") else _LAST_OF_TWO):
        raise MalformedInput("base64 with stray bits")
    return octets
