"""The parsers of `gateway.messages`: what clients, services and peers send."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from gateway.messages.faults import Fault, Hop, error_header, parse_soap_fault, rest_error_body, soap_fault
from gateway.messages.headers import parse_client_fields, parse_signed_fields, require_receipt
from gateway.messages.http_fields import Refused, field_name, field_value
from gateway.messages.mime import boundary_of, charset_of, join_related, split_related
from gateway.messages.multipart import MalformedMultipart, join_multipart
from gateway.messages.related_reader import ContentData, PartBegin, RelatedReader
from gateway.messages.rest import (
    complete_request,
    parse_request,
    parse_request_message,
    serialise_request,
    service_headers,
)
from gateway.messages.rest_response import parse_response_message, serialise_response
from gateway.messages.soap import (
    Reading,
    SOAPMessage,
    add_request_hash,
    check_soap_action,
    parse_message,
    remove_receipt,
)
from gateway.messages.soap_request import split_soap
from gateway.messages.transport import Decoder, TransportMessage, decode_small
from gateway.messages.transport_assembly import Assembler, ContentBegin
from tests.fuzz.registry import XML_TOKENS, Target, each, join, split, text_of
from tests.trust.containers import soap

OWN: Final = (Fault,)
_MIME_TOKENS: Final = (
    b"--b",
    b"--b--",
    b"\r\n--b\r\n",
    b"\r\n\r\n",
    b"boundary=b",
    b'boundary="b"',
    b"\r\n --b",
    b"\n\n",
)
_CLIENT: Final = b"X-Road-Client: DE-TEST/GOV/MUSTERSTADT/app"
_DATENWEG: Final = "urn:x-datenweg:soap:1"
_UUID: Final = "6b1d7dd0-45f2-4a4e-8f5f-62b7b3f0a001"


# -- REST --


def _fields(lines: Sequence[bytes]) -> list[tuple[str, str]]:
    return [(text_of(name), text_of(value)) for name, _, value in (line.partition(b":") for line in lines)]


def _rest_request(data: bytes) -> None:
    first, *lines = data.split(b"\n")
    method, _, target = first.partition(b" ")
    request = parse_request(text_of(method), text_of(target), _fields(lines))
    complete = complete_request(request, request_id=_UUID, generated_message_id=f"DE-TEST-{_UUID}")
    message = serialise_request(complete)
    # What one gateway signs, the other one reads alike.
    assert parse_request_message(message) == complete, "the peer reads another request"
    service_headers(complete)


def _request_message(data: bytes) -> None:
    request = parse_request_message(data)
    assert serialise_request(request) == data, "the message isn't what was read"
    service_headers(request)


def _response_message(data: bytes) -> None:
    assert serialise_response(parse_response_message(data)) == data, "the message isn't what was read"


def _request_seeds() -> Sequence[bytes]:
    return (
        b"GET /r1/DE-TEST/COM/STADTWERKE/rechnungen/bills/2026?q=%C3%BC\n" + _CLIENT + b"\nAccept: application/json",
        b"POST http://gateway.test/r1/DE-TEST/COM/STADTWERKE/rechnungen/bills\n"
        + _CLIENT
        + b"\nX-Road-Id: 7\nX-Road-Security-Server: DE-TEST/GOV/MUSTERSTADT/gateway1"
        + b"\nX-Road-Represented-Party: COM/77\nX-Datenweg-Subject: abc, def\nX-Datenweg-Purpose: bill"
        + b"\nX-Datenweg-Citizen: a.b.c\nX-Road-UserId: EE1",
    )


_REQUEST_MESSAGE: Final = (
    b"GET\r\n/r1/DE-TEST/COM/STADTWERKE/rechnungen/bills?x=1\r\nX-Road-Client:DE-TEST/GOV/MUSTERSTADT/app\r\n"
    b"x-road-request-id:" + _UUID.encode() + b"\r\nx-road-id:7\r\nX-Datenweg-Subject:abc\r\n"
    b"X-Datenweg-Identity-Level:high\r\nX-Datenweg-Exchange-Nonce:" + b"A" * 43 + b"=\r\n"
)
_RESPONSE_MESSAGE: Final = (
    b"200\r\nOK\r\nContent-Type:application/json\r\nx-road-id:7\r\nx-road-client:DE-TEST/GOV/MUSTERSTADT/app\r\n"
    b"x-road-service:DE-TEST/COM/STADTWERKE/rechnungen/bills\r\nx-road-request-id:" + _UUID.encode() + b"\r\n"
    b"x-road-request-hash:" + b"A" * 86 + b"==\r\n"
)
_HEADER_TOKENS: Final = (
    b"\r\n",
    b"\nTransfer-Encoding: chunked",
    b"\nX-Road-Request-Hash: x",
    b"\nX-Datenweg-Exchange-Nonce: x",
    b"\nX-Road-Id: 8",
    b"/../",
    b"%2f",
    b"#",
    b"?",
    b"\xc2\x85",
    b"\x7f",
)


def _http_fields(data: bytes) -> None:
    name, value = (text_of(part) for part in split(data, 2))
    each(lambda: field_name(name), refusals=(Refused,))
    cleaned = field_value(value)
    assert not re.search("[\r\n\0]", cleaned)
    cleaned.encode("utf-8")
    assert field_value(cleaned) == cleaned


def _road_fields(data: bytes) -> None:
    found = {name.lower().strip(): value.strip() for name, value in _fields(data.split(b"\n"))}
    each(
        lambda: parse_signed_fields(found),
        lambda: require_receipt(found.get("x-datenweg-audit-receipt")),
        refusals=OWN,
    )
    fields = parse_client_fields(found)
    again = {name.lower(): value for name, value in fields.format()}
    assert parse_client_fields(again) == fields


# -- multipart --


def _pieces(data: bytes) -> list[bytes]:
    """The bytes as a connection might bring them."""
    step = max(1 + len(data) % 13, len(data) // 64)
    return [data[at : at + step] for at in range(0, len(data), step)]


def _verdict(read: Callable[[], object], *refusals: type[Exception]) -> object:
    try:
        return read()
    except refusals:
        return None


def _related(data: bytes) -> None:
    def piecewise() -> list[tuple[object, bytes]]:
        reader = RelatedReader("b")
        found: list[tuple[object, list[bytes]]] = []
        events = [event for piece in _pieces(data) for event in reader.feed(piece)] + reader.close()
        for event in events:
            if isinstance(event, PartBegin):
                found.append(((event.part.content_type, event.part.headers), []))
            elif isinstance(event, ContentData):
                found[-1][1].append(event.data)
        return [(header, b"".join(content)) for header, content in found]

    whole = _verdict(
        lambda: [((part.content_type, part.headers), part.data) for part in split_related(data, "b")],
        MalformedMultipart,
    )
    assert whole == _verdict(piecewise, MalformedMultipart), "whole and piece by piece differ"
    parts = split_related(data, "b")
    if parts and all(part.content_type for part in parts):
        again = split_related(join_related(parts, "b"), "b")
        assert [part.data for part in again] == [part.data for part in parts], "what is sent on has other parts"


_WRITTEN: Final = join_multipart(
    [(b"Content-Type: text/plain\r\nx-a: \xc3\xbc", b"one"), (b"", b"two\r\n-"), (b"a:b", b"")], "b"
)
_RELATED: Final = (
    b"preamble\r\n--b\r\nContent-Type: text/xml\r\nContent-ID:\r\n <a>\r\n\r\n<a/>\r\n--b \nContent-Type: x/y\n\nraw\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\n\r\n--b--\r\nepilogue"
)


def _transport(data: bytes) -> None:
    kind, body = split(data, 2)
    content_type = text_of(kind)
    for reader in (Hop.PROVIDER_GATEWAY, Hop.CONSUMER_GATEWAY):
        if reader is Hop.CONSUMER_GATEWAY and content_type[:8].lower() == "text/xml":
            continue

        def piecewise(reader: Hop = reader) -> object:
            decoder = Decoder(content_type, reader=reader)
            for piece in _pieces(body):
                decoder.feed(piece)
            decoder.close()
            return True

        whole = _verdict(lambda reader=reader: decode_small(content_type, body, reader=reader), *OWN)  # type: ignore[misc]
        assert (whole is None) == (_verdict(piecewise, *OWN) is None), "whole and piece by piece differ"
        assembled = _verdict(lambda reader=reader: _assembled(content_type, body, reader), *OWN)  # type: ignore[misc]
        if isinstance(whole, TransportMessage) and isinstance(assembled, TransportMessage):
            assert (whole.kind, whole.message, whole.signature, whole.fault) == (
                assembled.kind,
                assembled.message,
                assembled.signature,
                assembled.fault,
            )
        # Attachments are looked into as they come, or later: only there may the verdicts part.
        assert whole is not None or assembled is None
    decode_small(content_type, body)


def _assembled(content_type: str, body: bytes, reader: Hop) -> TransportMessage:
    assembler = Assembler(content_type, reader=reader, forbidden="forbidden")
    begun: ContentBegin | None = None
    content: list[bytes] = []
    for read in (*(partial(assembler.feed, piece) for piece in _pieces(body)), assembler.end):
        for event in read():
            if isinstance(event, ContentBegin):
                begun, content = event, []
            elif isinstance(event, ContentData):
                content.append(event.data)
            else:
                assert begun is not None
                assembler.place(begun, b"".join(content))
    return assembler.close()


def _transport_seeds() -> Sequence[bytes]:
    ocsp = (b"content-type:application/ocsp-response", b"0\3\2\1\1")
    signature = (b"content-type:signature/bdoc-1.0/ts", b"<s/>")
    request = (b"content-type:application/x-road-rest-request", _REQUEST_MESSAGE)
    body = (b"content-type:application/x-road-rest-body", b"{}")
    soap = (b"content-type:text/xml; charset=UTF-8\r\nx-original:1", soap_message())
    attachments = (b"content-type:multipart/mixed; boundary=a", b"--a\r\ncontent-type:x/y\r\n\r\nraw\r\n--a--\r\n")
    chains = [
        (b"content-type:application/hash-chain-result", b"<r/>"),
        (b"content-type:application/hash-chain", b"<c/>"),
    ]
    fault = (b"content-type:text/xml", soap_fault(Fault("server.serverproxy.internal_error")))
    kind = b"multipart/mixed; charset=UTF-8; boundary=b"
    messages = ([ocsp, request, body, signature], [soap, attachments, *chains, signature], [request, fault], [fault])
    return [join(kind, join_multipart(parts, "b")) for parts in messages]


# -- SOAP --


def soap_message(more: str = "", *, codec: str = "utf-8", declared: bool = True, body: str | None = None) -> bytes:
    """A SOAP request with more header entries, or another body."""
    text = soap().decode()
    if body is not None:
        text = re.sub("(?s)<SOAP-ENV:Body>.*</SOAP-ENV:Body>", f"<SOAP-ENV:Body>{body}</SOAP-ENV:Body>", text)
        text = text.replace(">bills</id:serviceCode>", f">{body.partition(' ')[0].partition(':')[2]}</id:serviceCode>")
    text = text.replace("</SOAP-ENV:Header>", f"{more}</SOAP-ENV:Header>")
    return (text if declared else text.partition("\n")[2]).encode(codec)


def _soap(data: bytes) -> None:
    kind, body = split(data, 2)
    content_type = text_of(kind)
    each(lambda: boundary_of(content_type), lambda: charset_of(content_type), refusals=(MalformedMultipart,))
    for reading in Reading:
        each(
            lambda reading=reading: split_soap(body, content_type, reading),  # type: ignore[misc]
            lambda reading=reading: check_soap_action(content_type, reading),  # type: ignore[misc]
            refusals=OWN,
        )
    message = parse_message(body, content_type, Reading.SERVICE_ANSWER)
    if not isinstance(message, SOAPMessage):
        return
    added = parse_message(add_request_hash(message, "QUJD", "r 1 x"), content_type, Reading.SIGNED_RESPONSE)
    assert isinstance(added, SOAPMessage)
    assert added.request_hash is not None
    assert (added.request_hash.value, added.receipt) == ("QUJD", "r 1 x"), "the gateway's own entries got lost"
    assert (added.client, added.service, added.message_id, added.body) == (
        message.client,
        message.service,
        message.message_id,
        message.body,
    ), "adding to the message changed it"
    delivered = parse_message(remove_receipt(added), content_type, Reading.SIGNED_RESPONSE)
    assert isinstance(delivered, SOAPMessage)
    assert delivered.receipt is None


_PARTY: Final = (
    '<r:representedParty xmlns:r="http://x-road.eu/xsd/representation.xsd"><r:partyClass>COM</r:partyClass>'
    "<r:partyCode>7</r:partyCode></r:representedParty>"
)


def _soap_seeds() -> Sequence[bytes]:
    kind = b"text/xml; charset=UTF-8"
    own = f'<d:subject xmlns:d="{_DATENWEG}">abc</d:subject><d:purpose xmlns:d="{_DATENWEG}">bill</d:purpose>'
    plain = soap_message()
    hashed = soap_message('<xrd:requestHash algorithmId="x">eA==</xrd:requestHash><xrd:y/>')
    related = b"--b\r\nContent-Type: text/xml\r\n\r\n" + plain + b"\r\n--b\r\nContent-Type: x/y\r\n\r\nraw\r\n--b--\r\n"
    return (
        join(kind, plain),
        join(kind, soap_message(own + _PARTY + "<xrd:issue>ä</xrd:issue>")),
        join(b"text/xml", soap_message(own, codec="utf-16", declared=False)),
        join(b"text/xml; charset=iso-8859-1", soap_message(codec="iso-8859-1", declared=False)),
        join(b"application/xop+xml", hashed),
        join(b'multipart/related; type="text/xml"; boundary=b', related),
        join(kind, soap_fault(Fault("client.bad_request", "nicht so"))),
    )


_SOAP_TOKENS: Final = (
    *XML_TOKENS,
    b"<xrd:id>x</xrd:id>",
    b"<xrd:id/>",
    b' xmlns:xrd="http://x-road.eu/xsd/xroad.xsd"',
    b"<env:Header/>",
    b"<env:Body/>",
    b"charset=utf-16",
    b"charset=windows-1252",
    b"\xff\xfe",
    b"</env:Header>",
)


def _fault(data: bytes) -> None:
    fault = parse_soap_fault(data)
    soap_fault(fault)
    rest_error_body(fault, "application/xml")
    rest_error_body(fault)
    name, value = error_header(fault)
    assert field_value(value) == value
    assert field_name(name)


TARGETS: Final = (
    Target("gateway.rest.request", _rest_request, _request_seeds, OWN, _HEADER_TOKENS),
    Target("gateway.rest.request_message", _request_message, lambda: [_REQUEST_MESSAGE], OWN, _HEADER_TOKENS),
    Target("gateway.rest.response_message", _response_message, lambda: [_RESPONSE_MESSAGE], OWN, _HEADER_TOKENS),
    Target("gateway.http_fields", _http_fields, lambda: [join(b"X-A", "Größe".encode())], (Refused,), _HEADER_TOKENS),
    Target(
        "gateway.headers",
        _road_fields,
        lambda: [b"X-Datenweg-Subject: abc, def\nX-Datenweg-Purpose: bill\nX-Datenweg-Consent: c-1"],
        OWN,
        (b"X-Datenweg-Identity-Level: high", b"X-Datenweg-Audit-Receipt: o 1 x", b","),
    ),
    Target("gateway.mime", _related, lambda: [_RELATED, _WRITTEN], (MalformedMultipart,), _MIME_TOKENS),
    Target("gateway.transport", _transport, _transport_seeds, OWN, (*_MIME_TOKENS, b"--a", b"content-type:text/xml")),
    Target("gateway.soap", _soap, _soap_seeds, OWN, _SOAP_TOKENS),
    Target(
        "gateway.faults",
        _fault,
        lambda: [soap_fault(Fault("server.serverproxy.internal_error", "ach", detail="7", actor="a"))],
        OWN,
        XML_TOKENS,
    ),
)
