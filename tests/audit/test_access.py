"""A citizen's bundle: complete, provable in the browser's verifier, and refused once anything is changed."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete

from audit.access import accesses, months_of
from audit.browser import build_verifier, verifier_module
from audit.errors import OutOfRange
from audit.note import NoteSigner
from audit.publisher import Publisher
from audit.store import open_engine, record
from audit.subject_keys import SubjectKeys
from audit.tree_reader import inclusion_path, inclusion_paths
from tests.audit.factory import ORIGIN, OpenLog, access, exchange, open_log

SIGNER = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
NODE = shutil.which("node")
RUN = """
import { verifyBundle } from %s;
let text = "";
for await (const chunk of process.stdin) text += chunk;
const { cases, policy } = JSON.parse(text);
const results = [];
for (const bundle of cases) results.push(await verifyBundle(bundle, policy));
console.log(JSON.stringify(results));
"""
Bundle = dict[str, Any]


@dataclass
class Citizens:
    log: OpenLog
    keys: SubjectKeys
    publisher: Publisher

    async def bundle(self, name: str, month: str = "2026-11") -> Bundle:
        found = await accesses(self.log.engine, self.keys, name, month, publisher=self.publisher)
        plain: Bundle = json.loads(json.dumps(found.as_json()))
        return plain


@asynccontextmanager
async def citizens(url: str, folder: Path) -> AsyncIterator[Citizens]:
    """A log with five accesses to Erika's data, among others', published."""
    key_engine = open_engine(f"sqlite+aiosqlite:///{folder / 'keys.sqlite'}")
    keys = SubjectKeys(key_engine, os.urandom(32), os.urandom(32))
    await keys.create_schema()
    async with open_log(url) as log:
        publisher = Publisher(log.engine, SIGNER, lock_file=folder / "lock", origin=ORIGIN, clock_ms=log.clock)
        for turn in range(5):
            log.clock.now_ms += 1000
            await log.append(access(await keys.key_for("erika"), turn=turn), exchange())
            await log.append(access(await keys.key_for("max"), turn=turn))
        await publisher.start()
        yield Citizens(log, keys, publisher)
        await publisher.close()
    await key_engine.dispose()


def verify_in_node(folder: Path, cases: list[Any], vkeys: list[str]) -> list[dict[str, Any]]:
    """The browser's own functions, run by node."""
    if NODE is None:
        pytest.skip("NODE IS MISSING: the browser verifier is not tested here")
    module = folder / "verifier.mjs"
    module.write_bytes(verifier_module())
    script = folder / "run.mjs"
    script.write_text(RUN % json.dumps(module.as_uri()))
    data = json.dumps({"cases": cases, "policy": {"vkeys": vkeys}})
    done = subprocess.run([NODE, str(script)], input=data, capture_output=True, text=True, timeout=60, check=True)
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


async def test_the_browser_accepts_what_the_log_holds(database_url: str, tmp_path: Path) -> None:
    async with citizens(database_url, tmp_path) as city:
        sealed = await city.bundle("erika")
        await city.log.append(access(await city.keys.key_for("erika"), turn=5))
        with_tail = await city.bundle("erika")
        async with city.log.engine.begin() as connection:
            await connection.execute(delete(record).where(record.c.idx == sealed["accesses"][0]["index"]))
        erased = await city.bundle("erika")
        nobody = await city.bundle("nobody")
        assert await months_of(city.log.engine, city.keys, "erika", origin=ORIGIN) == ["2026-11"]
        assert await months_of(city.log.engine, city.keys, "nobody", origin=ORIGIN) == []
    results = verify_in_node(tmp_path, [sealed, with_tail, erased, nobody], [SIGNER.verifier.text])
    assert [result["failures"] for result in results] == [[]] * 4
    assert [result["ok"] for result in results] == [True] * 4
    assert [len(result["accesses"]) for result in results] == [5, 6, 6, 0]
    assert [(result["unsealed"], result["erased"]) for result in results] == [(0, 0), (1, 0), (1, 1), (0, 0)]
    assert [json.loads(shown["details"])["turn"] for shown in results[0]["accesses"]] == [0, 1, 2, 3, 4]


def _flip(text: str) -> str:
    data = bytearray(b64decode(text))
    data[0] ^= 1
    return b64encode(data).decode()


def _change(at: str, change: Callable[[Any], Any], number: int = 2) -> Callable[[Bundle], None]:
    def apply(bundle: Bundle) -> None:
        bundle["accesses"][number][at] = change(bundle["accesses"][number][at])

    return apply


def _other_root(bundle: Bundle) -> None:
    lines = bundle["checkpoint"].split("\n")
    lines[2] = _flip(lines[2])
    bundle["checkpoint"] = "\n".join(lines)


