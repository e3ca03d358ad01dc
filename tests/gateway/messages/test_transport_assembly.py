"""A message between gateways piece by piece gives what the decoder of whole messages gives, however it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.messages import transport
from gateway.messages.content import Content, Pieces, digest_of, sendable, size_of, total_size
from gateway.messages.faults import Fault, Hop
from gateway.messages.mime import boundary_of, split_related
from gateway.messages.multipart import MalformedMultipart, join_multipart
from gateway.messages.related_reader import ContentData, ContentEnd
from gateway.messages.transport import Attachment, HashChain, PartKind, TransportLimits, TransportMessage, decode_small
from gateway.messages.transport_assembly import Assembler, ContentBegin, ContentGuard

BOUNDARY = transport.boundary_from(bytes(range(30)))
CONTENT_TYPE = transport.content_type(BOUNDARY)
BYTES = st.binary(max_size=200)
CUTS = st.lists(st.integers(0, 4000), max_size=10)
READERS = st.sampled_from([Hop.PROVIDER_GATEWAY, Hop.CONSUMER_GATEWAY])


def assembled(data: bytes, cuts: list[int], reader: Hop, forbidden: str | None = None) -> TransportMessage:
    assembler = Assembler(CONTENT_TYPE, reader=reader, forbidden=forbidden)
    begin, content, position = ContentBegin(), b"", 0

    def take(events: Sequence[ContentBegin | ContentData | ContentEnd]) -> None:
        nonlocal begin, content
        for happened in events:
            match happened:
                case ContentBegin():
                    begin, content = happened, b""
                case ContentData(piece):
                    content += piece
                case ContentEnd():
                    assembler.place(begin, content)

    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        take(assembler.feed(data[position:cut]))
        position = max(position, cut)
    take(assembler.end())
    return assembler.close()


def compared(data: bytes, cuts: list[int], reader: Hop) -> None:
    """Both readers accept the same message, or both refuse it."""
    try:
        whole: TransportMessage | None = decode_small(CONTENT_TYPE, data, reader=reader)
        attachments = None
        if whole is not None and whole.attachments_content_type:
            boundary = boundary_of(whole.attachments_content_type)
            assert boundary is not None
            assert isinstance(whole.body, bytes)
            attachments = tuple(split_related(whole.body, boundary))
            whole = replace(whole, body=None)
            assert all(part.content_type for part in attachments)
    except (Fault, MalformedMultipart, AssertionError):
        whole = None
    try:
        pieces: TransportMessage | None = assembled(data, cuts, reader)
    except Fault:
        pieces = None
    event("accepted" if whole else "refused")
    if whole is None or pieces is None:
        assert whole is pieces
        return
    assert replace(pieces, attachments=None) == whole
    if whole.message is not None:
        assert pieces.headers == whole.headers
    assert pieces.attachments == attachments


CHAINS = st.none() | st.builds(HashChain, BYTES, BYTES)


@given(st.tuples(BYTES, st.none() | BYTES, BYTES, st.lists(BYTES, max_size=2), CHAINS), CUTS, READERS)
def test_a_rest_message_reads_alike_in_pieces(
    contents: tuple[bytes, bytes | None, bytes, list[bytes], HashChain | None], cuts: list[int], reader: Hop
) -> None:
    message, body, signature, ocsp, chain = contents
    data = transport.encode_message(
        PartKind.REST_REQUEST, message, signature, boundary=BOUNDARY, body=body, ocsp_responses=ocsp, hash_chain=chain
    )
    assert isinstance(data, bytes)
    compared(data, cuts, reader)


@given(BYTES, st.lists(BYTES, max_size=3), CUTS, READERS)
def test_a_soap_message_reads_alike_in_pieces(
    message: bytes, attachments: list[bytes], cuts: list[int], reader: Hop
) -> None:
    parts = [Attachment((("content-type", "x/y"), ("Content-ID", f"<{n}>")), a) for n, a in enumerate(attachments)]
    data = transport.encode_soap_message(message, b"<s/>", boundary=BOUNDARY, attachments=parts)
    assert isinstance(data, bytes)
    compared(data, cuts, reader)


KINDS = st.sampled_from([kind.value for kind in PartKind] + ["text/plain"])


@settings(max_examples=300)
@given(st.lists(st.tuples(KINDS, BYTES), max_size=6), CUTS, READERS)
def test_parts_in_any_order_read_alike_in_pieces(parts: list[tuple[str, bytes]], cuts: list[int], reader: Hop) -> None:
    blocks = [(f"content-type: {kind}".encode(), data) for kind, data in parts]
    compared(join_multipart(blocks, BOUNDARY), cuts, reader)


@given(BYTES, st.integers(0, 400), CUTS, READERS)
def test_a_message_that_is_cut(body: bytes, missing: int, cuts: list[int], reader: Hop) -> None:
    data = transport.encode_message(PartKind.REST_RESPONSE, b"200\r\n", b"<s/>", boundary=BOUNDARY, body=body)
    assert isinstance(data, bytes)
    compared(data[: len(data) - missing], cuts, reader)


def feed_in_sevens(assembler: Assembler, data: bytes) -> None:
    for position in range(0, len(data), 7):
        assembler.feed(data[position : position + 7])


def test_each_part_has_its_bound() -> None:
    limits = TransportLimits(max_body=100, max_message=100, max_soap=100, max_signature=100)
    for field in ("message", "body", "signature"):
        sizes = {"message": 10, "body": 10, "signature": 10} | {field: 101}
        data = transport.encode_message(
            PartKind.REST_REQUEST,
            b"m" * sizes["message"],
            b"s" * sizes["signature"],
            boundary=BOUNDARY,
            body=b"b" * sizes["body"],
        )
        assert isinstance(data, bytes)
        with pytest.raises(Fault):
            feed_in_sevens(Assembler(CONTENT_TYPE, limits=limits), data)


@given(
    st.lists(st.sampled_from([b"\n", b"--muster", b"\r", b"--", b"muster", b"x", b"--mus"]), max_size=8),
    st.integers(1, 9),
)
def test_no_content_holds_the_boundary_under_which_it_goes_on(pieces: list[bytes], step: int) -> None:
    data = b"".join(pieces)
    guard, found = ContentGuard("muster"), False
    try:
        for position in range(0, len(data), step):
            guard.feed(data[position : position + step])
    except MalformedMultipart:
        found = True
    assert found == (data.startswith(b"--muster") or b"\n--muster" in data)


def test_a_peer_can_not_have_attachments_joined_under_a_boundary_that_they_hold() -> None:
    parts = [Attachment((("content-type", "x/y"),), b"gut\r\n--muster\r\nfalsch")]
    data = transport.encode_soap_message(b"<m/>", b"<s/>", boundary=BOUNDARY, attachments=parts)
    assert isinstance(data, bytes)
    assert assembled(data, [300], Hop.PROVIDER_GATEWAY, "anders").attachments
    for cut in range(len(data)):
        with pytest.raises(Fault):
            assembled(data, [cut], Hop.PROVIDER_GATEWAY, "muster")


@dataclass(frozen=True)
class Elsewhere:
    """A content that isn't in memory."""

    size: int
    digest: bytes = b"d" * 64

    def chunks(self) -> object:
        raise AssertionError("a core reads no content")


def test_messages_whose_content_is_elsewhere_are_made_of_pieces() -> None:
    content: Content = Elsewhere(1000)  # type: ignore[assignment]
    made = transport.encode_message(PartKind.REST_REQUEST, b"GET\r\n", b"<s/>", boundary="b", body=content)
    same = transport.encode_message(PartKind.REST_REQUEST, b"GET\r\n", b"<s/>", boundary="b", body=b"HIER")
    assert isinstance(made, tuple)
    assert isinstance(same, bytes)
    head, middle, tail = made
    assert middle is content
    assert isinstance(head, bytes)
    assert isinstance(tail, bytes)
    assert head + b"HIER" + tail == same
    assert total_size(made) == len(same) - 4 + 1000
    assert (size_of(content), digest_of(content)) == (1000, b"d" * 64)


def test_neighbours_are_sent_together() -> None:
    content: Content = Elsewhere(5)  # type: ignore[assignment]
    pieces: Pieces = (b"a", b"b", content, b"c", b"d")
    assert sendable(pieces) == (b"ab", content, b"cd")
    assert sendable((b"a", b"b")) == b"ab"
