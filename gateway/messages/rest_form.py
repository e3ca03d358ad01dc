"""What REST request and response messages share: header names, the lines of a signed message, identifiers in headers.

PR-REST 1.0 sections 4.2 to 4.5. A message is two lines and then `Name:Value` lines, each ended by CRLF; what a line
means is for `rest`. Refusals carry the code that the caller names, because the same form is read at both gateways.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.messages.faults import Fault
from gateway.messages.headers import NAMESPACE
from gateway.messages.http_fields import DROPPED, Header, Refused, field_name, field_value
from trust.identifiers import (
    ClientId,
    InvalidIdentifier,
    SecurityServerId,
    ServiceId,
    decode_segment,
    parse_client_id,
    parse_security_server_id,
    parse_service_id,
)

CLIENT: Final = "x-road-client"
MESSAGE_ID: Final = "x-road-id"
REQUEST_ID: Final = "x-road-request-id"
REQUEST_HASH: Final = "x-road-request-hash"
SERVICE: Final = "x-road-service"
USER_ID: Final = "x-road-userid"
ISSUE: Final = "x-road-issue"
SECURITY_SERVER: Final = "x-road-security-server"
REPRESENTED_PARTY: Final = "x-road-represented-party"
ERROR: Final = "x-road-error"

SINGLE: Final = frozenset(
    (CLIENT, MESSAGE_ID, REQUEST_ID, REQUEST_HASH, SERVICE, USER_ID, ISSUE, SECURITY_SERVER, REPRESENTED_PARTY)
)

# PR-REST 4.2 with RFC 3986 3.3: a segment holds pchars; anything else must be percent-encoded.
_SEGMENT_CHARACTERS: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@%/"
)


@dataclass(frozen=True, slots=True)
class RESTLimits:
    """Bounds of a message without its body, in characters or fields."""

    max_target: int = 16 * 1024
    max_headers: int = 128
    max_message: int = 64 * 1024


DEFAULT_LIMITS: Final = RESTLimits()


@dataclass(frozen=True, slots=True)
class RepresentedParty:
    """On whose behalf the client calls (PR-REST 4.3): `[CLASS/]CODE`."""

    party_class: str | None
    party_code: str


def once(found: dict[str, str], name: str, value: str, prefix: str) -> None:
    """Notes a header that may occur once. Raises Fault `<prefix>.duplicate_header_field`."""
    if name in found:
        raise Fault(f"{prefix}.duplicate_header_field", name)
    found[name] = value


def serialise_lines(first: str, second: str, headers: tuple[Header, ...], failure: str) -> bytes:
    """The message's bytes. Raises Fault with the code `failure` if a line would break in two."""
    lines = [first, second]
    lines += [f"{name}:{value}" for name, value in headers]
    lines.append("")
    text = "\r\n".join(lines)
    # Each part was checked where it came in; a break that slipped through would change what the signature covers.
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise Fault(failure, "a header holds a line break")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise Fault(failure, "a header is not text") from None


def parse_lines(
    data: bytes, limits: RESTLimits, prefix: str, refusal: str
) -> tuple[str, str, tuple[Header, ...], dict[str, str], dict[str, str]]:
    """The first two lines, all headers, then the single-valued X-Road and the X-Datenweg ones by name. Raises Fault."""
    if len(data) > limits.max_message:
        raise Fault(refusal, "the message is too large")
    try:
        lines = str(data, "utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise Fault(refusal, "the message is not UTF-8") from None
    # Every line ends with CRLF, so the last piece is empty.
    if len(lines) < 3 or lines.pop() or len(lines) > limits.max_headers + 2:
        raise Fault(refusal, "the message's lines are not those of the protocol")
    headers: list[Header] = []
    single: dict[str, str] = {}
    own: dict[str, str] = {}
    if not lines[0].isprintable() or not lines[1].isprintable() or " " in lines[0]:
        raise Fault(refusal, "the first lines are not valid")
    try:
        for line in lines[2:]:
            name, colon, value = line.partition(":")
            lower = field_name(name)
            # A value's blanks are signed and stay; anything that needs cleaning was not made by a gateway.
            if not colon or (not value.isprintable() and field_value(value) != value.strip(" \t")):
                raise Refused("a header is not valid")
            if lower in DROPPED:
                raise Refused("a header that doesn't travel is in the message")
            if lower.startswith("x-"):
                if lower.startswith(NAMESPACE):
                    once(own, lower, value, prefix)
                elif lower in SINGLE:
                    once(single, lower, value, prefix)
            headers.append((name, value))
    except Refused as refused:
        raise Fault(refusal, refused.reason) from None
    return lines[0], lines[1], tuple(headers), single, own


def _checked(encoded: str) -> str:
    if not _SEGMENT_CHARACTERS.issuperset(encoded):
        raise InvalidIdentifier("character that must be percent-encoded")
    return encoded


# The same few clients and services come again and again; identifiers are immutable, so they are parsed once.
@lru_cache(maxsize=1024)
def client_id(encoded: str) -> ClientId:
    """X-Road-Client's value. Raises InvalidIdentifier."""
    return parse_client_id(_checked(encoded))


@lru_cache(maxsize=1024)
def service_id(encoded: str) -> ServiceId:
    """A service without version. Raises InvalidIdentifier."""
    service = parse_service_id(_checked(encoded))
    if service.service_version is not None:
        raise InvalidIdentifier("REST services have no version")
    return service


@lru_cache(maxsize=1024)
def security_server_id(encoded: str) -> SecurityServerId:
    """X-Road-Security-Server's value. Raises InvalidIdentifier."""
    return parse_security_server_id(_checked(encoded))


@lru_cache(maxsize=1024)
def encoded_client(client: ClientId) -> str:
    """The header value for a client."""
    return client.encoded


@lru_cache(maxsize=1024)
def encoded_service(service: ServiceId) -> str:
    """The header value for a service."""
    return service.encoded


def represented_party_of(encoded: str) -> RepresentedParty:
    """X-Road-Represented-Party's value. Raises InvalidIdentifier."""
    segments = [decode_segment(part) for part in _checked(encoded).split("/", 2)]
    if len(segments) > 2:
        raise InvalidIdentifier("a represented party has one or two segments")
    return RepresentedParty(segments[0] if len(segments) == 2 else None, segments[-1])
