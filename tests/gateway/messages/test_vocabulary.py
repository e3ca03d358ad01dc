"""The table of codes, its two spellings, and the page that explains it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.vocabulary import ERRORS, Hop, Vocabulary, canonical, hop_of, is_code, same_code, spell, status_of

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `([a-z_.]+)`(\*?) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.mark.parametrize(
    ("snake", "camel"),
    [
        ("server.serverproxy.access_denied", "Server.ServerProxy.AccessDenied"),
        ("client.missing_header_field", "Client.MissingHeaderField"),
        ("server.serverproxy.service_failed.io_error", "Server.ServerProxy.ServiceFailed.IOError"),
        ("server.clientproxy.ssl_authentication_failed", "Server.ClientProxy.SslAuthenticationFailed"),
        ("server.clientproxy.global_conf_outdated", "Server.ClientProxy.OutdatedGlobalConf"),
        ("signer.hsm_non_operational", "Signer.HSMNonOperational"),
        (
            "server.serverproxy.signature_verification.hashchain_unused_inputs",
            "Server.ServerProxy.SignatureVerification.HashChainUnusedInputs",
        ),
        ("server.serverproxy.opmonitor.internal_error", "Server.ServerProxy.OpMonitor.InternalError"),
    ],
)
def test_spelling(snake: str, camel: str) -> None:
    assert spell(snake, Vocabulary.CAMEL) == camel
    assert spell(camel, Vocabulary.SNAKE) == snake
    assert canonical(camel) == snake
    assert same_code(snake, camel)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_code_keeps_its_meaning_in_both_spellings(code: str) -> None:
    camel = spell(code, Vocabulary.CAMEL)
    assert canonical(camel) == code
    assert spell(camel, Vocabulary.CAMEL) == camel
    assert "_" not in camel or not is_code(camel)


@pytest.mark.parametrize("code", ["soap:Server", "CODE", "Server", "", "a b", "server..x", "Ü.x", "x." * 200 + "x"])
def test_foreign_codes_are_left_alone(code: str) -> None:
    assert canonical(code) == spell(code, Vocabulary.CAMEL) == spell(code, Vocabulary.SNAKE) == code


@given(st.text(max_size=300))
def test_any_text_has_a_spelling_a_status_and_a_hop(text: str) -> None:
    for vocabulary in Vocabulary:
        assert canonical(spell(text, vocabulary)) == canonical(text)
    assert status_of(text) in {400, 500}
    assert isinstance(hop_of(text), Hop)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("server.clientproxy.internal_error", 500),
        ("Server.ServerProxy.AccessDenied", 500),
        ("client.bad_request", 400),
        ("signer.key_not_found", 400),
        ("servers.are_many", 400),
        ("soap:Server", 400),
    ],
)
def test_each_code_has_its_http_status(code: str, status: int) -> None:
    assert status_of(code) == status


@pytest.mark.parametrize(
    ("code", "hop"),
    [
        ("client.missing_soap", Hop.CLIENT),
        ("server.clientproxy.network_error", Hop.CONSUMER_GATEWAY),
        ("server.clientproxy.service_failed.invalid_message", Hop.PROVIDER_GATEWAY),
        ("server.serverproxy.access_denied", Hop.PROVIDER_GATEWAY),
        ("server.serverproxy.service_failed.unknown_host", Hop.ADAPTER),
        ("server.serverproxy.service_failed.http_error", Hop.SERVICE),
        ("server.clientproxy.not_in_the_table", Hop.CONSUMER_GATEWAY),
        ("signer.not_in_the_table", Hop.SIGNER),
    ],
)
def test_each_code_names_its_hop(code: str, hop: Hop) -> None:
    assert hop_of(code) is hop


def test_the_page_lists_every_code_as_the_table_has_it() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [(name, bool(ours), hop, cause, hint) for name, ours, hop, cause, hint in ROW.findall(page)]
    assert rows == [(code.name, code.ours, code.hop.value, code.cause, code.hint) for code in ERRORS.values()]


def test_every_code_that_the_gateway_names_is_in_the_table() -> None:
    literal = re.compile(r"""["'](?:client|server|signer)\.[a-z_]+(?:\.[a-z_]+)*["']""")
    prefixes = {name.rpartition(".")[0] for name in ERRORS}
    unknown: set[str] = set()
    for source in (ROOT / "gateway").rglob("*.py"):
        for line in source.read_text(encoding="utf-8").splitlines():
            if "Fault(" in line:
                unknown |= {code[1:-1] for code in literal.findall(line)} - ERRORS.keys() - prefixes
    assert not unknown
