"""The browser's verifier beyond the single log: witnesses, the month's index, and what an earlier visit saw."""

from __future__ import annotations

import copy
import json
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.access import accesses
from audit.browser import verifier_module
from audit.cosignature import CosignatureSigner, MLDSASigner, verify_checkpoint
from audit.errors import ProofInvalid
from audit.merkle import consistency_ranges, inclusion_ranges, leaf_hash, root_of, verify_consistency
from audit.note import parse_note, parse_vkey
from audit.period_store import build_period_index
from audit.proofs import parse_leaf_proof, verify_leaf_proof
from tests.audit.factory import ORIGIN, access
from tests.audit.test_access import NODE, SIGNER, Bundle, Citizens, _flip, citizens

WITNESSES = {name: CosignatureSigner(f"{name}.example", Ed25519PrivateKey.generate()) for name in ("one", "two")}
POLICY = "\n".join(
    [
        f"log {SIGNER.verifier.text}",
        *(f"witness {name} {witness.verifier.text}" for name, witness in WITNESSES.items()),
        "group both all one two",
        "quorum both",
        "",
    ]
)
TIME = 1_795_308_434
RUN = """
const results = [];
for (const { bundle, policy } of cases) results.push(await verifier.verifyBundle(bundle, policy));
console.log(JSON.stringify(results));
"""


