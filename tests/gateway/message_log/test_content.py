"""What the log keeps of a message: all of it, the road's headers alone, or as much as is allowed."""

from __future__ import annotations

import pytest

from gateway.message_log.content import LoggedContent, TooLargeToLog, reduced
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
    kept = reduced(soap().replace(b"</SOAP-ENV:Header>", b"<x:k xmlns:x='urn:x'>kanarienvogel</x:k></SOAP-ENV:Header>"))
    assert b"<xrd:id>Frage 7</xrd:id>" in kept
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
