"""Messages at rest: sealed, opened again after a rotation, and closed to whoever has the database alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from audit.errors import LogUnavailable, RecordUnopenable
from audit.message_cipher import MessageCipher
from audit.message_keys import MessageKeys
from audit.message_log import StoredContent, digest_of
from audit.message_reader import Criteria, MessageReader
from audit.store import message_record, open_engine
from audit.verify import verify_log
from tests.audit.factory import NOVEMBER_MS, ORIGIN, message, open_log

SECRETS = {"a" * 16: bytes(32), "b" * 16: bytes(range(32))}
CURRENT = "b" * 16
KEK = bytes(range(1, 33))


@given(
    body=st.binary(max_size=200),
    signature=st.binary(max_size=200),
    attachments=st.lists(st.binary(max_size=50), max_size=3),
    chain=st.none() | st.binary(min_size=1, max_size=50),
)
def test_what_was_sealed_is_opened(
    body: bytes, signature: bytes, attachments: list[bytes], chain: bytes | None
) -> None:
    cipher = MessageCipher(SECRETS, CURRENT, os.urandom)
    record = message(body, signature=signature, attachments=tuple(attachments), hash_chain=chain)
    digest = digest_of(record)
    sealed = cipher.seal(record, digest)
    assert sealed.key_id == CURRENT
    for part in (body, signature, *attachments):
        assert len(part) < 8 or part not in b"".join((sealed.message, sealed.signature, *sealed.attachments))
    opened = cipher.open(sealed, member=record.member, digest=digest)
    assert (opened.message, opened.signature, opened.attachments) == (body, signature, tuple(attachments))
    assert opened.hash_chain == chain
    assert MessageCipher(SECRETS, None, os.urandom).open(sealed, member=record.member, digest=digest) == opened


def test_nothing_else_opens_it() -> None:
    cipher = MessageCipher(SECRETS, CURRENT, os.urandom)
    record = message(b"geheim", attachments=(b"eins", b"zwei"))
    digest = digest_of(record)
    sealed = cipher.seal(record, digest)
    assert record.member == "DE-TEST/COM/STADTWERKE"

    def changed(**fields: object) -> StoredContent:
        values = {name: getattr(sealed, name) for name in StoredContent.__slots__}
        return StoredContent(**(values | fields))

    for content, member, bound in (
        (sealed, "DE-TEST/GOV/MUSTERSTADT", digest),
        (sealed, record.member, bytes(32)),
        (changed(key_id="a" * 16), record.member, digest),
        (changed(key_id="c" * 16), record.member, digest),
        (changed(message=sealed.signature), record.member, digest),
        (changed(attachments=sealed.attachments[::-1]), record.member, digest),
        (changed(message=sealed.message[:-1] + bytes([sealed.message[-1] ^ 1])), record.member, digest),
        (changed(message=b"kurz"), record.member, digest),
    ):
        with pytest.raises(RecordUnopenable):
            cipher.open(content, member=member, digest=bound)


@pytest.mark.parametrize("parts", [{"signature": b""}, {"signature": b"unterschrift"}], ids=["message", "signature"])
def test_each_part_stays_with_its_record(parts: dict[str, bytes]) -> None:
    """Who has the database can't put one message, or one signature, in another's place."""
    cipher = MessageCipher(SECRETS, CURRENT, os.urandom)
    record = message(b"" if parts["signature"] else b"geheim", **parts)
    sealed = cipher.seal(record, digest_of(record))
    for bound in (bytes(32), digest_of(message(b"andere"))):
        with pytest.raises(RecordUnopenable):
            cipher.open(sealed, member=record.member, digest=bound)
        if parts["signature"]:
            with pytest.raises(RecordUnopenable):
                cipher.open_signature(sealed.signature, key_id=CURRENT, member=record.member, digest=bound)


def test_equal_messages_look_different() -> None:
    cipher = MessageCipher(SECRETS, CURRENT, os.urandom)
    record = message(b"gleich")
    assert cipher.seal(record, bytes(32)) != cipher.seal(record, bytes(32))


async def keys_in(folder: Path, kek: bytes = KEK) -> MessageKeys:
    keys = MessageKeys(open_engine(f"sqlite+aiosqlite:///{folder / 'keys.sqlite'}"), kek)
    await keys.create_schema()
    return keys


def _bytes_in(folder: Path, pattern: str) -> bytes:
    found = [path.read_bytes() for path in folder.glob(pattern)]
    assert found
    return b"".join(found)


async def close(keys: MessageKeys) -> None:
    await keys._engine.dispose()


async def test_a_rotation_keeps_old_messages_readable(database_url: str, tmp_path: Path) -> None:
    keys = await keys_in(tmp_path)
    cipher = await keys.cipher(sealing=True, now_ms=NOVEMBER_MS)
    async with open_log(database_url, sealer=cipher) as log:
        await log.append(messages=[message(b"vorher")])
        await keys.rotate(now_ms=NOVEMBER_MS)
        await keys.refresh(cipher, sealing=True)
        await log.append(messages=[message(b"nachher", attachments=(b"anhang",))])
        reader = MessageReader(log.engine, await keys.cipher(sealing=False, now_ms=NOVEMBER_MS))
        headers = await reader.search(Criteria(), 10)
        opened = await reader.open(headers)
        assert [(one.message, one.attachments) for one in opened] == [(b"vorher", ()), (b"nachher", (b"anhang",))]
        assert len({header.key_id for header in headers}) == 2
        (await verify_log(log.engine, origin=ORIGIN, messages=cipher)).require_sound()
        # Without the keys the links still hold; what is inside nobody can say.
        (await verify_log(log.engine, origin=ORIGIN)).require_sound()
        async with log.engine.begin() as connection:
            await connection.execute(message_record.update().where(message_record.c.id == 1).values(message=b"x" * 40))
        report = await verify_log(log.engine, origin=ORIGIN, messages=cipher)
        assert [finding.code for finding in report.findings] == ["message_changed"]
    await close(keys)


async def test_keys_are_wrapped(tmp_path: Path) -> None:
    keys = await keys_in(tmp_path)
    name = await keys.rotate(now_ms=NOVEMBER_MS)
    secret = (await keys.load())[name]
    await close(keys)
    stored = _bytes_in(tmp_path, "keys.sqlite*")
    assert secret not in stored
    thief = await keys_in(tmp_path, bytes(32))
    with pytest.raises(LogUnavailable):
        await thief.load()
    await close(thief)


async def test_two_processes_agree_on_the_newest_key(tmp_path: Path) -> None:
    keys, other = await keys_in(tmp_path), await keys_in(tmp_path)
    first = await keys.cipher(sealing=True, now_ms=NOVEMBER_MS)
    second = await other.cipher(sealing=True, now_ms=NOVEMBER_MS)
    ids = {cipher.seal(message(b"x"), bytes(32)).key_id for cipher in (first, second)}
    assert len(ids) == 1
    await close(keys)
    await close(other)


async def test_a_stolen_database_opens_nothing(sqlite_url: str, tmp_path: Path) -> None:
    keys = await keys_in(tmp_path)
    cipher = await keys.cipher(sealing=True, now_ms=NOVEMBER_MS)
    marks = [b"kanarienvogel-%d" % number for number in range(4)]
    async with open_log(sqlite_url, sealer=cipher) as log:
        chains = {"hash_chain_result": marks[3], "hash_chain": marks[3]}
        await log.append(messages=[message(marks[0], signature=marks[1], attachments=(marks[2],), **chains)])
        async with log.engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM message_record"))).scalar_one() == 1
        stored = _bytes_in(tmp_path, "log.sqlite*")
        assert b"DE-TEST/GOV/MUSTERSTADT/APP" in stored
        assert not any(mark in stored for mark in marks)
        without = MessageReader(log.engine, MessageCipher({}, None, os.urandom))
        with pytest.raises(RecordUnopenable):
            await without.open(await without.search(Criteria(), 10))
    await close(keys)
