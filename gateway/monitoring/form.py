"""What a client asks for: the bodies of PR-OPMON 1.6 (annex A) and PR-ENVMONMES 1.5 (section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

from lxml import etree

from gateway.messages.faults import Fault
from gateway.messages.soap_fields import IDENTIFIERS
from gateway.messages.soap_scan import ENVELOPE
from gateway.monitoring.record import OUTPUT_FIELDS
from trust import xml
from trust.errors import MalformedInput
from trust.identifiers import ClientId, MemberId, SubsystemId

NAMESPACE: Final = "http://x-road.eu/xsd/op-monitoring.xsd"
METRICS_NAMESPACE: Final = "http://x-road.eu/xsd/monitoring"
_MAX_DIGITS: Final = 18
_MAX_FIELDS: Final = 200
_CLIENT: Final = ("xRoadInstance", "memberClass", "memberCode", "subsystemCode")


@dataclass(frozen=True, slots=True)
class OperationalQuery:
    """A time window in seconds since 1970, ends included; a provider; the fields that are wanted, all if none is."""

    from_s: int
    to_s: int
    client: ClientId | None
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HealthQuery:
    """A provider, or all."""

    client: ClientId | None


def parse_operational_query(data: bytes) -> OperationalQuery:
    """What the SOAP message asks for. Raises Fault `server.serverproxy.opmonitor.client.invalid_request`."""
    operation = _operation(data, "getSecurityServerOperationalData")
    criteria = _child(operation, "searchCriteria")
    if criteria is None:
        raise invalid_query("searchCriteria is missing")
    begin, end = _seconds(criteria, "recordsFrom"), _seconds(criteria, "recordsTo")
    if begin < 0:
        raise invalid_query("Records from timestamp is a negative number")
    if end < 0:
        raise invalid_query("Records to timestamp is a negative number")
    if end < begin:
        raise invalid_query("Records to timestamp is earlier than records from timestamp")
    spec = _child(operation, "outputSpec")
    elements = [] if spec is None else spec.findall(f"{{{NAMESPACE}}}outputField")
    fields = tuple(dict.fromkeys((element.text or "").strip() for element in elements[:_MAX_FIELDS]))
    unknown = [field for field in fields if field not in OUTPUT_FIELDS]
    if unknown or len(elements) > _MAX_FIELDS:
        raise invalid_query(f"Unknown output field in search criteria: {unknown[0] if unknown else 'too many'}")
    return OperationalQuery(begin, end, _client(_child(criteria, "client")), fields)


def parse_health_query(data: bytes) -> HealthQuery:
    """What the SOAP message asks for. Raises Fault `server.serverproxy.opmonitor.client.invalid_request`."""
    criteria = _child(_operation(data, "getSecurityServerHealthData"), "filterCriteria")
    return HealthQuery(None if criteria is None else _client(_child(criteria, "client")))


def parse_metrics_query(data: bytes) -> frozenset[str]:
    """The metrics that the SOAP message asks for by name, all if none (PR-ENVMONMES 2.1).

    Raises Fault `server.serverproxy.invalid_request`.
    """
    root = _root(data)
    elements = () if root is None else root.iter(f"{{{METRICS_NAMESPACE}}}outputField")
    names = frozenset((element.text or "").strip() for element in islice(elements, _MAX_FIELDS + 1)) - {""}
    if root is None or len(names) > _MAX_FIELDS:
        raise Fault("server.serverproxy.invalid_request", "the message is not readable, or names too many fields")
    return names


def _root(data: bytes) -> etree._Element | None:
    """The message, None if it is not readable."""
    try:
        return xml.parse(data)
    except MalformedInput:
        return None


def _operation(data: bytes, name: str) -> etree._Element:
    root = _root(data)
    operation = None if root is None else root.find(f"{{{ENVELOPE}}}Body/{{{NAMESPACE}}}{name}")
    if operation is None:
        raise invalid_query(f"the body is no {name} of {NAMESPACE}")
    return operation


def _child(element: etree._Element, name: str) -> etree._Element | None:
    return element.find(f"{{{NAMESPACE}}}{name}")


def _seconds(criteria: etree._Element, name: str) -> int:
    text = (criteria.findtext(f"{{{NAMESPACE}}}{name}") or "").strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _MAX_DIGITS:
        raise invalid_query(f"{name} is a time in seconds since 1970")
    return int(text)


def _client(element: etree._Element | None) -> ClientId | None:
    if element is None:
        return None
    found = [element.findtext(f"{{{IDENTIFIERS}}}{name}") for name in _CLIENT]
    instance, member_class, member_code, subsystem = found
    if not instance or not member_class or not member_code:
        raise invalid_query("client is no identifier of a member or subsystem")
    if subsystem:
        return SubsystemId(instance, member_class, member_code, subsystem)
    return MemberId(instance, member_class, member_code)


def invalid_query(reason: str) -> Fault:
    """What is wrong with a query, in the words of X-Road's monitoring daemon, under its prefix."""
    return Fault("server.serverproxy.opmonitor.client.invalid_request", reason)
