from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

import gateway
from gateway.instance.settings_files import to_toml
from gateway.settings import GatewaySettings, SandboxSettings
from tests.gateway.exchange.town import CITY, INSTANCE, issue_keys
from trust.keystore import write_private
from trust.testca.authority import CertificateAuthority


def datenweg(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    root = Path(gateway.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd or root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
    )


def test_help_names_every_command() -> None:
    result = datenweg("--help")
    assert result.returncode == 0
    for command in (
        "demo",
        "registry",
        "gateway",
        "adapter",
        "sandbox",
        "testca",
        "issuer",
        "client",
        "log",
        "version",
    ):
        assert f" {command} " in result.stdout


def test_version() -> None:
    assert datenweg("version").stdout == f"datenweg {gateway.__version__}\n"


def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("instance = 7\n")
    for command in (("gateway",), ("registry",), ("log", "verify"), ("adapter",)):
        result = datenweg(*command, "--config", str(tmp_path / "gateway.toml"))
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
    assert "owner: Field required" in datenweg("gateway", "--config", str(tmp_path / "gateway.toml")).stderr


def test_an_adapter_needs_its_settings() -> None:
    result = datenweg("adapter")
    assert result.returncode == 2
    assert "register" in result.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "anchor.xml: No such file or directory"),
        ({"database_url": "mysql+aiomysql://x/y"}, "database_url: no store for mysql+aiomysql: use sqlite+aiosqlite"),
        ({"database_url": "no url"}, "database_url: Could not parse"),
        ({"database_url": "postgresql+asyncpg://u:geheim@127.0.0.1:1/x"}, "database_url: the database can't be opened"),
        ({"subject_key_database_url": "sqlite+aiosqlite:////nowhere/x.db"}, "unable to open database file"),
        ({"signing_key_file": "wrong.p12"}, "wrong.p12: check the PIN and that the file is PKCS#12"),
        ({"signing_key_file": "/nowhere/signing.p12"}, "can't read /nowhere/signing.p12"),
        ({"data_directory": "/dev/null/x"}, "Not a directory"),
    ],
    ids=["anchor", "driver", "url", "postgres away", "sqlite away", "key file", "key file missing", "folder"],
)
def test_what_keeps_a_gateway_from_starting_is_one_line_and_exit_code_2(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    issue_keys(tmp_path / "city", CITY, CertificateAuthority.load_or_create(tmp_path / "testca", INSTANCE))
    write_private(tmp_path / "wrong.p12", b"no key")
    values = {
        "instance": INSTANCE,
        "owner": CITY.member.encoded,
        "server_code": "ss1",
        "data_directory": tmp_path / "city",
        "anchor_file": tmp_path / "anchor.xml",
    }
    settings = GatewaySettings(**(values | changes))  # type: ignore[arg-type]
    (tmp_path / "gateway.toml").write_text(to_toml(settings))
    result = datenweg("gateway", "--config", str(tmp_path / "gateway.toml"))
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "geheim" not in result.stderr


def test_a_taken_port_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = SandboxSettings(kind="ozg", port=taken.getsockname()[1])  # type: ignore[arg-type]
        (tmp_path / "sandbox.toml").write_text(to_toml(settings))
        result = datenweg("sandbox", "--config", str(tmp_path / "sandbox.toml"))
    assert result.returncode == 2
    assert f"can't listen at 127.0.0.1, port {settings.port}" in result.stderr
    assert len(result.stderr.splitlines()) == 1
