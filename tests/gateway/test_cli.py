from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gateway


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
