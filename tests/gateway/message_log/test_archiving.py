"""Archives follow one another by hash, survive a crash at each step, and are handed on until somebody takes them."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from audit import message_archives
from audit.archive_chain import ArchiveBuilder, ArchiveEnd, verify_archive
from audit.errors import AuditError, ProofInvalid
from audit.retention import delete_message_bodies
from audit.store import message_record
from gateway.message_log.archiving import Grouping, archive_name
from gateway.message_log.export import file_name_part
from tests.gateway.message_log.rig import Rig


def linked(paths: list[Path]) -> str:
    """The chain recomputed from X-Road's description alone; the last digest. Fails where it doesn't hold."""
    digest, name = "-", "-"
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
            first, *lines = archive.read("linkinginfo").decode().splitlines()
            assert first == f"{digest} {name} SHA-512"
            for line in lines:
                stated, file = line.split(" ")
                content = hashlib.new("sha512", archive.read(file)).hexdigest()
                before = "" if digest == "-" else digest
                digest = hashlib.new("sha512", before.encode("utf-8") + content.encode("utf-8")).hexdigest()
                assert stated == digest
            assert len(archive.namelist()) == len(lines) + 1
        name = path.name
        assert path.name.endswith(f"-{digest[:16]}.zip")
    return digest


async def stamped(rig: Rig, count: int, **fields: Any) -> None:
    await rig.log_many(count, **fields)
    await rig.stamper().round()


async def test_archives_follow_one_another(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    await stamped(rig, 3)
    (first,) = await rig.archiver(folder).round()
    assert await rig.archiver(folder).round() == ()
    rig.clock.advance(seconds=60)
    await stamped(rig, 1)
    (second,) = await rig.archiver(folder).round()
    assert first.startswith("mlog-20261122100000-20261122100000-")
    assert second.startswith("mlog-20261122100100-20261122100100-")
    digest = linked([folder / first, folder / second])
    verified = verify_archive((folder / first).read_bytes(), previous="")
    last = verify_archive((folder / second).read_bytes(), previous=verified.digest)
    assert last.digest == digest
    assert (folder / first).stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(folder / first) as archive:
        for name in verified.containers:
            assert name.startswith("DE-TEST-4711-request-")
            assert rig.making.verify(archive.read(name)).attachments_verified == ("/attachment1",)


async def test_the_same_messages_give_the_same_archive(rig: Rig, tmp_path: Path) -> None:
    await stamped(rig, 3)
    headers = await rig.headers()
    made = []
    for _ in range(2):
        builder = ArchiveBuilder(ArchiveEnd())
        for container in await rig.exporter().export(headers):
            builder.add(container.name, container.content)
        made.append(builder.finish())
    assert made[0] == made[1]


async def test_only_what_is_stamped_and_whole_is_archived(rig: Rig, tmp_path: Path) -> None:
    await stamped(rig, 1)
    await stamped(rig, 1, kept="reduced", attachments=())
    await rig.log_many(1)
    (name,) = await rig.archiver(tmp_path / "a").round()
    assert len(verify_archive((tmp_path / "a" / name).read_bytes()).containers) == 1
    assert await rig.archiver(tmp_path / "a").round() == ()
    await rig.stamper().round()
    (later,) = await rig.archiver(tmp_path / "a").round()
    linked([tmp_path / "a" / name, tmp_path / "a" / later])


async def test_archives_are_rotated_by_size(rig: Rig, tmp_path: Path) -> None:
    await stamped(rig, 5)
    names = await rig.archiver(tmp_path / "a", max_bytes=20_000).round()
    assert len(names) > 1
    linked([tmp_path / "a" / name for name in names])


async def test_groups_have_chains_of_their_own(rig: Rig, tmp_path: Path) -> None:
    other = "DE-TEST/GOV/MUSTERSTADT/rat"
    archiver = rig.archiver(tmp_path / "a", grouping=Grouping.SUBSYSTEM)
    for _ in range(2):
        await rig.log(rig.record(), rig.record(client=other), rig.record(role="provider"))
        await rig.stamper().round()
        rig.clock.advance(seconds=60)
        assert len(await archiver.round()) == 3
    names = [archive.name for archive in await message_archives.archives(rig.engine)]
    for group in ("app", "rat"):
        assert linked([tmp_path / "a" / name for name in names if f"MUSTERSTADT_{group}-" in name])
    assert linked([tmp_path / "a" / name for name in names if "STADTWERKE_rechnungen-" in name])


async def test_a_crash_before_an_archive_counts_leaves_none(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    await stamped(rig, 2)

    async def crash(*_: Any, **__: Any) -> None:
        raise SQLAlchemyError("the database is gone")

    monkeypatch.setattr(message_archives, "store_archive", crash)
    with pytest.raises(SQLAlchemyError):
        await rig.archiver(folder).round()
    assert [path.name.startswith(".pending-") for path in folder.iterdir()] == [True]
    monkeypatch.undo()
    await stamped(rig, 1)
    (name,) = await rig.archiver(folder).round()
    assert [path.name for path in folder.iterdir()] == [name]
    assert len(verify_archive((folder / name).read_bytes(), previous="").containers) == 3


async def test_a_crash_after_an_archive_counts_leaves_it_to_be_named(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    await stamped(rig, 2)

    def crash(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(OSError):  # noqa: PT011 - this very one
        await rig.archiver(folder).round()
    monkeypatch.undo()
    assert await rig.archiver(folder).round() == ()
    (archive,) = await message_archives.archives(rig.engine)
    linked([folder / archive.name])


async def test_archives_are_handed_on_until_taken(rig: Rig, tmp_path: Path) -> None:
    folder, taken = tmp_path / "a", tmp_path / "taken"
    script = f"import shutil, sys; shutil.copy(sys.argv[1], {str(taken)!r})"
    command = (sys.executable, "-c", script)
    await stamped(rig, 1)
    # Fails: the receiver's folder isn't there.
    (first,) = await rig.archiver(folder, transfer_command=("/nicht/vorhanden",)).round()
    assert len(await message_archives.archives(rig.engine, waiting=True)) == 1
    assert b"datenweg_archives_waiting 1.0" in rig.metrics.render()
    rig.clock.advance(seconds=60)
    await stamped(rig, 1)
    taken.mkdir()
    (second,) = await rig.archiver(folder, transfer_command=command).round()
    assert {path.name for path in taken.iterdir()} == {first, second}
    assert await message_archives.archives(rig.engine, waiting=True) == []
    assert b"datenweg_archives_waiting 0.0" in rig.metrics.render()


async def test_a_transfer_is_bounded_in_time(rig: Rig, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import time; time.sleep(600)")
    await stamped(rig, 1)
    archiver = rig.archiver(tmp_path / "a", transfer_command=command, transfer_timeout_seconds=0.2)
    await archiver.round()
    assert b"datenweg_archive_transfer_failures_total 1.0" in rig.metrics.render()
    assert len(await message_archives.archives(rig.engine, waiting=True)) == 1


# -- retention


async def emptied(rig: Rig) -> list[bool]:
    async with rig.engine.connect() as connection:
        query = select(message_record.c.message).order_by(message_record.c.id)
        return [content is None for content in (await connection.execute(query)).scalars()]


async def test_contents_go_when_their_time_is_up_and_not_before(rig: Rig, tmp_path: Path) -> None:
    await stamped(rig, 1)
    rig.clock.advance(seconds=1000)
    await stamped(rig, 1)
    await rig.log_many(1)
    later = rig.clock.now_ms() + 1_000_000
    assert await delete_message_bodies(rig.engine, before_ms=rig.clock.now_ms()) == 1
    assert await emptied(rig) == [True, False, False]
    assert await delete_message_bodies(rig.engine, before_ms=later) == 1
    # What isn't stamped yet stays however old it is.
    assert await emptied(rig) == [True, True, False]
    await rig.stamper().round()
    assert await delete_message_bodies(rig.engine, before_ms=later) == 1
    await rig.require_sound()


async def test_what_is_to_be_archived_stays_until_it_is(rig: Rig, tmp_path: Path) -> None:
    await stamped(rig, 2)
    await stamped(rig, 1, kept="reduced", attachments=())
    later = rig.clock.now_ms() + 1_000_000
    # What can't be archived goes by its time-stamp.
    assert await delete_message_bodies(rig.engine, before_ms=later, archived=True) == 1
    assert await emptied(rig) == [False, False, True]
    await rig.archiver(tmp_path / "a").round()
    assert await delete_message_bodies(rig.engine, before_ms=rig.clock.now_ms(), archived=True) == 0
    assert await delete_message_bodies(rig.engine, before_ms=later, archived=True) == 2
    assert await emptied(rig) == [True, True, True]
    assert await delete_message_bodies(rig.engine, before_ms=later, archived=True) == 0


# -- the chain, by itself


def archive_of(*contents: bytes, previous: ArchiveEnd = ArchiveEnd()) -> tuple[bytes, str]:  # noqa: B008 - frozen
    builder = ArchiveBuilder(previous)
    for number, content in enumerate(contents):
        builder.add(f"{number}.asice", content)
    digest = builder.digest
    return builder.finish(), digest


def changed(archive: bytes, name: str, content: bytes | None, *, extra: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            data = old.read(entry) if entry.filename != name else content
            if data is not None:
                new.writestr(entry.filename, data)
        if extra is not None:
            new.writestr(extra, b"fremd")
    return buffer.getvalue()


def test_what_was_changed_shows() -> None:
    archive, digest = archive_of(b"eins", b"zwei")
    assert verify_archive(archive, previous="").digest == digest
    following, _ = archive_of(b"drei", previous=ArchiveEnd(digest, "vorher.zip"))
    assert verify_archive(following, previous=digest).previous == ArchiveEnd(digest, "vorher.zip")
    info = zipfile.ZipFile(io.BytesIO(archive)).read("linkinginfo")
    for wrong in (
        changed(archive, "0.asice", b"null"),
        changed(archive, "0.asice", None),
        changed(archive, "", None, extra="mehr.asice"),
        changed(archive, "linkinginfo", info.replace(b"1.asice", b"0.asice")),
    ):
        with pytest.raises(ProofInvalid):
            verify_archive(wrong)
    for wrong in (
        b"", archive[:-1], archive + b"x" * 70_000, changed(archive, "linkinginfo", b""),
        changed(archive, "linkinginfo", b"- - MD5\n"), changed(archive, "linkinginfo", b"- x SHA-512\n"),
        changed(archive, "linkinginfo", info + b"abc 0.asice\n"), changed(archive, "linkinginfo", b"\xff"),
    ):  # fmt: skip
        with pytest.raises(AuditError):
            verify_archive(wrong)
    for previous in (digest, "0" * 128):
        with pytest.raises(ProofInvalid):
            verify_archive(archive, previous=previous)
    with pytest.raises(ProofInvalid):
        verify_archive(following, previous="")


@pytest.mark.parametrize(("algorithm", "name"), [("SHA-256", "sha256"), ("SHA-384", "sha384")])
def test_archives_with_another_hash_are_read(algorithm: str, name: str) -> None:
    archive, _ = archive_of(b"eins")
    inner = hashlib.new(name, b"eins").hexdigest()
    digest = hashlib.new(name, inner.encode()).hexdigest()
    told = f"- - {algorithm}\n{digest} 0.asice\n".encode()
    assert verify_archive(changed(archive, "linkinginfo", told), previous="").digest == digest
    for wrong in (told.replace(algorithm.encode(), b"MD5"), told.replace(algorithm.encode(), b"SHA-512")):
        with pytest.raises(AuditError):
            verify_archive(changed(archive, "linkinginfo", wrong))


def test_two_of_one_name_are_kept_apart() -> None:
    builder = ArchiveBuilder(ArchiveEnd())
    for content in (b"a", b"b", b"c"):
        builder.add("x.asice", content)
    builder.add("linkinginfo", b"d")
    assert verify_archive(builder.finish()).containers == ("x.asice", "x-1.asice", "x-2.asice", "linkinginfo-1")


def test_names_from_outside_stay_names() -> None:
    assert file_name_part("../../etc/passwd") == "%2F..%2Fetc%2Fpasswd"
    assert file_name_part("Frage 7") == "Frage+7"
    assert file_name_part("") == "_"
    assert len(file_name_part("ü" * 1000)) <= 120
    assert archive_name("A/B", [0, 2000], "ab" * 64) == f"mlog-A_B-19700101000000-19700101000002-{'ab' * 8}.zip"
