"""`datenweg verify`: what it prints and extracts, and its exit codes."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.admin.errors import AdminError
from gateway.cli import app
from tests.trust.containers import REQUEST, RESPONSE, making
from tests.trust.factory import BODY, NOW
from trust.asic import InstanceParameters, SignatureForm, build_verification_configuration, write_container
from trust.globalconf import build_shared_parameters


@pytest.fixture(autouse=True)
def _machine_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The making's certificates are of a fixed day; the machine may be before it."""

    class Later:
        def now(self) -> datetime:
            return NOW.replace(year=NOW.year + 1)

    monkeypatch.setattr("gateway.admin.verify.SystemClock", Later)


def archive() -> bytes:
    parameters = making().configuration.parameters["DE-TEST"]
    return build_verification_configuration([InstanceParameters("DE-TEST", build_shared_parameters(parameters))])


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "verificationconf.zip"
    path.write_bytes(archive())
    return path


@pytest.fixture
def container(tmp_path: Path) -> Path:
    path = tmp_path / "a.asice"
    path.write_bytes(write_container(making().container(SignatureForm.HASH_CHAIN)))
    return path


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, words)])


def document(result: Result) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def test_it_prints_what_is_proven(container: Path, configuration: Path) -> None:
    result = invoke(container, "--configuration", configuration)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "a.asice: verified"
    holder = making().world.holder.certificate
    for label, text in {
        "message": "request DE-TEST-4711",
        "member": "MEMBER:DE-TEST/GOV/MUSTERSTADT",
        "signer": holder.subject.rfc4514_string(),
        "serial number": str(holder.serial_number),
        "signing time": "2026-11-22T10:00:00Z (the signer's clock)",
        "time-stamp": "2026-11-22T10:00:30Z by CN=Zeitstelle",
        "form": "signature hash chain, time-stamp over a batch of signatures",
    }.items():
        assert f"  {label:<13} {text}" in lines
    assert any(line.startswith("  OCSP answer   good, produced ") and "CN=Auskunft" in line for line in lines)
    assert "  covered       /message.xml (signed, unchanged)" in lines
    assert "  covered       /attachment1 (signed, unchanged)" in lines


def test_a_program_reads_the_same_as_json(container: Path, configuration: Path) -> None:
    result = invoke(container, "--configuration", configuration, "--json")
    assert result.exit_code == 0
    found = document(result)
    assert found["verified"] is True
    (one,) = found["containers"]
    assert one["member"] == "DE-TEST/GOV/MUSTERSTADT"
    assert one["direction"] == "request"
    assert one["timestamp"]["time"] == "2026-11-22T10:00:30Z"
    assert one["covered"] == ["/message.xml", "/attachment1"]
    assert one["not_covered"] == one["not_signed"] == []


@pytest.mark.parametrize("inner", [False, True], ids=["the folder around", "the folder itself"])
def test_the_configuration_as_a_folder(container: Path, configuration: Path, tmp_path: Path, inner: bool) -> None:
    with zipfile.ZipFile(configuration) as packed:
        packed.extractall(tmp_path / "conf")
    folder = tmp_path / "conf" / ("verificationconf" if inner else ".")
    assert invoke(container, "--configuration", folder).exit_code == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_a_changed_container_is_exit_code_1_with_its_code(container: Path, configuration: Path, as_json: bool) -> None:
    data = write_container(replace(making().container(), attachments=(BODY + b"!",)))
    container.write_bytes(data)
    result = invoke(container, "--configuration", configuration, *(["--json"] if as_json else []))
    assert result.exit_code == 1
    if as_json:
        found = document(result)
        assert (found["verified"], found["containers"][0]["code"]) == (False, "invalid_signature_value")
    else:
        assert "a.asice: NOT VERIFIED: invalid_signature_value" in result.stdout


def test_no_container_is_exit_code_1_too(container: Path, configuration: Path) -> None:
    container.write_bytes(b"%PDF-1.7")
    result = invoke(container, "--configuration", configuration)
    assert result.exit_code == 1
    assert "NOT VERIFIED: asic_mime_type_not_found" in result.stdout


def bundle(path: Path, **containers: bytes) -> Path:
    """As `/asic` answers: a request and its response."""
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in containers.items():
            packed.writestr(f"DE-TEST-4711-{name}.asice", data)
        packed.writestr("linkinginfo", "- - SHA-512\n")
    return path


def test_an_archive_of_several(configuration: Path, tmp_path: Path) -> None:
    one = making()
    good, answer = write_container(one.container()), write_container(one.container(message=RESPONSE))
    both = bundle(tmp_path / "4711.zip", request=good, response=answer)
    result = invoke(both, "--configuration", configuration, "--json")
    assert result.exit_code == 0
    assert [found["direction"] for found in document(result)["containers"]] == ["request", "response"]
    broken = bundle(tmp_path / "4712.zip", request=good, response=good[:-1])
    result = invoke(broken, "--configuration", configuration, "--json")
    assert result.exit_code == 1
    assert [found["verified"] for found in document(result)["containers"]] == [True, False]


