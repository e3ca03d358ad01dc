"""What of a gateway's files is not its user's alone: each kind of file and folder, each right, each reader."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from gateway import private_files
from gateway.app import open_gateway
from gateway.errors import StartRefused
from gateway.logging import configure_logging
from gateway.private_files import (
    BELIEVED,
    FOLDERS,
    SECRET_SUFFIXES,
    Exposure,
    exposures,
    exposures_of_settings,
    prepare_files,
)
from gateway.settings import GatewaySettings

FILES = {
    "pin": "keys/pin",
    "p12": "keys/signing.p12",
    "ring": "keys/ring/software/00.p12",
    "pkcs11 pin": "keys/device-pin",
    "auditor": "keys/auditor",
    "secret": "keys/client-secret",
    "password": "keys/smtp",
    "database": "gateway.db",
    "write-ahead log": "gateway.db-wal",
    "persons": "subject-keys.db",
    "archive": "archive/mlog-1.zip",
}
TRUSTED = {"anchor": "anchor.xml", "lock": "checkpoint-2026.lock", "policy": "policy", "records": "keys/ring/keys.json"}


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    """Of a gateway whose files are all there, each its user's alone."""
    city = tmp_path / "city"
    settings = GatewaySettings(
        instance="DE-TEST",
        owner="DE-TEST/GOV/MUSTERSTADT",
        server_code="ss1",
        data_directory=city,
        anchor_file=city / "anchor.xml",
        pkcs11_pin_file=city / "keys/device-pin",
        auditor_token_file=city / "keys/auditor",
        citizen_client_secret_file=city / "keys/client-secret",
        citizen_smtp_password_file=city / "keys/smtp",
        witness_policy_file=city / "policy",
    )
    prepare_files(settings)
    for name in (*FILES.values(), *TRUSTED.values()):
        file = city / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(0o600)
    return settings


