"""HTTP fields and the road's own X-Datenweg fields."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import headers
from gateway.messages.faults import Fault
from gateway.messages.headers import IdentityLevel, RoadFields
from gateway.messages.http_fields import Refused, field_name, field_value

PSEUDONYM = st.text("ABCxyz019-_.~", min_size=1, max_size=128)
TEXT = st.text(min_size=1, max_size=100).filter(lambda text: text.isprintable() and text == text.strip())
FIELDS = st.builds(
    RoadFields,
    subjects=st.lists(PSEUDONYM, max_size=5, unique=True).map(tuple),
    purpose=st.none() | TEXT,
    consent=st.none() | TEXT,
    identity_level=st.none() | st.sampled_from([level for level in IdentityLevel if level]),
    exchange_nonce=st.none() | st.binary(min_size=32, max_size=32),
)


def lowered(fields: RoadFields) -> Mapping[str, str]:
    return {name.lower(): value for name, value in fields.format()}


@given(FIELDS)
def test_signed_fields_round_trip(fields: RoadFields) -> None:
    assert headers.parse_signed_fields(lowered(fields)) == fields


@given(
    st.dictionaries(
        st.sampled_from(sorted(lowered(RoadFields(("a",), "b", "c", IdentityLevel.LOW, bytes(32))))), st.text()
    )
)
def test_any_value_gives_fields_or_a_fault(values: dict[str, str]) -> None:
    for parse in (headers.parse_signed_fields, headers.parse_client_fields):
        try:
            told: Collection[str] = lowered(parse(values)).values()
        except Fault as fault:
            told = [fault.message]
        assert all(value.isprintable() for value in told)


@pytest.mark.parametrize(
    "name", [headers.IDENTITY_LEVEL, headers.EXCHANGE_NONCE, headers.AUDIT_RECEIPT, "X-Datenweg-New"]
)
def test_a_client_may_not_set_what_is_the_roads(name: str) -> None:
    with pytest.raises(Fault) as caught:
        headers.parse_client_fields({name.lower(): "high"})
    assert caught.value.code == "client.reserved_header"


@pytest.mark.parametrize("name", [headers.CITIZEN, headers.AUDIT_RECEIPT])
def test_a_peer_may_not_forward_what_is_not_for_the_road(name: str) -> None:
    with pytest.raises(Fault) as caught:
        headers.parse_signed_fields({name.lower(): "x"})
    assert caught.value.code == "server.serverproxy.reserved_header"


def test_fields_of_a_later_version_are_left_alone() -> None:
    assert headers.parse_signed_fields({"x-datenweg-new": "x"}) == RoadFields()


@pytest.mark.parametrize(
    "value", ["", ",", "a,,b", "a b", "a,a", "ä", "x" * 129, ",".join(map(str, range(101))), "a;b"]
)
def test_bad_subjects(value: str) -> None:
    with pytest.raises(Fault) as caught:
        headers.parse_subjects(value)
    assert caught.value.code == "client.bad_request"
    assert not value or f"({value}" not in caught.value.message


@pytest.mark.parametrize(
    "value", ["", "AA==", "!" * 44, base64.b64encode(bytes(31)).decode(), base64.b64encode(bytes(32)).decode() + "="]
)
def test_bad_nonces(value: str) -> None:
    with pytest.raises(Fault) as caught:
        headers.parse_nonce(value)
    assert caught.value.code == "server.serverproxy.invalid_message"


def test_identity_levels_are_ordered() -> None:
    low, substantial, high = IdentityLevel.LOW, IdentityLevel.SUBSTANTIAL, IdentityLevel.HIGH
    assert high.reaches(low)
    assert not IdentityLevel.NONE.reaches(low)
    assert RoadFields(identity_level=IdentityLevel.NONE).format() == []
    assert high.reaches(high)
    assert substantial.reaches(low)
    assert not substantial.reaches(high)
    assert not low.reaches(substantial)


@pytest.mark.parametrize(
    ("value", "code"), [(None, "missing"), ("", "missing"), ("x" * 40_000, "invalid"), ("a\nb", "invalid")]
)
def test_receipt(value: str | None, code: str) -> None:
    with pytest.raises(Fault) as caught:
        headers.require_receipt(value)
    assert caught.value.code == f"server.clientproxy.receipt_{code}"
    assert headers.require_receipt("log 1 abc=") == "log 1 abc="


@pytest.mark.parametrize("name", ["", " X", "X ", "X:", "X\r\nY", "X\0", "Ä", "x" * 129, "X\tY", "(x)"])
def test_bad_names(name: str) -> None:
    with pytest.raises(Refused):
        field_name(name)


@pytest.mark.parametrize(
    "value", ["a\r\nX-Road-Client: b", "a\nb", "a\rb", "a\0b", "a\x7fb", "a\r\n folded", "\x1b[0m", "a\x85b"]
)
def test_bad_values(value: str) -> None:
    with pytest.raises(Refused):
        field_value(value)


@pytest.mark.parametrize(
    ("value", "clean"), [(" a ", "a"), ("a\tb", "a\tb"), ("J\udcf5gi", "Jõgi"), ("a\xa0b", "a\xa0b"), ("", "")]
)
def test_good_values(value: str, clean: str) -> None:
    assert field_value(value) == clean


@given(st.text())
def test_any_value_is_clean_or_refused(value: str) -> None:
    try:
        clean = field_value(value)
    except Refused:
        return
    assert not set(clean) & set("\r\n\0")
    clean.encode("utf-8")
