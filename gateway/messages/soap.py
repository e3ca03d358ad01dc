"""SOAP messages of the road: parsing, binding a response to its request, and what the gateways add to the bytes.

X-Road SOAP message protocol 4.0 (PR-MESS), with the proxy's real behaviour where the document is silent or differs. A
message is its bytes: they are signed, logged and delivered as they came. Only the provider gateway adds to them, the
request hash (and, for a peer that asks, the receipt); a consumer gateway adds entries of ours to the message of a
client that sent a citizen's token. Multipart is `mime`'s, transport is `transport`'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from gateway.messages.faults import Fault, Hop
from gateway.messages.headers import AUDIT_RECEIPT, NO_FIELDS, RoadFields
from gateway.messages.mime import charset_of, media_type_of
from gateway.messages.rest_form import RepresentedParty
from gateway.messages.soap_fields import (
    DATENWEG,
    OWN_ENTRIES,
    PDU,
    RECEIPT_ENTRY,
    SHA512,
    XROAD,
    Headers,
    RequestHash,
    SecurityToken,
)
from gateway.messages.soap_scan import Entry, Name, NotSOAP, Scanned, scan
from trust.identifiers import ClientId, SecurityServerId, ServiceId


class Reading(Enum):
    """Where on the way a message is read: the prefix of refusals, and the hop whose message it is."""

    CLIENT_REQUEST = ("client", Hop.CLIENT)
    SIGNED_REQUEST = ("server.serverproxy.service_failed", Hop.CONSUMER_GATEWAY)
    SERVICE_ANSWER = ("server.serverproxy.service_failed", Hop.SERVICE)
    SIGNED_RESPONSE = ("server.clientproxy.service_failed", Hop.PROVIDER_GATEWAY)

    def __init__(self, prefix: str, hop: Hop) -> None:
        self.prefix = prefix
        self.hop = hop

    def refuse(self, leaf: str, reason: str) -> Fault:
        """The fault that a refusal is here."""
        return Fault(f"{self.prefix}.{leaf}", reason, hop=self.hop)


SOAP_TYPES: Final = ("text/xml", "application/xop+xml")
_MAX_SOAP_ACTION: Final = 1024
# What RFC 3986 leaves to no part of a URI, and a reader of headers might take for their end.
_NOT_IN_URIS: Final = re.compile(r"[\s\"<>\\^`{|}]|%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class SOAPMessage:
    """A request or response, as its bytes have it. Nothing in it is verified but the form.

    `entries` are the header's children in order, with their place in `data`; `header_end` is where the header's end
    tag begins. `body` is the name of the body's only element. `fields` are the road's own of a request.
    """

    data: bytes = field(repr=False)
    encoding: str
    client: ClientId
    service: ServiceId
    message_id: str
    protocol_version: str
    user_id: str | None
    issue: str | None
    security_server: SecurityServerId | None
    represented_party: RepresentedParty | None
    request_hash: RequestHash | None
    security_token: SecurityToken | None = field(repr=False)
    pdu: PDU | None
    body: Name
    rpc: bool
    entries: tuple[Entry, ...] = field(repr=False)
    header_end: int
    fields: RoadFields = NO_FIELDS
    receipt: str | None = None

    @property
    def knows_us(self) -> bool:
        """Whether whoever wrote it knows of this road: there is an entry of ours in it."""
        return any(entry.name.namespace == DATENWEG for entry in self.entries)


@dataclass(frozen=True, slots=True)
class SOAPFault:
    """A message whose body is a SOAP fault."""

    data: bytes = field(repr=False)
    encoding: str
    code: str
    string: str
    actor: str | None
    detail: str | None


# -- reading --


def parse_message(data: bytes, content_type: str, reading: Reading) -> SOAPMessage | SOAPFault:
    """The message in `data`, of which `content_type` is the Content-Type (of its MIME part, if it has one).

    Raises Fault: `invalid_content_type`, `invalid_soap`, `invalid_xml` and the others of the table, under the prefix of
    the reading.
    """
    if media_type_of(content_type) not in SOAP_TYPES:
        raise reading.refuse("invalid_content_type", "SOAP is text/xml or application/xop+xml")
    headers = Headers()
    try:
        scanned = scan(data, charset_of(content_type), headers)
    except NotSOAP as refused:
        leaf = refused.client_leaf if reading is Reading.CLIENT_REQUEST else refused.leaf
        raise reading.refuse(leaf, refused.reason) from None
    if scanned.fault is not None:
        parts = scanned.fault
        return SOAPFault(data, scanned.encoding, parts.code.strip(), parts.string, parts.actor, parts.detail)
    match reading:
        case Reading.CLIENT_REQUEST:
            fields = headers.client_fields()
        case Reading.SIGNED_REQUEST:
            fields = headers.signed_fields()
        case Reading.SERVICE_ANSWER | Reading.SIGNED_RESPONSE:
            # A response repeats its request's headers: entries of ours in it are an echo.
            fields = NO_FIELDS
    return _message(data, scanned, headers, fields)


def parse_soap(data: bytes, content_type: str, reading: Reading) -> SOAPMessage:
    """A message that is no fault. Raises Fault, `invalid_message` for a fault; a client gets its own fault back.

    That is `client.<its code>`, as X-Road's proxy answers.
    """
    found = parse_message(data, content_type, reading)
    if isinstance(found, SOAPMessage):
        return found
    if reading is not Reading.CLIENT_REQUEST:
        raise reading.refuse("invalid_message", "a SOAP fault where a message was due")
    # In lower case, as X-Road writes it; what can't stand in a code of the road becomes an underscore.
    leaf = re.sub(r"[^a-z0-9_.]", "_", found.code.lower())[:64] or "invalid_soap"
    raise Fault(f"client.{leaf}", found.string.strip(), hop=Hop.CLIENT, actor=found.actor, relayed=True)


def _message(data: bytes, scanned: Scanned, headers: Headers, fields: RoadFields) -> SOAPMessage:
    # The scan has refused a message without any of these.
    assert scanned.entries is not None
    assert scanned.body is not None
    assert headers.client is not None
    assert headers.service is not None
    return SOAPMessage(
        data=data,
        encoding=scanned.encoding,
        client=headers.client,
        service=headers.service,
        message_id=headers.values["id"],
        protocol_version=headers.values["protocolVersion"],
        user_id=headers.values.get("userId"),
        issue=headers.values.get("issue"),
        security_server=headers.security_server,
        represented_party=headers.represented_party,
        request_hash=headers.request_hash,
        security_token=headers.security_token,
        pdu=headers.pdu,
        body=scanned.body,
        rpc=scanned.rpc,
        entries=tuple(scanned.entries),
        header_end=scanned.header_end,
        fields=fields,
        receipt=headers.own.get(AUDIT_RECEIPT.lower()),
    )


def fault_content_type(encoding: str) -> str:
    """The Content-Type under which a fault in this encoding is passed on: X-Road's own spelling for UTF-8."""
    return "text/xml;charset=utf-8" if encoding in {"utf-8", "us-ascii"} else f"text/xml;charset={encoding}"


