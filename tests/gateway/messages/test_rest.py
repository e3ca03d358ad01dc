"""REST: the client's request, read into what is signed of it (PR-REST 1.0)."""

from __future__ import annotations

import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import rest
from gateway.messages.faults import Fault
from gateway.messages.http_fields import DROPPED, Header
from gateway.messages.rest import RepresentedParty
from tests.gateway.messages.rest_messages import CLIENT, PATH, complete, outcome, parse
from trust.identifiers import MemberId, SecurityServerId, ServiceId, SubsystemId


def refused(path: str = PATH, *headers: Header, method: str = "GET") -> Fault:
    with pytest.raises(Fault) as caught:
        parse(path, *headers, method=method)
    return caught.value


# -- the client's request


def test_request() -> None:
    request = parse(
        PATH + "/2026/a%2Fb?x=1&y=%20",
        ("X-Road-Id", "my-id"),
        ("x-road-userid", "DE1"),
        ("X-Road-Issue", "7"),
        ("X-Road-Security-Server", "DE-TEST/COM/STADTWERKE/gw1"),
        ("X-Road-Represented-Party", "COM/42"),
        ("Accept", "text/plain"),
    )
    assert request.client == SubsystemId("DE-TEST", "GOV", "MUSTERSTADT", "app")
    assert request.service == ServiceId(SubsystemId("DE-TEST", "COM", "STADTWERKE", "rechnungen"), "bills")
    assert (request.service_path, request.query) == ("/2026/a%2Fb", "x=1&y=%20")
    assert (request.message_id, request.user_id, request.issue) == ("my-id", "DE1", "7")
    assert request.security_server == SecurityServerId(MemberId("DE-TEST", "COM", "STADTWERKE"), "gw1")
    assert request.represented_party == RepresentedParty("COM", "42")
    assert request.headers[0] == CLIENT
    assert request.headers[-1] == ("Accept", "text/plain")


@pytest.mark.parametrize(
    ("path", "service_path", "query"),
    [
        (PATH, "", None),
        (PATH + "/", "/", None),
        (PATH + "//", "//", None),
        (PATH + "?", "", ""),
        (PATH + "/a?b/c?d", "/a", "b/c?d"),
        (PATH + "/a.b/c..d/...", "/a.b/c..d/...", None),
        ("http://anything:80" + PATH + "/x", "/x", None),
    ],
)
def test_path_and_query_stay_raw(path: str, service_path: str, query: str | None) -> None:
    request = parse(path)
    assert (request.service_path, request.query) == (service_path, query)
    assert request.target == path.removeprefix("http://anything:80")


@pytest.mark.parametrize("method", sorted(rest.METHODS))
def test_methods(method: str) -> None:
    assert parse(method=method).method == method


@pytest.mark.parametrize("method", ["get", "CONNECT", "", "GET ", "GET\r\nX"])
def test_other_methods(method: str) -> None:
    assert refused(method=method).code == "server.clientproxy.internal_error"


@pytest.mark.parametrize(
    ("encoded", "code"),
    [
        ("s%2Fub", "s/ub"),
        ("%C3%B6", "ö"),
        ("CO%20DE", "CO DE"),
        ("a-b.c'(1)", "a-b.c'(1)"),
        ("a%25b", "a%b"),
        ("a:b;c", "a:b;c"),
        ("a:%C3%B6", "a:ö"),
    ],
)
def test_percent_encoded_identifiers(encoded: str, code: str) -> None:
    request = rest.parse_request("GET", f"/r1/I/C/M/{encoded}/S", [("X-Road-Client", f"I/C/{encoded}")])
    assert request.service.provider.subsystem_code == code
    assert request.client == MemberId("I", "C", code)


@pytest.mark.parametrize(
    "segment",
    ["%XY", "Test%", "a b", "a%2", "%", "ö", "", "%FF", "%00", "a%2F%00", "a:b%E2%80%8B", 'a"b', "a\\b", "a|b", "%ZZ"],
)
def test_malformed_identifiers(segment: str) -> None:
    assert refused(f"/r1/I/C/M/{segment}/S").code == "server.clientproxy.internal_error"
    with pytest.raises(Fault) as caught:
        rest.parse_request("GET", PATH, [("X-Road-Client", f"I/C/{segment}")])
    assert caught.value.code == "server.clientproxy.internal_error"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/r1",
        "/r1/invalid",
        "/r1/I/C/M/S",
        "/r2/I/C/M/S/X",
        "/r/I/C/M/S/X",
        "//r1/I/C/M/S/X",
        "r1/I/C/M/S/X",
        "*",
        "http://x",
        PATH + "/a#b",
        PATH + "/a b",
        PATH + "/a\r\nb",
        PATH + "/\udc80",
        PATH + "/\x00",
    ],
)
def test_malformed_paths_are_an_internal_error_with_500(path: str) -> None:
    fault = refused(path)
    assert (fault.code, fault.status) == ("server.clientproxy.internal_error", 500)


