"""What is public about the keys, in one file: usage, member, certificates, and which of these are active.

The file is replaced as a whole under a lock, so that a gateway that reads it never sees half of a change and two
commands at once don't undo each other's. Nothing in it is secret; whoever may write it decides which certificate is
used.
"""

from __future__ import annotations

import fcntl
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from trust.certificates import CertificateUsage
from trust.errors import KeyUnavailable
from trust.keystore import write_private
from trust.tokens.model import CertificateEntry, KeyEntry

_FILE: Final = "keys.json"
_LOCK: Final = "keys.lock"
_MAX_BYTES: Final = 4 << 20
_FORMAT: Final = 1


class KeyRecords:
    """The file `keys.json` in a folder. Every call reads the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _FILE

    @property
    def version(self) -> tuple[int, int, int] | None:
        """Another value after every change; None while there is no file."""
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def load(self) -> dict[str, KeyEntry]:
        """The entries by id. Raises KeyUnavailable."""
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise KeyUnavailable(f"can't read {self._path}: {error.strerror}") from None
        try:
            if len(data) > _MAX_BYTES:
                raise ValueError
            document = json.loads(data)
            if document["format"] != _FORMAT:
                raise ValueError
            return {row["id"]: _entry(row) for row in document["keys"]}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise KeyUnavailable(
                f"{self._path} can't be read", code="token_not_available", hint="restore it from the backup"
            ) from None

    @contextmanager
    def changing(self) -> Iterator[dict[str, KeyEntry]]:
        """The entries, to be changed within the block; durable at its end, unless it raises. Raises KeyUnavailable."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Whoever may open the file may keep the lock.
            lock = os.open(self._folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyUnavailable(f"can't write in {self._folder}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self.load()
            yield entries
            write_private(self._path, _document(entries))
        finally:
            os.close(lock)


def _document(entries: Mapping[str, KeyEntry]) -> bytes:
    return json.dumps({"format": _FORMAT, "keys": [_row(entry) for entry in entries.values()]}, indent=1).encode()


def _row(entry: KeyEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "token": entry.token,
        "usage": entry.usage.value,
        "kind": entry.kind,
        "label": entry.label,
        "member": entry.member,
        "public_key": b64encode(entry.public_key).decode(),
        "certificates": [
            {
                "certificate": b64encode(found.certificate).decode(),
                "intermediates": [b64encode(der).decode() for der in found.intermediates],
                "active": found.active,
                "activated_ms": found.activated_ms,
            }
            for found in entry.certificates
        ],
    }


def _entry(row: Mapping[str, Any]) -> KeyEntry:
    return KeyEntry(
        id=_text(row["id"]),
        token=_text(row["token"]),
        usage=CertificateUsage(row["usage"]),
        kind=_text(row["kind"]),
        public_key=_octets(row["public_key"]),
        label=_text(row["label"]),
        member=None if row["member"] is None else _text(row["member"]),
        certificates=tuple(
            CertificateEntry(
                _octets(found["certificate"]),
                tuple(map(_octets, found["intermediates"])),
                found["active"] is True,
                int(found["activated_ms"]),
            )
            for found in row["certificates"]
        ),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _octets(value: object) -> bytes:
    return b64decode(_text(value), validate=True)
