"""A gateway's own keys: made once, agreed on, and never quietly replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from audit.store import log_head, open_engine
from audit.subject_keys import create_schema, subject_key
from gateway.citizen.tables import consent
from gateway.node_keys import make_missing_keys, read_random_key
from gateway.settings import GatewaySettings
from gateway.store.migrate import migrate
from trust.errors import KeyUnavailable

LOG_ROW = {
    "log": 1,
    "origin": "o",
    "size": 0,
    "root": bytes(32),
    "last_ms": 0,
    "messages": 0,
    "message_link": bytes(32),
}
CONSENT_ROW = {
    "reference": "r", "person": "p", "subject": "s", "purpose": "u", "client": "c", "service": "d", "declaration": {},
    "status": "valid", "given_ms": 1, "expires_ms": 2, "sequence": 1, "acknowledged": 1, "attempts": 0,
    "next_push_ms": 0, "jws": "j", "client_subject": "", "service_declaration": "", "group_reference": "",
    "representative": "", "reason": "", "identity_level": "",
}  # fmt: skip


@dataclass
class Place:
    """A gateway's folder and databases before its start."""

    settings: GatewaySettings
    engine: AsyncEngine
    subject_engine: AsyncEngine

    async def make(self) -> None:
        await make_missing_keys(self.settings, self.engine, self.subject_engine)

    def keys(self) -> list[bytes]:
        s = self.settings
        assert s.pseudonym_key_file is not None
        paths = (s.record_key_file, s.subject_index_key_file, s.log_key_file, s.pseudonym_key_file)
        return [read_random_key(path) for path in paths]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    settings = GatewaySettings(
        instance="DE-TEST",
        owner="DE-TEST/GOV/MUSTERSTADT",
        server_code="ss1",
        data_directory=tmp_path,
        anchor_file=tmp_path / "anchor.xml",
        pseudonym_key_file=tmp_path / "keys" / "pseudonym.key",
    )
    engine, subject_engine = open_engine(settings.database_url), open_engine(settings.subject_key_database_url)
    await migrate(engine)
    await create_schema(subject_engine)
    yield Place(settings, engine, subject_engine)
    await engine.dispose()
    await subject_engine.dispose()


async def test_a_new_gateway_makes_its_keys_once(place: Place) -> None:
    await place.make()
    keys = place.keys()
    assert len(set(keys)) == 4
    assert place.settings.log_key_file.stat().st_mode & 0o777 == 0o600
    await place.make()
    assert place.keys() == keys


async def test_processes_that_start_at_once_agree(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.node_keys._is_there", lambda _path: False)
    await place.make()
    keys = place.keys()
    await asyncio.gather(place.make(), place.make())
    assert place.keys() == keys


@pytest.mark.parametrize(
    ("lost", "row", "table"),
    [
        (lambda s: s.record_key_file, {"ref": b"r", "wrapped": b"w"}, subject_key),
        (lambda s: s.subject_index_key_file, {"ref": b"r", "wrapped": b"w"}, subject_key),
        (lambda s: s.log_key_file, LOG_ROW, log_head),
        (lambda s: s.pseudonym_key_file, CONSENT_ROW, consent),
    ],
    ids=["record", "subject-index", "log", "pseudonym"],
)
async def test_a_lost_key_is_not_replaced(
    place: Place, lost: Callable[[GatewaySettings], Path], row: dict[str, Any], table: Any
) -> None:
    await place.make()
    async with (place.subject_engine if table is subject_key else place.engine).begin() as connection:
        await connection.execute(insert(table).values(row))
    lost(place.settings).unlink()
    with pytest.raises(KeyUnavailable) as refused:
        await place.make()
    assert refused.value.hint == "restore it from the backup"
    assert not lost(place.settings).exists()
