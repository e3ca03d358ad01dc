"""Profiles of processes: whose the sampled time is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.profile import REST, parse_profile, read_profiles

ROOT = Path(__file__).parents[2]
LOOP = "x:main;asyncio/runners.py:Runner.run"
SERVER = f"{LOOP};lib/site-packages/aiohttp/web_protocol.py:RequestHandler.start;gateway/exchange/pipeline.py:run"


def test_time_belongs_to_the_innermost_part_that_is_known() -> None:
    folded = "".join(
        (
            f"{SERVER} 100000000\n",
            f"{SERVER};trust/xades/verify.py:verify_signature;trust/canonical.py:decode_base64 200000000\n",
            f"{SERVER};audit/sequencer.py:Sequencer.append;<string>:__create_fn__.<locals>.__init__ 300000000\n",
            f"{LOOP} 300000000\n",
            "somewhere.py:else 100000000\n",
        )
    )
    profile = parse_profile(folded)
    assert profile.seconds == 1
    assert dict(profile.parts) == {
        "steps and their state": 0.1,
        "verification": 0.2,
        "log: leaves, tree, digests": 0.3,
        "event loop, sockets (C)": 0.3,
        REST: 0.1,
    }
    functions = dict(profile.functions)
    assert functions["trust/canonical.py:decode_base64"] == 0.2
    assert functions["audit/sequencer.py:Sequencer.append (its __init__)"] == 0.3


def test_an_empty_profile_is_no_error() -> None:
    assert parse_profile("").parts == ()


def test_the_sampler_finds_where_the_time_goes(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(
        "import os, signal, sys, time\n"
        "def spin():\n"
        "    while time.process_time() < 0.5: pass\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "spin()\n"
        "sys.exit(3)\n"
    )
    file = tmp_path / "busy.stacks"
    run = subprocess.run(
        [sys.executable, "-m", "bench.sampler", str(file), "busy"],
        cwd=ROOT,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
        check=False,
        timeout=60,
    )
    assert run.returncode == 3
    profile = read_profiles(tmp_path)["busy"]
    name, share = profile.functions[0]
    assert name.endswith("busy.py:spin")
    assert share > 0.8
