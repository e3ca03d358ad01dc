"""Whoever changes anything in the database is found out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from audit.announcements import announce
from audit.errors import LogInconsistent
from audit.note import NoteSigner
from audit.publisher import Publisher
from audit.store import open_engine
from audit.subject_keys import SubjectKeys
from audit.verify import verify_log
from tests.audit.factory import ORIGIN, access, exchange, message, open_log, subject

SIGNER = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
DISARM = {
    "sqlite": [
        f"DROP TRIGGER {table}_no_{change}" for table in ("log_entry", "log_tile") for change in ("update", "delete")
    ],
    "postgresql": ["DROP TRIGGER log_entry_no_change ON log_entry", "DROP TRIGGER log_tile_no_change ON log_tile"],
}
BLOB = {"sqlite": "x'{0}'", "postgresql": "decode('{0}', 'hex')"}
CASES = [
    ("UPDATE log_entry SET leaf = (SELECT leaf FROM log_entry WHERE idx = 3) WHERE idx = 4", "root_differs"),
    ("UPDATE log_entry SET leaf = BLOB(7b7d) WHERE idx = 4", "leaf_malformed"),
    ("UPDATE log_entry SET n = 77 WHERE idx = 0", "index_columns_differ"),
    ("DELETE FROM log_entry WHERE idx = 4", "entry_missing"),
    ("DELETE FROM log_entry WHERE idx = 265", "entry_missing"),
    ("DELETE FROM log_tile", "tile_differs"),
    ("UPDATE subject_head SET n = n + 1", "subject_heads_differ"),
    ("DELETE FROM subject_head", "subject_heads_differ"),
    ("UPDATE record SET body = (SELECT body FROM record WHERE idx = 1) WHERE idx = 0", "record_does_not_open"),
    ("UPDATE checkpoint SET note = replace(note, '266', '265')", "checkpoint_signature_invalid"),
    ("UPDATE log_head SET last_ms = 0", "time_runs_backwards"),
    ("UPDATE message_record SET message = BLOB(00) WHERE id = 1", "message_changed"),
    ("UPDATE message_record SET outcome = 'other' WHERE id = 1", "message_changed"),
    ("DELETE FROM message_attachment WHERE position = 1", "message_changed"),
    ("DELETE FROM message_record WHERE id = 1", "message_missing"),
    ("DELETE FROM message_record WHERE id = 2", "message_missing"),
    ("UPDATE message_record SET digest = link WHERE id = 1", "message_link_broken"),
    ("UPDATE log_head SET messages = 2", "messages_beyond_head"),
    ("UPDATE log_head SET size = 265", "root_differs"),
    # The end of a body's retention is no contradiction.
    ("UPDATE message_record SET message = NULL, signature = NULL WHERE id = 1", None),
    ("DELETE FROM record", None),
]


@pytest.mark.parametrize(("statement", "code"), CASES)
async def test_a_change_is_found(database_url: str, tmp_path: Path, statement: str, code: str | None) -> None:
    key_engine = open_engine(f"sqlite+aiosqlite:///{tmp_path / 'keys.sqlite'}")
    keys = SubjectKeys(key_engine, os.urandom(32), os.urandom(32))
    await keys.create_schema()
    async with open_log(database_url) as log:
        erika = await keys.key_for("erika")
        for number in range(3):
            attached = (b"a", b"b") if number == 0 else ()
            await log.append(access(erika), access(erika), messages=[message(attachments=attached)])
        await log.append(*[exchange() for _ in range(260)])
        publisher = Publisher(log.engine, SIGNER, lock_file=tmp_path / "lock", origin=ORIGIN, clock_ms=log.clock)
        await publisher.publish()
        verifiers = (SIGNER.verifier,)
        sound = (await verify_log(log.engine, origin=ORIGIN, keys=keys, verifiers=verifiers)).require_sound()
        assert (sound.size, sound.messages, sound.records_opened, sound.checkpoints) == (266, 3, 266, 1)
        dialect = log.engine.dialect.name
        async with log.engine.begin() as connection:
            for disarm in DISARM[dialect]:
                await connection.execute(text(disarm))
            if "BLOB(" in statement:
                before, rest = statement.split("BLOB(", 1)
                value, after = rest.split(")", 1)
                statement = before + BLOB[dialect].format(value) + after
            await connection.execute(text(statement))
        report = await verify_log(log.engine, origin=ORIGIN, keys=keys, verifiers=verifiers)
        if code is None:
            report.require_sound()
        else:
            assert code in {finding.code for finding in report.findings}
            with pytest.raises(LogInconsistent):
                report.require_sound()
    await key_engine.dispose()


async def test_a_key_that_is_gone_counts_as_the_log_names_it(database_url: str, tmp_path: Path) -> None:
    before = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
    async with open_log(database_url) as log:

        async def publish(signer: NoteSigner, **old: NoteSigner) -> None:
            await log.append(exchange())
            lock = tmp_path / "lock"
            await Publisher(log.engine, signer, lock_file=lock, origin=ORIGIN, clock_ms=log.clock, **old).publish()

        async def findings() -> list[tuple[str, int | None]]:
            report = await verify_log(log.engine, origin=ORIGIN, verifiers=(SIGNER.verifier,))
            return [(finding.code, finding.index) for finding in report.findings]

        await publish(before)
        assert await findings() == [("checkpoint_signature_invalid", 1)]
        await publish(SIGNER, old_signer=before)
        # A tree that the present key has signed, but that doesn't name the other one.
        assert await findings() == [("checkpoint_signature_invalid", 1)]
        said = json.dumps({"origin": ORIGIN, "vkeys": [SIGNER.verifier.text, before.verifier.text], "v": 1}).encode()
        await announce(log.engine, log.sequencer, ORIGIN, "key", said)
        # The leaf is there, but no checkpoint of the present key covers it.
        assert await findings() == [("checkpoint_signature_invalid", 1)]
        await publish(SIGNER)
        assert await findings() == []
        report = await verify_log(log.engine, origin=ORIGIN, verifiers=(SIGNER.verifier,))
        assert report.keys == (SIGNER.verifier, before.verifier)
        stranger = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
        assert (await verify_log(log.engine, origin=ORIGIN, verifiers=(stranger.verifier,))).findings_total == 3


async def test_without_keys_records_of_persons_stay_closed(sqlite_url: str) -> None:
    async with open_log(sqlite_url) as log:
        await log.append(access(subject()), exchange())
        seen: list[tuple[int, int]] = []
        report = await verify_log(log.engine, origin=ORIGIN, progress=lambda done, of: seen.append((done, of)))
        assert report.require_sound().records_opened == 1
        assert seen == [(2, 2)]


async def test_an_unknown_log_is_an_error(sqlite_url: str) -> None:
    async with open_log(sqlite_url) as log:
        with pytest.raises(LogInconsistent):
            await verify_log(log.engine, origin="other.example")