def verify(folder: Path, *cases: tuple[Bundle, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each bundle under its policy, checked by the browser's own functions in node."""
    data = [{"bundle": bundle, "policy": policy} for bundle, policy in cases]
    results: list[dict[str, Any]] = json.loads(run_in_node(folder, RUN, data))
    return results


def run_in_node(folder: Path, script: str, data: object) -> str:
    """What a script says, given the verifier's functions as `verifier` and the data as `cases`."""
    if NODE is None:
        pytest.skip("NODE IS MISSING: the browser verifier is not tested here")
    module, file = folder / "verifier.mjs", folder / "run.mjs"
    module.write_bytes(verifier_module())
    file.write_text(
        f"""
import * as verifier from {json.dumps(module.as_uri())};
let text = "";
for await (const chunk of process.stdin) text += chunk;
const cases = JSON.parse(text);
{script}
"""
    )
    done = subprocess.run(
        [NODE, str(file)], input=json.dumps(data), capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def codes(result: dict[str, Any]) -> list[str]:
    return [failure["code"] for failure in result["failures"]]


def cosigned(bundle: Bundle, *names: str, time: int = TIME) -> Bundle:
    text = parse_note(bundle["checkpoint"].encode()).text
    lines = "".join(WITNESSES[name].sign(text, time=time).line for name in names)
    return bundle | {"checkpoint": bundle["checkpoint"] + lines}


TRUSTING: dict[str, Any] = {"vkeys": [SIGNER.verifier.text]}
DEMANDING: dict[str, Any] = {"vkeys": [], "policy": POLICY}


async def test_a_quorum_of_witnesses_is_demanded(sqlite_url: str, tmp_path: Path) -> None:
    async with citizens(sqlite_url, tmp_path) as city:
        bundle = await city.bundle("erika")
    both, one = cosigned(bundle, "one", "two"), cosigned(bundle, "one")
    forged = copy.deepcopy(both)
    first, _, last = forged["checkpoint"].rstrip("\n").rpartition("\n")
    name, encoded = last.removeprefix("\u2014 ").split(" ")
    forged["checkpoint"] = f"{first}\n\u2014 {name} {encoded[:-8]}AAAA{encoded[-4:]}\n"
    results = verify(
        tmp_path,
        (both, DEMANDING),
        (one, DEMANDING),
        (bundle, DEMANDING),
        (bundle, {"vkeys": [], "policy": POLICY.replace("quorum both", "quorum none")}),
        (forged, DEMANDING),
        (both, {"vkeys": [], "policy": POLICY.replace("all one two", "3 one two")}),
        (both, {"vkeys": [], "policy": POLICY.replace("quorum both\n", "")}),
    )
    assert [codes(result) for result in results] == [
        [], ["quorum_missing"], ["quorum_missing"], [], ["signature_invalid"],
        ["policy_malformed"], ["policy_malformed"],
    ]  # fmt: skip
    assert results[0]["confirmations"] == [{"name": name, "time": TIME * 1000} for name in ("one", "two")]


async def test_ml_dsa_keys_in_the_policy_are_neither_a_slip_nor_a_confirmation(sqlite_url: str, tmp_path: Path) -> None:
    async with citizens(sqlite_url, tmp_path) as city:
        bundle = await city.bundle("erika")
    log, witness = (MLDSASigner(name, bytes(range(32))) for name in (ORIGIN, "three.example"))
    lines = f"log {log.verifier.text}\n{POLICY}".replace(
        "group both", f"witness three {witness.verifier.text}\ngroup both"
    )
    both = cosigned(bundle, "one", "two")
    text = parse_note(bundle["checkpoint"].encode()).text
    both |= {"checkpoint": both["checkpoint"] + witness.sign(text, time=TIME).line}
    demanded = lines.replace("all one two", "all one two three")
    results = verify(
        tmp_path,
        (both, {"vkeys": [], "policy": lines}),
        (both, {"vkeys": [], "policy": demanded}),
        (both, {"vkeys": [log.verifier.text]}),
        (both, {"vkeys": [log.verifier.text[:-8] + "AAAAAAA="]}),
    )
    assert [codes(result) for result in results] == [[], ["quorum_missing"], ["key_unknown"], ["key_unknown"]]


async def indexed(city: Citizens) -> Bundle:
    await build_period_index(city.log.engine, city.log.sequencer, ORIGIN, "2026-11")
    await city.publisher.publish()
    return await city.bundle("erika")


async def test_the_index_shows_that_nothing_was_cut_off(database_url: str, tmp_path: Path) -> None:
    async with citizens(database_url, tmp_path) as city:
        before = await city.bundle("erika")
        bundle = await indexed(city)
        await city.keys.key_for("nobody")
        absent = await city.bundle("nobody")
        await city.log.append(access(await city.keys.key_for("erika"), turn=5))
        await city.publisher.publish()
        tail = await city.bundle("erika")
    cut = copy.deepcopy(bundle)
    cut["accesses"].pop()
    hidden = copy.deepcopy(bundle)
    hidden["accesses"] = []
    results = verify(tmp_path, *((case, TRUSTING) for case in (before, bundle, absent, tail, cut, hidden)))
    assert [codes(result) for result in results] == [[], [], [], [], ["index_differs"], ["index_differs"]]
    assert results[0]["index"] is None
    assert [result["index"]["counted"] for result in results[1:4]] == [5, 0, 5]
    assert len(results[3]["accesses"]) == 6


CHANGES: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("not_in_log", lambda index: index.update(index=index["index"] - 1)),
    ("not_in_log", lambda index: index["proof"].pop()),
    ("index_malformed", lambda index: index.update(nonce=_flip(index["nonce"]))),
    ("index_malformed", lambda index: index.update(record=_flip(index["record"]))),
    ("index_malformed", lambda index: index.update(leaf=index["leaf"] + " ")),
    ("index_malformed", lambda index: index.update(rows=[])),
    ("index_malformed", lambda index: index["rows"][0].update(n=4)),
    ("index_malformed", lambda index: index["rows"][0].update(head=_flip(index["rows"][0]["head"]))),
    ("index_malformed", lambda index: index["rows"][0].update(tag=_flip(index["rows"][0]["tag"]))),
    ("index_malformed", lambda index: index["rows"][0].update(position=1 - index["rows"][0]["position"])),
    ("index_malformed", lambda index: index["rows"].append(index["rows"][0])),
    ("bundle_malformed", lambda index: index.update(rows=None)),
]


async def test_a_changed_index_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    async with citizens(sqlite_url, tmp_path) as city:
        good = await indexed(city)
        (await city.keys.key_for("max"))
        other = await city.bundle("max")
    cases = []
    for _, change in CHANGES:
        changed = copy.deepcopy(good)
        change(changed["index"])
        cases.append(changed)
    borrowed = copy.deepcopy(good)
    borrowed["index"] = other["index"]
    results = verify(tmp_path, *((case, TRUSTING) for case in [*cases, borrowed]))
    assert [codes(result) for result in results] == [[code] for code, _ in CHANGES] + [["index_malformed"]]


async def test_a_visit_is_compared_with_the_last_one(database_url: str, tmp_path: Path) -> None:
    async with citizens(database_url, tmp_path) as city:
        first = await city.bundle("erika")
        for turn in range(40):
            await city.log.append(access(await city.keys.key_for("max"), turn=turn))
        await city.publisher.publish()
        later = [
            json.loads(
                json.dumps(
                    (
                        await accesses(
                            city.log.engine, city.keys, "erika", "2026-11", publisher=city.publisher, seen=seen
                        )
                    ).as_json()
                )
            )
            for seen in (0, 15, 8)
        ]
    (seen,) = verify(tmp_path, (first, TRUSTING))
    assert seen["visit"] == "first"
    memory = {ORIGIN: {"size": seen["size"], "root": seen["root"]}}
    other = {ORIGIN: {"size": seen["size"], "root": _flip(seen["root"])}}
    larger = {ORIGIN: {"size": seen["size"] + 1, "root": seen["root"]}}
    damaged = copy.deepcopy(later[1])
    damaged["consistency"]["path"][0] = _flip(damaged["consistency"]["path"][0])
    results = verify(
        tmp_path,
        (first, TRUSTING | {"seen": memory}),
        (later[0], TRUSTING | {"seen": memory}),
        (later[1], TRUSTING | {"seen": memory}),
        (later[2], TRUSTING | {"seen": memory}),
        (first, TRUSTING | {"seen": other}),
        (later[1], TRUSTING | {"seen": other}),
        (damaged, TRUSTING | {"seen": memory}),
        (first, TRUSTING | {"seen": larger}),
    )
    assert [(result["visit"], codes(result)) for result in results[:4]] == [
        ("same", []), ("unproven", []), ("extended", []), ("unproven", []),
    ]  # fmt: skip
    assert [codes(result) for result in results[4:]] == [
        ["history_differs"], ["history_differs"], ["history_differs"], ["log_shrunk"],
    ]  # fmt: skip


LEAVES = [leaf_hash(bytes([number])) for number in range(40)]


def lines(ranges: list[tuple[int, int]]) -> list[str]:
    return [b64encode(root_of(LEAVES[start:end])).decode() for start, end in ranges]


def test_consistency_proofs_of_every_size_agree_with_python(tmp_path: Path) -> None:
    """All pairs of sizes up to 20: the proofs of audit.merkle, checked by the browser's function."""
    cases = [
        [old, *lines([(0, old), (0, new)]), new, lines(consistency_ranges(old, new))]
        for new in range(1, 21)
        for old in range(1, new + 1)
    ]
    script = """
const { fromBase64, verifyConsistency } = verifier;
for (const [old, oldRoot, newRoot, size, path] of cases) {
  await verifyConsistency(old, fromBase64(oldRoot), size, fromBase64(newRoot), path.map(fromBase64));
}
console.log(cases.length);
"""
    assert int(run_in_node(tmp_path, script, cases)) == 210


def test_inclusion_proofs_of_one_tree_share_what_is_proven_and_nothing_else(tmp_path: Path) -> None:
    """Every leaf of every size up to 40, all of a tree together: the true proofs hold, and no other one does."""
    cases = [
        [size, lines([(0, size)])[0], [[lines([(at, at + 1)])[0], lines(inclusion_ranges(at, size))] for at in order]]
        for size in range(1, 41)
        for order in [sorted(range(size), key=lambda at: at * 7 % 41)]
    ]
    script = """
const { fromBase64, toBase64, verifyInclusion } = verifier;
const changed = (line) => toBase64(fromBase64(line).map((byte, at) => (at === 9 ? byte ^ 1 : byte)));
let [good, refused, accepted] = [0, 0, 0];
for (const [size, root, leaves] of cases) {
  const known = new Map();
  const check = (leaf, index, path) => verifyInclusion(fromBase64(leaf), index, size, path, fromBase64(root), known);
  const refuse = (...wrong) => check(...wrong).then(() => (accepted += 1), () => (refused += 1));
  for (const round of [1, 2]) {
    for (const [number, [leaf, path]] of leaves.entries()) {
      const index = [...Array(size).keys()].sort((one, other) => (one * 7 % 41) - (other * 7 % 41))[number];
      for (const [at, line] of path.entries()) await refuse(leaf, index, path.with(at, changed(line)));
      await refuse(changed(leaf), index, path);
      await refuse(leaf, index, [...path, root]);
      if (path.length > 0) await refuse(leaf, index, path.slice(1));
      if (path.length > 0) await refuse(leaf, index, path.slice(0, -1));
      if (size > 1) await refuse(leaf, (index + 1) % size, path);
      await refuse(leaf, size, path);
      await check(leaf, index, path);
      good += 1;
    }
  }
}
console.log(JSON.stringify([good, accepted, refused > 10_000]));
"""
    assert json.loads(run_in_node(tmp_path, script, cases)) == [2 * sum(range(1, 41)), 0, True]


# A log in JavaScript, by the verifier's hashes and the definitions of RFC 6962 2.1 and C2SP signed-note alone.
PROVER = """
async function proveByJavaScript({ encoder, joined, leafHash, sha256, subtle, toBase64 }, size) {
  const split = (count) => 2 ** Math.ceil(Math.log2(count) - 1);
  const node = (left, right) => sha256(Uint8Array.of(1), left, right);
  const root = async (leaves) => {
    if (leaves.length < 2) return leaves.length === 1 ? leaves[0] : sha256();
    const at = split(leaves.length);
    return node(await root(leaves.slice(0, at)), await root(leaves.slice(at)));
  };
  const path = async (index, leaves) => {
    if (leaves.length === 1) return [];
    const at = split(leaves.length);
    if (index < at) return [...(await path(index, leaves.slice(0, at))), await root(leaves.slice(at))];
    return [...(await path(index - at, leaves.slice(at))), await root(leaves.slice(0, at))];
  };
  const extension = async (old, leaves, isWhole) => {
    if (old === leaves.length) return isWhole ? [] : [await root(leaves)];
    const at = split(leaves.length);
    if (old <= at) return [...(await extension(old, leaves.slice(0, at), isWhole)), await root(leaves.slice(at))];
    return [...(await extension(old - at, leaves.slice(at), false)), await root(leaves.slice(0, at))];
  };
  const name = "javascript.example/audit/2026";
  const { privateKey, publicKey } = await subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"]);
  const key = joined([1], new Uint8Array(await subtle.exportKey("raw", publicKey)));
  const id = (await sha256(encoder.encode(`${name}\\n`), key)).slice(0, 4);
  const hex = Array.from(id, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const leaves = await Promise.all([...Array(size).keys()].map((number) => leafHash(encoder.encode(`leaf ${number}`))));
  const text = `${name}\\n${size}\\n${toBase64(await root(leaves))}\\n`;
  const signature = new Uint8Array(await subtle.sign({ name: "Ed25519" }, privateKey, encoder.encode(text)));
  const note = `${text}\\n\\u2014 ${name} ${toBase64(joined(id, signature))}\\n`;
  const proofs = [];
  for (let index = 0; index < size; index += 1) {
    const lines = (await path(index, leaves)).map((hash) => `${toBase64(hash)}\\n`).join("");
    const old = await root(leaves.slice(0, index + 1));
    const extended = (await extension(index + 1, leaves, true)).map(toBase64);
    proofs.push([`c2sp.org/tlog-proof@v1\\nindex ${index}\\n${lines}\\n${note}`, toBase64(old), extended]);
  }
  return { vkey: `${name}+${hex}+${toBase64(key)}`, proofs };
}
"""


def require_proven(made: dict[str, Any], size: int) -> None:
    """What `proveByJavaScript` made is what Python's verifiers take."""
    key = parse_vkey(made["vkey"])
    assert len(made["proofs"]) == size
    for index, (text, old, extended) in enumerate(made["proofs"]):
        proof = parse_leaf_proof(text.encode())
        leaf = leaf_hash(f"leaf {index}".encode())
        assert verify_leaf_proof(proof, leaf, origin=key.name, keys=[key]) == size
        with pytest.raises(ProofInvalid):
            verify_leaf_proof(proof, leaf_hash(b"another"), origin=key.name, keys=[key])
        checkpoint = verify_checkpoint(proof.note, [key])
        path = [b64decode(line) for line in extended]
        verify_consistency(index + 1, b64decode(old), size, checkpoint.root, path)
        with pytest.raises(ProofInvalid):
            verify_consistency(index + 1, bytes(32), size, checkpoint.root, path)


@pytest.mark.parametrize("size", [1, 2, 7, 16, 37])
def test_a_log_in_javascript_is_verified_by_python(tmp_path: Path, size: int) -> None:
    script = f"{PROVER}\nconsole.log(JSON.stringify(await proveByJavaScript(verifier, cases)));"
    require_proven(json.loads(run_in_node(tmp_path, script, size)), size)