def check_soap_action(value: str | None, reading: Reading) -> str | None:
    """The SOAPAction as it came: absent, empty, `""` or a URI reference in double quotes (SOAP 1.1 section 6.1.1).

    Raises Fault `<prefix>.invalid_soap_action`.
    """
    if value is None or value in {"", '""'}:
        return value
    # At the provider it comes in a header beside the message, which X-Road reads before anything else.
    prefix = "server.serverproxy" if reading is Reading.SIGNED_REQUEST else reading.prefix
    refused = Fault(f"{prefix}.invalid_soap_action", "it is empty, or a URI in double quotes", hop=reading.hop)
    uri = value[1:-1]
    if len(value) < 3 or len(value) > _MAX_SOAP_ACTION or value[0] != '"' or value[-1] != '"':
        raise refused
    try:
        urlsplit(uri)
    except ValueError:
        uri = " "
    if _NOT_IN_URIS.search(uri) or not uri.isprintable() or uri.count("#") > 1:
        raise refused
    return value


# -- binding --


def request_hash(data: bytes) -> str:
    """The hash of a request's bytes, which its response carries: SHA-512 in base64 (PR-MESS 2.2)."""
    return hash_text(hashlib.sha512(data).digest())


def hash_text(digest: bytes) -> str:
    """As `request_hash`, for whoever has the digest already."""
    return base64.b64encode(digest).decode("ascii")


