"""One batch of the sequencer, computed: which leaf gets which index, and which rows make it durable.

Pure: takes the log's state and the waiting steps, returns rows and the state after them. The database edge is in
`writer`. A step that fails (its `seal` raised, or its message is a duplicate) is left out and the rest is computed
anew, so that indices stay contiguous and a failed step leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.entry import Entry, Receipt
from audit.errors import DuplicateRecord
from audit.leaf import NO_PREVIOUS, Chain, build_leaf
from audit.merkle import leaf_hash
from audit.message_log import ContentSealer, MessageRecord, StoredContent, digest_of, next_link, plain_content
from audit.record import commit, seal_record
from audit.tag import MonthKey, month_of
from audit.tiles import TreeEdge

Seal = Callable[[tuple[Receipt, ...]], Sequence[MessageRecord]]
Heads = dict[bytes, tuple[int, bytes]]
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """A row of another table of the log's database: durable with its step, or not at all. Its values are new ones.

    What follows from a step is so remembered: whoever does it finds it there after any crash.
    """

    table: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogState:
    """The log as of its last commit. Never changed in place."""

    log: int
    origin: str
    edge: TreeEdge
    root: bytes
    last_ms: int
    messages: int
    message_link: bytes

    @property
    def size(self) -> int:
        return self.edge.size


@dataclass(slots=True, eq=False)
class Step:
    """What one caller appends in one go. `salts` holds 44 fresh random bytes per entry: nonce and iv.

    `waits`: what seals it waits for something, such as a device that signs.
    """

    entries: tuple[Entry, ...]
    salts: tuple[bytes, ...]
    seal: Seal
    sealer: ContentSealer | None = None
    commitments: tuple[bytes, ...] = ()
    sealed_for: tuple[Receipt, ...] | None = None
    records: tuple[tuple[MessageRecord, bytes, StoredContent], ...] = ()
    failure: Exception | None = None
    waits: bool = False
    beside: tuple[Beside, ...] = ()

    def __post_init__(self) -> None:
        self.commitments = tuple(
            commit(salt[:32], entry.record) for salt, entry in zip(self.salts, self.entries, strict=True)
        )


@dataclass(slots=True)
class Batch:
    """The rows of a batch, in the tables' column order, and the log's state once they are committed."""

    state: LogState
    receipts: list[tuple[Receipt, ...]]
    entries: list[Row] = field(default_factory=list)
    records: list[Row] = field(default_factory=list)
    tiles: list[Row] = field(default_factory=list)
    heads: list[Row] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)
    attachments: list[Row] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)


def tags_of(steps: Sequence[Step], origin: str, time_ms: int) -> list[bytes]:
    """The tags whose chain heads the batch continues; each once."""
    month = month_of(time_ms)
    return list(
        {
            entry.subject.month(origin, month).tag
            for step in steps
            for entry in step.entries
            if entry.subject is not None
        }
    )


def compute_batch(
    state: LogState, steps: list[Step], heads: Heads, time_ms: int, taken: Collection[bytes] = ()
) -> tuple[list[Step], Batch]:
    """The batch of the steps that succeed; the others have their `failure` set. `taken`: replay keys in the store."""
    while True:
        batch = _compute(state, steps, heads, time_ms, taken)
        remaining = [step for step in steps if step.failure is None]
        if len(remaining) == len(steps):
            return steps, batch
        steps = remaining


def _compute(state: LogState, steps: list[Step], known: Heads, time_ms: int, taken: Collection[bytes]) -> Batch:
    edge, heads, month = state.edge.copy(), dict[bytes, tuple[int, bytes]](), month_of(time_ms)
    batch = Batch(state, [])
    message_id, link, seen = state.messages, state.message_link, set(taken)
    for step in steps:
        first = edge.size
        receipts: list[Receipt] = []
        for entry, salt, commitment in zip(step.entries, step.salts, step.commitments, strict=True):
            index = edge.size
            key: MonthKey | None = None
            chain: Chain | None = None
            if entry.subject is not None:
                key = entry.subject.month(state.origin, month)
                number, previous = heads.get(key.tag) or known.get(key.tag) or (0, NO_PREVIOUS)
                chain = Chain(key.tag, number + 1, previous)
            leaf = build_leaf(entry.kind.encode(), commitment, entry.exchange, time_ms, chain)
            hashed = leaf_hash(leaf)
            if chain is None:
                batch.entries.append((state.log, index, leaf, None, None))
            else:
                heads[chain.tag] = (chain.number, hashed)
                batch.entries.append((state.log, index, leaf, chain.tag, chain.number))
            stored = seal_record(key, salt[:32], salt[32:], entry.record, commitment)
            batch.records.append((state.log, index, stored, entry.expires_ms))
            for tile, body in edge.append(hashed):
                batch.tiles.append((state.log, tile.level, tile.index, body))
            receipts.append(Receipt(state.origin, index, hashed))
        _seal(step, tuple(receipts), seen)
        for message, digest, content in step.records:
            link = next_link(link, digest)
            row = _message_row(message, digest, content, link)
            batch.messages.append((state.log, message_id, *row[:8], first, len(receipts), *row[8:]))
            for position, body in enumerate(content.attachments):
                batch.attachments.append((state.log, message_id, position, body))
            message_id += 1
        batch.beside += step.beside
        batch.receipts.append(tuple(receipts))
    batch.heads = [(tag, state.log, number, head) for tag, (number, head) in heads.items()]
    batch.state = LogState(state.log, state.origin, edge, edge.root(), time_ms, message_id, link)
    return batch


def _seal(step: Step, receipts: tuple[Receipt, ...], seen: set[bytes]) -> None:
    """Let the step make its messages, unless it has for these very receipts; a failure stays with the step."""
    if step.sealed_for != receipts:
        try:
            step.records = tuple(_stored(step.sealer, message) for message in step.seal(receipts))
        except Exception as error:  # noqa: BLE001 - whatever the caller's function raises is handed back to the caller
            step.failure, step.records = error, ()
            return
        step.sealed_for = receipts
    keys = [message.unique for message, *_ in step.records if message.unique is not None]
    if len(set(keys)) < len(keys) or not seen.isdisjoint(keys):
        step.failure, step.records = DuplicateRecord("a message with this replay key was logged before"), ()
        return
    seen.update(keys)


def _stored(sealer: ContentSealer | None, message: MessageRecord) -> tuple[MessageRecord, bytes, StoredContent]:
    digest = digest_of(message)
    if sealer is None:
        return message, digest, plain_content(message)
    return message, digest, sealer.seal(message, digest)


def _message_row(message: MessageRecord, digest: bytes, content: StoredContent, link: bytes) -> Row:
    return (
        message.request_id,
        message.message_id,
        message.role,
        message.direction,
        message.client,
        message.service,
        message.outcome,
        message.time_ms,
        content.message,
        content.signature,
        len(content.attachments),
        message.kept,
        content.key_id,
        content.hash_chain_result,
        content.hash_chain,
        digest,
        link,
        message.unique,
    )