def test_a_missing_attachment_is_named_with_its_digest(container: Path, configuration: Path) -> None:
    absent = replace(making().container(SignatureForm.HASH_CHAIN), attachments=())
    container.write_bytes(write_container(absent))
    result = invoke(container, "--configuration", configuration)
    assert result.exit_code == 0
    assert f"SHA512 must be {hashlib.sha512(BODY).hexdigest()}" in result.stdout
    (found,) = document(invoke(container, "--configuration", configuration, "--json"))["containers"]
    assert found["not_covered"][0]["name"] == "/attachment1"
    assert found["covered"] == ["/message.xml"]


def test_what_strangers_wrote_can_not_steer_the_terminal(container: Path, configuration: Path) -> None:
    message = REQUEST.replace(b"DE-TEST-4711", "\x1b]0;x\x07\x9b2J".encode())
    container.write_bytes(write_container(making().container(message=message)))
    result = invoke(container, "--configuration", configuration)
    assert result.exit_code == 0
    assert not any(
        ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in result.stdout if character != "\n"
    )


# Extracting


def test_it_extracts_what_is_covered(container: Path, configuration: Path, tmp_path: Path) -> None:
    data = bytearray(container.read_bytes())
    with zipfile.ZipFile(container, "a") as packed:
        packed.writestr("attachment2", "untergeschoben")
        packed.writestr("notiz.txt", "gesehen")
    assert container.read_bytes() != bytes(data)
    target = tmp_path / "new" / "out"
    result = invoke(container, "--configuration", configuration, "--extract", target)
    assert result.exit_code == 0, result.output
    assert "NOT SIGNED    attachment2" in result.stdout
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"message.xml": REQUEST, "attachment1": BODY}
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o600}


def test_it_never_overwrites(container: Path, configuration: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "message.xml").write_bytes(b"mine")
    result = invoke(container, "--configuration", configuration, "--extract", tmp_path / "out")
    assert isinstance(result.exception, AdminError)
    assert (tmp_path / "out" / "message.xml").read_bytes() == b"mine"


def test_it_follows_no_link(container: Path, configuration: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "attachment1").symlink_to(tmp_path / "elsewhere")
    result = invoke(container, "--configuration", configuration, "--extract", tmp_path / "out")
    assert isinstance(result.exception, AdminError)
    assert not (tmp_path / "elsewhere").exists()


def test_what_does_not_hold_is_not_extracted(container: Path, configuration: Path, tmp_path: Path) -> None:
    container.write_bytes(write_container(replace(making().container(), message=REQUEST + b"X:1\r\n")))
    result = invoke(container, "--configuration", configuration, "--extract", tmp_path / "out")
    assert result.exit_code == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_several_are_extracted_into_folders_of_their_own(configuration: Path, tmp_path: Path) -> None:
    one = making()
    files = {"sub/.. x": write_container(one.container()), "b": write_container(one.container(message=RESPONSE))}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, data in files.items():
            packed.writestr(f"{name}.asice", data)
    path = tmp_path / "several.zip"
    path.write_bytes(buffer.getvalue())
    result = invoke(path, "--configuration", configuration, "--extract", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {str(found.relative_to(tmp_path / "out")) for found in (tmp_path / "out").rglob("*") if found.is_file()} == {
        "_x/message.xml",
        "_x/attachment1",
        "b/message.xml",
        "b/attachment1",
    }


# Wrong use


@pytest.mark.parametrize("what", ["file", "configuration", "empty folder", "not a configuration"])
def test_wrong_use_is_told_apart_from_a_container_that_does_not_hold(
    container: Path, configuration: Path, tmp_path: Path, what: str
) -> None:
    (tmp_path / "empty").mkdir()
    words: dict[str, tuple[Path, Path]] = {
        "file": (tmp_path / "absent", configuration),
        "configuration": (container, tmp_path / "absent"),
        "empty folder": (container, tmp_path / "empty"),
        "not a configuration": (container, container),
    }
    file, known = words[what]
    result = invoke(file, "--configuration", known)
    assert isinstance(result.exception, AdminError)


def test_the_process_says_so_with_its_exit_code(container: Path, configuration: Path, tmp_path: Path) -> None:
    """As a script sees it; the machine's own clock is later than no time-stamp here or the answer is refused."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway.cli", "verify", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    container.write_bytes(b"?")
    refused = run(container, "--configuration", configuration)
    assert (refused.returncode, refused.stdout.splitlines()[0]) == (
        1,
        "a.asice: NOT VERIFIED: asic_mime_type_not_found",
    )
    misused = run(tmp_path / "absent", "--configuration", configuration)
    assert misused.returncode == 2
    assert misused.stderr.startswith("datenweg: ")
    assert run(container).returncode == 2


def test_help_says_what_it_needs_and_what_comes_back() -> None:
    text = " ".join(invoke("--help").stdout.split())
    for word in ("--configuration", "--json", "--extract", "Exit codes", "nothing is overwritten"):
        assert word in text
