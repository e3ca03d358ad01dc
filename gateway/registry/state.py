"""The registry's state on disk: the shared parameters as they will be published, not yet signed.

The file is XML of the same format as the published one, so there is one reader, one writer and nothing to translate;
only that it has both hashes of each certificate, for the versions to come and those that were.
Changes go through `update`, one at a time over all processes; a reader needs no lock.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

from trust.durable import write_atomically
from trust.errors import ConfigurationInvalid
from trust.globalconf import build_registry_state, parse_shared_parameters
from trust.parameters import SharedParameters

Change = Callable[[SharedParameters], SharedParameters]


class RegistryState:
    """The file with an instance's registrations and approvals."""

    def __init__(self, path: Path, instance: str) -> None:
        self._path = path
        self._instance = instance

    @property
    def exists(self) -> bool:
        """Whether the registry has been set up."""
        return self._path.exists()

    def create(self, parameters: SharedParameters) -> None:
        """Writes the first state; durable when this returns."""
        write_atomically(self._path, build_registry_state(parameters))

    def read(self) -> SharedParameters:
        """The state as the last finished update left it. Raises ConfigurationInvalid."""
        try:
            parameters = parse_shared_parameters(self._path.read_bytes())
        except OSError:
            raise ConfigurationInvalid("the registry's state can't be read", hint=f"look at {self._path}") from None
        if parameters.instance != self._instance:
            raise ConfigurationInvalid("the registry's state is of another instance")
        return parameters

    def update(self, change: Change) -> SharedParameters:
        """Applies `change` to the state; durable when this returns. An error of `change` leaves the state as it was."""
        with self._path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            data = build_registry_state(change(self.read()))
            # What can't be read back is never written: the next reader is every gateway of the instance.
            parameters = parse_shared_parameters(data)
            write_atomically(self._path, data)
        return parameters

    def version(self) -> tuple[int, int]:
        """Changes whenever the state does."""
        stat = self._path.stat()
        return stat.st_ino, stat.st_mtime_ns
