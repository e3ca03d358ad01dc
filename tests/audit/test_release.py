"""What was withheld and is released: whether it is what the log took in, checked by record, browser and server."""

from __future__ import annotations

import copy
import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from audit.access import accesses
from audit.entry import Entry
from audit.errors import MalformedInput, ProofInvalid
from audit.leaf import Chain, build_leaf, parse_leaf
from audit.note import NoteSigner
from audit.period_store import build_period_index
from audit.publisher import Publisher
from audit.record import commit, open_record
from audit.release import KIND, Released, parse_release, verify_release
from audit.releasing import release_person
from audit.store import log_entry, open_engine, record
from audit.subject_keys import SubjectKeys, withheld
from audit.tag import SubjectKey
from audit.verify import verify_log
from gateway.citizen.bundles import BundleBroken, verify_bundle
from tests.audit.factory import NOVEMBER_MS, ORIGIN, OpenLog, access, exchange, open_log
from tests.audit.test_access import Citizens, _flip, citizens
from tests.audit.test_browser_verifier import codes, verify

KEY = Ed25519PrivateKey.generate()
NEXT_YEAR = "gateway.example/audit/2027"
JANUARY_MS = 1_800_000_000_000
HAPPENED = "2026-11-22T10:00:00.000+00:00"
CONTENT = json.dumps({"result": "delivered", "time": HAPPENED, "v": 1}, separators=(",", ":")).encode()
Bundle = dict[str, Any]


def hidden(person: SubjectKey, content: bytes = CONTENT) -> Entry:
    """An access that the law withholds."""
    return Entry("withheld", person, os.urandom(32), content, NOVEMBER_MS + 10**12)


async def leaf_and_nonce(log: OpenLog, person: SubjectKey, index: int) -> tuple[bytes, bytes]:
    """Of a stored entry about this person."""
    joined = log_entry.join(record, record.c.idx == log_entry.c.idx)
    query = select(log_entry.c.leaf, record.c.body).select_from(joined).where(log_entry.c.idx == index)
    async with log.engine.connect() as connection:
        row = (await connection.execute(query)).one()
    nonce, _ = open_record(person.month(ORIGIN, "2026-11"), row.body, parse_leaf(row.leaf).commitment)
    return bytes(row.leaf), nonce


async def test_what_is_released_is_proven_to_be_what_was_withheld(database_url: str, tmp_path: Path) -> None:
    async with citizens(database_url, tmp_path) as city:
        person = await city.keys.key_for(withheld("erika"))
        await city.log.append(*(hidden(person) for _ in range(3)))
        city.log.clock.now_ms += 60_000
        await release_person(city.log.engine, city.log.sequencer, city.keys, "erika")
        unsealed = await city.bundle("erika")
        await build_period_index(city.log.engine, city.log.sequencer, ORIGIN, "2026-11")
        await city.publisher.publish()
        sealed = await city.bundle("erika")
        (await verify_log(city.log.engine, origin=ORIGIN, keys=city.keys)).require_sound()
        trusting = {"vkeys": [city.publisher.verifier.text]}
    assert [access.get("withheld") is None for access in sealed["accesses"]] == [True] * 5 + [False] * 3
    results = verify(tmp_path, (sealed, trusting), (unsealed, trusting))
    assert [codes(result) for result in results] == [[], []]
    for result in results:
        released = result["accesses"][5:]
        assert [shown["released"] - shown["time"] for shown in released] == [60_000] * 3
        assert all(shown["released"] is None for shown in result["accesses"][:5])
    assert (results[0]["unsealed"], results[1]["unsealed"], results[0]["index"]["counted"]) == (0, 3, 8)
    for bundle in (sealed, unsealed):
        shown = verify_bundle(bundle, month="2026-11").records[-1]
        assert shown.time_ms == datetime.fromisoformat(HAPPENED).timestamp() * 1000


CHANGES: list[tuple[str, Callable[[Bundle], Any]]] = [
    ("release_unproven", lambda shown: shown.pop("withheld")),
    ("release_unproven", lambda shown: shown["withheld"].update(proof=None)),
    ("not_in_log", lambda shown: shown["withheld"]["proof"].pop()),
    ("not_in_log", lambda shown: shown["withheld"]["proof"].append(shown["withheld"]["proof"][0])),
    ("not_in_log", lambda shown: shown["withheld"].update(proof=[_flip(line) for line in shown["withheld"]["proof"]])),
    ("bundle_malformed", lambda shown: shown["withheld"].update(proof="none")),
]


