"""The parsers of `audit`: what logs, witnesses, auditors and citizens hand each other."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.archive_chain import ArchiveBuilder, ArchiveEnd, verify_archive
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.cosignature import CosignatureSigner, verify_checkpoint, verify_cosignatures
from audit.entry import parse_receipt
from audit.entry_bundles import build_bundle, parse_bundle, parse_bundle_path
from audit.errors import AuditError
from audit.leaf import Chain, build_leaf, parse_leaf
from audit.merkle import leaf_hash, node_hash, verify_consistency, verify_inclusion
from audit.note import NoteSigner, parse_note, parse_signature_line, parse_vkey, verify_note
from audit.period_index import IndexRecord, parse_index_record
from audit.policy import parse_policy, verify_witnessed
from audit.proofs import LeafProof, parse_leaf_proof, verify_leaf_proof
from audit.record import commit, open_record, seal_record
from audit.release import Released, parse_release, verify_release
from audit.tag import MonthKey, SubjectKey
from audit.tiles import hashes_in, parse_tile_path
from audit.witness import AddCheckpoint, parse_add_checkpoint, verify_signed, verify_successor
from tests.fuzz.registry import Target, each, text_of

OWN: Final = (AuditError,)
_ORIGIN: Final = "gateway.example/audit/2026"
_TOKENS: Final = (b"\n\n", b"\xe2\x80\x94 ", b"0", b"01", b"+", b"=", b"\n", b" ", b"AAAA", "٣".encode(), b"\xc2\xa0")


def _signer(name: str, number: int) -> NoteSigner:
    return NoteSigner(name, Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


_LOG: Final = _signer(_ORIGIN, 1)
_WITNESS: Final = CosignatureSigner("witness.example/w", Ed25519PrivateKey.from_private_bytes(b"\2" * 32))
_LEAVES: Final = [leaf_hash(bytes([number])) for number in range(2)]
_ROOT: Final = node_hash(*_LEAVES)
_CHECKPOINT: Final = Checkpoint(_ORIGIN, 1, _LEAVES[0])


@cache
def _note() -> bytes:
    note = _LOG.sign(_CHECKPOINT.text)
    return note + _WITNESS.sign(_CHECKPOINT.text, time=1_795_308_434).line.encode()


def _notes(data: bytes) -> None:
    note = parse_note(data)
    assert note.text.encode() + b"\n" + b"".join(line.line.encode() for line in note.signatures) == data
    each(
        lambda: verify_cosignatures(note, (_WITNESS.verifier,)),
        lambda: verify_checkpoint(data, (_LOG.verifier,)),
        refusals=OWN,
    )
    verified = verify_note(data, (_LOG.verifier,))
    assert verified.text == _CHECKPOINT.text, "a note verifies that nobody has signed"


def _vkeys(data: bytes) -> None:
    text = text_of(data)
    each(lambda: parse_signature_line(text), refusals=OWN)
    assert parse_vkey(text).text == text


def _checkpoint(data: bytes) -> None:
    text = text_of(data)
    found = parse_checkpoint(text)
    assert text.startswith(found.text), "a checkpoint with two spellings"


_POLICY: Final = (
    f"# Wer gesehen haben muss\nlog {_LOG.verifier.text} https://log.test/audit\n"
    f"witness one {_WITNESS.verifier.text} https://witness.test/\n"
    f"group some 1 one\ngroup all-of-them all some\nquorum all-of-them\n"
).encode()


def _policy(data: bytes) -> None:
    text = text_of(data)
    policy = parse_policy(text)
    assert parse_policy(policy.text) == policy
    policy.is_quorum([_WITNESS.verifier.name])
    each(lambda: verify_witnessed(_note(), policy), refusals=OWN)


def _add_checkpoint(data: bytes) -> None:
    request = parse_add_checkpoint(data)
    assert request.encode() == data, "a request with two spellings"
    accepted = verify_signed(request, (_LOG.verifier,))
    assert accepted.checkpoint == _CHECKPOINT, "a checkpoint is accepted that nobody has signed"
    verify_successor(accepted, request, None)


def _leaf(data: bytes) -> None:
    leaf = parse_leaf(data)
    again = build_leaf(leaf.kind.encode(), leaf.commitment, leaf.exchange, leaf.time_ms, leaf.chain)
    assert again == data, "a leaf with two spellings"


@cache
def _month() -> MonthKey:
    return SubjectKey(bytes(32)).month(_ORIGIN, "2026-11")


_RECORD: Final = b'{"action":"read"}'
_COMMITMENT: Final = commit(b"n" * 32, _RECORD)
_WITHHELD: Final = build_leaf(b"withheld", _COMMITMENT, bytes(32), 7, Chain(bytes(32), 1, bytes(32)))


def _record(data: bytes) -> None:
    each(lambda: open_record(None, data, _COMMITMENT), refusals=OWN)
    assert open_record(_month(), data, _COMMITMENT)[1] == _RECORD


def _release(data: bytes) -> None:
    found = parse_release(data)
    assert found.encode() == data
    verify_release(parse_leaf(_WITHHELD), data)


def _paths(data: bytes) -> None:
    text = text_of(data)
    each(lambda: parse_bundle_path(text), refusals=OWN)
    assert parse_tile_path(text).path == text


def _leaf_proof(data: bytes) -> None:
    proof = parse_leaf_proof(data)
    verify_leaf_proof(proof, _LEAVES[0], origin=_ORIGIN, keys=(_LOG.verifier,))


def _bundle(data: bytes) -> None:
    each(lambda: hashes_in(data), refusals=OWN)
    assert build_bundle(parse_bundle(data, 3)) == data


def _receipt(data: bytes) -> None:
    text = text_of(data)
    assert parse_receipt(text).encode() == text


def _index_record(data: bytes) -> None:
    assert parse_index_record(data).encode() == data


def _merkle(data: bytes) -> None:
    """A path, between trees whose sizes are the first two bytes; nothing but what is true is proved."""
    head, tail = data[:2].ljust(2, b"\0"), data[2:]
    path = [tail[at : at + 32] for at in range(0, len(tail), 32)]
    old, new = head
    each(lambda: verify_consistency(old, _LEAVES[0], new, _ROOT, path), refusals=OWN)
    verify_inclusion(_LEAVES[1], old, new, path, _ROOT)
    assert (old, new, path) == (1, 2, _LEAVES[:1]), "a proof of something that isn't so"


def _archive_seeds() -> Sequence[bytes]:
    builder = ArchiveBuilder(ArchiveEnd("", ""))
    builder.add("a.asice", b"container one")
    builder.add("b.asice", b"container two")
    return (builder.finish(),)


def _archive(data: bytes) -> None:
    each(lambda: verify_archive(data, previous="x"), refusals=OWN)
    found = verify_archive(data)
    assert len(found.containers) == len(set(found.containers))


_HASH: Final = b64encode(_ROOT).decode()
_LEAF_SEEDS: Final = (
    build_leaf(b"exchange", _ROOT, _ROOT, 1_795_308_434_123, None),
    build_leaf(b"access", _ROOT, _ROOT, 0, Chain(_ROOT, 3, bytes(32))),
)

TARGETS: Final = (
    Target("audit.note", _notes, lambda: [_note()], OWN, _TOKENS),
    Target(
        "audit.vkey",
        _vkeys,
        lambda: [_LOG.verifier.text.encode(), _WITNESS.verifier.text.encode(), _note().splitlines()[-1]],
        OWN,
        _TOKENS,
    ),
    Target(
        "audit.checkpoint",
        _checkpoint,
        lambda: [_CHECKPOINT.text.encode(), b"x\n10\n" + _HASH.encode() + b"\ne\n"],
        OWN,
        _TOKENS,
    ),
    Target(
        "audit.policy",
        _policy,
        lambda: [_POLICY],
        OWN,
        (*_TOKENS, b"any", b"all", b"none", b"quorum ", b"group ", b"9" * 5000),
    ),
    Target(
        "audit.add_checkpoint",
        _add_checkpoint,
        lambda: [AddCheckpoint(0, (), _note()).encode(), AddCheckpoint(1, tuple(_LEAVES), _note()).encode()],
        OWN,
        _TOKENS,
    ),
    Target("audit.leaf", _leaf, lambda: _LEAF_SEEDS, OWN, _TOKENS),
    Target(
        "audit.record",
        _record,
        lambda: [seal_record(_month(), b"n" * 32, b"i" * 12, _RECORD, _COMMITMENT), b"n" * 32 + _RECORD],
        OWN,
    ),
    Target(
        "audit.release",
        _release,
        lambda: [Released(record, _ORIGIN, 7, _WITHHELD, b"n" * 32).encode() for record in (_RECORD, b"{}")],
        OWN,
        (*_TOKENS, b',"withheld":', b'\\"', b"}}"),
    ),
    Target(
        "audit.tile_path", _paths, lambda: [b"0/x001/x234/067.p/12", b"3/000", b"x001/000"], OWN, (b"x", b".p/", b"/")
    ),
    Target(
        "audit.leaf_proof",
        _leaf_proof,
        lambda: [LeafProof(0, (), _note()).encode(), LeafProof(0, tuple(_LEAVES), _note()).encode()],
        OWN,
        (*_TOKENS, b"extra AAAA\n", b"index "),
    ),
    Target("audit.entry_bundle", _bundle, lambda: [build_bundle((*_LEAF_SEEDS, b""))], OWN, (b"\0\0", b"\xff\xff")),
    Target("audit.receipt", _receipt, lambda: [f"{_ORIGIN} 7 {_HASH}".encode()], OWN, _TOKENS),
    Target(
        "audit.period_index",
        _index_record,
        lambda: [IndexRecord("2026-11", 7, 3, _ROOT).encode()],
        OWN,
        (*_TOKENS, b"[", b"{", b'"v":1', b"1e400", b"NaN", b"[" * 1024),
    ),
    Target("audit.merkle", _merkle, lambda: [b"\1\2" + _LEAVES[0], b"\1\2" + _LEAVES[1]], OWN, (_ROOT,)),
    Target(
        "audit.archive", _archive, _archive_seeds, OWN, (b"PK\5\6", b"PK\1\2", b"linkinginfo", b" SHA-512\n", b"- - ")
    ),
)
