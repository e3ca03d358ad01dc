"""`datenweg instance`: starts an instance, prints where it is once all of it answers, and stays until it is told to go.

Progress goes to standard error; standard output has the one JSON document.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Final

from gateway.clock import SystemClock
from gateway.errors import StartRefused
from gateway.instance.document import certificate_files, certificates_of, describe
from gateway.instance.plan import InstancePlan, build_plan
from gateway.instance.reading import read_topology
from gateway.instance.settings_files import to_toml
from gateway.instance.setup import prepare
from gateway.instance.start import all_answer, running
from gateway.serve import run
from trust.durable import write_atomically

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run_instance(topology: Path, *, directory: Path | None, base_port: int | None, json_file: Path | None) -> None:
    """Runs the instance that a file describes until SIGTERM or SIGINT.

    Without a directory it keeps its data in a temporary one, which goes when it ends. Raises StartRefused, TrustError.
    """
    file = read_topology(topology)
    temporary = directory is None
    folder = Path(tempfile.mkdtemp(prefix="datenweg-instance-")) if directory is None else directory
    try:
        with _alone(folder):
            plan = build_plan(file, folder, base_port)
            if json_file is not None:
                # Whoever waits for the document waits for this start's.
                json_file.unlink(missing_ok=True)
            run(_until_signal(plan, json_file))
    finally:
        if temporary:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder. Two instances at once would go on with the same keys and logs. Raises StartRefused."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "instance.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartRefused(f"another instance runs in {folder}: stop it, or choose another --directory") from None
        yield


async def _until_signal(plan: InstancePlan, json_file: Path | None) -> None:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None

    def stop() -> None:
        # From the first second on, so that an instance can be stopped while it starts; a second signal acts as usual.
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        this.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    with suppress(asyncio.CancelledError):
        await _serve(plan, json_file)


async def _serve(plan: InstancePlan, json_file: Path | None) -> None:
    started = perf_counter()
    _tell(f"setting up {plan.topology.instance} below {plan.data_directory}")
    settings = await prepare(plan, SystemClock())
    for name, node in settings.items():
        plan.settings_file(name).write_text(to_toml(node), "utf-8")
    try:
        async with running(settings, tell=_tell):
            await all_answer(settings)
            _write_certificates(plan)
            document = json.dumps(describe(plan), indent=2, ensure_ascii=False)
            if json_file is not None:
                write_atomically(json_file, document.encode() + b"\n")
            print(document, flush=True)  # noqa: T201 - the command's result
            _tell(f"{len(settings)} nodes answer after {perf_counter() - started:.1f} s; SIGTERM or Ctrl-C ends them")
            await asyncio.Event().wait()
    finally:
        _tell("stopping: finishing what was accepted")


def _write_certificates(plan: InstancePlan) -> None:
    for name in plan.topology.gateways:
        texts = certificates_of(plan.gateway_settings(name))
        for usage, path in certificate_files(plan, name).items():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_text(texts[usage], "ascii")


def _tell(line: str) -> None:
    print(f"datenweg instance: {line}", file=sys.stderr, flush=True)  # noqa: T201 - progress