@pytest.fixture
def open_house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folders above the test's let everybody through, as /var/lib does; the test's own still decide."""
    monkeypatch.setattr(private_files, "_above", lambda path: [p for p in path.parents if p.is_relative_to(tmp_path)])


def one(settings: GatewaySettings) -> Exposure:
    (found,) = exposures(settings)
    return found


def test_a_new_gateways_files_are_its_own(settings: GatewaySettings) -> None:
    assert list(exposures(settings)) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("mode", "who", "verb"),
    [
        (0o604, "others on this machine", "read"),
        (0o602, "others on this machine", "change"),
        (0o620, "its group", "change"),
    ],
)
def test_what_is_secret(settings: GatewaySettings, name: str, mode: int, who: str, verb: str) -> None:
    file = settings.data_directory / FILES[name]
    file.chmod(mode)
    found = one(settings)
    assert (found.path, found.grave) == (file, True)
    assert found.what.startswith(f"{who} may {verb} this ")
    assert found.todo.startswith(f"chmod 600 {file.name}, ")
    # The folder above lets nobody through.
    assert not found.to_everyone


@pytest.mark.parametrize(("name", "grave"), [("pin", True), ("ring", True), ("database", False), ("archive", False)])
def test_a_group_may_read_for_a_backup_but_no_key(settings: GatewaySettings, name: str, grave: bool) -> None:
    (settings.data_directory / FILES[name]).chmod(0o640)
    assert one(settings).grave is grave


@pytest.mark.parametrize("name", TRUSTED)
def test_what_is_believed_may_be_read_but_not_changed(settings: GatewaySettings, name: str) -> None:
    file = settings.data_directory / TRUSTED[name]
    file.chmod(0o644)
    assert list(exposures(settings)) == []
    for mode in (0o664, 0o646):
        file.chmod(mode)
        assert (one(settings).grave, one(settings).todo.partition(",")[0]) == (True, f"chmod go-w {file.name}")


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.usefixtures("open_house")
def test_folders(settings: GatewaySettings, name: str) -> None:
    folder: Path = getattr(settings, name)
    for above in (p for p in folder.parents if p.is_relative_to(settings.data_directory.parent)):
        above.chmod(0o711)
    for mode, grave, to_everyone in (
        (0o755, False, False),
        (0o770, True, False),
        (0o777, True, True),
        (0o1777, True, False),
    ):
        folder.chmod(mode)
        found = next(exposure for exposure in exposures(settings) if exposure.path == folder)
        assert (found.grave, found.to_everyone, found.todo) == (grave, to_everyone, f"chmod 700 {folder.name}"), oct(
            mode
        )


def test_a_file_of_another_user(settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    database = settings.data_directory / "gateway.db"
    ours = os.geteuid()
    real: Callable[[Path], os.stat_result | None] = private_files._status

    def status(path: Path) -> os.stat_result | None:
        found = real(path)
        if found is None or path != database:
            return found
        return os.stat_result((*found[:4], ours + 1, *found[5:]))

    monkeypatch.setattr(private_files, "_status", status)
    found = one(settings)
    assert (found.path, found.what, found.grave) == (database, "belongs to another user", True)
    # Whoever has the data folder is the gateway's user, whoever looks: root is none of those above.
    monkeypatch.setattr(os, "geteuid", lambda: ours + 2)
    assert one(settings).path == database


@pytest.mark.parametrize("name", ["pin", "database", "persons", "archive"])
def test_nothing_starts_while_everybody_may_read_it(settings: GatewaySettings, name: str, open_house: None) -> None:
    file = settings.data_directory / FILES[name]
    file.chmod(0o644)
    prepare_files(settings)  # nobody gets through the folder above
    for folder in (
        settings.data_directory.parent,
        *(p for p in file.parents if p.is_relative_to(settings.data_directory)),
    ):
        folder.chmod(0o711)
    with pytest.raises(StartRefused, match=f"{file.name}: others on this machine may read this"):
        prepare_files(settings)
    file.chmod(0o640)
    prepare_files(settings)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.usefixtures("open_house")
async def test_a_gateway_looks_before_it_opens_anything(settings: GatewaySettings) -> None:
    pin = settings.pin_file
    for folder in (settings.data_directory.parent, settings.data_directory, pin.parent):
        folder.chmod(0o711)
    pin.chmod(0o644)
    with pytest.raises(StartRefused, match="pin: others on this machine may read this key file"):
        async with open_gateway(settings):
            pass
    assert (settings.data_directory / "gateway.db").stat().st_size == 0


def test_what_only_a_group_may_is_said_at_start(settings: GatewaySettings, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning")
    (settings.data_directory / "gateway.db").chmod(0o640)
    prepare_files(settings)
    (line,) = capsys.readouterr().err.splitlines()
    assert "not the gateway's alone" in line
    assert "gateway.db" in line


def test_a_restored_database_is_no_ones_else(settings: GatewaySettings, open_house: None) -> None:
    """As `sqlite3 backup` or `cp` write it: with the operator's own mask."""
    (settings.data_directory / "gateway.db").unlink()
    old = os.umask(0o022)
    try:
        with closing(sqlite3.connect(settings.data_directory / "gateway.db")) as connection, connection:
            connection.execute("CREATE TABLE t(x)")
    finally:
        os.umask(old)
    assert one(settings).what == "others on this machine may read this database"


def test_a_settings_file_with_a_password_is_a_secret(settings: GatewaySettings) -> None:
    config = settings.data_directory / "gateway.toml"
    config.touch(0o644)
    config.chmod(0o644)
    assert list(exposures_of_settings(config, settings)) == []
    for name in ("database_url", "subject_key_database_url"):
        with_password = settings.model_copy(update={name: "postgresql+asyncpg://road:geheim@127.0.0.1/road"})
        (found,) = exposures_of_settings(config, with_password)
        assert (found.what, found.grave) == ("others on this machine may read this settings file", True)
        assert "geheim" not in f"{found.what}{found.todo}"
    config.chmod(0o664)
    (found,) = exposures_of_settings(config, settings)
    assert found.what == "its group may change this settings file"


def path_settings() -> Iterator[str]:
    for name, kind in GatewaySettings.model_fields.items():
        if kind.annotation is Path or Path in get_args(kind.annotation):
            yield name


@pytest.mark.parametrize("name", sorted(path_settings()))
def test_every_setting_that_is_a_path_is_looked_at(name: str) -> None:
    kinds = (name.endswith(SECRET_SUFFIXES), name in FOLDERS, name in BELIEVED)
    assert kinds.count(True) == 1, "say whether it holds a secret (by its name), is a folder, or is believed"
