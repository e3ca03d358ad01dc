"""Accepted global configurations on disk, in X-Road's layout; a restart neither forgets one nor accepts an older one.

    <directory>/instance-identifier               the own instance
    <directory>/<INSTANCE> -> .<INSTANCE>.<random>   replaced by a rename: readers see the old generation or the new
        shared-params.xml, private-params.xml, …     the files, as X-Road names them
        shared-params.xml.metadata, …                JSON: what the file is and when it expires
        directory                                    the signed directory as received
        state.json                                   anchor, locations and announced certificates

A generation is complete and durable on disk before its name points to it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

from trust.durable import sync_directory, write_atomically
from trust.errors import ConfigurationInvalid
from trust.globalconf import (
    PRIVATE_PARAMETERS,
    SHARED_PARAMETERS,
    USED_PARTS,
    Anchor,
    DirectoryPart,
    VerifiedConfiguration,
    announced_certificates,
    build_anchor,
    source_path,
    verify_stored_configuration,
)
from trust.globalconf_parts import FILE_NAMES

INSTANCE_FILE: Final = "instance-identifier"
METADATA_SUFFIX: Final = ".metadata"
_NAMES: Final = {
    SHARED_PARAMETERS: "shared-params.xml",
    PRIVATE_PARAMETERS: "private-params.xml",
    **FILE_NAMES,
}


@dataclass(frozen=True, slots=True)
class StoredConfiguration:
    """A configuration from disk, with the bytes it was made from."""

    configuration: VerifiedConfiguration
    files: Mapping[str, bytes]


def escape_instance(instance: str) -> str:
    """The instance as a name of a folder: form encoding, as X-Road does it; never `.` or `..`, nor hidden."""
    escaped = quote_plus(instance, safe="*").replace("~", "%7E")
    return f"%2E{escaped[1:]}" if escaped.startswith(".") else escaped


def remove_other_instances(directory: Path, kept: set[str]) -> None:
    """Removes the configurations of instances that one is no longer federated with."""
    names = {escape_instance(instance) for instance in kept}
    if not directory.is_dir():
        return
    for entry in list(os.scandir(directory)):
        if entry.is_symlink() and entry.name not in names:
            # The name first: no reader meets half a generation.
            Path(entry.path).unlink(missing_ok=True)
        elif entry.name.startswith(".") and entry.name[1:].rpartition(".")[0] not in names:
            shutil.rmtree(entry.path, ignore_errors=True)


class ConfigurationStore:
    """Keeps one instance's configuration. One writer at a time; readers need no lock."""

    def __init__(self, directory: Path, anchor: Anchor, *, parts: Sequence[str] = USED_PARTS) -> None:
        """`parts` are the content identifiers that are kept: all of the own instance, some of a federated one."""
        self._directory = directory
        self._name = escape_instance(anchor.instance)
        self._anchor = anchor
        self._parts = parts
        # Which instance is one's own is written down beside the configurations.
        self._own = PRIVATE_PARAMETERS in parts
        # generatedAt says when the file was written, not whom to trust.
        trusted = build_anchor(Anchor(anchor.instance, anchor.sources))
        self._anchor_hash = hashlib.sha256(trusted).hexdigest()

    @property
    def path(self) -> Path:
        """Where the configuration in force stands."""
        return self._directory / self._name

    def load(self) -> StoredConfiguration | None:
        """What was accepted last, verified anew; None when nothing was, or the anchor has been changed since.

        It may have expired. Raises ConfigurationInvalid when it is there but does not verify: whoever altered it could
        also mean to have an older one accepted.
        """
        # Resolved once, so that all files read are of one generation even while another process changes it.
        current = self.path.resolve()
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
            names = {str(location): str(name) for location, name in state["files"].items()}
            if any(name not in _NAMES.values() for name in names.values()):
                raise self._broken()
            files = {location: (current / name).read_bytes() for location, name in names.items()}
            document = (current / "directory").read_bytes()
        except (OSError, KeyError, TypeError, AttributeError, binascii.Error):
            raise self._broken() from None
        configuration = verify_stored_configuration(
            document, files, anchor=self._anchor, announced=announced, parts=self._parts
        )
        return StoredConfiguration(configuration, files)

    def save(
        self,
        configuration: VerifiedConfiguration,
        files: Mapping[str, bytes],
        previous: VerifiedConfiguration | None,
    ) -> None:
        """Makes `configuration` the accepted one; durable when this returns."""
        self._directory.mkdir(parents=True, exist_ok=True)
        generation = Path(tempfile.mkdtemp(dir=self._directory, prefix=f".{self._name}."))
        # Other programs of this machine may read it; it is public but for the private parameters of the instance.
        generation.chmod(0o755)
        names: dict[str, str] = {}
        for part in configuration.directory.parts:
            if part.location in files:
                name = names[part.location] = _NAMES[part.identifier]
                write_atomically(generation / name, files[part.location])
                write_atomically(generation / f"{name}{METADATA_SUFFIX}", _metadata(part, configuration))
        write_atomically(generation / "directory", configuration.directory.document)
        # What the predecessor announced vouches for this one, if the anchor itself does not.
        announced = () if previous is None else announced_certificates(previous, source_path(self._anchor))
        state = {
            "anchor": self._anchor_hash,
            "files": names,
            "announced": [base64.b64encode(certificate).decode() for certificate in announced],
        }
        write_atomically(generation / "state.json", json.dumps(state, indent=1).encode())
        self._switch(generation)
        if self._own:
            write_atomically(self._directory / INSTANCE_FILE, self._anchor.instance.encode())

    def _switch(self, generation: Path) -> None:
        last, link = self.path.resolve().name, self._directory / f"{generation.name}.link"
        if self.path.is_dir() and not self.path.is_symlink():
            # A folder of another program's making, or of an earlier layout of ours, holds nothing we verified.
            shutil.rmtree(self.path)
        link.symlink_to(generation.name)
        link.replace(self.path)
        sync_directory(self._directory)
        # The generation before stays for readers that are just at it.
        for entry in os.scandir(self._directory):
            if entry.name.startswith(f".{self._name}.") and entry.name not in {generation.name, last}:
                shutil.rmtree(entry.path, ignore_errors=True)

    def _broken(self) -> ConfigurationInvalid:
        return ConfigurationInvalid(
            "the stored global configuration can't be read",
            hint=f"if the disk is to blame, remove {self.path} and start again",
        )


def _metadata(part: DirectoryPart, configuration: VerifiedConfiguration) -> bytes:
    values = {
        "contentIdentifier": part.identifier,
        "instanceIdentifier": part.instance or configuration.instance,
        "expirationDate": f"{configuration.expires:%Y-%m-%dT%H:%M:%SZ}",
        "contentFileName": part.file_name,
        "contentLocation": part.location,
        "configurationVersion": str(configuration.version),
    }
    return json.dumps({name: value for name, value in values.items() if value is not None}).encode()
