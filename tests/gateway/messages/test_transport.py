"""The message between gateways: its bytes, its order, its bounds."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import transport
from gateway.messages.faults import ERRORS, Fault, Hop, soap_fault
from gateway.messages.mime import split_related
from gateway.messages.multipart import join_multipart
from gateway.messages.transport import (
    Attachment,
    ContentData,
    ContentEnd,
    Decoder,
    Event,
    HashChain,
    PartKind,
    PartStart,
    TransportLimits,
    TransportMessage,
    decode_small,
)
from tests.gateway.exchange.soap_messages import Message

BOUNDARY = transport.boundary_from(bytes(range(30)))
CONTENT_TYPE = transport.content_type(BOUNDARY)
SIGNATURE = b"<asic:XAdESSignatures/>"
BYTES = st.binary(max_size=200)


def streamed(
    data: bytes, size: int, limits: TransportLimits = transport.DEFAULT_LIMITS
) -> list[tuple[PartKind, bytes]]:
    decoder = Decoder(CONTENT_TYPE, limits=limits)
    parts: list[tuple[PartKind, bytes]] = []
    events: list[Event] = []
    for begin in range(0, len(data), size):
        events += decoder.feed(data[begin : begin + size])
    for event in [*events, *decoder.close()]:
        match event:
            case PartStart(kind):
                parts.append((kind, b""))
            case ContentData(piece):
                parts[-1] = (parts[-1][0], parts[-1][1] + piece)
            case ContentEnd():
                pass
    return parts


def encode(*parts: tuple[str, bytes]) -> bytes:
    return join_multipart([(f"content-type: {kind}".encode(), data) for kind, data in parts], BOUNDARY)


def refusal(data: bytes, reader: Hop = Hop.PROVIDER_GATEWAY, content_type: str = CONTENT_TYPE) -> str:
    with pytest.raises(Fault) as caught:
        decode_small(content_type, data, reader=reader)
    assert caught.value.code in ERRORS
    return caught.value.code


def test_boundary_and_content_type() -> None:
    assert BOUNDARY.startswith("xtop")
    assert len(BOUNDARY) == 34
    assert BOUNDARY[4:].isalpha()
    assert f"multipart/mixed; charset=UTF-8; boundary={BOUNDARY}" == CONTENT_TYPE
    with pytest.raises(Fault):
        transport.boundary_from(bytes(29))


def test_bytes_of_a_request() -> None:
    message = transport.encode_message(
        PartKind.REST_REQUEST, b"GET\r\n", SIGNATURE, boundary="b", body=b"body", ocsp_responses=[b"o1", b"o2"]
    )
    assert message == (
        b"--b\r\ncontent-type: application/ocsp-response\r\n\r\no1"
        b"\r\n--b\r\ncontent-type: application/ocsp-response\r\n\r\no2"
        b"\r\n--b\r\ncontent-type: application/x-road-rest-request\r\n\r\nGET\r\n"
        b"\r\n--b\r\ncontent-type: application/x-road-rest-body\r\n\r\nbody"
        b"\r\n--b\r\ncontent-type: signature/bdoc-1.0/ts\r\n\r\n<asic:XAdESSignatures/>\r\n--b--\r\n"
    )


def test_another_reader_reads_the_same() -> None:
    message = transport.encode_message(
        PartKind.REST_RESPONSE, b"200\r\nOK\r\n", SIGNATURE, boundary=BOUNDARY, body=b"body"
    )
    parsed = email.message_from_bytes(
        b"content-type: " + CONTENT_TYPE.encode() + b"\r\n\r\n" + message, policy=email.policy.HTTP
    )
    parts = list(parsed.iter_parts())
    assert [part.get_content_type() for part in parts[:2]] == [PartKind.REST_RESPONSE.value, PartKind.REST_BODY.value]
    assert parts[1].get_payload(decode=True) == b"body"


CHAINS = st.none() | st.builds(HashChain, BYTES, BYTES)


CONTENTS = st.tuples(BYTES, st.none() | BYTES, BYTES, st.lists(BYTES, max_size=3), CHAINS)


@given(CONTENTS, st.integers(1, 300))
def test_round_trip(contents: tuple[bytes, bytes | None, bytes, list[bytes], HashChain | None], size: int) -> None:
    message, body, signature, ocsp, chain = contents
    data = transport.encode_message(
        PartKind.REST_REQUEST, message, signature, boundary=BOUNDARY, body=body, ocsp_responses=ocsp, hash_chain=chain
    )
    assert decode_small(CONTENT_TYPE, data) == TransportMessage(
        tuple(ocsp), PartKind.REST_REQUEST, PartKind.REST_REQUEST.value, message, body or None, "", chain, signature
    )
    expected = [(PartKind.OCSP_RESPONSE, response) for response in ocsp] + [(PartKind.REST_REQUEST, message)]
    expected += [(PartKind.REST_BODY, body)] if body else []
    expected += [(PartKind.HASH_CHAIN_RESULT, chain.result), (PartKind.HASH_CHAIN, chain.chain)] if chain else []
    assert streamed(data, size) == [*expected, (PartKind.SIGNATURE, signature)]


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=5))
def test_streamed_and_whole_encoding_are_the_same(pieces: list[bytes]) -> None:
    whole = transport.encode_message(
        PartKind.REST_RESPONSE,
        b"m",
        SIGNATURE,
        boundary=BOUNDARY,
        body=b"".join(pieces),
        hash_chain=HashChain(b"r", b"c"),
    )
    segments = transport.encode_segments(
        PartKind.REST_RESPONSE, b"m", SIGNATURE, boundary=BOUNDARY, body=pieces, hash_chain=HashChain(b"r", b"c")
    )
    assert b"".join(segments) == whole


def test_soap_with_attachments() -> None:
    attachments = [Attachment((("Content-Type", "image/png"), ("Content-ID", "<1>")), b"png"), Attachment((), b"")]
    data = transport.encode_soap_message(b"<soap/>", SIGNATURE, boundary=BOUNDARY, attachments=attachments)
    message = decode_small(CONTENT_TYPE, data)
    assert (message.kind, message.message, message.signature) == (PartKind.SOAP, b"<soap/>", SIGNATURE)
    assert message.attachments_content_type == transport.content_type("xatt" + BOUNDARY[4:])
    assert isinstance(message.body, bytes)
    nested = split_related(message.body, "xatt" + BOUNDARY[4:])
    assert [(part.content_type, part.data) for part in nested] == [("image/png", b"png"), ("", b"")]


def test_headers_of_attachments_are_checked() -> None:
    for header in (("X", "a\r\nb: c"), ("X:", "a")):
        with pytest.raises(Fault):
            transport.encode_soap_message(b"", SIGNATURE, boundary=BOUNDARY, attachments=[Attachment((header,), b"")])


@pytest.mark.parametrize("reader", [Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY])
@pytest.mark.parametrize(
    ("kinds", "leaf"),
    [
        (["application/x-road-rest-body"], "invalid_content_type"),
        (["signature/bdoc-1.0/ts"], "invalid_content_type"),
        ([""], "invalid_content_type"),
        (["application/x-road-rest-request", "application/ocsp-response"], "invalid_content_type"),
        (["application/x-road-rest-request", "application/json"], "invalid_content_type"),
        (["application/x-road-rest-request", "multipart/mixed"], "invalid_content_type"),
        (["text/xml", "application/x-road-rest-body"], "invalid_content_type"),
        (
            ["application/x-road-rest-request", "application/x-road-rest-body", "application/x-road-rest-body"],
            "invalid_content_type",
        ),
        (["application/x-road-rest-request", "application/hash-chain"], "invalid_content_type"),
        (
            ["application/x-road-rest-request", "application/hash-chain-result", "signature/bdoc-1.0/ts"],
            "invalid_content_type",
        ),
        (
            ["application/x-road-rest-request", "signature/bdoc-1.0/ts", "application/x-road-rest-body"],
            "invalid_message",
        ),
        (["application/x-road-rest-request", "signature/bdoc-1.0/ts", "signature/bdoc-1.0/ts"], "invalid_message"),
        (["application/x-road-rest-request", "text/xml", "signature/bdoc-1.0/ts"], "invalid_message"),
    ],
)
def test_parts_out_of_order_are_refused(kinds: list[str], leaf: str, reader: Hop) -> None:
    data = encode(*((kind, b"x") for kind in kinds))
    prefix = "server.clientproxy" if reader is Hop.CONSUMER_GATEWAY else "server.serverproxy"
    prefix += ".service_failed"
    assert refusal(data, reader) == f"{prefix}.{leaf}"
    decoder = Decoder(CONTENT_TYPE, reader=reader)
    with pytest.raises(Fault) as caught:
        decoder.feed(data)
    assert caught.value.code == f"{prefix}.{leaf}"


def test_a_fault_instead_of_an_answer() -> None:
    fault = soap_fault(Fault("server.serverproxy.access_denied"))
    consumer = Hop.CONSUMER_GATEWAY
    assert decode_small("text/xml;charset=utf-8", fault, reader=consumer) == TransportMessage(fault=fault)
    assert decode_small(CONTENT_TYPE, transport.encode_fault(fault, boundary=BOUNDARY), reader=consumer).fault == fault
    head = transport.encode_head(PartKind.REST_RESPONSE, b"m", boundary=BOUNDARY, with_body=True)
    broken = decode_small(
        CONTENT_TYPE, transport.encode_fault(fault, boundary=BOUNDARY, after=head + b"begun"), reader=consumer
    )
    assert (broken.message, broken.body, broken.signature, broken.fault) == (b"m", b"begun", None, fault)


@pytest.mark.parametrize(
    ("content_type", "reader", "code"),
    [
        ("text/xml", Hop.PROVIDER_GATEWAY, "server.serverproxy.service_failed.invalid_content_type"),
        ("text/html", Hop.CONSUMER_GATEWAY, "server.clientproxy.service_failed.invalid_content_type"),
        ("multipart/mixed", Hop.PROVIDER_GATEWAY, "server.serverproxy.service_failed.invalid_content_type"),
        (
            "multipart/related; boundary=b",
            Hop.PROVIDER_GATEWAY,
            "server.serverproxy.service_failed.invalid_content_type",
        ),
        (
            f"multipart/mixed; boundary={'b' * 71}",
            Hop.PROVIDER_GATEWAY,
            "server.serverproxy.service_failed.invalid_content_type",
        ),
        ("", Hop.CONSUMER_GATEWAY, "server.clientproxy.service_failed.invalid_content_type"),
    ],
)
def test_content_types(content_type: str, reader: Hop, code: str) -> None:
    assert refusal(b"", reader, content_type) == code


@pytest.mark.parametrize(
    ("kind", "leaf"),
    [
        ("application/x-road-rest-body", "body_too_large"),
        ("signature/bdoc-1.0/ts", "service_failed.invalid_message"),
    ],
)
def test_a_part_may_be_as_large_as_its_limit_and_no_larger(kind: str, leaf: str) -> None:
    limits = TransportLimits(max_body=100, max_message=100, max_signature=100, max_ocsp_response=100)
    for size, good in ((100, True), (101, False)):
        parts = [("application/x-road-rest-request", b"m"), (kind, b"x" * size)]
        data = encode(*parts)
        if good:
            decode_small(CONTENT_TYPE, data, limits=limits)
            streamed(data, 7, limits)
            continue
        for attempt in (
            lambda d=data: decode_small(CONTENT_TYPE, d, limits=limits),
            lambda d=data: streamed(d, 7, limits),
        ):
            with pytest.raises(Fault) as caught:
                attempt()
            assert caught.value.code == f"server.serverproxy.{leaf}"


def test_too_many_parts() -> None:
    data = encode(*[("application/ocsp-response", b"x")] * 17)
    assert refusal(data) == "server.serverproxy.service_failed.mime_parsing_failed"
    with pytest.raises(Fault):
        streamed(data, 50)


def test_every_cut_message_is_refused() -> None:
    data = transport.encode_message(PartKind.REST_REQUEST, b"m", SIGNATURE, boundary=BOUNDARY, body=b"b")
    codes = [cut_refusal(data[:length]) for length in range(data.rindex(b"\r\n--"))]
    assert set(codes) == {
        "server.serverproxy.missing_rest",
        "server.serverproxy.missing_signature",
        "server.serverproxy.service_failed.mime_parsing_failed",
    }
    # Cut right after a boundary it is whole as a body; as a message it isn't.
    assert codes.count("server.serverproxy.missing_signature") == 2


def cut_refusal(begun: bytes) -> str:
    try:
        message = decode_small(CONTENT_TYPE, begun)
    except Fault as fault:
        with pytest.raises(Fault):
            streamed(begun, 10)
        return fault.code
    assert [data for _, data in streamed(begun, 10)] == [part for part in (message.message, message.body) if part]
    with pytest.raises(Fault) as caught:
        transport.require_signed(message, PartKind.REST_REQUEST, reader=Hop.PROVIDER_GATEWAY)
    return caught.value.code


def test_a_message_is_read_as_mime_readers_read_it() -> None:
    """LF alone, text around the body, folded headers, blanks after a boundary: what is in the parts stays as it is."""
    boundary = BOUNDARY.encode()
    data = (
        b"vorrede\n--%b \nContent-Type: application/x-road-rest-request;\n charset=utf-8\n\nGET\r\nx\n"
        b"--%b\ncontent-type:signature/bdoc-1.0/ts\n\n<a/>\n\n--%b--\nnachrede" % (boundary, boundary, boundary)
    )
    message = decode_small(CONTENT_TYPE, data)
    assert (message.kind, message.message, message.signature) == (PartKind.REST_REQUEST, b"GET\r\nx", b"<a/>\n")
    assert message.content_type == "application/x-road-rest-request; charset=utf-8"
    for size in (1, 7, len(data)):
        assert streamed(data, size) == [(PartKind.REST_REQUEST, b"GET\r\nx"), (PartKind.SIGNATURE, b"<a/>\n")]


def test_a_body_without_its_boundary_holds_no_message() -> None:
    for reader, side in ((Hop.PROVIDER_GATEWAY, "server.serverproxy"), (Hop.CONSUMER_GATEWAY, "server.clientproxy")):
        message = decode_small(CONTENT_TYPE, b"<soap/>", reader=reader)
        with pytest.raises(Fault) as caught:
            transport.require_signed(message, PartKind.SOAP, reader=reader)
        assert caught.value.code == f"{side}.missing_soap"


@given(st.binary(max_size=300), st.text(max_size=100))
def test_readers_raise_nothing_but_faults(data: bytes, content_type: str) -> None:
    for declared in (content_type, CONTENT_TYPE, f"multipart/mixed; boundary={content_type}"):
        for reader in (Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY):
            for read in (read_whole, read_streamed):
                refused = read(declared, data, reader)
                assert refused is None or refused.code in ERRORS


def read_whole(declared: str, data: bytes, reader: Hop) -> Fault | None:
    try:
        decode_small(declared, data, reader=reader)
    except Fault as fault:
        return fault
    return None


def read_streamed(declared: str, data: bytes, reader: Hop) -> Fault | None:
    try:
        decoder = Decoder(declared, reader=reader)
        decoder.feed(data)
        decoder.close()
    except Fault as fault:
        return fault
    return None


SOAP = Message().encoded()


def soap_part(message: bytes) -> TransportMessage:
    return TransportMessage(kind=PartKind.SOAP, content_type="text/xml", message=message)


def test_an_unsigned_message_alone_is_no_fault() -> None:
    consumer = Hop.CONSUMER_GATEWAY
    fault = soap_fault(Fault("server.serverproxy.access_denied"))
    for data, is_fault in ((SOAP, False), (fault, True), (b"kein XML", True)):
        message = decode_small(CONTENT_TYPE, encode(("text/xml", data)), reader=consumer)
        assert (message.fault if is_fault else message.message) == data
        assert (message.message if is_fault else message.fault) is None
    with pytest.raises(Fault) as caught:
        transport.require_signed(
            decode_small(CONTENT_TYPE, encode(("text/xml", SOAP)), reader=consumer), PartKind.SOAP, reader=consumer
        )
    assert caught.value.code == "server.clientproxy.missing_signature"


def test_require_signed() -> None:
    consumer, provider = Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY
    whole = TransportMessage(kind=PartKind.REST_REQUEST, message=b"m", signature=b"s")
    assert transport.require_signed(whole, PartKind.REST_REQUEST, reader=provider) == (b"m", b"s")
    cases = [
        (TransportMessage(), PartKind.REST_RESPONSE, consumer, "server.clientproxy.missing_rest"),
        (whole, PartKind.REST_RESPONSE, consumer, "server.clientproxy.missing_rest"),
        (whole, PartKind.SOAP, provider, "server.serverproxy.missing_soap"),
        (soap_part(SOAP), PartKind.SOAP, provider, "server.serverproxy.missing_signature"),
        (soap_part(b"m"), PartKind.SOAP, provider, "server.serverproxy.service_failed.invalid_soap"),
        (
            soap_part(SOAP.replace(b"Body", b"Rest")),
            PartKind.SOAP,
            consumer,
            "server.clientproxy.service_failed.missing_body",
        ),
    ]
    for message, kind, reader, code in cases:
        with pytest.raises(Fault) as caught:
            transport.require_signed(message, kind, reader=reader)
        assert caught.value.code == code


def test_exchange_headers() -> None:
    headers = dict(transport.exchange_headers("id-1", BOUNDARY, original_content_type="a/b"))
    assert headers == {
        "x-road-request-id": "id-1",
        "x-hash-algorithm": "SHA-512",
        "x-proxy-version": "7.8.0",
        "Content-Type": CONTENT_TYPE,
        "x-road-message-type": "REST",
        "x-original-content-type": "a/b",
    }
    assert "x-road-message-type" not in dict(transport.exchange_headers("id-1", BOUNDARY, rest=False))
