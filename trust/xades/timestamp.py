"""The time-stamp over a signature: what is stamped, and where the token goes.

Follows XAdES 1.3.2 section 5.3 (SignatureTimeStamp) and X-Road's message log: a token over the signature value is put
among the unsigned properties, without touching a byte that is signed. Works on anyone's signature, by bytes, so that
no other byte changes either; afterwards the document is read again and must say the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from trust.canonical import CanonicalisationMethod, canonicalise, encode_base64
from trust.errors import SignatureMalformed
from trust.xades.parse import MAX_BYTES, parse_signature
from trust.xades.template import DS
from trust.xml import parse

_END: Final = re.compile(rb"</((?:[A-Za-z_][\w.-]*:)?)UnsignedSignatureProperties[ \t\r\n]*>")
_QUALIFYING_END: Final = re.compile(rb"</((?:[A-Za-z_][\w.-]*:)?)QualifyingProperties[ \t\r\n]*>")


@dataclass(frozen=True, slots=True)
class SignatureValue:
    """A signature's value: `canonical` are the octets of its element in inclusive Canonical XML (what XAdES section
    5.3 stamps), `decoded` those of the value itself (what X-Road's message log stamps).
    """

    canonical: bytes
    decoded: bytes


def signature_value(document: bytes) -> SignatureValue:
    """The value of the signature in `document`, to be time-stamped. Raises SignatureMalformed."""
    parsed = parse_signature(document)
    element = next(parse(document, max_bytes=MAX_BYTES, max_depth=32).iter(f"{{{DS}}}SignatureValue"))
    return SignatureValue(canonicalise(element, CanonicalisationMethod.INCLUSIVE), parsed.value)


def insert_timestamp(document: bytes, token: bytes) -> bytes:
    """The signature document with the time-stamp token (DER) among its unsigned properties, after those there are.

    Nothing else changes. Raises SignatureMalformed when the document isn't of the profile, or too large with it.
    """
    before = parse_signature(document)
    value = encode_base64(token)
    ends = list(_END.finditer(document))
    if len(ends) == 1:
        prefix = ends[0][1]
        stamped = _stamp(prefix, value)
    else:
        ends = list(_QUALIFYING_END.finditer(document))
        prefix = ends[0][1] if ends else b""
        stamped = b"".join(
            (b"<%bUnsignedProperties><%bUnsignedSignatureProperties>" % (prefix, prefix), _stamp(prefix, value),
             b"</%bUnsignedSignatureProperties></%bUnsignedProperties>" % (prefix, prefix))
        )  # fmt: skip
    if len(ends) != 1:
        raise SignatureMalformed("no one place for a time-stamp")
    place = ends[0].start()
    result = document[:place] + stamped + document[place:]
    if parse_signature(result) != replace(before, timestamps=(*before.timestamps, token)):
        raise SignatureMalformed("no place for a time-stamp")
    return result


def _stamp(prefix: bytes, value: bytes) -> bytes:
    pieces = (b"<%bSignatureTimeStamp><%bEncapsulatedTimeStamp>" % (prefix, prefix), value)
    return b"".join((*pieces, b"</%bEncapsulatedTimeStamp></%bSignatureTimeStamp>" % (prefix, prefix)))