async def test_a_release_without_its_proof_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    async with citizens(sqlite_url, tmp_path) as city:
        await city.log.append(hidden(await city.keys.key_for(withheld("erika"))))
        await release_person(city.log.engine, city.log.sequencer, city.keys, "erika")
        await city.publisher.publish()
        good = await city.bundle("erika")
        trusting = {"vkeys": [city.publisher.verifier.text]}
    cases = []
    for _, change in CHANGES:
        changed = copy.deepcopy(good)
        change(changed["accesses"][5])
        cases.append(changed)
        with pytest.raises(BundleBroken):
            verify_bundle(changed, month="2026-11")
    results = verify(tmp_path, *((case, trusting) for case in cases))
    assert [codes(result) for result in results] == [[code] for code, _ in CHANGES]
    assert all(failure["de"] and failure["en"] for result in results for failure in result["failures"])


WITHHELD_LEAF: dict[str, Any] = {
    "kind": b"withheld", "exchange": bytes([7]) * 32, "time_ms": NOVEMBER_MS, "chain": Chain(bytes(32), 1, bytes(32))
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        # What the person was shown all along is no release of anything.
        ({"kind": b"access"}, "no withheld access"),
        ({"chain": None}, "no withheld access"),
        ({"exchange": bytes([8]) * 32}, "another exchange"),
        ({"time_ms": NOVEMBER_MS + 1}, "another exchange"),
    ],
    ids=str,
)
def test_nothing_but_a_withheld_access_of_that_exchange_is_released(changes: dict[str, Any], reason: str) -> None:
    nonce = bytes([1]) * 32
    leaf = build_leaf(commitment=commit(nonce, CONTENT), **(WITHHELD_LEAF | changes))
    told = Released(CONTENT, ORIGIN, 3, leaf, nonce).encode()
    later = parse_leaf(build_leaf(**(WITHHELD_LEAF | {"kind": b"release", "commitment": bytes(32)})))
    if not reason:
        assert verify_release(later, told)[1].kind == "withheld"
        return
    with pytest.raises(ProofInvalid, match=reason):
        verify_release(later, told)


def _another_kind(released: Released) -> Released:
    leaf = parse_leaf(released.leaf)
    return replace(released, leaf=build_leaf(b"access", leaf.commitment, leaf.exchange, leaf.time_ms, leaf.chain))


# What a gateway might release in place of what it withheld, and the code by which the browser says so.
LIES: list[tuple[str, Callable[[Released], bytes]]] = [
    ("release_differs", lambda true: replace(true, record=true.record.replace(b"delivered", b"denied")).encode()),
    ("release_differs", lambda true: replace(true, nonce=bytes(32)).encode()),
    ("release_differs", lambda true: _another_kind(true).encode()),
    ("release_differs", lambda true: true.record),
    ("release_differs", lambda true: true.encode()[:-1] + b',"z":1}'),
    ("not_in_log", lambda true: replace(true, index=true.index - 1).encode()),
    ("key_unknown", lambda true: replace(true, origin="elsewhere.example/audit/2026").encode()),
]


@asynccontextmanager
async def lied_to(
    city: Citizens, lie: Callable[[Released], bytes], *, other_exchange: bool = False
) -> AsyncIterator[str]:
    """A person to whom something else is released than was withheld, signed and sealed like the truth."""
    name = os.urandom(8).hex()
    person = await city.keys.key_for(withheld(name))
    entry = hidden(person)
    (receipt,) = await city.log.append(entry)
    leaf, nonce = await leaf_and_nonce(city.log, person, receipt.index)
    told = lie(Released(CONTENT, ORIGIN, receipt.index, leaf, nonce))
    of = os.urandom(32) if other_exchange else entry.exchange
    await city.log.append(Entry(KIND, await city.keys.key_for(name), of, told, entry.expires_ms))
    await city.publisher.publish()
    yield name


async def test_a_release_that_says_something_else_is_refused_by_all(sqlite_url: str, tmp_path: Path) -> None:
    async with citizens(sqlite_url, tmp_path) as city:
        trusting = {"vkeys": [city.publisher.verifier.text]}
        cases = []
        for code, lie in LIES:
            async with lied_to(city, lie) as name:
                bundle = await city.bundle(name)
            if code == "key_unknown":
                bundle["accesses"][0]["withheld"] = {"proof": [], "checkpoint": bundle["checkpoint"]}
            cases.append(bundle)
        async with lied_to(city, lambda true: true.encode(), other_exchange=True) as name:
            cases.append(await city.bundle(name))
        async with lied_to(city, lambda true: true.encode()) as name:
            honest = await city.bundle(name)
        report = await verify_log(city.log.engine, origin=ORIGIN, keys=city.keys)
    results = verify(tmp_path, *((case, trusting) for case in (*cases, honest)))
    expected = [*([code] for code, _ in LIES), ["release_differs"], []]
    assert [codes(result) for result in results] == expected
    for case in cases:
        with pytest.raises(BundleBroken):
            verify_bundle(case, month="2026-11")
    assert len(verify_bundle(honest, month="2026-11").records) == 1
    # The operator's own check finds them too, but for a log that isn't there to look into.
    assert {found.code for found in report.findings} == {"leaf_malformed", "release_differs"}
    assert report.findings_total == len(cases) - 1


