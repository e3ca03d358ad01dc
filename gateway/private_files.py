"""Who else on this machine may read or change what a gateway keeps: keys, databases, bodies, archives.

What a gateway makes is its user's alone from the first moment. A restored backup, a copy or a folder that was there
before have whatever mode they came with. A gateway doesn't start while every user of the machine may read or change
something of it; what only the group may, or what belongs to somebody else, it says at each start. `datenweg doctor`
says all of it, also of files that no other user can reach now because of a folder above them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gateway.errors import StartRefused
from gateway.logging import get_logger
from gateway.logs import lock_file_of, lock_file_years
from gateway.settings import GatewaySettings

# Every setting of a gateway that is a path stands in one of these (a test holds it).
SECRET_SUFFIXES: Final = ("_key_file", "pin_file", "_token_file", "_secret_file", "_password_file")
FOLDERS: Final = ("data_directory", "key_directory", "spool_directory", "message_archive_directory")
# No secrets, but whoever may change them decides whom the gateway believes, or what it runs.
BELIEVED: Final = (
    "anchor_file",
    "checkpoint_lock_file",
    "witness_policy_file",
    "citizen_purposes_file",
    "pkcs11_module",
)

_DATABASES: Final = ("database_url", "subject_key_database_url")
_OTHERS_READ, _OTHERS_WRITE = stat.S_IROTH, stat.S_IWOTH
_GROUP_READ, _GROUP_WRITE = stat.S_IRGRP, stat.S_IWGRP
_ROOT: Final = 0
# What holds a key in the key ring; the rest of it says which is used.
_CONTAINER: Final = ".p12"


@dataclass(frozen=True, slots=True)
class Exposure:
    """One file or folder that isn't the gateway's alone. `to_everyone`: to every user of the machine, as it lies."""

    path: Path
    what: str
    todo: str
    grave: bool
    to_everyone: bool = False


def exposures(settings: GatewaySettings) -> Iterator[Exposure]:
    """What others may read or change of what this gateway keeps. Reads the disk; what isn't there isn't open."""
    owners = _own_users(settings.data_directory)
    for folder in sorted({getattr(settings, name) for name in FOLDERS}):
        yield from _folder(folder, owners)
    for file in sorted(_believed(settings)):
        yield from _file(file, "file", owners, readable=True)
    for file in sorted(_secrets(settings)):
        yield from _file(file, "key file", owners)
    for file in _databases(settings):
        yield from _file(file, "database", owners, group_reads=True)
    for file in _within(settings.message_archive_directory):
        yield from _file(file, "archive", owners, group_reads=True)


def exposures_of_settings(file: Path, settings: GatewaySettings) -> Iterator[Exposure]:
    """What others may do with the settings' own file: anybody may read it, unless a database's password is in it."""
    passwords = any(url.password for url in _urls(settings))
    yield from _file(file, "settings file", _own_users(settings.data_directory), readable=not passwords)


def prepare_files(settings: GatewaySettings) -> None:
    """Makes the folders that a gateway starts with. Raises OSError, and StartRefused for what is open to everybody.

    What is open to more than the gateway's user but not to everybody is said in the log.
    """
    for folder in (settings.data_directory, settings.spool_directory):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = tuple(exposures(settings))
    for exposure in found:
        if exposure.to_everyone:
            raise StartRefused(f"{exposure.path}: {exposure.what}: {exposure.todo}")
    log = get_logger(node=settings.server_code)
    for exposure in found:
        log.warning("not the gateway's alone", path=str(exposure.path), reason=exposure.what, hint=exposure.todo)


def _secrets(settings: GatewaySettings) -> set[Path]:
    named = {getattr(settings, name) for name in type(settings).model_fields if name.endswith(SECRET_SUFFIXES)}
    ring = {file for file in _within(settings.key_directory) if file.suffix == _CONTAINER}
    return {file for file in named if file is not None} | ring


def _believed(settings: GatewaySettings) -> set[Path]:
    years = (lock_file_of(settings, year) for year in lock_file_years(settings))
    ring = {file for file in _within(settings.key_directory) if file.suffix != _CONTAINER}
    return {path for name in BELIEVED if (path := getattr(settings, name)) is not None}.union(years, ring)


def _databases(settings: GatewaySettings) -> Iterator[Path]:
    for url in _urls(settings):
        if url.get_backend_name() == "sqlite" and url.database:
            yield from (Path(url.database + suffix) for suffix in ("", "-wal", "-shm", "-journal"))


def _urls(settings: GatewaySettings) -> Iterator[URL]:
    for name in _DATABASES:
        # Who opens it says what is wrong with it.
        with suppress(ArgumentError):
            yield make_url(getattr(settings, name))


def _within(folder: Path) -> Iterator[Path]:
    """The files below a folder, in order."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in sorted(names))


