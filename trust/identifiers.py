"""Who is who: X-Road identifiers as values.

Follows PR-MESS 4.0 section 2.1 (identifier types) and PR-REST 1.0 section 4.2 (encoded form). An identifier is a tuple
of non-empty text segments; each type has its own class, so that a member is never taken for a subsystem. Leaves XML
forms to the message formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

_MAX_SEGMENT: Final = 255
_PERCENT: Final = re.compile(r"%[0-9A-Fa-f]{2}")
# PR-MESS 2.2 and the proxy's own validator: control characters and these are never part of an identifier; half a
# character (a surrogate, as HTTP parsers leave bytes that are no UTF-8) is no text at all.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f%:;/\\\\\u200b\ufeff\ud800-\udfff]")
# The proxy only warns of these. A slash that arrives encoded is data (PR-REST 4.2), one that arrives bare a separator;
# a segment of a URI may hold colon and semicolon as they are (RFC 3986 section 3.3).
_BARE: Final = ":;"
_ENCODED: Final = "/:;%\\"


class InvalidIdentifier(Exception):
    """The text is not the identifier that it should be. The sender's fault."""


def decode_segment(raw: str) -> str:
    """One percent-encoded identifier segment as text (strict: bad escapes and bad UTF-8 raise InvalidIdentifier)."""
    if "%" not in raw:
        return _checked(raw, _BARE)
    if raw.count("%") != len(_PERCENT.findall(raw)):
        raise InvalidIdentifier("malformed percent-encoding")
    data = bytearray()
    position = 0
    try:
        encoded = raw.encode("utf-8")
        while position < len(encoded):
            if encoded[position] == 0x25:
                data.append(int(encoded[position + 1 : position + 3], 16))
                position += 3
            else:
                data.append(encoded[position])
                position += 1
        return _checked(data.decode("utf-8"), _ENCODED)
    except UnicodeError:
        raise InvalidIdentifier("segment is not UTF-8") from None


def encode_segment(text: str) -> str:
    """A segment percent-encoded for a URL or header."""
    # RFC 3986 section 3.3: a segment ends at a question mark, which X-Road allows in codes.
    return quote(text, safe="'()+,-.=_~")


@lru_cache(maxsize=4096)
def _encoded(segments: tuple[str, ...]) -> str:
    # A gateway writes the same few identifiers again and again: quoting them each time was 1.5 % of an exchange.
    return "/".join(map(encode_segment, segments))


def _checked(segment: str, allowed: str) -> str:
    if not segment or len(segment) > _MAX_SEGMENT:
        raise InvalidIdentifier("identifier segments have 1 to 255 characters")
    if any(character not in allowed for character in _FORBIDDEN.findall(segment)):
        raise InvalidIdentifier("character not allowed in an identifier")
    return segment


@dataclass(frozen=True, slots=True)
class MemberId:
    """A legal person on the road: INSTANCE/CLASS/CODE."""

    instance: str
    member_class: str
    member_code: str

    @property
    def member(self) -> MemberId:
        return self

    @property
    def segments(self) -> tuple[str, ...]:
        return (self.instance, self.member_class, self.member_code)

    @property
    def encoded(self) -> str:
        """The form of headers and URLs: percent-encoded segments joined by '/'."""
        return _encoded(self.segments)

    def __str__(self) -> str:
        return "MEMBER:" + "/".join(self.segments)


@dataclass(frozen=True, slots=True)
class SubsystemId:
    """An information system of a member: INSTANCE/CLASS/CODE/SUBSYSTEM."""

    instance: str
    member_class: str
    member_code: str
    subsystem_code: str

    @property
    def member(self) -> MemberId:
        return MemberId(self.instance, self.member_class, self.member_code)

    @property
    def segments(self) -> tuple[str, ...]:
        return (self.instance, self.member_class, self.member_code, self.subsystem_code)

    @property
    def encoded(self) -> str:
        """The form of headers and URLs: percent-encoded segments joined by '/'."""
        return _encoded(self.segments)

    def __str__(self) -> str:
        return "SUBSYSTEM:" + "/".join(self.segments)


