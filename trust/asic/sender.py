"""Who a signed message says it is from, and which message it is: enough to hold a signature against, nothing more.

Follows PR-MESS 2.2 (SOAP headers) and PR-REST 4 (start line and headers, as they are signed). A request is its
client's, a response its service's provider's. Reads authentic messages, and those that nobody vouches for; what it
returns is as good as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lxml import etree

from trust import xml
from trust.errors import ConfigurationInvalid, MalformedInput
from trust.globalconf_elements import IDENTIFIERS, XROAD, code_text
from trust.identifiers import InvalidIdentifier, MemberId, parse_client_id, parse_service_id

_SOAP: Final = "{http://schemas.xmlsoap.org/soap/envelope/}"
_MAX_BYTES: Final = 64 << 20
_MAX_ELEMENTS: Final = 1_000_000
_MAX_DEPTH: Final = 256
_MAX_HEADERS: Final = 1000
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_RESPONSE: Final = "Response"


@dataclass(frozen=True, slots=True)
class ClaimedOrigin:
    """What a message says of itself: its id (empty if it has none), who sent it, and whether it is a response."""

    message_id: str
    member: MemberId
    is_response: bool


def read_origin(message: bytes) -> ClaimedOrigin:
    """The origin that a message claims, SOAP or REST. Raises MalformedInput (`invalid_message`)."""
    try:
        if message.removeprefix(_BOM).lstrip(_SPACE).startswith(b"<"):
            return _soap_origin(message)
        return _rest_origin(message)
    except (MalformedInput, ConfigurationInvalid, InvalidIdentifier):
        raise MalformedInput("the message doesn't say who sent it", code="invalid_message") from None


def _soap_origin(message: bytes) -> ClaimedOrigin:
    root = xml.parse(message, max_bytes=_MAX_BYTES, max_depth=_MAX_DEPTH, max_elements=_MAX_ELEMENTS)
    header, body = _only(root, _SOAP + "Header"), _only(root, _SOAP + "Body")
    client, service = _only(header, f"{{{XROAD}}}client"), _only(header, f"{{{XROAD}}}service")
    identifier = _only(header, f"{{{XROAD}}}id").text or ""
    code = code_text(service, f"{{{IDENTIFIERS}}}serviceCode")
    wrappers = [etree.QName(child).localname for child in body.iterchildren("*")]
    # PR-MESS 2.3: the wrapper is named after the service, a response's has `Response` behind that.
    is_response = any(name.endswith(_RESPONSE) and name != code for name in wrappers)
    return ClaimedOrigin(identifier, _member(service if is_response else client), is_response)


def _member(element: etree._Element) -> MemberId:
    parts = ("xRoadInstance", "memberClass", "memberCode")
    return MemberId(*(code_text(element, f"{{{IDENTIFIERS}}}{part}") for part in parts))


def _only(parent: etree._Element, tag: str) -> etree._Element:
    found = [child for child in parent if child.tag == tag]
    if len(found) != 1:
        raise MalformedInput("a SOAP message without its headers")
    return found[0]


def _rest_origin(message: bytes) -> ClaimedOrigin:
    try:
        first, _, *lines = message.decode("utf-8").split("\r\n", _MAX_HEADERS + 3)
    except ValueError:
        # Not UTF-8, or not two lines: VERB and path, or status and reason.
        raise MalformedInput("not a message") from None
    if len(lines) > _MAX_HEADERS:
        raise MalformedInput("too many headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.lower()
        if colon and key.startswith("x-road-") and headers.setdefault(key, value.strip()) != value.strip():
            raise MalformedInput("a header with two values")
    is_response = first.isascii() and first.isdigit()
    if is_response:
        member = parse_service_id(headers.get("x-road-service", "")).provider.member
    else:
        member = parse_client_id(headers.get("x-road-client", "")).member
    return ClaimedOrigin(headers.get("x-road-id", ""), member, is_response)
