"""Settings: file, environment and defaults, what is refused, and what only an insecure name allows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.cli import app
from gateway.database_urls import unprotected_hosts
from gateway.settings import AdapterSettings, GatewaySettings, InvalidSettings, SandboxSettings, is_loopback
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
        ('database_url = "postgresql+asyncpg://u:p@db.example/x"', "insecure_plain_database"),
        ('subject_key_database_url = "postgresql+asyncpg://db.example/x?ssl=require"', "insecure_plain_database"),
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


ADAPTER = """
kind = "ozg"
data_directory = "adapter"
"""


@pytest.mark.parametrize(
    ("extra", "mode"),
    [
        ('backend_url = "https://backend.example/"\nhost = "0.0.0.0"', "insecure_plain_http_gateway"),
        ('backend_url = "http://backend.example/"', "insecure_plain_http_backend"),
    ],
)
def test_an_adapter_in_the_open_is_named_insecure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], extra: str, mode: str
) -> None:
    """An adapter believes its gateway: whoever else reaches it, or reads on the way behind it, has everybody's data."""
    config = write(tmp_path, ADAPTER + extra)
    with pytest.raises(InvalidSettings, match=mode):
        AdapterSettings.from_file(config)
    config.write_text(f"{config.read_text('utf-8')}\n{mode} = true\n", "utf-8")
    assert AdapterSettings.from_file(config).insecure_modes == (mode,)
    # The start says so.
    served: list[object] = []
    monkeypatch.setattr("gateway.serve.run_app", lambda application, *_, **__: served.append(application))
    app(["adapter", "--config", str(config)], standalone_mode=False)
    shouted = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["mode"] for line in shouted if line["event"] == "INSECURE MODE"] == [mode]
    assert len(served) == 1


def test_an_adapter_on_this_machine_needs_no_insecure_mode(tmp_path: Path) -> None:
    config = write(tmp_path, ADAPTER + 'backend_url = "http://127.0.0.1:8300/"')
    assert AdapterSettings.from_file(config).insecure_modes == ()


REMOTE = "postgresql+asyncpg://u:p@db.example/x"


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("sqlite+aiosqlite:////srv/gateway.db", {}, ()),
        (REMOTE, {}, ("db.example",)),
        # What the driver takes for TLS without knowing to whom it speaks.
        (f"{REMOTE}?ssl=prefer", {}, ("db.example",)),
        (f"{REMOTE}?ssl=require", {}, ("db.example",)),
        (f"{REMOTE}?ssl=verify-full", {}, ()),
        (f"{REMOTE}?ssl=verify-ca", {}, ()),
        (REMOTE, {"PGSSLMODE": "verify-full"}, ()),
        (f"{REMOTE}?ssl=disable", {"PGSSLMODE": "verify-full"}, ("db.example",)),
        ("postgresql+asyncpg:///x?host=a.example:5432&host=b.example", {}, ("a.example", "b.example")),
        ("postgresql+asyncpg://u@/x?host=/run/postgresql", {}, ()),
        ("postgresql+asyncpg:///x", {}, ()),
        ("postgresql+asyncpg:///x", {"PGHOST": "db.example"}, ("db.example",)),
        ("postgresql+asyncpg://[fd00::1]:5432/x", {}, ("fd00::1",)),
        ("keine URL", {}, ()),
    ],
)
def test_where_a_database_is_reached_without_tls(url: str, environment: dict[str, str], expected: object) -> None:
    assert unprotected_hosts(url, environment) == expected


def test_a_database_without_tls_is_on_this_machine_or_named_insecure(tmp_path: Path) -> None:
    remote = f'database_url = "{REMOTE}"'
    for good in (remote.replace("db.example", "127.0.0.1"), remote.replace("/x", "/x?ssl=verify-full")):
        assert GatewaySettings.from_file(write(tmp_path, GATEWAY + good)).insecure_modes == ()
    named = f"{remote}\ninsecure_plain_database = true"
    assert GatewaySettings.from_file(write(tmp_path, GATEWAY + named)).insecure_modes == ("insecure_plain_database",)


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