async def test_last_year_s_withheld_access_is_proven_in_last_year_s_log(database_url: str, tmp_path: Path) -> None:
    engine = open_engine(f"sqlite+aiosqlite:///{tmp_path}/persons.db")
    keys = SubjectKeys(engine, os.urandom(32), os.urandom(32))
    await keys.create_schema()
    async with AsyncExitStack() as stack:
        publishers = []
        for origin, now_ms in ((ORIGIN, NOVEMBER_MS), (NEXT_YEAR, JANUARY_MS)):
            log = await stack.enter_async_context(open_log(database_url, origin=origin))
            log.clock.now_ms = now_ms
            lock_file = tmp_path / origin[-4:]
            publishers.append(
                Publisher(log.engine, NoteSigner(origin, KEY), lock_file=lock_file, origin=origin, clock_ms=log.clock)
            )
            if origin == ORIGIN:
                await log.append(exchange(), hidden(await keys.key_for(withheld("erika"))), exchange())
            else:
                await log.append(access(await keys.key_for("erika")), exchange())
                assert len(await release_person(log.engine, log.sequencer, keys, "erika")) == 1
            await publishers[-1].publish()
        old, new = publishers
        found = await accesses(log.engine, keys, "erika", "2027-01", publisher=new, others=(old,))
        bundle = json.loads(json.dumps(found.as_json()))
        alone = (await accesses(log.engine, keys, "erika", "2027-01", publisher=new)).as_json()
        for origin in (ORIGIN, NEXT_YEAR):
            (await verify_log(log.engine, origin=origin, keys=keys)).require_sound()
        # Whoever changes what last year's log holds, is found by this year's release.
        async with log.engine.begin() as connection:
            trigger = {"sqlite": "log_entry_no_update", "postgresql": "log_entry_no_change ON log_entry"}
            await connection.exec_driver_sql(f"DROP TRIGGER {trigger[log.engine.dialect.name]}")
            other = build_leaf(b"exchange", bytes(32), bytes(32), NOVEMBER_MS, None)
            await connection.execute(
                update(log_entry).where(log_entry.c.n == 1, log_entry.c.idx == 1).values(leaf=other)
            )
        report = await verify_log(log.engine, origin=NEXT_YEAR, keys=keys)
        assert "release_differs" in {finding.code for finding in report.findings}
    await engine.dispose()
    forged = copy.deepcopy(bundle)
    stranger = NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
    forged["accesses"][1]["withheld"]["checkpoint"] = stranger.sign(
        f"{ORIGIN}\n3\n{b64encode(bytes(32)).decode()}\n"
    ).decode()
    # One key of one year is enough: a log keeps it and changes its name.
    for signer in (NoteSigner(ORIGIN, KEY), NoteSigner(NEXT_YEAR, KEY)):
        trusting = {"vkeys": [signer.verifier.text]}
        results = verify(tmp_path, (bundle, trusting), (alone, trusting), (forged, trusting))
        assert [codes(result) for result in results] == [[], ["release_unproven"], ["key_unknown"]]
        shown = results[0]["accesses"][1]
        assert (shown["time"], shown["released"]) == (NOVEMBER_MS, JANUARY_MS)
        assert len(verify_bundle(bundle, month="2027-01", log_keys=[signer.verifier.text]).records) == 2
        for broken in (alone, forged):
            with pytest.raises(BundleBroken):
                verify_bundle(broken, month="2027-01", log_keys=[signer.verifier.text])


LEAF = build_leaf(
    b"withheld", bytes(32), bytes(32), 7, parse_leaf(build_leaf(b"access", bytes(32), bytes(32), 7, None)).chain
)
ORIGINS = st.text(
    st.characters(min_codepoint=33, exclude_characters='"\\\x7f', exclude_categories=("Cs",)), min_size=1, max_size=60
)
CONTENTS = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text()), max_size=4)


@given(CONTENTS, ORIGINS, st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_a_release_reads_back(content: dict[str, Any], origin: str, index: int, nonce: bytes) -> None:
    text = json.dumps(content, ensure_ascii=True).encode()
    released = Released(text, origin, index, LEAF, nonce)
    assert parse_release(released.encode()) == released
    assert json.loads(released.encode())["withheld"]["index"] == index


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_release_or_malformed(data: bytes) -> None:
    for tail in (b"", b',"withheld":{}}', b',"withheld":{"index":1,"leaf":"","nonce":"","origin":"x"}}'):
        with pytest.raises(MalformedInput):
            parse_release(data + tail)


def test_what_is_no_withheld_leaf_is_no_release() -> None:
    leaf = parse_leaf(LEAF)
    with pytest.raises(ProofInvalid):
        verify_release(leaf, Released(b"{}", ORIGIN, 0, LEAF, bytes(32)).encode())
