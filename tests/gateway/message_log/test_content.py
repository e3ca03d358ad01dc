"""What the log keeps of a message: all of it, the road's headers alone, or as much as is allowed."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from gateway.message_log.content import LoggedContent, TooLargeToLog, reduced
from gateway.messages.content import Content
from tests.audit.factory import message
from tests.trust.containers import soap

SERVICE = "DE-TEST/COM/SPARKASSE/konto/link"
REQUEST = (
    b"POST\r\n/r1/DE-TEST/COM/SPARKASSE/konto/link/geheim/pfad?tan=kanarienvogel\r\n"
    b"X-Road-Client:DE-TEST/GOV/MUSTERSTADT/app\r\nCookie:kanarienvogel\r\nX-Datenweg-Purpose:p\r\nx-road-id:1\r\n"
)
RESPONSE = b"200\r\nOK\r\nContent-Type:x/kanarienvogel\r\nx-road-id:1\r\n"


def test_the_lists_decide_before_the_default() -> None:
    subsystem = "DE-TEST/COM/SPARKASSE/konto"
    other = "DE-TEST/COM/STADTWERKE/x/y"
    assert LoggedContent().keeps(SERVICE)
    off = LoggedContent(disabled=[subsystem])
    assert (off.keeps(SERVICE), off.keeps(SERVICE + "/v1"), off.keeps(other)) == (False, False, True)
    some = LoggedContent(logging=False, enabled=[subsystem])
    assert (some.keeps(SERVICE), some.keeps(other)) == (True, False)
    # Whatever the settings: one's accesses are never kept.
    assert not LoggedContent(enabled=[subsystem]).keeps(subsystem + "/datenwegAccesses")
    assert not LoggedContent(enabled=[subsystem]).keeps(subsystem + "/findUsage/v1")


def test_a_reduced_record_has_who_asked_whom_and_nothing_more() -> None:
    policy = LoggedContent(logging=False)
    record = message(REQUEST, service=SERVICE, attachments=(b"kanarienvogel",))
    kept = policy.apply(record)
    assert kept.message == (
        b"POST\r\n/r1/DE-TEST/COM/SPARKASSE/konto/link\r\nX-Road-Client:DE-TEST/GOV/MUSTERSTADT/app\r\n"
        b"X-Datenweg-Purpose:p\r\nx-road-id:1\r\n"
    )
    assert (kept.attachments, kept.kept, kept.signature) == ((), "reduced", record.signature)
    assert reduced(RESPONSE) == b"200\r\nOK\r\nx-road-id:1\r\n"
    assert reduced(b"") == b""
    assert reduced(b"\xff\xfe") == b"\xef\xbf\xbd\xef\xbf\xbd\r\n\r\n"


def test_a_reduced_soap_message_keeps_the_roads_headers() -> None:
    entries = b"<x:k xmlns:x='urn:x'>kanarienvogel</x:k><d:purpose xmlns:d='urn:x-datenweg:soap:1'>p7</d:purpose>"
    kept = reduced(soap().replace(b"</SOAP-ENV:Header>", entries + b"</SOAP-ENV:Header>"))
    assert b"<xrd:id>Frage 7</xrd:id>" in kept
    assert b">p7</d:purpose>" in kept
    assert b"<b:bills" in kept
    assert "Größe".encode() not in kept
    assert b"kanarienvogel" not in kept
    assert reduced(b"<!DOCTYPE x><x>kanarienvogel</x>") == b""


def test_too_large_stops_the_exchange_or_is_cut() -> None:
    record = message(b"x" * 10, attachments=(b"a" * 5, b"b" * 5))
    assert LoggedContent(max_bytes=20).apply(record) is record
    with pytest.raises(TooLargeToLog):
        LoggedContent(max_bytes=19).apply(record)
    cut = LoggedContent(max_bytes=12, truncate=True).apply(record)
    assert (cut.message, cut.attachments, cut.kept) == (b"x" * 10, (b"aa", b""), "truncated")
    shorter = LoggedContent(max_bytes=4, truncate=True).apply(record)
    assert (shorter.message, shorter.attachments) == (b"xxxx", (b"", b""))
    # What isn't kept anyway may be of any size.
    assert LoggedContent(logging=False, max_bytes=1).apply(record).kept == "reduced"


BODIES = (b"a" * 100, b"b" * 50)
DIGESTS = tuple(hashlib.sha512(body).digest() for body in BODIES)


class Spooled:
    """A body that isn't in memory, and counts how often it is read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.digest, self.reads = data, len(data), hashlib.sha512(data).digest(), 0

    async def chunks(self) -> AsyncIterator[bytes]:
        self.reads += 1
        for begin in range(0, self.size, 7):
            yield self.data[begin : begin + 7]


async def load(content: Content) -> bytes:
    return content if isinstance(content, bytes) else b"".join([chunk async for chunk in content.chunks()])


def test_a_digest_stands_for_a_body_that_is_too_large() -> None:
    record = message(b"x" * 10, service=SERVICE, attachments=BODIES)
    kept = LoggedContent(max_bytes=100, digest=True).apply(record)
    assert (kept.message, kept.attachments, kept.kept) == (record.message, DIGESTS, "digest")
    # It is preferred to a beginning; a message that is itself too large has none.
    assert LoggedContent(max_bytes=100, digest=True, truncate=True).apply(record).kept == "digest"
    with pytest.raises(TooLargeToLog):
        LoggedContent(max_bytes=9, digest=True).apply(record)
    # What came to it as a digest stays one, though it would fit now.
    assert LoggedContent(max_bytes=1000, digest=True).apply(kept) == kept


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (LoggedContent(max_bytes=160), (BODIES, "whole")),
        (LoggedContent(max_bytes=159, digest=True), (DIGESTS, "digest")),
        (LoggedContent(max_bytes=120, truncate=True), ((BODIES[0], b"b" * 10), "truncated")),
        (LoggedContent(max_bytes=60, truncate=True), ((b"a" * 50, b""), "truncated")),
        (LoggedContent(logging=False, max_bytes=1), ((), "whole")),
    ],
)
async def test_bodies_that_are_not_in_memory(policy: LoggedContent, expected: tuple[tuple[bytes, ...], str]) -> None:
    contents = [Spooled(body) for body in BODIES]
    assert await policy.load(SERVICE, 10, contents, load) == expected
    if expected[1] == "digest" or not expected[0]:
        assert [content.reads for content in contents] == [0, 0]


async def test_a_body_that_may_not_be_logged_stops_the_exchange() -> None:
    with pytest.raises(TooLargeToLog):
        await LoggedContent(max_bytes=159).load(SERVICE, 10, [Spooled(body) for body in BODIES], load)
