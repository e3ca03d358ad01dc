"""The keys that sign the global configuration: the one in use and, while it is being changed, its successor.

Nobody hands out new anchors for a new key: it is announced in the configuration's `source` elements (PR-GCONF since
version 3), signed with the old one; when every gateway has seen that, the registry switches. A gateway that was away
all the while needs the current anchor.

    <signing_key_file>                in use
    <signing_key_file>-next           announced, not in use
    <signing_key_file>-next.announced since when it is published
    <signing_key_file>-old            the one before
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.registry.membership import RegistrationRefused
from gateway.settings import RegistrySettings
from trust.durable import write_atomically
from trust.errors import KeyUnavailable
from trust.keys import SigningKey
from trust.keystore import load_pkcs12, read_secret, save_pkcs12, write_private
from trust.self_signed import build_self_signed

_KEY_DAYS: Final = 3650


class RegistryKeys:
    """A registry node's keys on disk. Changing them belongs to one process at a time; reading may happen in several."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._active_file = settings.signing_key_file
        self._next_file = self._beside("-next")
        self._old_file = self._beside("-old")
        self._announced_file = self._next_file.with_name(self._next_file.name + ".announced")
        self._loaded: dict[Path, tuple[tuple[int, int], SigningKey]] = {}

    @property
    def active(self) -> SigningKey:
        """The key that signs; read anew when the file has changed. Raises KeyUnavailable."""
        return self._load(self._active_file)

    @property
    def successor(self) -> SigningKey | None:
        """The key that is announced, None if none is. Raises KeyUnavailable."""
        return self._load(self._next_file) if self._next_file.exists() else None

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The certificates (DER) that the configuration announces."""
        successor = self.successor
        return (self.active.certificate_der, *(() if successor is None else (successor.certificate_der,)))

    @property
    def announced_at(self) -> datetime | None:
        """Since when the successor has been published, None if it hasn't been."""
        try:
            return datetime.fromisoformat(self._announced_file.read_text("ascii"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise KeyUnavailable("the time of the announcement can't be read") from None

    def ensure(self, at: datetime) -> None:
        """Makes the first key if there is none. Raises KeyUnavailable."""
        settings = self._settings
        if self._active_file.exists():
            return
        for file in (self._active_file, settings.pin_file):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.data_directory.mkdir(parents=True, exist_ok=True)
        if not settings.pin_file.exists():
            write_private(settings.pin_file, secrets.token_urlsafe(24).encode())
        self._make(self._active_file, at)

    def make_successor(self, at: datetime) -> None:
        """Makes the next key; the next generation announces it. Raises RegistrationRefused if there is one already."""
        if self._next_file.exists():
            raise RegistrationRefused("a successor is announced already: activate it")
        self._announced_file.unlink(missing_ok=True)
        self._make(self._next_file, at)

    def note_announced(self, at: datetime) -> None:
        """A generation that announces the successor has been made."""
        if self._next_file.exists() and not self._announced_file.exists():
            write_atomically(self._announced_file, at.isoformat().encode())

    def activate(self, at: datetime, *, at_once: bool = False) -> None:
        """Signs with the successor from now on.

        Raises RegistrationRefused before every gateway that follows can have seen it, unless `at_once`.
        """
        if not self._next_file.exists():
            raise RegistrationRefused("no successor: make one first")
        announced = self.announced_at
        # A gateway that hasn't fetched for that long has stopped working anyway.
        ready = None if announced is None else announced + timedelta(seconds=self._settings.validity_seconds)
        if not at_once and (ready is None or at < ready):
            when = "once a running registry has published it" if ready is None else f"after {ready:%Y-%m-%dT%H:%M:%SZ}"
            raise RegistrationRefused(f"the successor is too new, gateways would refuse it: activate it {when}")
        _ = self.successor  # it opens with the PIN, or we stop here
        write_atomically(self._old_file, self._active_file.read_bytes(), mode=0o600)
        self._next_file.replace(self._active_file)
        self._announced_file.unlink(missing_ok=True)

    def _beside(self, suffix: str) -> Path:
        return self._active_file.with_name(f"{self._active_file.stem}{suffix}{self._active_file.suffix}")

    def _load(self, path: Path) -> SigningKey:
        try:
            stat = path.stat()
        except OSError:
            raise KeyUnavailable(f"{path} can't be read", hint="restore it from the backup") from None
        stamp = (stat.st_ino, stat.st_mtime_ns)
        known = self._loaded.get(path)
        if known is None or known[0] != stamp:
            known = self._loaded[path] = (stamp, load_pkcs12(path, read_secret(file=self._settings.pin_file)))
        return known[1]

    def _make(self, path: Path, at: datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        # It carries the key in anchors. The anchor vouches for it: its dates do not count.
        since, until = at - timedelta(days=1), at + timedelta(days=_KEY_DAYS)
        certificate = build_self_signed(key, f"{self._settings.instance} configuration", since=since, until=until)
        save_pkcs12(path, key, certificate, (), read_secret(file=self._settings.pin_file))
