"""The proofs of a month's accesses, checked on the server: the same steps as the verifier on the citizen's own device.

A core over `audit`'s functions. What is shown to the citizen comes out of here: a record that its leaf doesn't commit
to, a leaf that is in no signed tree, a gap in the person's chain breaks the whole bundle.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import AuditError
from audit.leaf import NO_PREVIOUS, Leaf, parse_leaf
from audit.merkle import leaf_hash, verify_inclusion
from audit.note import NoteKey, parse_vkey, verify_note
from audit.period_index import KIND, IndexRow, RowProof, parse_index_record, verify_row
from audit.record import commit
from audit.release import KIND as RELEASE
from audit.release import verify_release
from audit.tag import KEY_BYTES, month_key, month_of
from audit.witness import key_for
from gateway.citizen.json_texts import NotJSON, parse_json

_MAX_ACCESSES: Final = 50_000
_MAX_RECORD: Final = 1 << 16


class BundleBroken(Exception):
    """The bundle does not prove what it says.

    The log holder's fault; `reason` is a fixed word for the citizen's report.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """An access that its log commits to.

    `key` is its leaf's hash, hexadecimal; `content` is the record's JSON object.
    """

    key: str
    time_ms: int
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A month of one log.

    `entries` proven leaves; `unsealed` are younger than the checkpoint; `erased` have lost their record.
    """

    origin: str
    entries: int
    unsealed: int
    erased: int
    records: tuple[AccessRecord, ...]


def verify_bundle(bundle: Mapping[str, Any], *, month: str, log_keys: Sequence[str] = ()) -> VerifiedBundle:
    """What `bundle` (see audit.access.AccessBundle) proves about `month`. Raises BundleBroken.

    `log_keys`: the verifier keys that count; without any the key that the bundle itself names.
    """
    try:
        return _verify(bundle, month, log_keys)
    except AuditError:
        raise BundleBroken("proof") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise BundleBroken("malformed") from None


def _verify(bundle: Mapping[str, Any], month: str, log_keys: Sequence[str]) -> VerifiedBundle:
    if bundle["version"] != 1 or bundle["month"] != month:
        raise BundleBroken("month")
    # 1. The checkpoint: signed by this log's key, about this log.
    keys = _keys(bundle, log_keys)
    checkpoint = _checkpoint(str(bundle["origin"]), str(bundle["checkpoint"]), keys)
    origin = checkpoint.origin
    accesses = bundle["accesses"]
    if not isinstance(accesses, list) or len(accesses) > _MAX_ACCESSES:
        raise BundleBroken("malformed")
    if bundle["month_key"] is None:
        if accesses:
            raise BundleBroken("key")
        return VerifiedBundle(origin, 0, 0, 0, ())
    heads: list[tuple[int, bytes]] = []
    # 2. The tag of this person and month, from the key that the citizen was given.
    month_secret = b64decode(bundle["month_key"], validate=True)
    if len(month_secret) != KEY_BYTES:
        raise BundleBroken("key")
    tag = month_key(month_secret).tag
    entries = unsealed = erased = 0
    records: list[AccessRecord] = []
    previous = NO_PREVIOUS
    for number, access in enumerate(accesses, start=1):
        stored = str(access["leaf"]).encode("ascii")
        leaf = parse_leaf(stored)
        # 3. The person's chain: numbered from 1, each leaf naming the one before, all of this month.
        if leaf.chain is None or not hmac.compare_digest(leaf.chain.tag, tag) or month_of(leaf.time_ms) != month:
            raise BundleBroken("tag")
        if leaf.chain.number != number or leaf.chain.previous != previous:
            raise BundleBroken("chain")
        previous = leaf_hash(stored)
        heads.append((int(access["index"]), previous))
        # 4. The leaf is in the signed tree, or younger than it.
        if _sealed(access, previous, checkpoint):
            entries += 1
        else:
            unsealed += 1
        # 5. The record is the one that the leaf commits to.
        record = _record(access, leaf, previous.hex())
        if record is None:
            erased += 1
        else:
            records.append(record)
        # 6. What was withheld until now stood in its log, as it is shown.
        _verify_release(access, leaf, checkpoint, keys)
    # 7. The month's index, if there is one, counts as many and ends where the chain did.
    if bundle.get("index") is not None:
        _verify_index(bundle["index"], month, tag, heads, checkpoint)
    return VerifiedBundle(origin, entries, unsealed, erased, tuple(records))


def _verify_index(
    index: Mapping[str, Any], month: str, tag: bytes, heads: Sequence[tuple[int, bytes]], checkpoint: Checkpoint
) -> None:
    stored = str(index["leaf"]).encode("ascii")
    leaf = parse_leaf(stored)
    if leaf.kind != KIND or not _sealed(index, leaf_hash(stored), checkpoint):
        raise BundleBroken("index")
    opened = b64decode(index["record"], validate=True)
    if not hmac.compare_digest(commit(b64decode(index["nonce"], validate=True), opened), leaf.commitment):
        raise BundleBroken("index")
    record = parse_index_record(opened)
    row = verify_row(record, [_row(proof) for proof in index["rows"]], tag)
    before = [head for at, head in heads if at < record.upto]
    counted = [] if row is None else [row.head]
    if record.period != month or len(before) != (0 if row is None else row.count) or before[-1:] != counted:
        raise BundleBroken("index")


def _row(proof: Mapping[str, Any]) -> RowProof:
    tag, head = (b64decode(proof[name], validate=True) for name in ("tag", "head"))
    path = tuple(b64decode(line, validate=True) for line in proof["path"])
    return RowProof(int(proof["position"]), IndexRow(tag, int(proof["n"]), head), path)


def _verify_release(access: Mapping[str, Any], leaf: Leaf, checkpoint: Checkpoint, keys: Sequence[NoteKey]) -> None:
    if leaf.kind != RELEASE or access["record"] is None:
        return
    released, _ = verify_release(leaf, b64decode(access["record"], validate=True))
    shown = access["withheld"]
    if released.origin != checkpoint.origin:
        # In the log of another year, which has a checkpoint of its own.
        checkpoint = _checkpoint(released.origin, str(shown["checkpoint"]), keys)
    proven = _sealed({"index": released.index, "proof": shown["proof"]}, leaf_hash(released.leaf), checkpoint)
    if not proven and access["proof"] is not None:
        raise BundleBroken("proof")


def _keys(bundle: Mapping[str, Any], log_keys: Sequence[str]) -> tuple[NoteKey, ...]:
    """The keys that count; the bundle's own must be one of them, or the same log's of another year."""
    stated, origin = parse_vkey(str(bundle["vkey"])), str(bundle["origin"])
    try:
        known = tuple(parse_vkey(key) for key in log_keys) or (stated,)
    except AuditError:
        raise BundleBroken("log key") from None
    if stated not in [key_for(key, stated.name) for key in known]:
        raise BundleBroken("log key")
    if stated.name != origin:
        raise BundleBroken("origin")
    return known


def _checkpoint(origin: str, note: str, known: Sequence[NoteKey]) -> Checkpoint:
    keys = [key for one in known if (key := key_for(one, origin)) is not None]
    if not keys:
        raise BundleBroken("log key")
    checkpoint = parse_checkpoint(verify_note(note.encode(), keys).text)
    if checkpoint.origin != origin:
        raise BundleBroken("origin")
    return checkpoint


def _sealed(access: Mapping[str, Any], hashed: bytes, checkpoint: Checkpoint) -> bool:
    index, proof = access["index"], access["proof"]
    if type(index) is not int or index < 0:
        raise BundleBroken("malformed")
    if proof is None:
        if index < checkpoint.size:
            raise BundleBroken("proof")
        return False
    path = [b64decode(line, validate=True) for line in proof]
    verify_inclusion(hashed, index, checkpoint.size, path, checkpoint.root)
    return True


def _record(access: Mapping[str, Any], leaf: Leaf, key: str) -> AccessRecord | None:
    nonce, record = access["nonce"], access["record"]
    if nonce is None and record is None:
        return None
    opened = b64decode(record, validate=True)
    if not hmac.compare_digest(commit(b64decode(nonce, validate=True), opened), leaf.commitment):
        raise BundleBroken("record")
    try:
        content = parse_json(opened) if len(opened) <= _MAX_RECORD else None
    except NotJSON:
        raise BundleBroken("record") from None
    if not isinstance(content, dict):
        raise BundleBroken("record")
    if leaf.kind == RELEASE:
        # The law kept it from the citizen until now: when it happened, the record says.
        return AccessRecord(key, int(datetime.fromisoformat(content["time"]).timestamp() * 1000), content)
    return AccessRecord(key, leaf.time_ms, content)