ClientId = MemberId | SubsystemId


@dataclass(frozen=True, slots=True)
class ServiceId:
    """A service of a subsystem, or of a member: what tells of its gateway. SOAP services may carry a version."""

    provider: ClientId
    service_code: str
    service_version: str | None = None

    @property
    def segments(self) -> tuple[str, ...]:
        version = () if self.service_version is None else (self.service_version,)
        return (*self.provider.segments, self.service_code, *version)

    @property
    def encoded(self) -> str:
        """The form of headers and URLs: percent-encoded segments joined by '/'."""
        return _encoded(self.segments)

    def __str__(self) -> str:
        return "SERVICE:" + "/".join(self.segments)


@dataclass(frozen=True, slots=True)
class SecurityServerId:
    """A gateway, named by its owner and a server code."""

    owner: MemberId
    server_code: str

    @property
    def segments(self) -> tuple[str, ...]:
        return (*self.owner.segments, self.server_code)

    @property
    def encoded(self) -> str:
        """The form of headers and URLs: percent-encoded segments joined by '/'."""
        return _encoded(self.segments)

    def __str__(self) -> str:
        return "SERVER:" + "/".join(self.segments)


@dataclass(frozen=True, slots=True)
class GlobalGroupId:
    """A group that the registry keeps: INSTANCE/GROUP."""

    instance: str
    group_code: str

    def __str__(self) -> str:
        return f"GLOBALGROUP:{self.instance}/{self.group_code}"


@dataclass(frozen=True, slots=True)
class LocalGroupId:
    """A group that a subsystem keeps for the rights to its own services; the subsystem is known from the context."""

    group_code: str

    def __str__(self) -> str:
        return f"LOCALGROUP:{self.group_code}"


def parse_client_id(encoded: str) -> ClientId:
    """`INST/CLASS/MEMBER[/SUBSYSTEM]`, percent-encoded (PR-REST 4.3), as an identifier.

    Raises InvalidIdentifier.
    """
    segments = [decode_segment(part) for part in encoded.split("/")]
    if len(segments) == 3:
        return MemberId(*segments)
    if len(segments) == 4:
        return SubsystemId(*segments)
    raise InvalidIdentifier("a client has three or four segments")


def parse_subsystem_id(encoded: str) -> SubsystemId:
    """`INST/CLASS/MEMBER/SUBSYSTEM`, percent-encoded. Raises InvalidIdentifier."""
    client = parse_client_id(encoded)
    if isinstance(client, SubsystemId):
        return client
    raise InvalidIdentifier("a subsystem has four segments")


def parse_member_id(encoded: str) -> MemberId:
    """`INST/CLASS/MEMBER`, percent-encoded. Raises InvalidIdentifier."""
    client = parse_client_id(encoded)
    if isinstance(client, MemberId):
        return client
    raise InvalidIdentifier("a member has three segments")


def parse_service_id(encoded: str) -> ServiceId:
    """`INST/CLASS/MEMBER/SUBSYSTEM/SERVICE[/VERSION]`, percent-encoded. Raises InvalidIdentifier."""
    segments = [decode_segment(part) for part in encoded.split("/")]
    if len(segments) not in (5, 6):
        raise InvalidIdentifier("a service has five or six segments")
    return ServiceId(SubsystemId(*segments[:4]), segments[4], segments[5] if len(segments) == 6 else None)


def parse_security_server_id(encoded: str) -> SecurityServerId:
    """`INST/CLASS/MEMBER/SERVERCODE`, exactly four segments (PR-REST 4.3). Raises InvalidIdentifier."""
    segments = [decode_segment(part) for part in encoded.split("/")]
    if len(segments) != 4:
        raise InvalidIdentifier("a security server has four segments")
    return SecurityServerId(MemberId(*segments[:3]), segments[3])
