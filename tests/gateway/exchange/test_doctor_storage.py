"""What the doctor says of the databases, the disk, the logs and files of a running gateway."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.checkpoint import Checkpoint
from audit.note import NoteSigner
from gateway.doctor import storage
from gateway.doctor.finding import State
from gateway.exchange.origins import origin_of
from gateway.settings import GatewaySettings
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.ports import HOST, ShiftedClock, free_port
from tests.gateway.exchange.test_doctor import findings_of, one, states

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_database(pair: GatewayPair, tmp_path: Path) -> None:
    assert states(await findings_of(pair, "database")) == {State.OK}
    missing = f"sqlite+aiosqlite:///{tmp_path / 'none.db'}"
    assert one(await findings_of(pair, "database", database_url=missing), State.PROBLEM).subject == "connection"
    assert not (tmp_path / "none.db").exists(), "examining makes nothing"
    down = f"postgresql+asyncpg://gateway:geheimnis@{HOST}:{free_port()}/none"
    found = one(await findings_of(pair, "database", database_url=down), State.PROBLEM)
    assert "geheimnis" not in str(found)


async def test_a_database_of_another_version(pair: GatewayPair, tmp_path: Path) -> None:
    copy = _copy_database(pair.consumer.settings, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    found = one(await findings_of(pair, "database", database_url=copy), State.PROBLEM)
    assert found.what == "has version 0000, this software needs 0001"


async def test_the_disk(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((1 << 40, State.OK), (1 << 30, State.WARNING), (1 << 20, State.PROBLEM)):
        with monkeypatch.context() as patch:
            patch.setattr(storage.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
            assert states(await findings_of(pair, "disk")) == {state}


async def test_a_log_behind_its_lock_file(pair: GatewayPair, tmp_path: Path) -> None:
    # Where a test's clock was in a later year the gateway has changed over to that year's log, and stays there.
    await pair.consumer.restart()
    origin = origin_of(pair.consumer.settings.server_id, pair.consumer.clock.now().year)
    assert pair.consumer.gateway.publisher.origin == origin
    assert states(await findings_of(pair, "access log")) == {State.OK}
    old = _copy_database(pair.consumer.settings, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        (size,) = connection.execute("SELECT size FROM log_head WHERE origin = ?", (origin,)).fetchone()
    assert (await pair.call("echo", headers=pair.citizen())).status == 200
    await pair.until(lambda: pair.consumer.gateway.publisher.published.size > size)
    found = one(await findings_of(pair, "access log", database_url=old), State.PROBLEM)
    assert "behind" in found.what


async def test_a_database_that_knows_nothing_of_last_years_log(pair: GatewayPair, tmp_path: Path) -> None:
    year = pair.consumer.clock.now().year - 1
    origin = origin_of(pair.consumer.settings.server_id, year)
    note = NoteSigner(origin, Ed25519PrivateKey.generate()).sign(Checkpoint(origin, 5, bytes(32)).text)
    (tmp_path / f"checkpoint-{year}.lock").write_bytes(note)
    found = await findings_of(pair, "access log", checkpoint_lock_file=tmp_path / "checkpoint.lock")
    assert "behind" in one(found, State.PROBLEM).what


async def test_a_lock_file_that_is_broken(pair: GatewayPair, tmp_path: Path) -> None:
    lock = tmp_path / "checkpoint.lock"
    year = pair.consumer.clock.now().year
    missing = one(await findings_of(pair, "access log", checkpoint_lock_file=lock), State.WARNING)
    assert missing.what == "the lock file is missing"
    (tmp_path / f"checkpoint-{year}.lock").write_bytes(b"nothing")
    broken = one(await findings_of(pair, "access log", checkpoint_lock_file=lock), State.PROBLEM)
    assert broken.what == "the lock file can't be read"


async def test_entries_that_nobody_publishes(pair: GatewayPair, tmp_path: Path) -> None:
    copy = _copy_database(pair.consumer.settings, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        size = connection.execute("SELECT max(size) FROM checkpoint").fetchone()[0]
        connection.execute("DELETE FROM checkpoint")
    found = one(await findings_of(pair, "access log", database_url=copy), State.PROBLEM)
    assert found.what == f"{size} entries are under no published checkpoint"


async def test_messages_without_a_time_stamp(pair: GatewayPair, shifted: ShiftedClock, tmp_path: Path) -> None:
    assert (await pair.call("echo")).status == 200
    # A copy, for the gateway goes on stamping its own.
    copy = _copy_database(pair.consumer.settings, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        for change in (
            "DELETE FROM message_stamp",
            "DELETE FROM time_stamp",
            "UPDATE message_progress SET stamped = 0",
        ):
            connection.execute(change)
    assert states(await findings_of(pair, "message log", database_url=copy)) == {State.OK}
    for ahead, state, text in ((2, State.WARNING, "is 72"), (6, State.PROBLEM, "new messages are refused")):
        shifted.ahead = timedelta(hours=ahead)
        assert text in one(await findings_of(pair, "message log", database_url=copy), state).what


async def test_files_that_are_not_the_gateways_alone(pair: GatewayPair) -> None:
    settings = pair.consumer.settings
    assert states(await findings_of(pair, "files")) == {State.OK}
    for file, mode, state in (
        (settings.pin_file, 0o644, State.PROBLEM),
        (settings.data_directory / "subject-keys.db", 0o640, State.WARNING),
        (settings.spool_directory, 0o770, State.PROBLEM),
    ):
        before = file.stat().st_mode
        file.chmod(mode)
        try:
            assert one(await findings_of(pair, "files"), state).subject == str(file)
        finally:
            file.chmod(before)


def _copy_database(settings: GatewaySettings, folder: Path) -> str:
    """A copy of the gateway's database as it is now; its address."""
    source = settings.database_url.removeprefix("sqlite+aiosqlite:///")
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(folder / "copy.db")) as copy:
        live.backup(copy)
    return f"sqlite+aiosqlite:///{folder / 'copy.db'}"
