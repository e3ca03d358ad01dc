"""The header entries of SOAP messages: X-Road's (PR-MESS 2.2, 2.3), its extensions, and the road's own.

The road's own are entries in a namespace of ours, one for each field, with the meaning that `headers` gives them; a
client may send subject, purpose and consent. An extension that the road doesn't act on (security token, pdu) is
signed, logged and carried like everything else. Entries are told as they end, so a refusal is that of the first defect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.messages.headers import (
    AUDIT_RECEIPT,
    CONSENT,
    EXCHANGE_NONCE,
    IDENTITY_LEVEL,
    NO_FIELDS,
    PURPOSE,
    REPRESENTATIVE,
    SUBJECT,
    RoadFields,
    parse_client_fields,
    parse_signed_fields,
)
from gateway.messages.rest_form import RepresentedParty
from gateway.messages.soap_scan import Entry, HeaderReader, Name, NotSOAP, Scanned
from trust.identifiers import ClientId, MemberId, SecurityServerId, ServiceId, SubsystemId

XROAD: Final = "http://x-road.eu/xsd/xroad.xsd"
IDENTIFIERS: Final = "http://x-road.eu/xsd/identifiers"
REPRESENTATION: Final = "http://x-road.eu/xsd/representation.xsd"
SECURITY_TOKEN: Final = "http://x-road.eu/xsd/security-token.xsd"  # noqa: S105 - a namespace
PDU_NAMESPACE: Final = "http://x-road.eu/xsd/pdu.xsd"
DATENWEG: Final = "urn:x-datenweg:soap:1"

SHA512: Final = "http://www.w3.org/2001/04/xmlenc#sha512"

# Entry of ours -> header field that says the same over REST.
OWN_ENTRIES: Final[Mapping[str, str]] = {
    "subject": SUBJECT,
    "purpose": PURPOSE,
    "consent": CONSENT,
    "identityLevel": IDENTITY_LEVEL,
    "representative": REPRESENTATIVE,
    "exchangeNonce": EXCHANGE_NONCE,
    "auditReceipt": AUDIT_RECEIPT,
}
RECEIPT_ENTRY: Final = "auditReceipt"

_MAX_SEGMENT: Final = 255
_MAX_VALUE: Final = 4096
_MEMBER: Final = ("xRoadInstance", "memberClass", "memberCode")


@dataclass(frozen=True, slots=True)
class RequestHash:
    """What ties a response to its request: the digest in base64, by the algorithm."""

    algorithm: str | None
    value: str


@dataclass(frozen=True, slots=True)
class SecurityToken:
    """A token that the client's system sends to the service (PR-TOKEN). Not looked into."""

    token_type: str | None
    value: str


@dataclass(frozen=True, slots=True)
class PDU:
    """The data tracker's extension: why and by which system data were asked for, and whether to hide it."""

    reason: str | None = None
    system: str | None = None
    hidden: bool = False


class Headers(HeaderReader):
    """Collects the entries of one message. `own` are the road's fields by their REST name in lower case."""

    def __init__(self) -> None:
        self.client: ClientId | None = None
        self.service: ServiceId | None = None
        self.security_server: SecurityServerId | None = None
        self.represented_party: RepresentedParty | None = None
        self.request_hash: RequestHash | None = None
        self.security_token: SecurityToken | None = None
        self.pdu: PDU | None = None
        self.values: dict[str, str] = {}
        self.own: dict[str, str] = {}
        self._seen: set[Name] = set()

    def begin(self, name: Name, attributes: tuple[tuple[Name, str], ...]) -> None:
        """Refuses a second of what may be there once, and an identifier of the wrong type."""
        if name not in _READERS and name.namespace != DATENWEG:
            return
        if name in self._seen:
            raise NotSOAP("duplicate_header_field", name.local)
        self._seen.add(name)
        expected = _OBJECT_TYPES.get(name)
        if expected is not None:
            found = dict(attributes).get(Name(IDENTIFIERS, "objectType"))
            if found is None or found not in expected:
                raise NotSOAP("invalid_xml", f"{name.local} has the wrong objectType, or none")

    def end(self, entry: Entry) -> None:
        """Reads an entry."""
        reader = _READERS.get(entry.name)
        if reader is not None:
            reader(self, entry)
        elif entry.name.namespace == DATENWEG:
            field = OWN_ENTRIES.get(entry.name.local)
            if field is not None:
                self.own[field.lower()] = entry.text.strip()

    def envelope_end(self, scanned: Scanned) -> None:
        """The checks of the whole, in X-Road's order. A fault has no headers to check."""
        if scanned.fault is not None:
            return
        if scanned.entries is None:
            raise NotSOAP("missing_header", "")
        if "protocolVersion" not in self.values:
            raise NotSOAP("missing_header_field", "protocolVersion")
        if self.client is None:
            raise NotSOAP("missing_header_field", "client")
        if "id" not in self.values:
            raise NotSOAP("missing_header_field", "id")
        if self.service is None:
            raise NotSOAP("missing_header_field", "service")
        if not scanned.bodies:
            raise NotSOAP("missing_body", "")
        if scanned.body is None:
            raise NotSOAP("invalid_body", "the body is empty")
        if not scanned.body.local.startswith(self.service.service_code):
            raise NotSOAP("inconsistent_headers", "")

    def client_fields(self) -> RoadFields:
        """The road's own fields as a client may send them. Raises Fault `client.…`."""
        return parse_client_fields(self.own) if self.own else NO_FIELDS

    def signed_fields(self) -> RoadFields:
        """The road's own fields of a signed request. Raises Fault `server.serverproxy.…`."""
        return parse_signed_fields(self.own) if self.own else NO_FIELDS


