"""Anchors and private parameters: what is written is read, the form that X-Road writes too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.configurations import APP, CITY, INSTANCE, NOW, anchor, key
from trust.errors import ConfigurationInvalid
from trust.globalconf import (
    Anchor,
    AnchorSource,
    PrivateParameters,
    anchor_hash,
    build_anchor,
    build_private_parameters,
    parse_anchor,
    parse_private_parameters,
)

CERTIFICATE = key().certificate_der


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.from_regex(r"https?://[a-z]{1,10}(:[1-9][0-9]{0,3})?/[a-z]{0,10}", fullmatch=True), min_size=1),
    st.none() | st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_what_is_written_is_read(urls: list[str], generated: datetime | None) -> None:
    value = Anchor(INSTANCE, tuple(AnchorSource(url, (CERTIFICATE, CERTIFICATE)) for url in urls), generated)
    assert parse_anchor(build_anchor(value)) == value
    assert value.certificates == (CERTIFICATE,)


def test_the_form_that_x_road_writes_is_read() -> None:
    document = build_anchor(anchor()).decode().replace("xroad:", "ns3:").replace("xmlns:xroad", "xmlns:ns3")
    document = document.replace(
        "<instanceIdentifier>", "<generatedAt>2021-03-10T07:40:51.709Z</generatedAt><instanceIdentifier>"
    )
    assert parse_anchor(document.encode()) == replace(
        anchor(), generated_at=datetime(2021, 3, 10, 7, 40, 51, 709000, tzinfo=UTC)
    )


def test_private_parameters_round_trip() -> None:
    for provider in (CITY, APP):
        value = PrivateParameters(
            INSTANCE, "http://registry.test/", provider, 30, (replace(anchor(), generated_at=NOW),)
        )
        assert parse_private_parameters(build_private_parameters(value)) == value


def test_the_hash_that_people_compare() -> None:
    # SHA-224 of the empty message, FIPS 180-4.
    assert anchor_hash(b"").startswith("D1:4A:02:8C:2A:3A:2B:C9")
    assert len(anchor_hash(b"")) == 28 * 3 - 1


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s[:-5],
        lambda s: s.replace("configurationAnchor", "conf"),
        lambda s: s.replace("http://registry.test", "ftp://registry.test"),
        lambda s: s.replace("http://registry.test", "file://registry.test"),
        lambda s: s.replace("verificationCert", "verificationKey"),
        lambda s: s.replace("<verificationCert>", "<verificationCert>!"),
        lambda s: s.replace("<verificationCert>", "<verificationCert>AAAA"),
        lambda s: s.replace("source>", "sauce>"),
        lambda s: s.replace("<instanceIdentifier>DE-TEST<", "<instanceIdentifier><"),
        lambda s: s.replace("<instanceIdentifier>", "<generatedAt>gestern</generatedAt><instanceIdentifier>"),
        lambda s: s.replace(
            "<instanceIdentifier>", "<generatedAt>0001-01-01T00:00:00+14:00</generatedAt><instanceIdentifier>"
        ),
    ],
)
def test_malformed_anchors_are_refused(change: Callable[[str], str]) -> None:
    document = build_anchor(anchor()).decode()
    assert change(document) != document
    with pytest.raises(ConfigurationInvalid):
        parse_anchor(change(document).encode())


def test_text_that_xml_cannot_carry_is_not_written() -> None:
    with pytest.raises(ConfigurationInvalid):
        build_anchor(Anchor("a\x00b", anchor().sources))
    with pytest.raises(ConfigurationInvalid):
        build_private_parameters(PrivateParameters("a\x00b", "", CITY))


def test_a_certificate_far_away_that_cannot_be_read_is_only_useless() -> None:
    values = PrivateParameters(
        INSTANCE, "https://registry.test:4001/", CITY, 30, (anchor(),), registration_certificate=b"kein Zertifikat"
    )
    source = replace(anchor().sources[0], certificates=(b"auch keines",))
    values = replace(values, anchors=(replace(anchor(), sources=(source,)),))
    data = build_private_parameters(values)
    assert parse_private_parameters(data) == values
    with pytest.raises(ConfigurationInvalid):
        parse_private_parameters(data.replace(b"<verificationCert>", b"<verificationCert>!"))


def test_private_parameters_carry_certificate_and_anchors_and_not_too_many() -> None:
    values = PrivateParameters(
        INSTANCE, "https://registry.test:4001/", CITY, 30, (anchor(),), registration_certificate=key().certificate_der
    )
    assert parse_private_parameters(build_private_parameters(values)) == values
    with pytest.raises(ConfigurationInvalid):
        parse_private_parameters(build_private_parameters(replace(values, anchors=(anchor(),) * 65)))
    data = build_private_parameters(values)
    first = data.index(b"<authCertRegServiceCert>")
    end = data.index(b"</authCertRegServiceCert>") + len(b"</authCertRegServiceCert>")
    with pytest.raises(ConfigurationInvalid):
        parse_private_parameters(data[:end] + data[first:end] + data[end:])
