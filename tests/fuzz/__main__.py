"""Feeds each parser with mutated input, guided by coverage, until the time is over: `python -m tests.fuzz --help`."""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.material import ROOT, keep
from tests.fuzz.registry import Target
from tests.fuzz.targets import TARGETS

_COVERAGE: Final = re.compile(r"^#\d+\s+\w+\s+cov: (\d+)", re.MULTILINE)
_EXECUTIONS: Final = re.compile(r"^stat::number_of_executed_units:\s+(\d+)", re.MULTILINE)
_LAST: Final = re.compile(r"^#(\d+)\s", re.MULTILINE)
# One input may take this long and all of them together this much memory, whatever the machine.
_INPUT_SECONDS: Final = 10
_MEMORY_MIB: Final = 2048


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target."""

    executions: int
    coverage: tuple[int, int]
    findings: tuple[Path, ...]
    failed: bool
    last_words: str


def main() -> int:
    """Exit code 1 when there is any finding."""
    arguments = _arguments()
    if arguments.list:
        print(*TARGETS, sep="\n")
        return 0
    keep()
    if arguments.replay is not None:
        (name,) = arguments.targets
        taken = TARGETS[name].accepts(arguments.replay.read_bytes())
        print(f"{name} {'takes' if taken else 'refuses'} {arguments.replay}")
        return 0
    targets = [TARGETS[name] for name in arguments.targets or TARGETS]
    seconds = max(1, arguments.seconds // len(targets))
    print(f"{len(targets)} targets, {seconds} s each; findings go to {ROOT}", flush=True)
    failed = False
    for target in targets:
        outcome = fuzz(target, seconds)
        first, last = outcome.coverage
        verdict = "FAILED" if outcome.failed else "ok"
        print(
            f"{target.name:28} {outcome.executions:>9,} runs  coverage {first:>4} to {last:>4}  {verdict}", flush=True
        )
        for path in outcome.findings:
            print(f"    {path}\n    again: make fuzz ARGS='--replay {path} {target.name}'", flush=True)
        if outcome.failed and not outcome.findings:
            print(f"    {outcome.last_words}", flush=True)
        failed |= outcome.failed
    return int(failed)


def fuzz(target: Target, seconds: int) -> Outcome:
    """One target for so many seconds, from its seeds and from what earlier runs have learned."""
    folder = ROOT / target.name
    corpus, seeds = folder / "corpus", folder / "seeds"
    for path in (corpus, seeds):
        path.mkdir(parents=True, exist_ok=True)
    for data in target.seeds():
        (seeds / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(token)}"\n' for token in target.tokens if len(token) <= 64))
    before = set(_findings(folder))
    command = (
        *(sys.executable, "-m", "tests.fuzz.worker", target.name),
        f"-max_total_time={seconds}",
        f"-timeout={_INPUT_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-max_len={target.max_bytes}",
        *([f"-dict={words}"] if target.tokens else []),
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        str(corpus),
        str(seeds),
    )
    # The worker ends itself; who doesn't is stuck where libFuzzer's alarm can't reach.
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
        log, failed = result.stdout + result.stderr, result.returncode != 0
    except subprocess.TimeoutExpired as expired:
        log, failed = str(expired.stderr), True
    (folder / "log").write_text(log)
    coverage = [int(number) for number in _COVERAGE.findall(log)] or [0]
    executions = _EXECUTIONS.findall(log) or _LAST.findall(log) or ["0"]
    return Outcome(
        int(executions[-1]),
        (coverage[0], max(coverage)),
        tuple(path for path in _findings(folder) if path not in before),
        failed,
        log.strip()[-800:].replace("\n", "\n    "),
    )


def _findings(folder: Path) -> list[Path]:
    return sorted(path for kind in ("crash", "timeout", "oom", "leak") for path in folder.glob(f"{kind}-*"))


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in token)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET", help="default: all")
    parser.add_argument("--seconds", type=int, default=1800, help="for all targets together (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="feed one TARGET with this file, once")
    arguments = parser.parse_args()
    if arguments.replay is not None and len(arguments.targets) != 1:
        parser.error("--replay needs one TARGET")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
