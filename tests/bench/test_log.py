"""A short run of `python -m bench.log`."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_loads_and_a_kept_log_are_measured(tmp_path: Path) -> None:
    report = tmp_path / "log.json"
    options = ["--seconds", "0.3", "--leaves", "12000", "--kept", str(tmp_path), "--report", str(report)]
    for more in ((), ("--no-load",)):
        run = subprocess.run(
            [sys.executable, "-m", "bench.log", *options, *more],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        document = json.loads(report.read_text())
        loads = {(one["database"], one["kind"], one["rate"] > 0) for one in document.get("loads", ())}
        every = set(product(("sqlite", "postgresql"), ("entry", "message"), (False, True)))
        assert loads == (set() if more else every)
        for one in document.get("loads", ()):
            assert 0 < one["p50_ms"] <= one["p99_ms"]
            assert one["per_second"] > 0 < one["bytes_per_step"]
        big = document["big_log"]
        assert big["leaves"] == 12_000
        # Of a proof in a tree of 12,000 leaves: at most 14 hashes, and the checkpoint.
        assert big["proof_micros"] > 0
        assert 500 < big["proof_bytes"] < 1200
        few, many = big["pages"]
        assert (few["accesses"], many["accesses"]) == (10, 1000)
        assert many["bytes"] > 50 * few["bytes"] > 50 * few["gzip_bytes"]
    # Built once.
    assert (tmp_path / "log-12000" / "log.sqlite").exists()