MUTATIONS: list[tuple[str, Callable[[Bundle], Any]]] = [
    ("entry_missing", lambda bundle: bundle["accesses"].pop(2)),
    ("entry_missing", lambda bundle: bundle["accesses"].pop(0)),
    ("entry_missing", lambda bundle: bundle["accesses"].reverse()),
    ("entry_missing", lambda bundle: bundle["accesses"].append(bundle["accesses"][4])),
    ("not_in_log", _change("proof", lambda proof: [_flip(proof[0]), *proof[1:]])),
    ("not_in_log", _change("proof", lambda proof: proof[:-1])),
    ("not_in_log", _change("index", lambda index: index + 1)),
    ("not_in_log", _change("leaf", lambda leaf: leaf.replace(leaf[6:49], _flip(leaf[6:50])[:43]))),
    ("proof_missing", _change("proof", lambda _: None)),
    ("record_changed", _change("record", _flip)),
    ("record_changed", _change("nonce", _flip)),
    ("leaf_malformed", _change("leaf", lambda leaf: leaf.replace('"k":"access"', '"k":"Access"'))),
    ("leaf_malformed", _change("leaf", lambda leaf: leaf + " ")),
    ("month_differs", lambda bundle: bundle.update(month="2026-12")),
    ("tag_differs", lambda bundle: bundle.update(month_key=_flip(bundle["month_key"]))),
    ("signature_invalid", _other_root),
    ("key_unknown", lambda bundle: bundle.update(origin="other.example/audit/2026")),
    ("note_malformed", lambda bundle: bundle.update(checkpoint=bundle["checkpoint"][:-1])),
    ("bundle_malformed", lambda bundle: bundle.update(month_key=None)),
    ("bundle_malformed", lambda bundle: bundle.update(version=2)),
    ("bundle_malformed", lambda bundle: bundle.update(accesses={})),
    ("bundle_malformed", _change("proof", lambda _: "no list")),
]


async def test_the_browser_refuses_every_change(sqlite_url: str, tmp_path: Path) -> None:
    async with citizens(sqlite_url, tmp_path) as city:
        good = await city.bundle("erika")
        other = await city.bundle("max")
    cases, expected = [], []
    for code, mutate in MUTATIONS:
        changed = copy.deepcopy(good)
        mutate(changed)
        assert changed != good
        cases.append(changed)
        expected.append(code)
    mixed = copy.deepcopy(good)
    mixed["accesses"][1] = other["accesses"][1]
    results = verify_in_node(tmp_path, [*cases, mixed, None, 5], [SIGNER.verifier.text])
    assert [[failure["code"] for failure in result["failures"]] for result in results] == [
        [code] for code in [*expected, "tag_differs", "bundle_malformed", "bundle_malformed"]
    ]
    assert not any(result["ok"] for result in results)
    for result in results:
        assert result["failures"][0]["de"]
        assert result["failures"][0]["en"]


async def test_the_browser_trusts_no_key_that_the_bundle_brings(sqlite_url: str, tmp_path: Path) -> None:
    async with citizens(sqlite_url, tmp_path) as city:
        good = await city.bundle("erika")
    stranger = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
    results = verify_in_node(tmp_path, [good], []) + verify_in_node(tmp_path, [good], [stranger.verifier.text])
    assert [result["failures"][0]["code"] for result in results] == ["key_unknown", "key_unknown"]


def test_the_page_is_one_file_that_loads_nothing() -> None:
    page = build_verifier([SIGNER.verifier.text]).decode()
    assert page == build_verifier([SIGNER.verifier.text]).decode()
    assert "default-src 'none'" in page
    assert SIGNER.verifier.text in page
    for loading in ("http://", "https://", "src=", "import ", "export "):
        assert loading not in page
    assert "</script><script>" not in build_verifier(["</script><script>"]).decode()


def test_the_page_script_parses(tmp_path: Path) -> None:
    if NODE is None:
        pytest.skip("NODE IS MISSING: the verifier page is not tested here")
    page = build_verifier([]).decode()
    script = page[page.index('<script type="module">') + 22 : page.rindex("</script>")]
    (tmp_path / "page.mjs").write_text(script)
    subprocess.run([NODE, "--check", str(tmp_path / "page.mjs")], check=True, timeout=60)


async def test_proofs_made_together_are_those_made_one_by_one(database_url: str) -> None:
    """Beyond a full tile of tiles would take 65,537 leaves; two full tiles and a partial one meet both kinds."""
    async with open_log(database_url) as log:
        for _ in range(6):
            await log.append(*[exchange() for _ in range(100)])
        async with log.engine.connect() as connection:
            for size in (1, 256, 512, 513, 600):
                indices = sorted({0, size // 2, size - 1, *range(0, size, 7)})
                together = await inclusion_paths(connection, 1, indices, size)
                assert together == [await inclusion_path(connection, 1, index, size) for index in indices]
            assert await inclusion_paths(connection, 1, [], 600) == []
            with pytest.raises(OutOfRange):
                await inclusion_paths(connection, 1, [600], 600)
            with pytest.raises(OutOfRange):
                await inclusion_paths(connection, 1, [0], 601)
