"""A short run of `make bench`: both paths are measured, both logs hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROAD_STEPS = {
    "consumer": {"parse_and_resolve", "sign_and_log_request", "send_to_provider", "verify_response", "log_response"},
    "provider": {"verify_request", "authorise_request", "log_request", "call_service", "bind_sign_and_log_response"},
}


def test_a_short_run_measures_both_paths_and_verifies_both_logs(tmp_path: Path) -> None:
    report, profile = tmp_path / "results" / "bench.json", tmp_path / "profile"
    options = ["--rounds", "1", "--seconds", "0.3", "--warm-up", "0.3", "--concurrency", "4"]
    options += ["--case", "soap", "--case", "mib", "--case", "stream", "--case-seconds", "0.5", "--stream-mib", "8"]
    options += ["--report", str(report), "--profile", str(profile), "--directory", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    document = json.loads(report.read_text())

    assert 0 < document["ratio_min"] <= document["ratio"] <= document["ratio_max"]
    assert document["profiled"] is True
    assert document["settings"]["concurrency"] == 4
    processes = {"road": {"consumer", "provider"}, "proxy": {"first proxy", "second proxy"}}
    for name, path in document["paths"].items():
        (measured,) = path["rounds"]
        # Every answer was compared with the backend's, byte for byte.
        assert 0 < measured["counted"] <= measured["answered"]
        assert measured["failed"] == 0
        assert 0 < measured["p50_ms"] <= measured["p99_ms"]
        assert set(path["cpu_ms"]) == {"load", "backend"} | processes[name]

    # One leaf in each log for every exchange that was answered, measured or not, and for each citizen's consent.
    assert set(document["cases"]) == {"soap", "mib"}
    for case in document["cases"].values():
        assert case["road"]["exchanges"] > 0 < case["ratio"]
    assert document["streams"]["road"]["size"] == 8 << 20
    assert set(document["streams"]["road"]["peaks"]) == {"consumer", "provider"}
    exchanges = document["entries_expected"] - 4
    assert exchanges >= document["paths"]["road"]["rounds"][0]["answered"]
    for name in ("consumer", "provider"):
        log = document["logs"][name]
        # The log's own records, of a month's index, come on top.
        assert 0 <= log["entries"] - document["entries_expected"] <= 4
        assert log["records_opened"] >= document["entries_expected"]
        assert log["messages"] == 2 * document["entries_expected"]
        assert document["gateways"][name]["commits"] > 0
        assert ROAD_STEPS[name] <= set(document["gateways"][name]["step_ms"])
        assert (profile / f"{name}.stacks").exists()
        assert sum(document["profiles"][name]["parts"].values()) == pytest.approx(1, abs=0.01)
    for figure in document["trust"]:
        assert figure["ratio"] == pytest.approx(figure["micros"] / figure["bare_micros"], rel=0.02)
        assert figure["micros"] > 0 < figure["bare_micros"]
    assert {figure["bare_name"] for figure in document["trust"]} >= {"ECDSA P-256 sign", "ECDSA P-256 verify"}
    assert "ratio" in run.stdout
    # Nothing is left behind but what was asked for.
    assert {path.name for path in tmp_path.iterdir()} == {"results", "profile"}


def test_a_folder_that_is_not_there_gives_no_figure(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bench", "--directory", str(tmp_path / "missing")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "COLUMNS": "500"},
    )
    assert run.returncode == 2
    assert "missing" in run.stderr
