"""docs/instance.md as its reader follows it: the file and the commands as they are written, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.gateway.instance.road import ROOT

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    text = (ROOT / "docs/instance.md").read_text("utf-8")
    return [(kind, content) for kind, content in _BLOCK.findall(text)]


def test_the_example_runs_as_written(tmp_path: Path) -> None:
    (kind, file), *rest = blocks()
    assert kind == "toml"
    (tmp_path / "road.toml").write_text(file, "utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    shim = programs / "datenweg"
    shim.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m gateway.cli "$@"\n')
    shim.chmod(0o755)
    # One shell for all commands; what each prints is set apart by a line.
    commands = [content for kind, content in rest if kind == "sh"]
    script = "set -e\ntrap 'kill $(jobs -p); wait' EXIT\n" + "echo ==========\n".join(commands)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = [content for kind, content in rest if kind in ("json", "xml", "text")]
    said = done.stdout.split("==========\n")
    # The first block starts things and prints nothing.
    assert [part.strip() for part in said] == ["", *(content.strip() for content in expected)], done.stderr
