"""The small cores of the exchange: addresses, quotas, origins, pseudonyms, the directory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import Receipt, parse_receipt
from gateway.exchange.addresses import Endpoint, UnusableAddress, parse_address
from gateway.exchange.directory import MONITORING, OF_CITIZENS, RESERVED_CODES, BuiltIn, build_directory
from gateway.exchange.insecure import InsecurePart, insecure_parts
from gateway.exchange.origins import is_log_of, origin_of
from gateway.exchange.pseudonyms import ShortPseudonymKey, pseudonym
from gateway.exchange.quotas import Quotas
from gateway.exchange.vouching import Vouchers
from gateway.store.model import AccessRight, Client, ClientState, ConnectionType, NodeConfiguration, Revision
from tests.gateway.exchange.ports import ShiftedClock
from tests.gateway.exchange.town import APP, GROUP, GUEST, UTILITY, service, service_at, services
from trust.identifiers import MemberId, SecurityServerId, ServiceId
from trust.parameters import SecurityServer

# -- addresses


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("gateway.example", Endpoint("gateway.example", 5500, 5577)),
        ("127.0.0.1:21000", Endpoint("127.0.0.1", 21000, 21001)),
        ("[::1]:21000", Endpoint("::1", 21000, 21001)),
        ("[::1]", Endpoint("::1", 5500, 5577)),
        ("2001:db8::1", Endpoint("2001:db8::1", 5500, 5577)),
    ],
)
def test_addresses(address: str, endpoint: Endpoint) -> None:
    assert parse_address(address) == endpoint


@pytest.mark.parametrize(
    "address",
    [
        ":5500",
        "host:",
        "host:0",
        "host:65535",
        "host:65536",
        "host:+1",
        "host:1 ",
        "host:²",
        "user@host",
        "http://host",
        "ho st",
        "host/x",
        "host?x",
        "[::1",
        "[::1]x",
        "[]:1",
        "host:99999999999999999999",
        "host%0a",
        "",
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UnusableAddress):
        parse_address(address)


@given(st.text(max_size=40))
def test_any_address_is_parsed_or_refused(address: str) -> None:
    try:
        endpoint = parse_address(address)
    except UnusableAddress:
        return
    assert 0 < endpoint.message_port < endpoint.ocsp_port + 1 <= 65536


def test_an_address_leads_to_the_ports_for_messages_and_ocsp() -> None:
    assert parse_address("[::1]:21000").message_url == "https://[::1]:21000/"
    assert parse_address("host").ocsp_url == "http://host:5577/"


# -- quotas


def test_a_quota_fills_again() -> None:
    quotas = Quotas(60)
    waits = [quotas.take(APP, service("echo"), 0) for _ in range(8)]
    assert waits == [0] * 6 + [1000] * 2
    assert quotas.take(APP, service("echo"), 900) == pytest.approx(100)
    assert quotas.take(APP, service("echo"), 1000) == 0
    assert quotas.take(APP, service("echo"), 1000) == 1000


def test_a_quota_is_each_clients_and_services_own() -> None:
    quotas = Quotas(1)
    for client in (APP, GUEST):
        for code in ("echo", "hoch"):
            assert quotas.take(client, service(code), 0) == 0
            assert quotas.take(client, service(code), 1) > 0


def test_a_quota_of_a_service_is_all_clients_together() -> None:
    quotas = Quotas(None, of_service=20)
    assert [quotas.take(client, service("echo"), 0) > 0 for client in (APP, GUEST, APP)] == [False, False, True]
    assert quotas.take(APP, service("hoch"), 0) == 0


def test_who_is_refused_by_one_quota_uses_up_nothing_of_the_other() -> None:
    quotas = Quotas(1, of_service=20)
    assert quotas.take(APP, service("echo"), 0) == 0
    assert all(quotas.take(APP, service("echo"), 0) > 0 for _ in range(10))
    assert quotas.take(GUEST, service("echo"), 0) == 0


def test_a_clock_that_runs_back_gives_nothing() -> None:
    quotas = Quotas(1)
    assert quotas.take(APP, service("echo"), 1_000_000) == 0
    assert quotas.take(APP, service("echo"), 0) > 0
    assert quotas.take(APP, service("echo"), 30_000) > 0


def test_no_quota() -> None:
    quotas = Quotas(None)
    assert all(quotas.take(APP, service("echo"), 0) == 0 for _ in range(1000))


@given(st.lists(st.integers(0, 600_000), min_size=1, max_size=200), st.integers(1, 600))
def test_never_more_than_the_quota(times: list[int], per_minute: int) -> None:
    quotas = Quotas(per_minute)
    times.sort()
    taken = sum(quotas.take(APP, service("echo"), at) == 0 for at in times)
    burst = max(1.0, per_minute / 10)
    assert taken <= burst + (times[-1] - times[0]) * per_minute / 60_000 + 1e-6


# -- origins


@pytest.mark.parametrize("code", ["ss1", "a+b", "a,b", "ä b", "a%2Cb", "audit"])
def test_a_receipt_names_its_log(code: str) -> None:
    server = SecurityServerId(UTILITY.member, code)
    origin = origin_of(server, 2026)
    receipt = Receipt(origin, 7, bytes(32))
    # As an answer carries them: two in one header.
    texts = f"{receipt.encode()},{receipt.encode()}".split(",")
    assert [parse_receipt(text) for text in texts] == [receipt, receipt]
    assert is_log_of(origin, [SecurityServer(server, "host")])
    assert not is_log_of(origin, [SecurityServer(SecurityServerId(UTILITY.member, "anderer"), "host")])


@pytest.mark.parametrize(("year", "counts"), [(2025, False), (2026, True), (2027, True), (2028, False)])
def test_a_receipt_is_of_this_years_log_or_the_last(year: int, counts: bool) -> None:
    assert is_log_of(origin_of(UTILITY.server, 2026), [SecurityServer(UTILITY.server, "host")], year=year) is counts


@pytest.mark.parametrize("origin", ["", "audit", "DE-TEST/COM/STADTWERKE/ss1", "DE-TEST/COM/STADTWERKE/ss1/audit/x"])
def test_origins_that_are_none(origin: str) -> None:
    assert not is_log_of(origin, [SecurityServer(UTILITY.server, "host")])


# -- pseudonyms

_KEY = bytes(range(32))


def test_a_pseudonym_is_stable_and_apart_by_provider_issuer_and_person() -> None:
    bank, utility = MemberId("DE-TEST", "COM", "BANK"), MemberId("DE-TEST", "COM", "WERKE")
    found = {
        pseudonym(key, member, issuer, subject)
        for key in (_KEY, bytes(32))
        for member in (bank, utility)
        for issuer in ("https://a.example", "https://b.example")
        for subject in ("erika", "max")
    }
    assert len(found) == 16
    assert pseudonym(_KEY, bank, "https://a.example", "erika") == pseudonym(_KEY, bank, "https://a.example", "erika")
    assert {len(value) for value in found} == {43}


def test_the_pseudonym_is_pinned() -> None:
    # A changed derivation would cut every person off from their records.
    value = pseudonym(_KEY, MemberId("DE-TEST", "COM", "BANK"), "https://a.example", "erika")
    assert value == "ursmzPNTDtrxFGeyK8pDjSsOIdzPg7VwxEnCTIiyCJU"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ShortPseudonymKey):
        pseudonym(bytes(31), UTILITY.member, "https://a.example", "erika")


# -- the directory


def _configuration() -> NodeConfiguration:
    offered = services("http://127.0.0.1:1")
    return NodeConfiguration(
        revision=Revision(3, 0),
        clients=(Client(UTILITY.subsystem), Client(UTILITY.member), Client(GUEST, state=ClientState.DISABLED)),
        services=(*offered, replace(offered[0], code="listMethods")),
        rights=(AccessRight(service("echo"), APP), AccessRight(service("echo"), GROUP)),
    )


def test_the_directory_knows_rights_and_built_in_services() -> None:
    directory = build_directory(_configuration())
    echo = directory.offer(service("echo"))
    assert echo is not None
    assert echo.granted == {APP, GROUP}
    for built_in in set(BuiltIn) - {*MONITORING, *OF_CITIZENS}:
        offer = directory.offer(ServiceId(UTILITY.subsystem, built_in.value))
        assert offer is not None
        assert (offer.built_in, offer.registered) == (built_in, None)
    assert directory.configuration_revision == 3
    assert directory.offer(service("unbekannt")) is None


def test_a_reserved_code_is_nobodys() -> None:
    directory = build_directory(_configuration())
    reserved = directory.offer(service("listMethods"))
    assert reserved is not None
    assert (reserved.registered, reserved.built_in) == (None, BuiltIn.LIST_METHODS)
    # What institutions may have themselves instead of the gateway's isn't reserved.
    theirs = {BuiltIn.FIND_USAGE, *OF_CITIZENS}
    assert {code.value for code in set(BuiltIn) - theirs} <= RESERVED_CODES
    assert RESERVED_CODES.isdisjoint(code.value for code in theirs)
    assert all(offer.registered is not None for offer in directory.services_of(UTILITY.subsystem))


def test_a_client_that_is_switched_off_is_none() -> None:
    directory = build_directory(_configuration())
    assert directory.client(UTILITY.subsystem) is not None
    assert directory.client(GUEST) is None
    assert directory.client(APP) is None


@pytest.mark.parametrize(
    ("url", "verify_tls", "mode"),
    [
        ("https://adapter.example/", True, ""),
        ("http://127.0.0.1:8201/", False, ""),
        ("https://adapter.example/", False, "service whose TLS certificate is not verified"),
        ("http://adapter.example/", True, "service over plain HTTP on another machine"),
        ("", True, ""),
        ("http://[::1", True, ""),
    ],
)
def test_what_a_start_says_of_services(url: str, verify_tls: bool, mode: str) -> None:
    offered = service_at("echo", url, verify_tls=verify_tls)
    clients = (Client(UTILITY.subsystem), Client(APP, ConnectionType.HTTPS))
    directory = build_directory(NodeConfiguration(Revision(1, 0), clients, (offered,), ()))
    expected = [InsecurePart(mode, offered.identifier.encoded)] if mode else []
    assert list(insecure_parts(directory)) == expected


def test_a_start_names_clients_that_nobody_authenticates() -> None:
    clients = (Client(APP, ConnectionType.HTTPS_NO_AUTH), Client(UTILITY.subsystem))
    directory = build_directory(NodeConfiguration(Revision(1, 0), clients, (), ()))
    assert list(insecure_parts(directory)) == [InsecurePart("client without authentication", APP.encoded)]


def test_a_voucher_ends_after_half_a_minute() -> None:
    clock = ShiftedClock()
    vouchers = Vouchers(b"k" * 32, clock)
    voucher = vouchers.issue("token", "GET", "/r1/a")
    assert vouchers.vouched(voucher, "token", "GET", "/r1/a")
    clock.ahead = timedelta(seconds=31)
    assert not vouchers.vouched(voucher, "token", "GET", "/r1/a")


@pytest.mark.parametrize("stated", ["", "vouched.", "vouched.1", "vouched.².AAAA", f"vouched.{'9' * 5000}.AAAA"])
def test_what_is_no_voucher(stated: str) -> None:
    assert not Vouchers(b"k" * 32, ShiftedClock()).vouched(stated, "token", "GET", "/r1/a")
