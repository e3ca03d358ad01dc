"""The browser's verifier beyond the single log: witnesses, the month's index, and what an earlier visit saw."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.access import accesses
from audit.browser import verifier_module
from audit.cosignature import CosignatureSigner
from audit.note import parse_note
from audit.period_store import build_period_index
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
import { verifyBundle } from %s;
let text = "";
for await (const chunk of process.stdin) text += chunk;
const results = [];
for (const { bundle, policy } of JSON.parse(text)) results.push(await verifyBundle(bundle, policy));
console.log(JSON.stringify(results));
"""


def verify(folder: Path, *cases: tuple[Bundle, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each bundle under its policy, checked by the browser's own functions in node."""
    if NODE is None:
        pytest.skip("NODE IS MISSING: the browser verifier is not tested here")
    module, script = folder / "verifier.mjs", folder / "run.mjs"
    module.write_bytes(verifier_module())
    script.write_text(RUN % json.dumps(module.as_uri()))
    data = json.dumps([{"bundle": bundle, "policy": policy} for bundle, policy in cases])
    done = subprocess.run([NODE, str(script)], input=data, capture_output=True, text=True, timeout=60, check=True)
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


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


def test_consistency_proofs_of_every_size_agree_with_python(tmp_path: Path) -> None:
    """All pairs of sizes up to 20: the proofs of audit.merkle, checked by the browser's function."""
    if NODE is None:
        pytest.skip("NODE IS MISSING: the browser verifier is not tested here")
    from base64 import b64encode

    from audit.merkle import consistency_ranges, leaf_hash, root_of

    leaves = [leaf_hash(bytes([number])) for number in range(20)]
    cases = []
    for new in range(1, 21):
        for old in range(1, new + 1):
            path = [root_of(leaves[start:end]) for start, end in consistency_ranges(old, new)]
            cases.append(
                [old, *(b64encode(h).decode() for h in (root_of(leaves[:old]), root_of(leaves[:new]))), new,
                 [b64encode(h).decode() for h in path]]
            )  # fmt: skip
    module, script = tmp_path / "verifier.mjs", tmp_path / "run.mjs"
    module.write_bytes(verifier_module())
    script.write_text(
        f"""
import {{ verifyConsistency, fromBase64 }} from {json.dumps(module.as_uri())};
let text = "";
for await (const chunk of process.stdin) text += chunk;
let count = 0;
for (const [old, oldRoot, newRoot, size, path] of JSON.parse(text)) {{
  await verifyConsistency(old, fromBase64(oldRoot), size, fromBase64(newRoot), path.map(fromBase64));
  count += 1;
}}
console.log(count);
"""
    )
    done = subprocess.run(
        [NODE, str(script)], input=json.dumps(cases), capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) == len(cases) == 210
