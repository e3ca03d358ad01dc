"""The demo as its user runs it: a command, a report, an exit code; again on the same data; each node a process."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from gateway.city.plan import INSTANCE, PROVIDERS, Plan
from gateway.city.setup import prepare
from gateway.city.start import _STOP_SECONDS
from gateway.clock import SystemClock
from gateway.instance.settings_files import to_toml
from gateway.settings import GatewaySettings, RegistrySettings
from tests.gateway.exchange.ports import free_ports

_SPAN = 50


def demo(folder: Path, base_port: int, *options: str) -> tuple[int, dict[str, Any], str]:
    """Runs `datenweg demo --once`: exit code, report, what it printed."""
    file = folder / "report.json"
    words = ("demo", "--once", "--data-dir", str(folder / "data"), "--report", str(file))
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *words, "--base-port", str(base_port), *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return done.returncode, report, done.stdout + done.stderr


def require_whole(report: dict[str, Any]) -> None:
    """Every promise of the report."""
    assert report["ok"], report["failure"]
    services = {exchange["service"] for exchange in report["exchanges"]}
    assert services == {organisation.subsystem.encoded for organisation in PROVIDERS}
    for exchange in report["exchanges"]:
        assert exchange["signatures_verified"] == 2
        assert exchange["http_status"] < 300
        assert exchange["request_id"]
        assert exchange["consumer_receipt"].startswith("DE-TEST/GOV/MUSTERSTADT/")
        assert exchange["provider_receipt"].startswith(exchange["service"].rpartition("/")[0])
        assert exchange["duration_ms"] > 0
    assert report["refused"]["http_status"] == 500
    assert report["refused"]["error"].startswith("server.serverproxy.consent_")
    log = report["access_log"]
    assert log["entries"] > len(report["exchanges"])
    assert log["proofs_verified"] >= 2 * len(report["exchanges"])
    assert log["denied"] >= 1
    assert len(log["checkpoint"]) == 1 + len(PROVIDERS)
    before = ("log_in", "give_consent", "bank", "utility", "authority", "third_party", "remove_link", "withdraw")
    assert tuple(report["steps"]) == (*before, "unlink_bank", "access_log")
    third = report["third_party"]
    assert (third["http_status"], third["signatures_verified"], third["error"]) == (200, 2, None)
    assert third["consumer_receipt"].startswith("DE-TEST/COM/STADTWERKE/")
    assert third["provider_receipt"].startswith("DE-TEST/COM/SPARKASSE/")


def require_no_link(data: Path) -> None:
    """The bank's adapter forgets a link when the bank has confirmed that it is over, and not before."""
    with closing(sqlite3.connect(data / "bank-adapter" / "links.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM link").fetchone() == (0,)


def require_no_bank_secrets(data: Path) -> None:
    """Of messages to and from the bank, where passwords and TANs travel, no log has the content."""
    of_the_bank = "service LIKE 'DE-TEST/COM/SPARKASSE/konto/%' AND outcome = 'ok'"
    query = f"SELECT kept, attachments FROM message_record WHERE {of_the_bank}"
    for node in ("city", "bank"):
        with closing(sqlite3.connect(data / node / "gateway.db")) as database:
            assert set(database.execute(query)) == {("reduced", 0)}


def test_the_journey_and_a_second_start_on_the_same_data(tmp_path: Path) -> None:
    port = free_ports(_SPAN)
    code, first, output = demo(tmp_path, port)
    assert code == 0, output
    require_whole(first)
    require_no_link(tmp_path / "data")
    key = (tmp_path / "data" / "bank" / "keys" / "signing.p12").read_bytes()
    code, second, output = demo(tmp_path, port)
    assert code == 0, output
    require_whole(second)
    assert (tmp_path / "data" / "bank" / "keys" / "signing.p12").read_bytes() == key
    assert second["access_log"]["entries"] > first["access_log"]["entries"]
    require_no_bank_secrets(tmp_path / "data")


def test_each_node_as_a_process(tmp_path: Path) -> None:
    code, report, output = demo(tmp_path, free_ports(_SPAN), "--processes")
    assert code == 0, output
    require_whole(report)


def test_told_to_stop_while_it_starts_it_leaves_no_node_behind(tmp_path: Path) -> None:
    base = free_ports(_SPAN)
    words = ("demo", "--once", "--processes", "--data-dir", str(tmp_path), "--base-port", str(base))
    with subprocess.Popen([sys.executable, "-m", "gateway.cli", *words], stderr=subprocess.PIPE, text=True) as starting:
        deadline = monotonic() + 60
        # The registry is up; what comes after it isn't yet.
        while not _answers(base) and monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                starting.wait(0.05)
        assert _answers(base)
        starting.terminate()
        _, said = starting.communicate(timeout=60)
    assert (starting.returncode, said) == (128 + signal.SIGTERM, "")
    assert not _answers(base)


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_that_is_taken_is_one_line_and_a_code(tmp_path: Path) -> None:
    base = free_ports(_SPAN)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base))
        taken.listen()
        code, report, output = demo(tmp_path, base)
    assert code == 2
    assert report == {}
    assert "--base-port" in output
    assert "Traceback" not in output


async def test_settings_files_say_what_the_embedded_city_runs_with(tmp_path: Path) -> None:
    settings = await prepare(Plan(tmp_path, 30_000), SystemClock())
    for name, node in settings.items():
        assert type(node).from_file(tmp_path / f"{name}.toml") == node
        assert getattr(node, "instance", INSTANCE) == INSTANCE
        assert node.shutdown_seconds < _STOP_SECONDS
    assert {type(node) for node in settings.values()} >= {GatewaySettings, RegistrySettings}
    assert to_toml(settings["bank"]).count("\n") > 10
