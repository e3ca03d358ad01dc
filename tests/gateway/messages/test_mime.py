"""Multipart bodies of clients and services: read leniently, written in one way, with no other parts than were read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.faults import Fault
from gateway.messages.mime import Part, boundary_of, charset_of, join_related, media_type_of, split_related
from gateway.messages.multipart import MalformedMultipart
from gateway.messages.soap import Reading
from gateway.messages.soap_request import SOAPParts, parts_of_transport, split_soap
from gateway.messages.transport import TransportMessage

XML = "text/xml; charset=UTF-8"
WHOLE = 'multipart/related; type="text/xml"; boundary=b'


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("text/xml", None),
        ("text/xml; charset=utf-8", "utf-8"),
        ('text/xml;Charset="ISO-8859-1"; action=x', "ISO-8859-1"),
        ("text/xml; charset='a'", "a"),
        ('text/xml; charset=""', None),
        ("text/xml; xcharset=a", None),
    ],
)
def test_charset(content_type: str, charset: str | None) -> None:
    assert charset_of(content_type) == charset
    assert media_type_of(content_type) == "text/xml"


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"", []),
        (b"nichts", []),
        (b"--b--", []),
        (b"--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b--\r\n", [Part("a/b", (), b"x")]),
        (b"--b\nContent-Type: a/b\n\nx\n--b--", [Part("a/b", (), b"x")]),
        (b"vor\r\n--b \t\r\nX:  y \r\nContent-type:a/b\r\n\r\n\r\n--b--nach", None),
        (b"vor\r\n--b \t\r\nX:  y \r\nContent-type:a/b\r\n\r\n\r\n--b--\nnach", [Part("a/b", (("X", "y"),), b"")]),
        (b"--b\r\nContent-Type: a/b;\r\n c=d\r\n\r\n--bx\r\n--b--", [Part("a/b; c=d", (), b"--bx")]),
        (b"--b\r\n\r\nx\r\n--b", [Part("", (), b"x")]),
        (b"--b\r\nContent-Type: a/b\r\n--b--", [Part("a/b", (), b"")]),
        (b"--b\r\nContent-Type: a/b\r\n\r\nx", None),
        (b"--b\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\nx\r\n--b--", None),
        (b"--b\r\nkein Kopf\r\n\r\nx\r\n--b--", None),
        (b"--b\r\nA: \x00\r\n\r\nx\r\n--b--", None),
        (b"--b\r\nA: \xc3\xbc\r\n\r\nx\r\n--b--", [Part("", (("A", "\u00fc"),), b"x")]),
        # No UTF-8: Latin-1, as X-Road's reader takes it, and as in HTTP's own headers.
        (b"--b\r\nA: \xfc\r\n\r\nx\r\n--b--", [Part("", (("A", "\u00fc"),), b"x")]),
        (b"--b\r\nA: \xfc\x80\r\n\r\nx\r\n--b--", None),
        (b"--b\r\n\xfc: a\r\n\r\nx\r\n--b--", None),
        (b"--b\r\nA: " + b"x" * 9000 + b"\r\n\r\nx\r\n--b--", None),
        (b"--b\r\n" + b"A: b\r\n" * 40 + b"\r\nx\r\n--b--", None),
        (b"--b\r\n\r\n" * 200 + b"--b--", None),
    ],
)
def test_reading(data: bytes, parts: list[Part] | None) -> None:
    if parts is None:
        with pytest.raises(MalformedMultipart):
            split_related(data, "b")
    else:
        assert split_related(data, "b") == parts


_PARTS = st.builds(
    Part,
    st.sampled_from([XML, "a/b", "multipart/mixed; boundary=x"]),
    st.lists(
        st.tuples(st.sampled_from(["Content-ID", "x-a"]), st.text("abc <>@;=", max_size=9).map(str.strip)), max_size=3
    ).map(tuple),
    st.binary(max_size=60),
)


@given(st.lists(_PARTS, min_size=1, max_size=4), st.sampled_from(["b", "grenze:1", "=_'()+"]))
def test_what_is_written_is_read(parts: list[Part], boundary: str) -> None:
    try:
        written = join_related(parts, boundary)
    except MalformedMultipart:
        assert any(b"--" + boundary.encode() in part.data for part in parts)
        return
    assert split_related(written, boundary) == parts


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"--b", b"\r\n", b"\n", b"--", b"A: b", b"x", b" "]), max_size=14).map(b"".join)
)
def test_any_bytes(data: bytes) -> None:
    try:
        parts = split_related(data, "b")
        assert split_related(join_related(parts, "b"), "b") == parts
    except MalformedMultipart:
        return


def test_a_part_that_holds_the_boundary_is_not_written() -> None:
    for data in (b"--b\r\n", b"x\r\n--b--", b"x\n--b"):
        with pytest.raises(MalformedMultipart):
            join_related([Part("a/b", (), data)], "b")
    assert join_related([Part("a/b", (), b"x--b")], "b")


# -- as a SOAP message


def test_plain_and_multipart_bodies_come_back_as_they_were() -> None:
    plain = split_soap(b"<a/>", XML, Reading.CLIENT_REQUEST)
    assert (plain.join(), plain.is_multipart, plain.attachments) == (b"<a/>", False, ())
    body = join_related([Part(XML, (("Content-ID", "<r>"),), b"<a/>"), Part("a/b", (), b"\x00")], "b")
    whole = split_soap(body, WHOLE, Reading.CLIENT_REQUEST)
    assert (whole.join(), whole.is_multipart, whole.root.data) == (body, True, b"<a/>")


def transported(parts: SOAPParts, **changes: object) -> SOAPParts:
    nested = join_related(parts.attachments, "xatt") if parts.attachments else None
    values: dict[str, object] = {
        "content_type": parts.root.content_type,
        "headers": (("Content-Type", parts.root.content_type), *parts.root.headers),
        "body": nested,
        "attachments_content_type": "multipart/mixed; charset=UTF-8; boundary=xatt",
    }
    original = changes.pop("original_content_type", parts.content_type)
    received = TransportMessage(**(values | changes))  # type: ignore[arg-type]
    return parts_of_transport(received, parts.root.data, original, Reading.SIGNED_REQUEST)  # type: ignore[arg-type]


ROOT = Part(XML, (("Content-ID", "<r>"),), b"<a/>")


@pytest.mark.parametrize("attachments", [(), (Part("a/b", (("X", "y"),), b"\x00\r\n"), Part("c/d", (), b""))])
def test_between_gateways(attachments: tuple[Part, ...]) -> None:
    parts = SOAPParts(WHOLE, ROOT, attachments)
    assert transported(parts) == parts


def test_a_plain_message_keeps_the_content_type_that_came_with_its_part() -> None:
    parts = SOAPParts(XML, Part(XML, (), b"<a/>"))
    assert transported(parts, original_content_type=None) == parts
    assert transported(parts, original_content_type="text/xml; charset=EBCDIC") == parts


@pytest.mark.parametrize(
    ("changes", "leaf"),
    [
        ({"original_content_type": "text/xml"}, "invalid_message"),
        ({"original_content_type": "multipart/related"}, "invalid_message"),
        ({"original_content_type": WHOLE + "\r\nX: y"}, "invalid_content_type"),
        ({"original_content_type": WHOLE + "; x=" + "y" * 2000}, "invalid_content_type"),
        # The header beside the message isn't signed: with this boundary the service would see other parts.
        ({"original_content_type": WHOLE.replace("=b", "=innen")}, "invalid_message"),
        ({"body": b""}, "invalid_content_type"),
        ({"body": b"--xatt\r\n\r\nx\r\n--xatt--"}, "invalid_content_type"),
        ({"body": b"--xatt\r\nContent-Type: a/b\r\n\r\nx"}, "mime_parsing_failed"),
        ({"attachments_content_type": "multipart/mixed"}, "invalid_content_type"),
    ],
)
def test_what_gateways_may_not_send(changes: dict[str, object], leaf: str) -> None:
    parts = SOAPParts(WHOLE, ROOT, (Part("a/b", (), b"x\r\n--innen\r\ncontent-type:a/b\r\n\r\ny"),))
    with pytest.raises(Fault) as caught:
        transported(parts, **changes)
    assert caught.value.code == f"server.serverproxy.service_failed.{leaf}"


def test_boundary() -> None:
    assert boundary_of(WHOLE) == "b"
    assert boundary_of("multipart/related") is None
