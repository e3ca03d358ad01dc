"""The command line: help for everything, and one line with an exit code for whatever keeps a process from starting."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import gateway
from gateway.cli import app
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


def test_each_command_has_help() -> None:
    def walk(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, command in group.commands.items():
            yield (*path, name)
            if hasattr(command, "commands"):
                yield from walk(command, (*path, name))

    found = list(walk(get_command(app), ()))
    assert len(found) > 50
    for path in found:
        result = CliRunner().invoke(app, [*path, "--help"])
        assert (result.exit_code, result.exception) == (0, None), path
        assert "--help" in result.output


def test_version() -> None:
    assert datenweg("version").stdout == f"datenweg {gateway.__version__}\n"


def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("instance = 7\n")
    for command in (("gateway",), ("registry",), ("log", "verify"), ("adapter",)):
        result = datenweg(*command, "--config", str(tmp_path / "gateway.toml"))
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
    (tmp_path / "gateway.toml").write_text('instance = "DE-TEST"\nowner_ = "DE-TEST/GOV/X"\nprot = 1\n')
    said = datenweg("gateway", "--config", str(tmp_path / "gateway.toml")).stderr
    # What is wrong, and nothing that only follows from it.
    assert said == (
        f"datenweg: {tmp_path}/gateway.toml: data_directory: is missing; owner: is missing; server_code: is missing; "
        "anchor_file: is missing; owner_, prot: no setting of this process\n"
    )


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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"database_url": "postgresql+asyncpg://u:geheim@127.0.0.1:1/x"}, "127.0.0.1', 1"),
        ({"database_url": "sqlite+aiosqlite:////nowhere/x.db"}, "the database refused (unable to open database file)"),
    ],
    ids=["postgres away", "sqlite away"],
)
@pytest.mark.parametrize("command", [("service", "list"), ("log", "verify")], ids=" ".join)
def test_a_command_without_its_database_says_so_in_one_line(
    tmp_path: Path, command: tuple[str, ...], changes: dict[str, str], said: str
) -> None:
    values = {"instance": INSTANCE, "owner": CITY.member.encoded, "server_code": "ss1"}
    folders = {"data_directory": tmp_path / "city", "anchor_file": tmp_path / "anchor.xml"}
    settings = GatewaySettings(**(values | folders | changes))  # type: ignore[arg-type]
    (tmp_path / "gateway.toml").write_text(to_toml(settings))
    result = datenweg(*command, "--config", str(tmp_path / "gateway.toml"))
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert "geheim" not in result.stderr


def test_a_monitor_without_room_for_its_state_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("")
    result = datenweg("monitor", "--policy", str(tmp_path / "policy"), "--state", "/dev/null/x")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr


def test_a_taken_port_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = SandboxSettings(kind="ozg", port=taken.getsockname()[1])  # type: ignore[arg-type]
        (tmp_path / "sandbox.toml").write_text(to_toml(settings))
        result = datenweg("sandbox", "--config", str(tmp_path / "sandbox.toml"))
    assert result.returncode == 2
    assert result.stderr == (
        f"datenweg: can't listen at 127.0.0.1, port {settings.port}: address already in use: "
        "stop what uses it, or change the setting\n"
    )
