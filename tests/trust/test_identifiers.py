"""Identifiers in URLs and headers: what is written is one segment to every reader of URLs, and reads back as it was."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from trust.identifiers import MemberId, ServiceId, SubsystemId, decode_segment, encode_segment, parse_service_id

# RFC 3986 section 3.3; X-Road's reader takes nothing else (PR-REST 4.2).
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")


@pytest.mark.parametrize("code", ["wo?", "a=b,c+d", "(1)'.-_~", "ä/ö %;:\\", "#x&y", '[1]|{2}^`"<>'])
def test_a_code_of_any_characters_is_one_segment(code: str) -> None:
    encoded = encode_segment(code)
    assert _SEGMENT.fullmatch(encoded), encoded
    assert decode_segment(encoded) == code
    service = ServiceId(SubsystemId("DE-TEST", "COM", code, code), code)
    assert parse_service_id(service.encoded) == service
    assert urlsplit(f"http://127.0.0.1/r1/{service.encoded}/pfad").path == f"/r1/{service.encoded}/pfad"
    assert MemberId("DE-TEST", "COM", code).encoded.count("/") == 2
