"""Examples that the C2SP specifications publish, held against our readers.

Their data, with the place that each stands in; further ones are in test_note (signed-note, tlog-cosignature) and
test_tiles (tlog-tiles). Where an example elides a key or a signature, ours stands in its place.
"""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.cosignature import CosignatureSigner, MLDSASigner, verify_checkpoint, verify_cosignatures
from audit.errors import MalformedInput, ProofInvalid
from audit.merkle import EMPTY_ROOT, leaf_hash
from audit.note import NoteKey, NoteSigner, parse_note, parse_vkey, verify_note
from audit.policy import parse_policy, verify_witnessed
from audit.proofs import parse_leaf_proof
from audit.tiles import TileId, parse_tile_path
from audit.witness import parse_add_checkpoint

# c2sp.org/tlog-proof, the example of its introduction: path, origin, size and root.
PROOF_PATH = (
    "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n"
    "B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n"
    "EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\n"
    "RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n"
    "AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n"
)
PROOF_TEXT = "example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n"
# c2sp.org/tlog-policy, "Example policy".
POLICY = """log {log}

witness X1 {X1}
witness X2 {X2}
witness X3 {X3}
group X-witnesses 2 X1 X2 X3

witness Y1 {Y1}
witness Y2 {Y2}
witness Y3 {Y3}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""
LOG = NoteSigner("example.com/fancylog", Ed25519PrivateKey.generate())
WITNESSES = {name: CosignatureSigner(f"{name}.example", Ed25519PrivateKey.generate()) for name in
             ("X1", "X2", "X3", "Y1", "Y2", "Y3")}  # fmt: skip


def test_tlog_proof() -> None:
    note = LOG.sign(PROOF_TEXT).decode()
    for extra in ("", "extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6\n"):
        data = f"c2sp.org/tlog-proof@v1\n{extra}index 73894\n{PROOF_PATH}\n{note}".encode()
        proof = parse_leaf_proof(data)
        assert (proof.index, len(proof.path)) == (73_894, 5)
        assert parse_checkpoint(verify_note(proof.note, [LOG.verifier]).text) == Checkpoint(
            "example.com/fancylog", 109_482, proof_root()
        )
        if not extra:
            assert proof.encode() == data


def proof_root() -> bytes:
    return parse_checkpoint(PROOF_TEXT).root


def test_tlog_policy() -> None:
    policy = parse_policy(
        POLICY.format(log=LOG.verifier.text, **{name: signer.verifier.text for name, signer in WITNESSES.items()})
    )
    for names, holds in (("X1 X2 Y3", True), ("X1 Y1", False), ("X1 X2 X3", False), ("Y1 Y2 Y3 X2", False)):
        assert policy.is_quorum({WITNESSES[name].verifier.name for name in names.split()}) is holds
    note = LOG.sign(PROOF_TEXT)
    note += b"".join(WITNESSES[name].sign(PROOF_TEXT, time=1).line.encode() for name in ("X1", "X3", "Y2"))
    assert verify_witnessed(note, policy).checkpoint.size == 109_482


def test_tlog_policy_parts_words_by_blanks_and_tabs_alone() -> None:
    vkey = WITNESSES["X1"].verifier.text
    assert parse_policy(f"\t witness\tX1  {vkey} \n # none\n\nquorum X1").witnesses[0].name == "X1"
    # A Kelvin sign is no K, a no-break space no blank, a line separator no line.
    assert (
        parse_policy(f"witness \u212a\u00a0\u2028 {vkey}\nquorum \u212a\u00a0\u2028\n").quorum == "\u212a\u00a0\u2028"
    )
    for text in ("quorum none\r\n", "quorum\vnone\n", "quorum none\0\n"):
        with pytest.raises(MalformedInput):
            parse_policy(text)
    for double in (LOG.verifier.text, NoteSigner("other.example", LOG._key).verifier.text):
        with pytest.raises(MalformedInput, match="named once"):
            parse_policy(f"log {LOG.verifier.text}\nlog {double}\nquorum none\n")


def test_tlog_tiles_path() -> None:
    """tlog-tiles, "Parameters": tile 1234067 is x001/x234/067."""
    assert parse_tile_path("0/x001/x234/067") == TileId(0, 1_234_067)
    assert parse_tile_path("4/x001/x234/067.p/13") == TileId(4, 1_234_067, 13)


def test_rfc_6962_hashes() -> None:
    """RFC 6962 section 2.1: the empty tree, and the leaf hash of the empty string."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_tlog_witness_request() -> None:
    """tlog-witness, "add-checkpoint": `old`, the proof's lines, an empty line, the checkpoint."""
    request = parse_add_checkpoint(f"old 20852014\n{PROOF_PATH}\n".encode() + LOG.sign(PROOF_TEXT))
    assert (request.old_size, len(request.path)) == (20_852_014, 5)
    assert parse_note(request.note).text == PROOF_TEXT


