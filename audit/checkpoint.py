"""Checkpoints: C2SP tlog-checkpoint. The text that a log signs: its origin, size and root."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from audit.errors import MalformedInput
from audit.note import MAX_NOTE_BYTES

# ASCII: other scripts' digits would give one checkpoint several spellings.
_TEXT: Final = re.compile(r"([^\n]{1,255})\n(0|[1-9]\d{0,18})\n([A-Za-z0-9+/]{43}=)\n((?:[^\n]+\n)*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree's size and root under its log's name."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note text, without extension lines (tlog-checkpoint: NOT RECOMMENDED)."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a note's text. Extension lines are allowed and ignored."""
    match = _TEXT.fullmatch(text) if len(text) <= MAX_NOTE_BYTES else None
    if match is None:
        raise MalformedInput("not a checkpoint")
    root = b64decode(match[3])
    if b64encode(root).decode() != match[3] or int(match[2]) >= 2**63:
        raise MalformedInput("not a checkpoint in canonical form")
    return Checkpoint(match[1], int(match[2]), root)