def _text(headers: Headers, entry: Entry) -> None:
    if len(entry.text) > _MAX_VALUE:
        raise NotSOAP("invalid_xml", f"{entry.name.local} is too long")
    headers.values[entry.name.local] = entry.text


def _protocol_version(headers: Headers, entry: Entry) -> None:
    # The document says 4.0; X-Road takes every 4.x (facts of its parser).
    if not entry.text.startswith("4."):
        raise NotSOAP("invalid_protocol_version", "")
    _text(headers, entry)


def _parts(entry: Entry, namespace: str, names: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for child in entry.children:
        if child.name.namespace != namespace or child.name.local not in names:
            continue
        if child.name.local in found:
            raise NotSOAP("duplicate_header_field", child.name.local)
        found[child.name.local] = child.text
    return found


def _identifier(entry: Entry, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, str]:
    found = _parts(entry, IDENTIFIERS, (*required, *optional))
    for name in required:
        if name not in found:
            raise NotSOAP("invalid_xml", f"{entry.name.local} has no {name}")
    for name, value in found.items():
        # X-Road only warns of characters that it doesn't allow; what can't be printed nobody has as a name.
        if not 0 < len(value) <= _MAX_SEGMENT or not value.isprintable():
            raise NotSOAP("invalid_xml", f"{name} in {entry.name.local} is not valid")
    return found


def _client(headers: Headers, entry: Entry) -> None:
    found = _identifier(entry, _MEMBER, ("subsystemCode",))
    is_subsystem = entry.attribute(IDENTIFIERS, "objectType") == "SUBSYSTEM"
    # One of X-Road's two parsers refuses a type that contradicts the elements, with this code; the other goes by the
    # elements, and a reader that goes by the type would take it for another client.
    if is_subsystem is not ("subsystemCode" in found):
        reason = "client has another objectType than its elements"
        raise NotSOAP("invalid_xml", reason, client_leaf="invalid_client_identifier")
    headers.client = _owner(found)


def _owner(found: Mapping[str, str]) -> ClientId:
    instance, member_class, member_code = (found[name] for name in _MEMBER)
    subsystem = found.get("subsystemCode")
    if subsystem is None:
        return MemberId(instance, member_class, member_code)
    return SubsystemId(instance, member_class, member_code, subsystem)


def _service(headers: Headers, entry: Entry) -> None:
    found = _identifier(entry, (*_MEMBER, "serviceCode"), ("subsystemCode", "serviceVersion"))
    headers.service = ServiceId(_owner(found), found["serviceCode"], found.get("serviceVersion"))


def _security_server(headers: Headers, entry: Entry) -> None:
    found = _identifier(entry, (*_MEMBER, "serverCode"))
    headers.security_server = SecurityServerId(MemberId(*(found[name] for name in _MEMBER)), found["serverCode"])


def _represented_party(headers: Headers, entry: Entry) -> None:
    found = _parts(entry, REPRESENTATION, ("partyClass", "partyCode"))
    if any(len(value) > _MAX_SEGMENT for value in found.values()):
        raise NotSOAP("invalid_xml", "representedParty is too long")
    headers.represented_party = RepresentedParty(found.get("partyClass"), found.get("partyCode", ""))


def _request_hash(headers: Headers, entry: Entry) -> None:
    headers.request_hash = RequestHash(entry.attribute("", "algorithmId"), entry.text)


def _security_token(headers: Headers, entry: Entry) -> None:
    headers.security_token = SecurityToken(entry.attribute("", "tokenType"), entry.text)


def _pdu(headers: Headers, entry: Entry) -> None:
    found = _parts(entry, PDU_NAMESPACE, ("reason", "system", "hidden"))
    hidden = found.get("hidden", "").strip() in {"true", "1"}
    headers.pdu = PDU(found.get("reason"), found.get("system"), hidden)


_READERS: Final[Mapping[Name, Callable[[Headers, Entry], None]]] = {
    Name(XROAD, "client"): _client,
    Name(XROAD, "service"): _service,
    Name(XROAD, "id"): _text,
    Name(XROAD, "userId"): _text,
    Name(XROAD, "issue"): _text,
    Name(XROAD, "protocolVersion"): _protocol_version,
    Name(XROAD, "requestHash"): _request_hash,
    Name(XROAD, "securityServer"): _security_server,
    Name(REPRESENTATION, "representedParty"): _represented_party,
    Name(SECURITY_TOKEN, "securityToken"): _security_token,
    Name(PDU_NAMESPACE, "pdu"): _pdu,
}
_OBJECT_TYPES: Final[Mapping[Name, frozenset[str]]] = {
    Name(XROAD, "client"): frozenset({"MEMBER", "SUBSYSTEM"}),
    Name(XROAD, "service"): frozenset({"SERVICE"}),
    Name(XROAD, "securityServer"): frozenset({"SERVER"}),
}
