"""Single elements and fields of configuration files: text, codes, numbers, base64, certificates, client identifiers.

Reading is strict and raises ConfigurationInvalid, nothing else. Writing raises ValueError for text that XML can't
carry.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from trust.certification_path import UNREADABLE
from trust.errors import ConfigurationInvalid
from trust.identifiers import ClientId, InvalidIdentifier, MemberId, SubsystemId, decode_segment, encode_segment

XROAD: Final = "http://x-road.eu/xsd/xroad.xsd"
IDENTIFIERS: Final = "http://x-road.eu/xsd/identifiers"

_MEMBER_PARTS: Final = ("xRoadInstance", "memberClass", "memberCode")
CLIENT_ELEMENTS: Final = tuple(f"{{{IDENTIFIERS}}}{part}" for part in (*_MEMBER_PARTS, "subsystemCode"))
_CLIENT_PARTS: Final = {"MEMBER": _MEMBER_PARTS, "SUBSYSTEM": (*_MEMBER_PARTS, "subsystemCode")}


def children(parent: etree._Element, name: str) -> list[etree._Element]:
    """The child elements of that name, in order."""
    return [element for element in parent if element.tag == name]


def child(parent: etree._Element, name: str) -> etree._Element:
    """The one child element of that name."""
    found = children(parent, name)
    if len(found) != 1:
        raise ConfigurationInvalid(f"expected one element {name}")
    return found[0]


def text_of(parent: etree._Element, name: str) -> str:
    """The text of the one child element of that name, as it stands; it may be empty."""
    element = child(parent, name)
    if len(element):
        raise ConfigurationInvalid(f"element {name} has children")
    return element.text or ""


def optional_text(parent: etree._Element, name: str) -> str | None:
    """The text of the child element of that name, or None without one."""
    return text_of(parent, name) if children(parent, name) else None


def code_text(parent: etree._Element, name: str) -> str:
    """The text of a child element that is a segment of an identifier."""
    code = text_of(parent, name)
    try:
        # PR-MESS 2.2: the slash and its like are data here, control characters never are.
        return decode_segment(encode_segment(code))
    except (InvalidIdentifier, UnicodeEncodeError):
        raise ConfigurationInvalid(f"element {name} is not part of an identifier") from None


def integer(parent: etree._Element, name: str) -> int:
    """The number in a child element: one to nine decimal digits."""
    text = text_of(parent, name).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ConfigurationInvalid(f"element {name} is not a number")
    return int(text)


def is_true(element: etree._Element) -> bool:
    """An xsd:boolean."""
    value = {"true": True, "1": True, "false": False, "0": False}.get((element.text or "").strip())
    if value is None:
        raise ConfigurationInvalid("not a boolean")
    return value


def encode_base64(data: bytes) -> str:
    """Standard base64 in one line."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Standard base64; white space between the characters is allowed, as XML and MIME fold it."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationInvalid("not base64") from None


def certificate_der(parent: etree._Element, name: str | None = None) -> bytes:
    """The certificate in an element (or its child `name`) as DER. Real instances have base64 of DER and of PEM."""
    data = certificate_octets(parent if name is None else child(parent, name))
    try:
        x509.load_der_x509_certificate(data)
    except UNREADABLE:
        raise ConfigurationInvalid("not a certificate") from None
    return data


def certificate_octets(element: etree._Element) -> bytes:
    """What stands where a certificate is due, as DER if it is one. Whoever uses it finds out."""
    data = decode_base64(element.text or "")
    if not data.startswith(b"-----BEGIN"):
        return data
    try:
        return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)
    except UNREADABLE:
        raise ConfigurationInvalid("not a certificate") from None


def require_children(parent: etree._Element, *names: str) -> etree._Element:
    """`parent`, when it has child elements of these names only. Their number is for the reader to say."""
    if any(element.tag not in names for element in parent.iterchildren("*")):
        raise ConfigurationInvalid("an element that isn't due")
    return parent


def client_id(element: etree._Element) -> ClientId:
    """A member or subsystem written as PR-MESS 2.1 has it."""
    parts = _CLIENT_PARTS.get(element.get(f"{{{IDENTIFIERS}}}objectType") or "")
    if parts is None:
        raise ConfigurationInvalid("an identifier is neither a member's nor a subsystem's")
    instance, member_class, member_code, *subsystem = [code_text(element, f"{{{IDENTIFIERS}}}{part}") for part in parts]
    if subsystem:
        return SubsystemId(instance, member_class, member_code, subsystem[0])
    return MemberId(instance, member_class, member_code)


def add_element(parent: etree._Element, name: str, text: str | None = None) -> etree._Element:
    """A new last child."""
    element = etree.SubElement(parent, name)
    element.text = text
    return element


def add_certificates(parent: etree._Element, name: str, certificates: Iterable[bytes]) -> None:
    """One new child for each certificate (DER)."""
    for certificate in certificates:
        add_element(parent, name, encode_base64(certificate))


def add_client(parent: etree._Element, name: str, client: ClientId) -> None:
    """A new last child that names a client."""
    object_type = "MEMBER" if isinstance(client, MemberId) else "SUBSYSTEM"
    element = add_element(parent, name)
    element.set(f"{{{IDENTIFIERS}}}objectType", object_type)
    for part, segment in zip(_CLIENT_PARTS[object_type], client.segments, strict=True):
        add_element(element, f"{{{IDENTIFIERS}}}{part}", segment)
