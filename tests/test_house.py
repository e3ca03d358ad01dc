"""The house of docs/architecture.md: every module of trust, audit and gateway.messages is a core or a named shell."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What awaits, opens files or sockets, or asks for the time. Nothing else does (import-linter checks it).
SHELLS = {
    "trust.configuration_client",
    "trust.configuration_store",
    "trust.document_verifier",
    "trust.durable",
    "trust.federation_client",
    "trust.keystore",
    "trust.ocsp_client",
    "trust.self_signed",
    "trust.testca",
    "trust.timestamp_client",
    "trust.tokens",
    "audit.access",
    "audit.announcements",
    "audit.browser",
    "audit.checkpoint_stamps",
    "audit.connection",
    "audit.dialects",
    "audit.driver",
    "audit.erasing",
    "audit.http",
    "audit.lock_file",
    "audit.message_archives",
    "audit.message_keys",
    "audit.message_reader",
    "audit.message_stamps",
    "audit.operators",
    "audit.monitor",
    "audit.period_store",
    "audit.person_records",
    "audit.proofs",
    "audit.publisher",
    "audit.releasing",
    "audit.retention",
    "audit.sequencer",
    "audit.store",
    "audit.subject_keys",
    "audit.tree_reader",
    "audit.verify",
    "audit.verify_messages",
    "audit.witness_client",
    "audit.witness_store",
    "audit.writer",
}


def cores() -> set[str]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = (c for c in pyproject["tool"]["importlinter"]["contracts"] if c["id"] == "cores")
    return set(contract["source_modules"])


@pytest.mark.parametrize("package", ["trust", "audit"])
def test_every_module_is_a_core_or_a_named_shell(package: str) -> None:
    modules = {f"{package}.{path.stem}" for path in (ROOT / package).glob("*.py")} - {f"{package}.__init__"}
    modules |= {f"{package}.{path.parent.name}" for path in (ROOT / package).glob("*/__init__.py")}
    declared = {name for name in cores() | SHELLS if name.startswith(package + ".")}
    assert modules - declared == set(), "new module: list it as a core in pyproject.toml or as a shell here"
    assert declared - modules == set(), "listed but gone"
    assert cores() & SHELLS == set()


def test_the_lock_files_pin_with_hashes_and_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-fuzz.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        requirements = re.split(r"\n(?=\S)", text)
        assert len(requirements) > 30
        for requirement in requirements:
            assert re.match(r"[a-z0-9._-]+==\S+", requirement), requirement[:80]
            assert "--hash=sha256:" in requirement, requirement[:80]


def test_the_lock_files_agree() -> None:
    runtime, development, fuzzing = (
        dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock", "requirements-fuzz.lock")
    )
    assert runtime.items() <= development.items() <= fuzzing.items()


def test_make_help_names_the_targets() -> None:
    result = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    for target in ("help", "demo", "test", "lint", "bench", "e2e", "fuzz", "docs", "lock"):
        assert re.search(rf"^  make {target} ", result.stdout, re.MULTILINE), target
