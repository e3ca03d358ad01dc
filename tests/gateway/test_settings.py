from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings, InvalidSettings, SandboxSettings, is_loopback
from trust.identifiers import MemberId, SecurityServerId

GATEWAY = """
instance = "DE-TEST"
owner = "DE-TEST/GOV/MUSTERSTADT"
server_code = "app1"
data_directory = "city"
anchor_file = "anchor.xml"
"""
CITIZENS = """
token_issuer = "http://127.0.0.1:8002"
token_audience = "road"
pseudonym_key_file = "pseudonym.key"
citizen_port = 8003
citizen_url = "http://127.0.0.1:8003"
citizen_client = "DE-TEST/GOV/MUSTERSTADT/buergerkonto"
citizen_purposes_file = "purposes.toml"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_follow_the_data_directory_beside_the_file(tmp_path: Path) -> None:
    settings = GatewaySettings.from_file(write(tmp_path, GATEWAY))
    assert settings.data_directory == tmp_path / "city"
    assert settings.anchor_file == tmp_path / "anchor.xml"
    assert settings.signing_key_file == tmp_path / "city" / "keys" / "signing.p12"
    assert settings.database_url == f"sqlite+aiosqlite:///{tmp_path}/city/gateway.db"
    assert settings.server_id == SecurityServerId(MemberId("DE-TEST", "GOV", "MUSTERSTADT"), "app1")
    assert settings.insecure_modes == ()


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    settings = GatewaySettings.from_file(write(tmp_path, GATEWAY + 'pin_file = "/run/secrets/pin"'))
    assert settings.pin_file == Path("/run/secrets/pin")


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATENWEG_CLIENT_PORT", "9999")
    monkeypatch.setenv("DATENWEG_CONSENT_AUTHORITIES", '["DE-TEST/GOV/MUSTERSTADT"]')
    settings = GatewaySettings.from_file(write(tmp_path, GATEWAY + "client_port = 1234"))
    assert settings.client_port == 9999
    assert settings.consent_authority_ids == {MemberId("DE-TEST", "GOV", "MUSTERSTADT")}


def test_settings_built_directly_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATENWEG_PORT", "9999")
    assert SandboxSettings(kind="ozg", port=1).port == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ("unknown_setting = 1", "unknown_setting"),
        ('client_port = "many"', "client_port"),
        ("client_port = 70000", "client_port"),
        ("max_body_bytes = 0", "max_body_bytes"),
        ('client_host = "0.0.0.0"', "insecure_plain_http_clients"),
        ('token_issuer = "http://127.0.0.1:8002"', "token_audience"),
        (CITIZENS.replace("127.0.0.1:8002", "login.example"), "insecure_plain_http_issuer"),
        (CITIZENS.replace("http://127.0.0.1:8002", "login.example"), "insecure_plain_http_issuer"),
        (CITIZENS.replace("127.0.0.1:8003", "stadt.example"), "insecure_plain_http_citizens"),
        (CITIZENS + 'citizen_host = "0.0.0.0"', "insecure_plain_http_citizens"),
        ("citizen_port = 8003", "citizen_url"),
        ('consent_authorities = ["MUSTERSTADT"]', "consent_authorities"),
        ("not toml", "TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, extra: str, named: str) -> None:
    with pytest.raises(InvalidSettings, match=named):
        GatewaySettings.from_file(write(tmp_path, GATEWAY + extra))


def test_a_mistake_does_not_show_the_value(tmp_path: Path) -> None:
    path = write(tmp_path, GATEWAY + 'client_port = "a-secret-in-the-wrong-line"')
    with pytest.raises(InvalidSettings) as caught:
        GatewaySettings.from_file(path)
    assert "a-secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"absent\.toml"):
        GatewaySettings.from_file(tmp_path / "absent.toml")


def test_the_owner_is_of_this_instance(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="another instance"):
        GatewaySettings.from_file(write(tmp_path, GATEWAY.replace('"DE-TEST"', '"EE"')))


def test_plain_http_for_other_machines_is_allowed_only_by_its_insecure_name(tmp_path: Path) -> None:
    insecure = 'client_host = "0.0.0.0"\ninsecure_plain_http_clients = true'
    settings = GatewaySettings.from_file(write(tmp_path, GATEWAY + insecure))
    assert settings.insecure_modes == ("insecure_plain_http_clients",)


def test_citizens_over_tls_or_on_this_machine_need_no_insecure_mode(tmp_path: Path) -> None:
    over_tls = CITIZENS.replace("http://127.0.0.1:8002", "https://login.example").replace(
        "http://127.0.0.1:8003", "https://stadt.example"
    )
    for citizens in (CITIZENS, over_tls, CITIZENS.replace("127.0.0.1", "localhost")):
        assert GatewaySettings.from_file(write(tmp_path, GATEWAY + citizens)).insecure_modes == ()


def test_citizens_and_issuer_over_plain_http_are_allowed_only_by_their_insecure_names(tmp_path: Path) -> None:
    modes = "insecure_plain_http_issuer = true\ninsecure_plain_http_citizens = true\n"
    plain = CITIZENS.replace("127.0.0.1", "stadt.example") + 'citizen_host = "0.0.0.0"\n'
    settings = GatewaySettings.from_file(write(tmp_path, GATEWAY + plain + modes))
    assert set(settings.insecure_modes) == {"insecure_plain_http_issuer", "insecure_plain_http_citizens"}


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = GatewaySettings.from_file(write(tmp_path, GATEWAY))
    with pytest.raises(ValidationError):
        settings.client_port = 1


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_who_waits_for_another_waits_longer(tmp_path: Path) -> None:
    settings = GatewaySettings.from_file(write(tmp_path, GATEWAY))
    assert settings.service_timeout_seconds + 15 <= settings.peer_timeout_seconds
    exchange = settings.peer_timeout_seconds + settings.connect_timeout_seconds
    assert exchange < settings.shutdown_seconds
