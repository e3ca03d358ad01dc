"""Signed notes, checkpoints and cosignatures: the examples of their C2SP specifications, round trips, and refusals."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.cosignature import CosignatureSigner, verify_cosignatures
from audit.errors import MalformedInput, ProofInvalid
from audit.note import NoteSigner, parse_note, parse_vkey, verify_note

# c2sp.org/signed-note, "Example".
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
# c2sp.org/tlog-cosignature, its first example.
COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
).encode()

SIGNER = NoteSigner("gateway.example/audit/2026", Ed25519PrivateKey.generate())


def test_the_specification_example_verifies() -> None:
    verified = verify_note(EXAMPLE_NOTE, [parse_vkey(EXAMPLE_KEY)])
    assert verified.text == "This is an example message.\n"
    assert verified.signers == ("example.com/foo",)


def test_a_known_key_that_fails_rejects_the_note() -> None:
    with pytest.raises(ProofInvalid):
        verify_note(EXAMPLE_NOTE.replace(b"example message", b"exanple message"), [parse_vkey(EXAMPLE_KEY)])


def test_a_note_that_nobody_known_signed_is_rejected() -> None:
    with pytest.raises(ProofInvalid):
        verify_note(EXAMPLE_NOTE, [SIGNER.verifier])
    with pytest.raises(ProofInvalid):
        verify_note(EXAMPLE_NOTE, [])


def test_unknown_signatures_are_ignored() -> None:
    note = parse_note(SIGNER.sign("text\n"))
    stranger = parse_note(EXAMPLE_NOTE).signatures[0]
    both = f"{note.text}\n{stranger.line}{note.signatures[0].line}".encode()
    assert verify_note(both, [SIGNER.verifier]).signers == (SIGNER.name,)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.just("\n"), max_size=200))
def test_what_is_signed_verifies(text: str) -> None:
    assert verify_note(SIGNER.sign(text + "\n"), [SIGNER.verifier]).text == text + "\n"


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_note(data)


@pytest.mark.parametrize(
    "data",
    [
        EXAMPLE_NOTE[:-1],
        EXAMPLE_NOTE.replace(b"\n\n", b"\n"),
        EXAMPLE_NOTE + b"\n",
        EXAMPLE_NOTE.replace(b"This", b"\x00his"),
        EXAMPLE_NOTE.replace("\u2014".encode(), b"-"),
        EXAMPLE_NOTE.replace(b"aQM=", b"aQN="),
        b"x" * (1 << 17),
    ],
)
def test_damaged_notes_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        parse_note(data)


def test_vkeys_round_trip_and_bad_ones_are_refused() -> None:
    assert parse_vkey(EXAMPLE_KEY).text == EXAMPLE_KEY
    assert parse_vkey(SIGNER.verifier.text) == SIGNER.verifier
    for text in ("", "name", "a b+530d903a+AekyeRrm", EXAMPLE_KEY.replace("530d903a", "530d903b"), EXAMPLE_KEY + "AA"):
        with pytest.raises(MalformedInput):
            parse_vkey(text)


def test_a_signer_refuses_what_is_no_note_text() -> None:
    for text in ("no line feed", "tab\t\n"):
        with pytest.raises(ValueError, match="note's text"):
            SIGNER.sign(text)
    with pytest.raises(ValueError, match="name"):
        NoteSigner("with space", Ed25519PrivateKey.generate())


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints_round_trip(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("gateway.example/audit/2026", size, root)
    assert parse_checkpoint(checkpoint.text) == checkpoint
    assert parse_checkpoint(checkpoint.text + "extension\n") == checkpoint


@pytest.mark.parametrize(
    "text", ["", "o\n1\n", "o\n01\n" + "A" * 43 + "=\n", "o\n1\n" + "A" * 42 + "B=\n", "o\n-1\nAAAA\n"]
)
def test_other_texts_are_no_checkpoint(text: str) -> None:
    with pytest.raises(MalformedInput):
        parse_checkpoint(text)


def test_the_cosigned_example_parses() -> None:
    note = parse_note(COSIGNED)
    assert parse_checkpoint(note.text).size == 20_852_163
    assert [signature.name for signature in note.signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == 1_679_315_147


def test_cosignatures() -> None:
    witness = CosignatureSigner("witness.example/w1", Ed25519PrivateKey.generate())
    signed = SIGNER.sign("o\n1\n")
    line = witness.sign("o\n1\n", time=1_795_308_434).line.encode()
    note = parse_note(signed + line)
    assert [(c.witness, c.time) for c in verify_cosignatures(note, [witness.verifier])] == [
        ("witness.example/w1", 1_795_308_434)
    ]
    assert verify_cosignatures(note, []) == ()
    other = parse_note(SIGNER.sign("o\n2\n") + line)
    with pytest.raises(ProofInvalid):
        verify_cosignatures(other, [witness.verifier])
