"""The last accepted global configuration on disk, so that a restart neither forgets it nor accepts an older one.

    <directory>/<INSTANCE>/current -> generation-<random>      replaced by a rename: readers see the old or the new
    <directory>/<INSTANCE>/generation-<random>/directory       the signed directory as received
                                               state.json      anchor, locations and announced certificates
                                               part-<n>        its files

A generation is complete and durable on disk before `current` points to it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from trust.durable import sync_directory, write_atomically
from trust.errors import ConfigurationInvalid
from trust.globalconf import (
    Anchor,
    VerifiedConfiguration,
    announced_certificates,
    build_anchor,
    verify_stored_configuration,
)


@dataclass(frozen=True, slots=True)
class StoredConfiguration:
    """A configuration from disk, with the bytes it was made from."""

    configuration: VerifiedConfiguration
    files: Mapping[str, bytes]


class ConfigurationStore:
    """Keeps one instance's configuration. One writer at a time; readers need no lock."""

    def __init__(self, directory: Path, anchor: Anchor) -> None:
        # X-Road escapes the instance identifier for its directories in the same way.
        self._directory = directory / quote(anchor.instance, safe="")
        self._anchor = anchor
        # generatedAt says when the file was written, not whom to trust.
        trusted = build_anchor(Anchor(anchor.instance, anchor.sources))
        self._anchor_hash = hashlib.sha256(trusted).hexdigest()

    def load(self) -> StoredConfiguration | None:
        """What was accepted last, verified anew; None when nothing was, or the anchor has been changed since.

        It may have expired. Raises ConfigurationInvalid when it is there but does not verify: whoever altered it could
        also mean to have an older one accepted.
        """
        # Resolved once, so that all files read are of one generation even while another process changes it.
        current = (self._directory / "current").resolve()
        try:
            state = json.loads((current / "state.json").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise self._broken() from None
        try:
            if state["anchor"] != self._anchor_hash:
                return None
            announced = tuple(base64.b64decode(text, validate=True) for text in state["announced"])
            files = {
                location: (current / f"part-{number}").read_bytes()
                for number, location in enumerate(state["locations"])
            }
            document = (current / "directory").read_bytes()
        except (OSError, KeyError, TypeError, binascii.Error):
            raise self._broken() from None
        configuration = verify_stored_configuration(document, files, anchor=self._anchor, announced=announced)
        return StoredConfiguration(configuration, files)

    def save(
        self,
        configuration: VerifiedConfiguration,
        files: Mapping[str, bytes],
        previous: VerifiedConfiguration | None,
    ) -> None:
        """Makes `configuration` the accepted one; durable when this returns."""
        self._directory.mkdir(parents=True, exist_ok=True)
        generation = Path(tempfile.mkdtemp(dir=self._directory, prefix="generation-"))
        for number, data in enumerate(files.values()):
            write_atomically(generation / f"part-{number}", data)
        write_atomically(generation / "directory", configuration.directory.document)
        # What the predecessor announced vouches for this one, if the anchor itself does not.
        announced = () if previous is None else announced_certificates(previous)
        state = {
            "anchor": self._anchor_hash,
            "locations": list(files),
            "announced": [base64.b64encode(certificate).decode() for certificate in announced],
        }
        write_atomically(generation / "state.json", json.dumps(state, indent=1).encode())
        current, link = self._directory / "current", self._directory / f".{generation.name}.link"
        last = current.resolve().name
        link.symlink_to(generation.name)
        link.replace(current)
        sync_directory(self._directory)
        # The generation before stays for readers that are just at it.
        self._remove_others({generation.name, last})

    def _remove_others(self, kept: set[str]) -> None:
        for entry in os.scandir(self._directory):
            if entry.name.startswith("generation-") and entry.name not in kept:
                shutil.rmtree(entry.path, ignore_errors=True)

    def _broken(self) -> ConfigurationInvalid:
        return ConfigurationInvalid(
            "the stored global configuration can't be read",
            hint=f"if the disk is to blame, remove {self._directory} and start again",
        )
