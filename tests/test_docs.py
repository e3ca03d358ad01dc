"""The documentation names every setting, metric, command and error code, and its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from gateway.cli import app
from gateway.clock import SystemClock
from gateway.logging import ALLOWED_KEYS
from gateway.messages.faults import ERRORS
from gateway.metrics import Metrics
from gateway.settings import ALL_SETTINGS, Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    match = re.search(rf"^### {re.escape(title)}$(.*?)(?=^##|\Z)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert match, f"docs/operations.md has no section {title!r}"
    return match.group(1)


@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=lambda s: s.__name__)
def test_every_setting_is_described_and_no_other(settings: type[Settings]) -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", section(settings.__name__), re.MULTILINE))
    common = set(Settings.model_fields)
    assert described == set(settings.model_fields) - common
    assert set(re.findall(r"^\| `(\w+)` \|", section("Every process"), re.MULTILINE)) == common


def test_every_metric_is_described_and_no_other() -> None:
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics(SystemClock()).registry.collect()
    }
    assert set(re.findall(r"^\| `(datenweg_\w+)` \|", OPERATIONS, re.MULTILINE)) == names


def test_every_log_key_is_described() -> None:
    assert {key for key in ALLOWED_KEYS if f"`{key}`" not in OPERATIONS} == set()


def commands() -> Iterator[str]:
    waiting = [("datenweg", get_command(app))]
    while waiting:
        name, command = waiting.pop()
        inner = getattr(command, "commands", {})
        waiting.extend((f"{name} {child}", sub) for child, sub in inner.items())
        if not inner or getattr(command, "invoke_without_command", False):
            yield name


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_is_described(command: str) -> None:
    assert f"`{command}" in OPERATIONS


def test_every_error_code_is_described() -> None:
    errors = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert {code for code in ERRORS if f"`{code}`" not in errors} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        linked = (document.parent / path) if path else document
        assert linked.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert fragment in anchors, target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_decision_record_is_listed() -> None:
    listed = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for record in (ROOT / "docs/adr").glob("*.md"):
        assert f"adr/{record.name}" in listed
