"""Reads the sampler's stacks: the functions with the most time of their own, and what the time went to.

A stack belongs to the part whose file it meets first from its innermost frame outwards, so that what a part has others
do for it (a library, a small function) counts as its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.sampler import LOOP, OTHER_THREADS

SUFFIX: Final = ".stacks"
REST: Final = "the rest"
_TOP: Final = 25
_RUN: Final = "asyncio/runners.py:Runner.run"
# The beginning of a frame's name, behind the folder of installed packages; the first that fits decides.
_PARTS: Final = (
    ("prometheus_client/", "metrics"),
    ("gateway/metrics.py", "metrics"),
    ("gateway/durations.py", "metrics"),
    ("trust/keys.py:SoftwareKey.sign", "signing"),
    ("trust/xades/build.py", "signing"),
    ("trust/xades/template.py", "signing"),
    ("gateway/exchange/signer.py", "signing"),
    ("trust/keys.py", "verification"),
    ("trust/xades/", "verification"),
    ("trust/certificat", "verification"),
    ("trust/ocsp", "verification"),
    ("gateway/exchange/trust_state.py", "verification"),
    ("gateway/messages/multipart.py", "multipart"),
    ("gateway/messages/transport", "multipart"),
    ("gateway/exchange/recording.py", "access record, JSON"),
    ("gateway/messages/", "messages, headers"),
    ("sqlalchemy/engine/default.py:DefaultDialect.do_commit", "log: commit"),
    ("sqlalchemy/", "log: SQL"),
    ("audit/writer.py", "log: SQL"),
    ("audit/connection.py", "log: SQL"),
    ("audit/driver.py", "log: SQL"),
    ("aiosqlite/", "log: SQL"),
    ("audit/", "log: leaves, tree, digests"),
    ("gateway/exchange/logging_step.py", "log: leaves, tree, digests"),
    ("gateway/exchange/rights.py", "rights, token, consent"),
    ("gateway/exchange/citizen_tokens.py", "rights, token, consent"),
    ("gateway/exchange/consents.py", "rights, token, consent"),
    ("gateway/exchange/pseudonyms.py", "rights, token, consent"),
    ("gateway/exchange/directory.py", "rights, token, consent"),
    ("gateway/exchange/quotas.py", "rights, token, consent"),
    ("ssl.py:", "TLS"),
    ("aiohttp/web", "HTTP server"),
    ("aiohttp/client", "HTTP client"),
    ("aiohttp/connector.py", "HTTP client"),
    ("gateway/exchange/http_client.py", "HTTP client"),
    ("gateway/exchange/peers.py", "HTTP client"),
    ("gateway/exchange/services.py", "HTTP client"),
    ("gateway/exchange/", "steps and their state"),
    (LOOP, "event loop, sockets (C)"),
    (OTHER_THREADS, "other threads"),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """Where a process's CPU time went: shares of 1, by function (own time) and by part."""

    seconds: float
    functions: tuple[tuple[str, float], ...]
    parts: tuple[tuple[str, float], ...]


def parse_profile(folded: str) -> Profile:
    """The profile of folded stacks."""
    functions: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for frames, weight in _stacks(folded):
        functions[_own(frames)] += weight
        parts[_part(frames)] += weight
    total = functions.total() or 1
    return Profile(
        total / 1e9,
        tuple((name, weight / total) for name, weight in functions.most_common()),
        tuple((name, weight / total) for name, weight in parts.most_common()),
    )


def _stacks(folded: str) -> Iterator[tuple[list[str], int]]:
    """Stacks from the event loop outwards, and their weights."""
    for line in folded.splitlines():
        stack, _, weight = line.rpartition(" ")
        frames = [frame.rpartition("site-packages/")[2] for frame in stack.split(";")]
        if _RUN in frames:
            frames = frames[frames.index(_RUN) + 1 :]
        yield frames or [LOOP], int(weight)


def _own(frames: list[str]) -> str:
    """The innermost frame; what a dataclass had generated is named with its caller."""
    if frames[-1].startswith("<") and len(frames) > 1:
        return f"{frames[-2]} (its {frames[-1].rpartition('.')[2]})"
    return frames[-1]


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for beginning, part in _PARTS:
            if frame.startswith(beginning):
                return part
    return REST


def read_profiles(folder: Path) -> dict[str, Profile]:
    """The profiles in a folder by process."""
    return {file.stem: parse_profile(file.read_text("utf-8")) for file in sorted(folder.glob(f"*{SUFFIX}"))}


def as_values(profile: Profile) -> dict[str, Any]:
    """The profile as JSON values."""
    return {
        "cpu_seconds": round(profile.seconds, 3),
        "parts": {name: round(share, 4) for name, share in profile.parts},
        "functions": {name: round(share, 4) for name, share in profile.functions[:_TOP]},
    }


def print_profiles(profiles: dict[str, Profile], console: Console) -> None:
    """For each process its parts and its costliest functions; parts of both side by side."""
    table = Table(title="Share of CPU time by part, %", title_justify="left")
    table.add_column("part")
    shares = {name: dict(profile.parts) for name, profile in profiles.items()}
    for name in profiles:
        table.add_column(name, justify="right")
    parts = sorted({part for by_part in shares.values() for part in by_part}, key=lambda part: -_most(shares, part))
    for part in parts:
        table.add_row(part, *(f"{100 * by_part.get(part, 0):.1f}" for by_part in shares.values()))
    console.print(table)
    for name, profile in profiles.items():
        functions = Table(title=f"{name}: own time, % of {profile.seconds:.1f} s", title_justify="left")
        functions.add_column("%", justify="right")
        functions.add_column("function", overflow="fold")
        for function, share in profile.functions[:_TOP]:
            functions.add_row(f"{100 * share:.1f}", function)
        console.print(functions)


def _most(shares: dict[str, dict[str, float]], part: str) -> float:
    return max(by_part.get(part, 0) for by_part in shares.values())
