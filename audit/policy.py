"""Who must have seen a checkpoint before it counts: C2SP tlog-policy.

A policy names logs, witnesses, groups of witnesses with a threshold, and the group that is the quorum. Whoever holds
the same policy comes to the same verdict about the same note, offline.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.cosignature import Cosignature, verify_checkpoint, verify_cosignatures
from audit.errors import MalformedInput, ProofInvalid
from audit.note import COSIGNATURE, ED25519, SUBTREE, NoteKey, parse_note, parse_vkey

MAX_POLICY_BYTES: Final = 1 << 16
_MAX_LINES: Final = 512
_NONE: Final = "none"
# Items are parted by spaces and tabs alone; no other control character may stand in a policy.
_BLANKS: Final = re.compile("[ \t]+")
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
# Of a threshold: int() refuses thousands of digits with an error of its own.
_MAX_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class LogLine:
    """A log that the policy knows; `url` is the prefix of its checkpoint and tiles, if given."""

    key: NoteKey
    url: str | None


@dataclass(frozen=True, slots=True)
class WitnessLine:
    """A witness under the policy's own name for it; `url` is the prefix of its `add-checkpoint`, if given."""

    name: str
    key: NoteKey
    url: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """So many of these members, witnesses or groups."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy. `quorum` is the name of a witness or group; None asks for no witness at all."""

    logs: tuple[LogLine, ...] = ()
    witnesses: tuple[WitnessLine, ...] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)
    quorum: str | None = None
    text: str = ""

    @property
    def witness_keys(self) -> tuple[NoteKey, ...]:
        """The verifier keys of all witnesses."""
        return tuple(witness.key for witness in self.witnesses)

    def is_quorum(self, cosigners: Collection[str]) -> bool:
        """Whether cosignatures under these key names make the quorum."""
        if self.quorum is None:
            return True
        present = {witness.name for witness in self.witnesses if witness.key.name in cosigners}
        return self._holds(self.quorum, present)

    def _holds(self, name: str, present: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in present
        # Groups name only what stands before them, so this ends.
        return sum(self._holds(member, present) for member in group.members) >= group.threshold


@dataclass(frozen=True, slots=True)
class WitnessedCheckpoint:
    """A checkpoint of a known log that a quorum has cosigned."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]

    @property
    def oldest_time(self) -> int | None:
        """The earliest cosignature's time in POSIX seconds; None if the policy asks for none and there is none."""
        return min((cosignature.time for cosignature in self.cosignatures), default=None)


def parse_policy(text: str) -> Policy:
    """Read a policy. Raises MalformedInput with the line's number."""
    if _FORBIDDEN.search(text):
        raise MalformedInput("a policy has no control characters but tabs and line feeds")
    if len(text.encode()) > MAX_POLICY_BYTES:
        raise MalformedInput("a policy has at most 64 KiB")
    lines = text.split("\n")
    if len(lines) > _MAX_LINES:
        raise MalformedInput(f"a policy has at most {_MAX_LINES} lines")
    builder = _Builder()
    for number, line in enumerate(lines, start=1):
        words = [word for word in _BLANKS.split(line) if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            builder.add(words)
        except MalformedInput as error:
            raise MalformedInput(f"policy, line {number}: {error}") from None
    if not builder.quorum_set:
        raise MalformedInput("a policy needs a quorum line: `quorum <name>` or `quorum none`")
    return Policy(tuple(builder.logs), tuple(builder.witnesses), builder.groups, builder.quorum, text)


class _Builder:
    def __init__(self) -> None:
        self.logs: list[LogLine] = []
        self.witnesses: list[WitnessLine] = []
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self.quorum_set = False
        self._names: set[str] = set()
        self._taken: set[str] = set()

    def add(self, words: list[str]) -> None:
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                self.logs.append(LogLine(self._new_log(vkey), url[0] if url else None))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._define(name)
                self.witnesses.append(WitnessLine(name, self._new_key(vkey), url[0] if url else None))
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, members)
            case ["quorum", name]:
                self._set_quorum(name)
            case _:
                raise MalformedInput(f"not a line of a policy: {words[0][:20]!r}")

    def _define(self, name: str) -> None:
        if name == _NONE or name in self._names:
            raise MalformedInput("each name is defined once, and `none` is none")
        self._names.add(name)

    def _new_log(self, vkey: str) -> NoteKey:
        key = _key(vkey, ED25519, SUBTREE)
        if any(key.public == other.key.public for other in self.logs):
            raise MalformedInput("a log is named once")
        return key

    def _new_key(self, vkey: str) -> NoteKey:
        key = _key(vkey, COSIGNATURE, SUBTREE)
        if any(key.name == other.key.name or key.public == other.key.public for other in self.witnesses):
            raise MalformedInput("one witness under two names would count twice")
        return key

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        for member in members:
            if member not in self._names:
                raise MalformedInput("a group names what stands before it")
            if member in self._taken:
                raise MalformedInput("each name is in one group only, once")
            self._taken.add(member)
        self._define(name)
        match threshold:
            case "any":
                count = 1
            case "all":
                count = len(members)
            case _ if _is_number(threshold) and 1 <= int(threshold) <= len(members):
                count = int(threshold)
            case _:
                raise MalformedInput("a group's threshold is a number up to its size, `any` or `all`")
        self.groups[name] = Group(name, count, tuple(members))

    def _set_quorum(self, name: str) -> None:
        if self.quorum_set:
            raise MalformedInput("a policy has one quorum")
        if name != _NONE and name not in self._names:
            raise MalformedInput("the quorum names what stands before it")
        self.quorum_set, self.quorum = True, None if name == _NONE else name


def _is_number(text: str) -> bool:
    return len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit()


def _key(text: str, *kinds: int) -> NoteKey:
    key = parse_vkey(text)
    if key.kind not in kinds:
        raise MalformedInput("a log's key has type 1 or 6, a witness's key type 4 or 6")
    return key


def verify_witnessed(data: bytes, policy: Policy) -> WitnessedCheckpoint:
    """The checkpoint of a note that a known log signed and a quorum cosigned. Raises MalformedInput, ProofInvalid."""
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    keys = [log.key for log in policy.logs if log.key.name == checkpoint.origin]
    if not keys:
        raise ProofInvalid("the policy knows no such log")
    verify_checkpoint(data, keys)
    cosignatures = verify_cosignatures(note, policy.witness_keys)
    if not policy.is_quorum({cosignature.witness for cosignature in cosignatures}):
        raise ProofInvalid("no quorum of witnesses has cosigned this checkpoint")
    return WitnessedCheckpoint(checkpoint, cosignatures)
