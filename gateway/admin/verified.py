"""What the commands that verify have in common: reading within bounds, strangers' text made plain, files never
overwritten.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from gateway.admin.errors import AdminError
from gateway.messages.vocabulary import ERRORS
from trust.errors import TrustError


def read_within(path: Path, limit: int) -> bytes:
    """A file's bytes, at most `limit` of them. Raises AdminError."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise AdminError(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise AdminError(f"{path}: larger than {limit >> 20} MiB")
    return data


def write_new(path: Path, content: bytes) -> None:
    """A new file, readable by its owner alone. Raises FileExistsError, OSError."""
    # O_EXCL takes no existing file and follows no link.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def hint_of(error: TrustError) -> str:
    """What to do about a refusal; empty if nothing is known."""
    known = ERRORS.get(error.code)
    return error.hint or ("" if known is None else known.hint)


def plain(text: str) -> str:
    """Text of strangers, without what a terminal would take for an instruction."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def utc_text(time: datetime) -> str:
    """RFC 3339, to the second, in UTC."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
