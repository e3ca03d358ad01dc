"""What the gateway keeps: database, disk, access log, message log; and what its settings give up."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import false, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.errors import AuditError, LogRolledBack
from audit.lock_file import require_not_behind
from audit.message_stamps import stamping_state
from audit.store import checkpoint, log_head
from gateway.doctor.finding import Finding, ok, problem, warning
from gateway.doctor.patient import Patient
from gateway.exchange.origins import origin_of
from gateway.logs import lock_file_of, lock_file_years
from gateway.store.migrate import HEAD, version_of

_DISK_WARNING_BYTES: Final = 2 << 30
_DISK_PROBLEM_BYTES: Final = 256 << 20
_PUBLISH_SECONDS: Final = 10.0
# A publication takes place within a second of growth: looked at again before anything is said.
_SECOND_LOOK: Final = 1.5


async def check_database(patient: Patient) -> list[Finding]:
    """Is the database there, of this version, and writable?"""
    name = "database"
    if patient.engine is None:
        return [problem(name, "connection", "not reachable", "check that it runs, its address and its password")]
    try:
        version = await version_of(patient.engine)
        async with patient.engine.connect() as connection:
            # Changes nothing, and needs the right and the place to write all the same.
            await connection.execute(update(log_head).where(false()).values(size=log_head.c.size))
            await connection.rollback()
    except Exception:  # noqa: BLE001 - drivers raise what they like; its text may hold the address with the password
        text, todo = "can't be read and written", "check that it runs, its disk, and the rights of the gateway's user"
        return [problem(name, "connection", text, todo)]
    if version != HEAD:
        text = f"has version {version or 'none'}, this software needs {HEAD}"
        return [problem(name, "version", text, "start the gateway of this version once: it upgrades the database")]
    return [ok(name, "connection", f"writable, version {version}")]


async def check_disk(patient: Patient) -> list[Finding]:
    """Is there space where the gateway writes?"""
    folders = {patient.settings.data_directory, patient.settings.checkpoint_lock_file.parent}
    return [await asyncio.to_thread(_space, folder) for folder in sorted(folders)]


def _space(folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return problem("disk", str(folder), "can't be looked at", "check that the folder exists and may be read")
    text = f"{free / (1 << 30):.1f} GiB free"
    todo = "free space: without any nothing can be logged, and no exchange takes place"
    if free < _DISK_PROBLEM_BYTES:
        return problem("disk", str(folder), text, todo)
    return warning("disk", str(folder), text, todo) if free < _DISK_WARNING_BYTES else ok("disk", str(folder), text)


async def check_access_log(patient: Patient) -> list[Finding]:
    """Does the log lead on from what was signed, and is it published?"""
    name = "access log"
    if patient.engine is None:
        return []
    year = patient.clock.now().year
    origin = origin_of(patient.settings.server_id, year)
    lock_file = lock_file_of(patient.settings, year)
    try:
        for past in lock_file_years(patient.settings):
            of_past = origin_of(patient.settings.server_id, past)
            await require_not_behind(patient.engine, of_past, lock_file_of(patient.settings, past))
        signed = await require_not_behind(patient.engine, origin, lock_file)
        lag = await _unpublished(patient.engine, origin)
        if lag is not None and lag[0]:
            await asyncio.sleep(_SECOND_LOOK)
            lag = await _unpublished(patient.engine, origin)
    except LogRolledBack:
        text = "the database is behind, or differs from, the checkpoint in the lock file"
        return [problem(name, origin, text, "restore the newer database; never touch the lock file")]
    except AuditError:
        return [problem(name, origin, "the lock file can't be read", f"restore or ask for help with {lock_file.name}")]
    except Exception:  # noqa: BLE001 - as with the database
        return [problem(name, origin, "the log can't be read", "look at the database")]
    if lag is None:
        return [ok(name, origin, "this year's log isn't open yet")]
    if signed is None:
        return [warning(name, origin, "the lock file is missing", "restore it if it was lost: it guards the log")]
    behind, published_ms = lag
    if behind and not (published_ms and _age(patient, published_ms) < _PUBLISH_SECONDS):
        todo = "start the gateway, or look at lock file and database: others see an old log"
        return [problem(name, origin, f"{behind} entries are under no published checkpoint", todo)]
    return [ok(name, origin, f"{signed.size} entries, published")]


async def _unpublished(engine: AsyncEngine, origin: str) -> tuple[int, int | None] | None:
    """How many entries no checkpoint covers, and when the newest was published (ms); None without a log."""
    async with engine.connect() as connection:
        head = (
            await connection.execute(select(log_head.c.log, log_head.c.size).where(log_head.c.origin == origin))
        ).first()
        if head is None:
            return None
        query = select(checkpoint.c.size, checkpoint.c.published_ms).where(checkpoint.c.log == head.log)
        newest = (await connection.execute(query.order_by(checkpoint.c.size.desc()).limit(1))).first()
    if newest is None:
        return int(head.size), None
    return int(head.size) - int(newest.size), int(newest.published_ms)


async def check_message_log(patient: Patient) -> list[Finding]:
    """How long does the oldest message wait for its time stamp?"""
    name = "message log"
    if patient.engine is None:
        return []
    try:
        state = await stamping_state(patient.engine)
    except Exception:  # noqa: BLE001 - as with the database
        return [problem(name, "time stamps", "can't be read", "look at the database")]
    if state.oldest_unstamped_ms is None:
        return [ok(name, "time stamps", "every message has one")]
    age, limit = _age(patient, state.oldest_unstamped_ms), patient.settings.acceptable_timestamp_failure_seconds
    text = f"the oldest message without one is {age:.0f} s old"
    todo = "check the time-stamping authorities, and that the gateway runs"
    if limit and age > limit:
        return [problem(name, "time stamps", f"{text}; new messages are refused", todo)]
    interval = _stamping_interval(patient)
    if age > max(3 * interval, limit / 4 if limit else 0.0):
        return [warning(name, "time stamps", text, todo)]
    return [ok(name, "time stamps", text)]


def _stamping_interval(patient: Patient) -> float:
    own = patient.settings.message_stamping_interval_seconds
    if own is not None:
        return float(own)
    private = None if patient.configuration is None else patient.configuration.private
    return 60.0 if private is None else float(private.time_stamping_interval_seconds)


def _age(patient: Patient, moment_ms: int) -> float:
    return (patient.clock.now() - datetime.fromtimestamp(moment_ms / 1000, UTC)) / timedelta(seconds=1)


async def check_settings(patient: Patient) -> list[Finding]:
    """Which protections are off?"""
    findings = [
        warning("settings", mode, "an insecure mode is on", "take it out of the settings unless it must be")
        for mode in patient.settings.insecure_modes
    ]
    return findings or [ok("settings", "modes", "no insecure mode")]
