"""`datenweg citizen`: relations and complaints from the operator's terminal."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.admin.errors import AdminError
from gateway.citizen.complaints import Complaint, Complaints
from gateway.citizen.notices import Notices
from gateway.cli import app
from gateway.clock import SystemClock
from gateway.settings import GatewaySettings
from tests.databases import migrated
from tests.gateway.admin.test_commands import invoke


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(
        'instance = "DE-TEST"\nowner = "DE-TEST/GOV/MUSTERSTADT"\nserver_code = "city1"\ndata_directory = "node"\n'
        'anchor_file = "anchor.xml"\ntoken_issuer = "https://login.musterstadt.example"\ntoken_audience = "road"\n'
        f'pseudonym_key_file = "{tmp_path / "pseudonym.key"}"\n',
        encoding="utf-8",
    )
    key = tmp_path / "pseudonym.key"
    key.write_text("11" * 32)
    key.chmod(0o600)
    (tmp_path / "node").mkdir()
    return path


def relation(config: Path, *words: str) -> str:
    return invoke("citizen", "relation", words[0], "--config", str(config), *words[1:]).output


def test_a_relation_comes_and_goes(config: Path) -> None:
    add = ("add", "--representative", "parent-sub", "--represented", "child-sub", "--name", "Mia")
    shown = relation(config, *add, "--until", "2099-04-01")
    assert "parent" in shown
    assert "2099-04-01" in shown
    # Whose it is isn't for the terminal.
    assert not re.search("parent-sub|child-sub|Mia", shown)
    assert relation(config, *add, "--until", "2098-04-01", "--role", "guardian").count("guardian") == 1
    (reference,) = re.findall(r"[A-Za-z0-9_-]{24}", shown)
    assert reference not in relation(config, "remove", reference)
    with pytest.raises(AdminError):
        relation(config, "remove", reference)


def test_persons_need_not_stand_on_the_command_line(config: Path) -> None:
    """Every user of the machine reads that. Asked for, it is the same relation as by options."""
    words = ["citizen", "relation", "add", "--config", str(config), "--until", "2099-04-01"]
    asked = CliRunner(env={"COLUMNS": "200"}).invoke(app, words, input="parent-sub\nchild-sub\n")
    assert asked.exit_code == 0, asked.output
    (reference,) = re.findall(r"[A-Za-z0-9_-]{24}", asked.output)
    persons = ("--representative", "parent-sub", "--represented", "child-sub")
    by_options = relation(config, "add", *persons, "--until", "2099-04-01")
    assert re.findall(r"[A-Za-z0-9_-]{24}", by_options) == [reference]


@pytest.mark.parametrize(
    "changes",
    [
        {"--until": "2001-01-01"},
        {"--until": "bald"},
        {"--role": "neighbour"},
        {"--represented": "parent-sub"},
        {"--represented": ""},
        {"--represented": "x" * 256},
    ],
    ids=str,
)
def test_relations_that_can_not_be(config: Path, changes: dict[str, str]) -> None:
    options = {"--representative": "parent-sub", "--represented": "child-sub", "--until": "2099-04-01"} | changes
    with pytest.raises(AdminError):
        relation(config, "add", *(word for option in options.items() for word in option))


def test_a_complaint_is_read_and_answered(config: Path) -> None:
    settings = GatewaySettings.from_file(config)

    async def complain() -> Complaint:
        clock = SystemClock()
        async with migrated(settings.database_url) as engine:
            complaints = Complaints(engine, clock, Notices(engine, clock), key=bytes.fromhex("11" * 32))
            return await complaints.add("a-pseudonym", text="Wer war das?", about={"requestId": "r-7"})

    made = asyncio.run(complain())
    shown = invoke("citizen", "complaint", "list", "--config", str(config)).output
    assert "Wer war das?" in shown
    assert "a-pseudonym" not in shown
    invoke("citizen", "complaint", "answer", made.id, "--text", "Die Sparkasse.", "--config", str(config))
    assert "Die Sparkasse." in invoke("citizen", "complaint", "list", "--config", str(config)).output
    with pytest.raises(AdminError):
        invoke("citizen", "complaint", "answer", "unknown", "--text", "x", "--config", str(config))


def test_a_gateway_without_citizens_has_none(config: Path) -> None:
    config.write_text(re.sub("^(token|pseudonym).*\n", "", config.read_text("utf-8"), flags=re.MULTILINE), "utf-8")
    with pytest.raises(AdminError):
        relation(config, "list")
