"""C2SP tlog-policy: what a policy says, what it refuses, and which notes satisfy it."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint
from audit.cosignature import CosignatureSigner
from audit.errors import AuditError, MalformedInput, ProofInvalid
from audit.merkle import EMPTY_ROOT
from audit.note import NoteSigner
from audit.policy import parse_policy, verify_witnessed

LOG = NoteSigner("gateway.example/audit/2026", Ed25519PrivateKey.generate())
WITNESSES = {name: CosignatureSigner(f"{name}.example/witness", Ed25519PrivateKey.generate()) for name in "abcde"}


def policy_text(quorum: str = "both") -> str:
    lines = ["# who must have seen it", "", f"log {LOG.verifier.text} https://gateway.example/audit/2026"]
    lines += [f"witness {name} {signer.verifier.text} https://{name}.example" for name, signer in WITNESSES.items()]
    lines += [
        "group peers 2 a b c",
        "group independent any d e",
        "group both all peers independent",
        f"quorum {quorum}",
    ]
    return "\n".join(lines) + "\n"


def cosigned(names: str, *, signer: NoteSigner = LOG, time: int = 1_795_308_434) -> bytes:
    text = Checkpoint(LOG.name, 7, EMPTY_ROOT).text
    note = signer.sign(text)
    for name in names:
        note += WITNESSES[name].sign(text, time=time).line.encode()
    return note


@pytest.mark.parametrize("names", ["".join(some) for n in range(6) for some in itertools.combinations("abcde", n)])
def test_a_quorum_is_what_the_groups_say(names: str) -> None:
    policy = parse_policy(policy_text())
    expected = len(set(names) & set("abc")) >= 2 and bool(set(names) & set("de"))
    assert policy.is_quorum({WITNESSES[name].verifier.name for name in names}) is expected
    if expected:
        witnessed = verify_witnessed(cosigned(names), policy)
        assert witnessed.checkpoint.size == 7
        assert witnessed.oldest_time == 1_795_308_434
    else:
        with pytest.raises(ProofInvalid, match="quorum"):
            verify_witnessed(cosigned(names), policy)


def test_quorum_none_asks_for_nobody_but_the_log() -> None:
    policy = parse_policy(policy_text("none"))
    assert verify_witnessed(cosigned(""), policy).oldest_time is None
    stranger = NoteSigner(LOG.name, Ed25519PrivateKey.generate())
    with pytest.raises(ProofInvalid):
        verify_witnessed(cosigned("abd", signer=stranger), policy)


def test_a_witness_whose_signature_fails_rejects_the_note() -> None:
    note = cosigned("abd")
    other = Checkpoint(LOG.name, 8, EMPTY_ROOT).text
    forged = LOG.sign(other) + note[note.index(b"\xe2\x80\x94 a.example") :]
    with pytest.raises(ProofInvalid):
        verify_witnessed(forged, parse_policy(policy_text()))


def test_a_checkpoint_of_another_log_is_nobodys() -> None:
    other = NoteSigner("other.example/audit/2026", Ed25519PrivateKey.generate())
    note = other.sign(Checkpoint(other.name, 7, EMPTY_ROOT).text)
    with pytest.raises(ProofInvalid, match="no such log"):
        verify_witnessed(note, parse_policy(policy_text("none")))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("witness a {a}", "defined once"),
        ("witness none {a}", "none"),
        ("witness f {a}", "count twice"),
        ("group g 4 a b c", "threshold"),
        ("group g 0 a", "threshold"),
        ("group g one a", "threshold"),
        ("group g any unknown", "before it"),
        ("group g any a a", "one group only"),
        ("group g any", "not a line"),
        ("quorum unknown", "before it"),
        ("log {a}", "type 1"),
        ("witness x {log}", "type 4"),
        ("log nonsense", "verifier key"),
        ("wittness x {a}", "not a line"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(line: str, says: str) -> None:
    head = policy_text().split("group ")[0]
    text = head + line.format(a=WITNESSES["a"].verifier.text, log=LOG.verifier.text) + "\nquorum none\n"
    with pytest.raises(MalformedInput, match=rf"line {head.count(chr(10)) + 1}.*{says}"):
        parse_policy(text)


def test_a_policy_has_exactly_one_quorum() -> None:
    with pytest.raises(MalformedInput, match="needs a quorum"):
        parse_policy(policy_text().replace("quorum both\n", ""))
    with pytest.raises(MalformedInput, match="one quorum"):
        parse_policy(policy_text() + "quorum none\n")


@given(st.text(max_size=300))
def test_any_text_is_a_policy_or_malformed(text: str) -> None:
    with contextlib.suppress(MalformedInput):
        parse_policy(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_no_witnessed_checkpoint(data: bytes) -> None:
    with pytest.raises(AuditError):
        verify_witnessed(data, parse_policy(policy_text()))