@pytest.mark.parametrize(
    ("headers", "leaf"), [([], "invalid_client_identifier"), ([("X-Road-Client", "")], "internal_error")]
)
def test_no_client_is_an_error_of_the_road_with_500(headers: list[tuple[str, str]], leaf: str) -> None:
    with pytest.raises(Fault) as caught:
        rest.parse_request("GET", PATH, headers)
    assert (caught.value.code, caught.value.status) == (f"server.clientproxy.{leaf}", 500)
    assert "X-Road-Client" in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Road-Security-Server", "I/C/M"),
        ("X-Road-Security-Server", "I/C/M/S/T"),
        ("X-Road-Represented-Party", "a/b/c"),
        ("X-Road-Represented-Party", ""),
        ("X-Road-Represented-Party", "a/"),
        ("X-Road-Id", "x" * 256),
    ],
)
def test_malformed_road_headers(name: str, value: str) -> None:
    assert refused(PATH, (name, value)).code == "server.clientproxy.internal_error"


@pytest.mark.parametrize(
    "name",
    [
        "X-Road-Client",
        "x-road-id",
        "X-Road-UserId",
        "X-Road-Issue",
        "X-Road-Security-Server",
        "X-Road-Represented-Party",
        "X-Road-Service",
        "X-Datenweg-Consent",
        "X-Datenweg-Citizen",
    ],
)
def test_doubled_headers(name: str) -> None:
    value = "DE-TEST/GOV/MUSTERSTADT/app"
    fault = refused(PATH, (name, value), (name.upper(), value))
    assert (fault.code, fault.status) == ("client.duplicate_header_field", 400)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A\r\nX-Road-Client", "b"),
        ("X-A", "a\r\nX-Road-UserId: b"),
        ("X-A", "a\r\n b"),
        ("X-A", "a\0"),
        ("X A", "b"),
        ("X-A:", "b"),
        ("", "b"),
    ],
)
def test_injected_headers(name: str, value: str) -> None:
    fault = refused(PATH, (name, value))
    assert (fault.code, fault.status) == ("client.bad_request", 400)


@pytest.mark.parametrize(
    "headers",
    [[("X-A", "b" * 70_000)], [("X-A", "b")] * 130, [(f"X-{'a' * 100}", "b" * 7000)] * 10],
    ids=["long", "many", "sum"],
)
def test_oversize_headers(headers: list[Header]) -> None:
    assert refused(PATH, *headers).code == "client.bad_request"
    assert refused(PATH + "/" + "x" * 20_000).code == "client.bad_request"


@pytest.mark.parametrize("tail", ["/../x", "/a/..", "/.", "/%2e%2E/x", "/.%2e", "/..;a=b/x"])
def test_dot_segments_stay_for_the_rights_to_decide(tail: str) -> None:
    """`gateway.messages.paths` refuses them where rights are looked at; what is signed is what was sent."""
    request = parse(PATH + tail)
    assert request.service_path == tail
    assert rest.parse_request_message(rest.serialise_request(complete(request))).service_path == tail


@pytest.mark.parametrize(
    "name", ["X-Datenweg-Identity-Level", "X-Datenweg-Exchange-Nonce", "x-datenweg-audit-receipt", "X-DATENWEG-NEW"]
)
def test_reserved_headers(name: str) -> None:
    assert refused(PATH, (name, "high")).code == "client.reserved_header"


@pytest.mark.parametrize("name", [*sorted(DROPPED), "X-Road-Request-Id", "x-road-request-hash"])
def test_headers_that_do_not_travel(name: str) -> None:
    for spelling in (name, name.upper(), name.title()):
        assert parse(PATH, (spelling, "x"), (spelling, "y")).headers == (CLIENT,)


def test_headers_that_travel_keep_order_case_and_doubles() -> None:
    headers = [
        ("Cookie", "a=1"),
        ("cookie", "b=2"),
        ("Authorization", "Bearer x"),
        ("X-Custom", "Jõgi"),
        ("Date", "today"),
    ]
    assert parse(PATH, *headers).headers == (CLIENT, *headers)


@given(
    st.text(max_size=80),
    st.text(max_size=80),
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=4),
)
def test_parse_request_raises_nothing_but_faults(method: str, target: str, headers: list[Header]) -> None:
    for verb, path in ((method, target), ("GET", target), ("GET", PATH + target)):
        request = outcome(partial(rest.parse_request, verb, path, [CLIENT, *headers]))
        if isinstance(request, Fault):
            assert request.message.isprintable()
        else:
            done = complete(request)
            assert rest.parse_request_message(rest.serialise_request(done)) == done


def test_a_generated_id_has_the_form_of_the_proxy() -> None:
    assert re.fullmatch(r"DE-TEST-[0-9a-f-]{36}", complete(parse()).message_id)
