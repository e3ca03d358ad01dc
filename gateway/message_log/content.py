"""What the message log keeps of a message: all that was signed, or what the operator lets it keep.

Where body logging is off for the service's subsystem, the log has who asked whom for what and when, and the signature
with the digests of what was signed: no body, no path, no query, no header but the road's. Such a record proves nothing
to a third party any more, and says so (`kept`). A body beyond the size that is logged stops the exchange, unless the
operator prefers its digest in its place, or a truncated record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Final, cast

from lxml import etree

from audit.message_log import Kept, MessageRecord
from gateway.exchange.directory import BuiltIn
from gateway.messages.content import Content, digest_of, total_size
from gateway.messages.soap_fields import DATENWEG
from gateway.settings import GatewaySettings
from trust.errors import MalformedInput
from trust.xml import parse

_SUBSYSTEM_SEGMENTS: Final = 4
# `/r1`, four segments of the subsystem, the service's code.
_SERVICE_PATH_SEGMENTS: Final = 7
_ROAD_HEADERS: Final = ("x-road-", "x-datenweg-")
_SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_ROAD_NAMESPACES: Final = ("http://x-road.eu/", DATENWEG)
# Reading one's accesses brings a person's key of the month and their opened records: in the message log they would
# outlive the person's erasure.
_NEVER_KEPT: Final = frozenset({BuiltIn.ACCESSES.value, BuiltIn.FIND_USAGE.value})
_REMEMBERED: Final = 10_000


class TooLargeToLog(Exception):
    """A body is larger than the log takes, and may not be truncated."""


class LoggedContent:
    """The policy of one gateway. Pure but for a cache."""

    def __init__(
        self,
        *,
        logging: bool = True,
        enabled: Collection[str] = (),
        disabled: Collection[str] = (),
        max_bytes: int = 10 << 20,
        truncate: bool = False,
        digest: bool = False,
    ) -> None:
        """`enabled` and `disabled` are provider subsystems (encoded) for which `logging` doesn't decide."""
        self._logging = logging
        self._enabled = frozenset(enabled)
        self._disabled = frozenset(disabled)
        self._max_bytes = max_bytes
        self._truncate = truncate
        self._digest = digest
        self._known: dict[str, bool] = {}

    def keeps(self, service: str) -> bool:
        """Whether the bodies of a service's messages are kept; `service` is encoded."""
        known = self._known.get(service)
        if known is None:
            segments = service.split("/")
            subsystem = "/".join(segments[:_SUBSYSTEM_SEGMENTS])
            known = subsystem in self._enabled or (self._logging and subsystem not in self._disabled)
            known = known and _NEVER_KEPT.isdisjoint(segments[_SUBSYSTEM_SEGMENTS : _SUBSYSTEM_SEGMENTS + 1])
            if len(self._known) < _REMEMBERED:
                self._known[service] = known
        return known

    def apply(self, record: MessageRecord) -> MessageRecord:
        """What the log keeps of a whole record. Raises TooLargeToLog."""
        if not self.keeps(record.service):
            return _with(record, reduced(record.message), (), "reduced")
        size = len(record.message) + sum(map(len, record.attachments))
        if size <= self._max_bytes:
            return record
        if record.kept != "whole":
            # It was cut to what is logged, but for the message that came to it.
            return record
        if self._digest and len(record.message) <= self._max_bytes:
            digests = tuple(hashlib.sha512(body).digest() for body in record.attachments)
            return _with(record, record.message, digests, "digest")
        if not self._truncate:
            raise TooLargeToLog
        return self._truncated(record)

    async def load(
        self, service: str, message_size: int, contents: Sequence[Content], load: Callable[[Content], Awaitable[bytes]]
    ) -> tuple[tuple[bytes, ...], Kept]:
        """What is kept of contents that aren't in memory, read by `load`, and how. Raises TooLargeToLog."""
        if not self.keeps(service):
            return (), "whole"  # `apply` reduces the message as well, and says so
        if message_size + total_size(contents) <= self._max_bytes:
            return tuple([await load(content) for content in contents]), "whole"
        if self._digest:
            return tuple([digest_of(content) for content in contents]), "digest"
        if not self._truncate:
            raise TooLargeToLog
        left, kept = max(0, self._max_bytes - message_size), []
        for content in contents:
            kept.append(await _beginning(content, left))
            left -= len(kept[-1])
        return tuple(kept), "truncated"

    def _truncated(self, record: MessageRecord) -> MessageRecord:
        message = record.message[: self._max_bytes]
        left, attachments = self._max_bytes - len(message), []
        for body in record.attachments:
            attachments.append(body[:left])
            left -= len(attachments[-1])
        return _with(record, message, tuple(attachments), "truncated")


def _with(record: MessageRecord, message: bytes, attachments: tuple[bytes, ...], kept: Kept) -> MessageRecord:
    return replace(record, message=message, attachments=attachments, kept=kept, attachment_digests=None)


def logged_content(settings: GatewaySettings) -> LoggedContent:
    """What the gateway keeps of messages."""
    return LoggedContent(
        logging=settings.message_body_logging,
        enabled=settings.message_body_logging_enabled,
        disabled=settings.message_body_logging_disabled,
        max_bytes=settings.max_loggable_body_bytes,
        truncate=settings.truncated_body_allowed,
        digest=settings.body_digest_allowed,
    )


async def _beginning(content: Content, most: int) -> bytes:
    if isinstance(content, bytes):
        return content[:most]
    pieces: list[bytes] = []
    left = most
    async for chunk in content.chunks():
        pieces.append(chunk[:left])
        left -= len(pieces[-1])
        if not left:
            break
    return b"".join(pieces)


def reduced(message: bytes) -> bytes:
    """A signed message without what it is about: the road's own headers alone."""
    if message.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return _reduced_soap(message)
    lines = message.decode("utf-8", "replace").split("\r\n")
    first, second, *headers = (*lines, "", "")[: max(len(lines), 2)]
    if second.startswith("/"):
        second = "/".join(second.partition("?")[0].split("/")[:_SERVICE_PATH_SEGMENTS])
    kept = [line for line in headers if line.lower().startswith(_ROAD_HEADERS)]
    return "\r\n".join((first, second, *kept, "")).encode() if message else b""


def _reduced_soap(message: bytes) -> bytes:
    try:
        root = parse(message, max_bytes=len(message))
    except MalformedInput:
        # It was signed, but not for us to take apart: then nothing of it is kept.
        return b""
    envelope = etree.Element(root.tag, nsmap=_namespaces(root))
    for child in root.iterchildren(f"{{{_SOAP}}}Header", f"{{{_SOAP}}}Body"):
        copy = etree.SubElement(envelope, child.tag)
        for block in child.iterchildren(etree.Element):
            if child.tag == f"{{{_SOAP}}}Body":
                etree.SubElement(copy, block.tag, nsmap=_namespaces(block))
            elif (etree.QName(block).namespace or "").startswith(_ROAD_NAMESPACES):
                block.tail = None
                copy.append(block)
    return etree.tostring(envelope, xml_declaration=True, encoding="UTF-8")


def _namespaces(element: etree._Element) -> dict[str, str]:
    # lxml's types leave out that the default namespace has no prefix.
    return cast("dict[str, str]", element.nsmap)