def check_response_consistency(request: SOAPMessage, response: SOAPMessage, request_digest: bytes) -> None:
    """The response repeats the request's headers and carries its hash; `request_digest` is SHA-512 of its bytes.

    Raises Fault `server.clientproxy.service_failed.inconsistent_response` for a header (PR-MESS 2.2: protocolVersion
    and securityServer aren't compared), `server.clientproxy.inconsistent_response` for the hash.
    """
    checks = (
        ("client", request.client == response.client),
        ("service", request.service == response.service),
        ("userId", request.user_id == response.user_id),
        ("representedParty", request.represented_party == response.represented_party),
        ("issue", request.issue == response.issue),
        ("id", request.message_id == response.message_id),
    )
    for what, holds in checks:
        if not holds:
            raise Fault("server.clientproxy.service_failed.inconsistent_response", f"the {what} differs")
    if response.request_hash is None:
        raise Fault("server.clientproxy.inconsistent_response", "the request hash is missing")
    try:
        digest = base64.b64decode(response.request_hash.value.strip())
    except (binascii.Error, ValueError):
        digest = b""
    if not hmac.compare_digest(digest, request_digest):
        raise Fault("server.clientproxy.inconsistent_response", "the request hash differs")


# -- adding to the bytes --


def add_request_hash(response: SOAPMessage, digest: str, receipt: str | None = None) -> bytes:
    """The response's bytes with the hash of its request right after its id, and the receipt after that.

    What the service sent of either is removed: it speaks for nobody but itself.
    """
    after = next(entry for entry in response.entries if entry.name == _ID)
    prefix = f"{after.prefix}:" if after.prefix else ""
    xmlns = f' xmlns{after.prefix and ":"}{after.prefix}="{XROAD}"' if after.declares_own else ""
    added = f'<{prefix}requestHash{xmlns} algorithmId="{SHA512}">{digest}</{prefix}requestHash>'
    if receipt is not None:
        added += _own_entry(RECEIPT_ENTRY, receipt)
    cuts = [(entry.start, entry.end, "") for entry in response.entries if entry.name in _ROAD_MADE]
    return _edited(response, [*cuts, (after.end, after.end, added)])


def remove_receipt(response: SOAPMessage) -> bytes:
    """The response's bytes as the client's system gets them: the service's, with the request hash, and no more."""
    return _edited(response, [(e.start, e.end, "") for e in response.entries if e.name == _RECEIPT])


def add_road_fields(request: SOAPMessage, fields: RoadFields) -> bytes:
    """The request's bytes with those of the road's fields that its client didn't send, at the header's end.

    Raises Fault when a value breaks the form.
    """
    there = {entry.name.local for entry in request.entries if entry.name.namespace == DATENWEG}
    values = {name.lower(): value for name, value in fields.format()}
    added = [
        _own_entry(local, values[field.lower()])
        for local, field in OWN_ENTRIES.items()
        if local not in there and field.lower() in values
    ]
    return _edited(request, [(request.header_end, request.header_end, "".join(added))])


def _own_entry(local: str, value: str) -> str:
    return f'<dw:{local} xmlns:dw="{DATENWEG}">{escape(value)}</dw:{local}>'


def _edited(message: SOAPMessage, edits: list[tuple[int, int, str]]) -> bytes:
    data, codec = message.data, message.encoding
    pieces: list[bytes] = []
    position = 0
    for start, end, text in sorted(edits):
        pieces += (data[position:start], text.encode(codec, "xmlcharrefreplace"))
        position = end
    return b"".join((*pieces, data[position:]))


_ID: Final = Name(XROAD, "id")
_RECEIPT: Final = Name(DATENWEG, RECEIPT_ENTRY)
_ROAD_MADE: Final = frozenset({Name(XROAD, "requestHash"), _RECEIPT})