def _file(
    path: Path, kind: str, owners: Collection[int], *, readable: bool = False, group_reads: bool = False
) -> Iterator[Exposure]:
    """`readable`: everybody may know what is in it. `group_reads`: a group may be meant to, for its backup."""
    status = _status(path)
    if status is None or not stat.S_ISREG(status.st_mode):
        return
    mode = status.st_mode if not readable else status.st_mode & ~(_OTHERS_READ | _GROUP_READ)
    if mode & (_OTHERS_READ | _OTHERS_WRITE):
        verb = "change" if mode & _OTHERS_WRITE else "read"
        yield Exposure(path, f"others on this machine may {verb} this {kind}", _mend(path, kind), True, _reached(path))
    elif mode & (_GROUP_READ | _GROUP_WRITE):
        verb, grave = ("change", True) if mode & _GROUP_WRITE else ("read", not group_reads)
        yield Exposure(path, f"its group may {verb} this {kind}", _mend(path, kind), grave)
    yield from _stranger(path, status, owners)


def _mend(path: Path, kind: str) -> str:
    match kind:
        case "file":
            return f"chmod go-w {path.name}, and look whether it was changed"
        case "key file":
            return f"chmod 600 {path.name}, and consider the key known to whoever could read it"
        case "settings file":
            return f"chmod 600 {path.name}, and look after the database's password if it stands there"
        case _:
            return f"chmod 600 {path.name}, and consider what is in it known to whoever could read it"


def _folder(path: Path, owners: Collection[int]) -> Iterator[Exposure]:
    status = _status(path)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return
    mode, todo = status.st_mode, f"chmod 700 {path.name}"
    if mode & _OTHERS_WRITE:
        # With the sticky bit nobody can replace what is there.
        open_to_all = not mode & stat.S_ISVTX and _reached(path)
        text = "others on this machine may put files into this folder"
        yield Exposure(path, text, todo, True, open_to_all)
    elif mode & _GROUP_WRITE:
        yield Exposure(path, "its group may put files into this folder", todo, True)
    elif mode & (_OTHERS_READ | stat.S_IXOTH) and _reached(path):
        yield Exposure(path, "others on this machine may look into this folder", todo, False)
    yield from _stranger(path, status, owners)


def _stranger(path: Path, status: os.stat_result, owners: Collection[int]) -> Iterator[Exposure]:
    if status.st_uid not in owners:
        todo = f"chown {path.name} to the gateway's user: its owner may change it whatever its mode"
        yield Exposure(path, "belongs to another user", todo, True)


def _own_users(data_directory: Path) -> frozenset[int]:
    """The gateway's user: whoever runs this, and whoever has the data folder when somebody else looks; and root."""
    status = _status(data_directory)
    return frozenset({_ROOT, os.geteuid()} | (set() if status is None else {status.st_uid}))


def _reached(path: Path) -> bool:
    """Whether every user gets to it: all folders above it let everybody through."""
    return all((status := _status(above)) is not None and status.st_mode & stat.S_IXOTH for above in _above(path))


def _above(path: Path) -> Iterator[Path]:
    try:
        yield from path.resolve().parents
    except OSError:
        return


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
