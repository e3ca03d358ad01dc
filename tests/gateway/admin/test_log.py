"""`datenweg log verify`: a sound log, and each way in which one isn't."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from audit.checkpoint import Checkpoint
from audit.entry import Entry
from audit.note import NoteSigner
from audit.sequencer import Sequencer
from audit.store import log_head, open_engine, record
from audit.subject_keys import SubjectKeys
from gateway.admin.errors import AdminError
from gateway.admin.log import print_verification, verify_logs
from gateway.logs import lock_file_of
from gateway.node_keys import load_log_key
from gateway.settings import GatewaySettings
from gateway.store.migrate import migrate
from trust.keystore import write_private

ORIGIN = "DE-TEST/GOV/MUSTERSTADT/app1/audit/2026"
TIME_MS = 1_795_308_434_123


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> GatewaySettings:
    return GatewaySettings(
        instance="DE-TEST",
        owner="DE-TEST/GOV/MUSTERSTADT",
        server_code="app1",
        data_directory=tmp_path / "node",
        anchor_file=tmp_path / "anchor.xml",
        database_url=database_url,
    )


async def write_log(settings: GatewaySettings) -> None:
    keys = {path: secrets.token_bytes(32) for path in (settings.record_key_file, settings.subject_index_key_file)}
    for path, key in (keys | {settings.log_key_file: secrets.token_bytes(32)}).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, key.hex().encode())
    engine, key_engine = open_engine(settings.database_url), open_engine(settings.subject_key_database_url)
    try:
        await migrate(engine)
        persons = SubjectKeys(key_engine, *keys.values())
        await persons.create_schema()
        person = await persons.key_for("pseudonym")
        sequencer = Sequencer(engine, origin=ORIGIN, clock_ms=lambda: TIME_MS)
        await sequencer.start()
        try:
            for number in range(3):
                entry = Entry("access", person, bytes([number]) * 32, b'{"n":%d}' % number, TIME_MS + 1000)
                await sequencer.append([entry], lambda _receipts: ())
        finally:
            await sequencer.close()
    finally:
        await engine.dispose()
        await key_engine.dispose()


async def test_a_sound_log(settings: GatewaySettings, capsys: pytest.CaptureFixture[str]) -> None:
    await write_log(settings)
    (report,) = await verify_logs(settings)
    assert (report.origin, report.size, report.records_opened) == (ORIGIN, 3, 3)
    assert await print_verification(settings)
    assert "sound" in capsys.readouterr().out


async def test_a_terminal_is_told_how_far_it_is(
    settings: GatewaySettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_log(settings)
    await verify_logs(settings)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    await verify_logs(settings)
    assert capsys.readouterr().err == f"\r{ORIGIN}: 3 of 3 entries\n"


async def test_without_the_keys_the_rest_is_verified_and_it_says_so(
    settings: GatewaySettings, capsys: pytest.CaptureFixture[str]
) -> None:
    await write_log(settings)
    settings.record_key_file.unlink()
    (report,) = await verify_logs(settings)
    assert (report.size, report.records_opened, report.findings_total) == (3, 0, 0)
    assert "no record is opened" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "code"), [(3, "behind_lock_file"), (4, "behind_lock_file"), (None, "lock_file_unreadable")]
)
async def test_an_older_database_than_was_signed_is_found(
    settings: GatewaySettings, size: int | None, code: str
) -> None:
    await write_log(settings)
    signer = NoteSigner(ORIGIN, load_log_key(settings))
    note = b"?" if size is None else signer.sign(Checkpoint(ORIGIN, size, bytes(32)).text)
    lock_file_of(settings, 2026).write_bytes(note)
    (report,) = await verify_logs(settings)
    assert [finding.code for finding in report.findings] == [code]


async def test_a_changed_past_is_found(settings: GatewaySettings, capsys: pytest.CaptureFixture[str]) -> None:
    await write_log(settings)
    engine = open_engine(settings.database_url)
    async with engine.begin() as connection:
        await connection.execute(update(log_head).values(root=bytes(32)))
        await connection.execute(update(record).where(record.c.idx == 1).values(body=b"\x00" * 100))
    await engine.dispose()
    assert not await print_verification(settings)
    output = capsys.readouterr().out
    assert "record_does_not_open, entry 1" in output
    assert "root_differs" in output


async def test_without_a_log_there_is_nothing_to_call_sound(settings: GatewaySettings) -> None:
    with pytest.raises(AdminError, match="start the gateway"):
        await verify_logs(settings)
    await write_log(settings)
    engine = open_engine(settings.database_url)
    async with engine.begin() as connection:
        await connection.execute(delete(log_head))
    await engine.dispose()
    with pytest.raises(AdminError, match="no log"):
        await verify_logs(settings)