# tlog-cosignature, "ML-DSA-44 signed message".


def test_ml_dsa_signs_the_specification_s_structure() -> None:
    signer = MLDSASigner("example.com/fancylog", os.urandom(32))
    assert (signer.verifier.kind, len(signer.verifier.public)) == (6, 1312)
    assert parse_vkey(signer.verifier.text) == signer.verifier
    signed = signer.sign(PROOF_TEXT, time=1_679_315_147)
    assert len(signed.signature) == 8 + 2420
    assert int.from_bytes(signed.signature[:8], "big") == 1_679_315_147
    message = (
        b"subtree/v1\n\0"
        b"\x14example.com/fancylog"
        + (1_679_315_147).to_bytes(8, "big")
        + b"\x14example.com/fancylog"
        + bytes(8)
        + (109_482).to_bytes(8, "big")
        + proof_root()
    )
    MLDSA44PublicKey.from_public_bytes(signer.verifier.public).verify(signed.signature[8:], message)


def test_an_ml_dsa_line_beside_ed25519_binds_who_knows_its_key_alone() -> None:
    signer = MLDSASigner(LOG.name, os.urandom(32))
    line = signer.sign(PROOF_TEXT, time=5).line.encode()
    note = LOG.sign(PROOF_TEXT) + line
    # Extension lines aren't under it (tlog-cosignature); the Ed25519 signature has them.
    for keys in ([LOG.verifier], [signer.verifier], [LOG.verifier, signer.verifier]):
        assert verify_checkpoint(note, keys).size == 109_482
    assert verify_note(note, [LOG.verifier]).signers == (LOG.name,)
    other = LOG.sign(PROOF_TEXT.replace("109482", "109483")) + line
    assert verify_checkpoint(other, [LOG.verifier]).size == 109_483
    with pytest.raises(ProofInvalid):
        verify_checkpoint(other, [LOG.verifier, signer.verifier])
    with pytest.raises(ProofInvalid, match="no known key"):
        verify_checkpoint(note, [MLDSASigner(LOG.name, os.urandom(32)).verifier])
    assert [found.time for found in verify_cosignatures(parse_note(note), [signer.verifier])] == [5]
    # A verifier key of another length is none.
    with pytest.raises(MalformedInput):
        parse_vkey(NoteKey(LOG.name, 6, bytes(1311)).text)


def test_a_policy_takes_ml_dsa_logs_and_witnesses() -> None:
    log, witness = MLDSASigner(LOG.name, os.urandom(32)), MLDSASigner("w.example", os.urandom(32))
    policy = parse_policy(f"log {log.verifier.text}\nwitness w {witness.verifier.text}\nquorum w\n")
    lines = [signer.sign(PROOF_TEXT, time=7).line.encode() for signer in (log, witness)]
    assert verify_witnessed(LOG.sign(PROOF_TEXT) + b"".join(lines), policy).oldest_time == 7
    with pytest.raises(ProofInvalid):
        verify_witnessed(LOG.sign(PROOF_TEXT) + lines[1], policy)
