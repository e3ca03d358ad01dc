"""Files that are either the old or the new one, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """`data` as the file `path`. Durable when this returns; a reader or a crash meets the old content or the new."""
    with _temporary(path, data, mode) as temporary:
        temporary.replace(path)
    sync_directory(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """`data` as a new file `path`, whole from its first moment on; durable when this returns.

    Raises FileExistsError and leaves what is there: of several who write at once, one wins.
    """
    with _temporary(path, data, mode) as temporary:
        os.link(temporary, path)
    sync_directory(path.parent)


@contextlib.contextmanager
def _temporary(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A file beside `path` with the data, durable; gone at the end of the block unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def sync_directory(directory: Path) -> None:
    """Makes new, renamed and removed names of `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
