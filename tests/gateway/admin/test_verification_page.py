"""docs/verification.md, tested as written: its commands are run in order, by a shell, on a container of ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.trust.containers import RESPONSE, making
from tests.trust.factory import BODY
from trust.asic import InstanceParameters, build_verification_configuration, write_container
from trust.globalconf import build_shared_parameters

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/verification.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
BY_HAND = PAGE.index("## By hand")
# What comes between is about other documents than the road's (test_verify_document).
OTHERS = PAGE.index("## Documents of third parties")
WITH_US = [block for block in BLOCKS if PAGE.index(block) < OTHERS]
WITHOUT_US = [block for block in BLOCKS if PAGE.index(block) > BY_HAND]
CHANGES = {
    "message.xml": 1,
    "attachment1": 1,
    "META-INF/signatures.xml": 3000,
    "META-INF/timestamp.tst": -1,
    "ts-hashchainresult.xml": -5,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    one = making()
    parameters = build_shared_parameters(one.configuration.parameters["DE-TEST"])
    archive = build_verification_configuration([InstanceParameters("DE-TEST", parameters)])
    (tmp_path / "verificationconf.zip").write_bytes(archive)
    with zipfile.ZipFile(tmp_path / "DE-TEST-4711.zip", "w") as packed:
        packed.writestr("DE-TEST-4711-request-AAAA.asice", write_container(one.container()))
        packed.writestr("DE-TEST-4711-response-BBBB.asice", write_container(one.container(message=RESPONSE)))
    programs = tmp_path / "bin"
    programs.mkdir()
    ours = programs / "datenweg"
    # The machine may live before the day that the tests' certificates are of.
    ours.write_text(
        f"#!{sys.executable}\n"
        "import datetime, sys\n"
        "import gateway.admin.verify as verify\n"
        "from gateway.cli import main\n"
        "class Clock:\n"
        "    def now(self):\n"
        "        return datetime.datetime(2027, 11, 22, tzinfo=datetime.UTC)\n"
        "verify.SystemClock = Clock\n"
        "main()\n"
    )
    ours.chmod(0o700)
    return tmp_path


def run(folder: Path, blocks: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C",
    }
    return subprocess.run(
        ["sh", "-e", "-c", "".join(blocks)], cwd=folder, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def test_with_our_command(folder: Path) -> None:
    done = run(folder, WITH_US)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0].splitlines()
    printed = done.stdout.splitlines()
    for line in expected:
        # Names and numbers of certificates, and the moment of the answer, are made anew for each run.
        if not line.startswith(("  signer", "  serial number", "  OCSP answer")):
            assert line in printed
    assert [line[:15] for line in expected[1:]] == [line[:15] for line in printed[1 : len(expected)]]
    assert json.loads((folder / "result.json").read_text())["verified"] is True
    assert (folder / "messages" / "DE-TEST-4711-request-AAAA" / "attachment1").read_bytes() == BODY


def needed() -> None:
    for name in ("unzip", "openssl", "xmlsec1"):
        if shutil.which(name) is None:
            pytest.skip(f"NOT CHECKED BY HAND: no {name} on this machine")


def test_by_hand(folder: Path) -> None:
    needed()
    done = run(folder, WITHOUT_US)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nov 22 10:00:30 2026 GMT" in done.stdout
    assert "Verification: OK" in done.stdout
    assert "Cert Status: good" in done.stdout
    assert "MUSTERSTADT" in done.stdout


@pytest.mark.parametrize("name", CHANGES)
def test_by_hand_a_changed_byte_is_found(folder: Path, name: str) -> None:
    needed()
    assert run(folder, WITHOUT_US[:1]).returncode == 0
    path = folder / "parts" / name
    data = bytearray(path.read_bytes())
    data[CHANGES[name]] ^= 1
    path.write_bytes(data)
    assert run(folder, WITHOUT_US[1:]).returncode != 0
