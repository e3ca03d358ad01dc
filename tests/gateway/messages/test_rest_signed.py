"""The signed messages of REST: what stands in them, what is refused in them, and what ties them together."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import rest, rest_response
from gateway.messages.faults import Fault
from gateway.messages.headers import IdentityLevel, RoadFields
from gateway.messages.http_fields import DROPPED, Header
from gateway.messages.rest import RESTRequest
from tests.gateway.messages.rest_messages import CLIENT, GENERATED, PATH, UUID, answer, complete, outcome, parse
from trust.identifiers import MemberId, ServiceId, SubsystemId


def test_request_bytes() -> None:
    request = parse(PATH + "/2026?x=1", ("Accept", "*/*"), ("Host", "gw"), method="POST")
    assert rest.serialise_request(complete(request)) == (
        b"POST\r\n/r1/DE-TEST/COM/STADTWERKE/rechnungen/bills/2026?x=1\r\nX-Road-Client:DE-TEST/GOV/MUSTERSTADT/app\r\nAccept:*/*\r\n"
        b"x-road-request-id:" + UUID.encode() + b"\r\nx-road-id:" + GENERATED.encode() + b"\r\n"
    )


@pytest.mark.parametrize("header", [("X-Road-Id", "mine"), ("X-ROAD-ID", "mine")])
def test_a_given_id_is_kept(header: Header) -> None:
    request = complete(parse(PATH, header))
    assert request.message_id == "mine"
    assert request.headers[1:] == (header, ("x-road-request-id", UUID))


def test_an_empty_id_is_none() -> None:
    request = complete(parse(PATH, ("X-Road-Id", "")))
    assert request.message_id == GENERATED
    assert [name for name, _ in request.headers].count("X-Road-Id") == 0


def test_the_citizens_token_goes_no_further() -> None:
    request = parse(PATH, ("X-Datenweg-Citizen", "secret-token"), ("X-Datenweg-Purpose", "P1"))
    assert request.citizen_token == "secret-token"
    assert "secret-token" not in repr(request)
    done = complete(request)
    assert done.citizen_token is None
    assert b"secret-token" not in rest.serialise_request(done)
    assert done.fields.purpose == "P1"


def test_the_roads_fields_replace_the_clients() -> None:
    request = parse(PATH, ("X-Datenweg-Subject", "claimed"))
    fields = replace(request.fields, subjects=("true",), identity_level=IdentityLevel.HIGH, exchange_nonce=bytes(32))
    done = rest.complete_request(request, request_id=UUID, generated_message_id=GENERATED, fields=fields)
    message = rest.serialise_request(done)
    assert b"claimed" not in message
    assert rest.parse_request_message(message) == done


SEGMENT = st.text("abcXYZ09-.'()+,=", min_size=1, max_size=12)
NAME = st.text("abcXYZ-09", min_size=1, max_size=20).map(lambda text: "A" + text)
VALUE = st.text(max_size=40).filter(lambda text: text.isprintable() and text == text.strip())
REQUESTS = st.builds(
    lambda method, ids, tail, query, headers, message_id: rest.parse_request(
        method,
        "/r1/" + "/".join(ids) + tail + query,
        [("X-Road-Client", "/".join(ids[:4])), *headers, *([("X-Road-Id", message_id)] if message_id else [])],
    ),
    st.sampled_from(sorted(rest.METHODS)),
    st.lists(SEGMENT, min_size=5, max_size=5),
    st.sampled_from(["", "/", "/a/b%20c", "//"]),
    st.sampled_from(["", "?", "?a=b&c"]),
    st.lists(st.tuples(NAME, VALUE), max_size=6),
    st.text("abc-09", max_size=20),
)


@given(REQUESTS)
def test_request_round_trip(request: RESTRequest) -> None:
    done = complete(request)
    message = rest.serialise_request(done)
    assert rest.parse_request_message(message) == done
    assert rest.serialise_request(rest.parse_request_message(message)) == message


def code_of_changed(good: bytes, old: bytes, new: bytes, read: Callable[[bytes], object]) -> str:
    """Why the message is refused once `old` in it is `new`."""
    assert good.count(old) == 1
    with pytest.raises(Fault) as caught:
        read(good.replace(old, new))
    return caught.value.code


GOOD_REQUEST = rest.serialise_request(complete(parse(PATH, ("Accept", "*/*"))))


@pytest.mark.parametrize(
    ("old", "new", "leaf"),
    [
        (b"GET\r\n", b"get\r\n", "invalid_message"),
        (b"GET\r\n", b"GET \r\n", "invalid_message"),
        (b"\r\n/r1", b"\r\nhttp://x/r1", "invalid_message"),
        (b"\r\n/r1", b"\r\n//x/r1", "invalid_message"),
        (b"bills\r\n", b"bi lls\r\n", "invalid_message"),
        (b"bills\r\n", b"bills/#a\r\n", "invalid_message"),
        (b"Accept:*/*", b"Accept", "invalid_message"),
        (b"Accept:*/*", b" Accept:*/*", "invalid_message"),
        (b"Accept:*/*", b"Accept :*/*", "invalid_message"),
        (b"Accept:*/*", b"Accept:*/\n*", "invalid_message"),
        (b"Accept:*/*", b"Accept:*/\r*", "invalid_message"),
        (b"Accept:*/*", b"Accept:*/\0*", "invalid_message"),
        (b"Accept:*/*", b"Accept:\xff", "invalid_message"),
        (b"Accept:*/*\r\n", b"\r\n", "invalid_message"),
        (b"Accept:*/*", b"Host:x", "invalid_message"),
        (b"Accept:*/*", b"X:" + b"x" * 70_000, "invalid_message"),
        (b"Accept:*/*\r\n", b"X:y\r\n" * 200, "invalid_message"),
        (b"Accept:*/*", b"x-road-client:I/C/M", "duplicate_header_field"),
        (b"Accept:*/*", b"X-ROAD-ID:I", "duplicate_header_field"),
        (b"Accept:*/*", b"X-Road-Security-Server:I", "invalid_message"),
        (b"Accept:*/*", b"X-Datenweg-Citizen:x", "reserved_header"),
        (b"Accept:*/*", b"X-Datenweg-Identity-Level:highest", "invalid_message"),
        (b"X-Road-Client:", b"X-Road-Clients:", "invalid_client_identifier"),
        (b"x-road-id:", b"x-road-ids:", "missing_header_field"),
        (b"x-road-request-id:", b"x-road-request-ids:", "missing_header_field"),
        (b"\r\nx-road-request", b"\nx-road-request", "invalid_message"),
    ],
)
def test_malformed_signed_requests(old: bytes, new: bytes, leaf: str) -> None:
    assert code_of_changed(GOOD_REQUEST, old, new, rest.parse_request_message) == f"server.serverproxy.{leaf}"


def test_every_cut_message_is_refused() -> None:
    for length in range(len(GOOD_REQUEST)):
        with pytest.raises(Fault):
            rest.parse_request_message(GOOD_REQUEST[:length])


def flipped(good: bytes) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda at, by, new: good[:at] + new + good[at + by :],
        st.integers(0, len(good)),
        st.integers(0, 9),
        st.binary(max_size=6),
    )


@given(st.binary(max_size=300) | flipped(GOOD_REQUEST))
def test_parse_request_message_raises_nothing_but_faults(data: bytes) -> None:
    request = outcome(lambda: rest.parse_request_message(data))
    if isinstance(request, Fault):
        assert request.code.startswith("server.serverproxy.")
    else:
        assert rest.serialise_request(request) == data


def test_a_break_that_slipped_in_is_not_signed() -> None:
    with pytest.raises(Fault) as caught:
        rest.serialise_request(replace(parse(), headers=(("X-A", "a\r\nX-B:c"),)))
    assert caught.value.code == "server.clientproxy.internal_error"


def test_service_headers() -> None:
    request = parse(PATH, ("X-Road-Service", "I/C/M/S/lie"), ("Accept", "*/*"))
    fields = RoadFields(("p1",), exchange_nonce=bytes(32), identity_level=IdentityLevel.LOW)
    done = rest.complete_request(request, request_id=UUID, generated_message_id=GENERATED, fields=fields)
    assert rest.service_headers(done) == [
        CLIENT,
        ("Accept", "*/*"),
        ("X-Datenweg-Subject", "p1"),
        ("X-Datenweg-Identity-Level", "low"),
        ("x-road-request-id", UUID),
        ("x-road-id", GENERATED),
        ("X-Road-Service", "DE-TEST/COM/STADTWERKE/rechnungen/bills"),
    ]


# -- the signed response

REQUEST = complete(parse())
GOOD_RESPONSE = rest_response.serialise_response(answer(REQUEST, ("Content-Type", "text/plain"), receipt="log 1 abc="))


def test_response_bytes() -> None:
    digest = rest_response.request_hash(rest.serialise_request(REQUEST), None).encode()
    assert (
        b"200\r\nOK\r\nContent-Type:text/plain\r\nX-Datenweg-Audit-Receipt:log 1 abc=\r\nx-road-id:"
        + GENERATED.encode()
        + b"\r\n"
        b"x-road-client:DE-TEST/GOV/MUSTERSTADT/app\r\nx-road-service:DE-TEST/COM/STADTWERKE/rechnungen/bills\r\n"
        b"x-road-request-id:" + UUID.encode() + b"\r\nx-road-request-hash:" + digest + b"\r\n"
    ) == GOOD_RESPONSE
    assert rest_response.parse_response_message(GOOD_RESPONSE).receipt == "log 1 abc="


@given(
    REQUESTS,
    st.integers(200, 599),
    VALUE,
    st.lists(st.tuples(NAME, VALUE), max_size=6),
    st.none() | st.text("abc 019=", min_size=1, max_size=30).filter(lambda text: text == text.strip()),
)
def test_response_round_trip(
    request: RESTRequest, status: int, reason: str, headers: list[Header], receipt: str | None
) -> None:
    done = complete(request)
    digest = rest_response.request_hash(rest.serialise_request(done), None)
    response = rest_response.build_response(
        done, status=status, reason=reason, headers=headers, request_hash=digest, receipt=receipt
    )
    message = rest_response.serialise_response(response)
    assert rest_response.parse_response_message(message) == response
    rest_response.check_response_consistency(done, rest_response.parse_response_message(message), digest)


@pytest.mark.parametrize(
    "name",
    [
        *sorted(DROPPED),
        "X-Road-Error",
        "X-Road-Client",
        "x-road-id",
        "X-Road-Service",
        "x-road-request-id",
        "X-Road-Request-Hash",
        "X-Datenweg-Audit-Receipt",
        "X-Datenweg-Subject",
    ],
)
def test_a_service_does_not_speak_for_the_road(name: str) -> None:
    assert answer(REQUEST, (name, "forged")) == answer(REQUEST)


def test_doubled_headers_of_a_service_pass() -> None:
    cookies = (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
    assert answer(REQUEST, *cookies).headers[:2] == cookies


@pytest.mark.parametrize(
    ("status", "reason", "headers"),
    [
        (99, "OK", []),
        (600, "OK", []),
        (200, "O\r\nK", []),
        (200, "OK", [("X-A", "b\r\nX-Road-Error: c")]),
        (200, "OK", [("X A", "b")]),
        (200, "OK", [("X-A", "b" * 40_000)]),
        (200, "OK", [("X-A", "b")] * 200),
    ],
)
def test_answers_that_http_does_not_allow(status: int, reason: str, headers: list[Header]) -> None:
    with pytest.raises(Fault) as caught:
        rest_response.build_response(
            REQUEST, status=status, reason=reason, headers=headers, request_hash="x", receipt=None
        )
    assert caught.value.code == "server.serverproxy.service_failed.http_error"


@pytest.mark.parametrize(
    ("old", "new", "leaf"),
    [
        (b"200\r\n", b"20\r\n", "invalid_message"),
        (b"200\r\n", b"600\r\n", "invalid_message"),
        (b"200\r\n", b"+20\r\n", "invalid_message"),
        (b"200\r\n", "²00\r\n".encode(), "invalid_message"),
        (b"Content-Type:text/plain", b"Server:x", "invalid_message"),
        (b"Content-Type:text/plain", b"x-road-id:x", "duplicate_header_field"),
        (b"x-road-client:DE-TEST/", b"x-road-client:DE TEST/", "invalid_message"),
        (b"rechnungen/bills", b"rechnungen/bills/v1", "invalid_message"),
        (b"x-road-service:", b"x-road-services:", "missing_header_field"),
        (b"x-road-request-hash:", b"x-road-request-hash:AA", "invalid_message"),
        (b"x-road-request-hash:", b"x-road-request-hash:!", "invalid_message"),
    ],
)
def test_malformed_signed_responses(old: bytes, new: bytes, leaf: str) -> None:
    code = code_of_changed(GOOD_RESPONSE, old, new, rest_response.parse_response_message)
    assert code == f"server.clientproxy.service_failed.{leaf}"


@given(st.binary(max_size=300) | flipped(GOOD_RESPONSE))
def test_parse_response_message_raises_nothing_but_faults(data: bytes) -> None:
    response = outcome(lambda: rest_response.parse_response_message(data))
    if isinstance(response, Fault):
        assert response.code.startswith("server.clientproxy.service_failed.")
    else:
        assert rest_response.serialise_response(response) == data


def test_the_error_header_of_a_peers_answer_is_not_delivered() -> None:
    message = GOOD_RESPONSE.replace(b"Content-Type:text/plain", b"X-Road-Error:forged")
    names = [name.lower() for name, _ in rest_response.delivered_headers(rest_response.parse_response_message(message))]
    assert "x-road-error" not in names
    assert names[-1] == "x-road-request-hash"


# -- binding


def test_request_hash() -> None:
    def sha512(data: bytes) -> bytes:
        return hashlib.sha512(data).digest()

    message, body = b"message", sha512(b"body")
    assert base64.b64decode(rest_response.request_hash(message, None)) == sha512(message)
    assert base64.b64decode(rest_response.request_hash(message, body)) == sha512(sha512(message) + body)
    assert rest_response.bind_digests(sha512(message), body) == rest_response.request_hash(message, body)


def test_the_hash_differs_per_call() -> None:
    other = rest.complete_request(parse(), request_id="other", generated_message_id=GENERATED)
    assert rest_response.request_hash(rest.serialise_request(other), None) != rest_response.request_hash(
        GOOD_REQUEST, None
    )


@pytest.mark.parametrize(
    "change",
    [
        {"client": MemberId("I", "C", "M")},
        {"message_id": "other"},
        {"service": ServiceId(SubsystemId("I", "C", "M", "S"), "x")},
        {"request_id": "other"},
        {"request_hash": "ä"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_answer_to_another_request_is_refused(change: dict[str, object]) -> None:
    digest = rest_response.request_hash(rest.serialise_request(REQUEST), None)
    response = answer(REQUEST)
    rest_response.check_response_consistency(REQUEST, response, digest)
    with pytest.raises(Fault) as caught:
        rest_response.check_response_consistency(REQUEST, replace(response, **change), digest)  # type: ignore[arg-type]
    assert caught.value.code == "server.clientproxy.inconsistent_response"
