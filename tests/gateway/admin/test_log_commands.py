"""`datenweg log witness|monitor|proof|erase|release|change-key`, as their users call them, on real logs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from audit.entry import Entry
from audit.http import add_routes
from audit.note import NoteSigner, parse_vkey
from audit.proofs import parse_leaf_proof, verify_leaf_proof
from audit.publisher import Publisher
from audit.sequencer import Sequencer
from audit.store import open_engine, record
from audit.subject_keys import SubjectKeys, withheld
from gateway.admin.errors import AdminError
from gateway.cli import app
from gateway.clock import SystemClock
from gateway.errors import StartRefused
from gateway.exchange.origins import keeper_of, origin_of
from gateway.instance.settings_files import to_toml
from gateway.logs import lock_file_of
from gateway.node_keys import load_log_key, make_log_key, make_witness_key, read_random_key
from gateway.settings import GatewaySettings
from gateway.store.migrate import migrate
from gateway.witnessing import policy_lines, read_policy, write_mutual_policy
from trust.errors import KeyUnavailable
from trust.keystore import write_private

PERSON = "pseudonym-of-erika"
BASIS = "Art. 17 DSGVO"
TOKEN = "token-of-the-auditor"


class Node:
    """A gateway's data without the gateway."""

    def __init__(self, folder: Path, code: str, database_url: str | None = None) -> None:
        folder.mkdir()
        values: dict[str, Any] = {} if database_url is None else {"database_url": database_url}
        self.settings = GatewaySettings(
            instance="DE-TEST",
            owner="DE-TEST/GOV/MUSTERSTADT",
            server_code=code,
            data_directory=folder,
            anchor_file=folder / "anchor.xml",
            audit_url="http://127.0.0.1:9",
            **values,
        )
        self.config = folder / "gateway.toml"
        self.save()
        self.year = SystemClock().now().year
        self.origin = origin_of(self.settings.server_id, self.year)

    def save(self, **changes: object) -> None:
        self.settings = self.settings.model_copy(update=changes)
        self.config.write_text(to_toml(self.settings), "utf-8")

    def append(self, *entries: tuple[str, str | None, bytes]) -> None:
        """Entries of (kind, person, exchange id), published."""
        asyncio.run(self._append(entries))

    async def _append(self, entries: Sequence[tuple[str, str | None, bytes]]) -> None:
        settings, clock = self.settings, SystemClock()
        async with AsyncExitStack() as stack:
            engine, key_engine = open_engine(settings.database_url), open_engine(settings.subject_key_database_url)
            stack.push_async_callback(engine.dispose)
            stack.push_async_callback(key_engine.dispose)
            await migrate(engine)
            await make_log_key(settings, engine)
            await make_witness_key(settings, engine)
            for path in (settings.record_key_file, settings.subject_index_key_file):
                if not path.exists():
                    write_private(path, bytes(range(32)).hex().encode())
            keys = SubjectKeys(
                key_engine,
                *(read_random_key(path) for path in (settings.record_key_file, settings.subject_index_key_file)),
            )
            await keys.create_schema()
            lock_file = lock_file_of(settings, self.year)
            sequencer = Sequencer(engine, origin=self.origin, clock_ms=clock.now_ms)
            await sequencer.start()
            stack.push_async_callback(sequencer.close)
            for kind, person, exchange in entries:
                subject = None if person is None else await keys.key_for(person)
                expires_ms = clock.now_ms() + 1_000_000
                entry = Entry(kind, subject, exchange, b'{"time":"2026-11-01T00:00:00+00:00"}', expires_ms)  # type: ignore[arg-type]
                await sequencer.append([entry], lambda _: ())
            signer = NoteSigner(self.origin, load_log_key(settings))
            publisher = Publisher(engine, signer, lock_file=lock_file, origin=self.origin, clock_ms=clock.now_ms)
            await publisher.publish()

    def records(self) -> int:
        async def count() -> int:
            engine = open_engine(self.settings.database_url)
            try:
                async with engine.connect() as connection:
                    return int((await connection.execute(select(func.count()).select_from(record))).scalar_one())
            finally:
                await engine.dispose()

        return asyncio.run(count())


@pytest.fixture
def node(tmp_path: Path, database_url: str) -> Node:
    node = Node(tmp_path / "one", "one", database_url)
    node.append(
        ("access", PERSON, bytes(32)), ("access", "another", bytes([1]) * 32), ("exchange", None, bytes([2]) * 32)
    )
    return node


def datenweg(*words: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["log", *map(str, words)], input=answer)


def test_a_proof_verifies_offline(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "entry.tlog-proof"
    assert datenweg("proof", 1, "--config", node.config, "--out", file).exit_code == 0
    printed = datenweg("proof", 1, "--config", node.config, "--log", node.year)
    assert printed.stdout.encode() == file.read_bytes()
    proof = parse_leaf_proof(file.read_bytes())
    assert proof.index == 1
    key = NoteSigner(node.origin, load_log_key(node.settings)).verifier
    with pytest.raises(Exception, match="root"):
        verify_leaf_proof(proof, bytes(32), origin=node.origin, keys=[key])
    assert isinstance(datenweg("proof", 1, "--config", node.config, "--log", "1999").exception, AdminError)


def test_a_person_is_erased_after_a_question(node: Node, tmp_path: Path) -> None:
    words = ("erase", "--config", node.config, "--basis", BASIS)
    asked = datenweg(*words, answer=f"{PERSON}\nn\n")
    assert (asked.exit_code, node.records()) == (1, 3)
    # What is typed isn't shown.
    assert PERSON not in asked.output
    file = tmp_path / "person"
    file.write_text(f"{PERSON}\n")
    done = datenweg(*words, "--person-file", file, answer="y\n")
    assert done.exit_code == 0, done.output
    assert f"{node.origin}: 1 records erased, entries 0\nthe person's keys destroyed\n" in done.output
    assert node.records() == 3
    again = datenweg(*words, "--person-file", file, "--yes")
    assert "no log knows this person" in str(again.exception)


def test_records_are_erased_by_index(node: Node) -> None:
    words = ("erase", "--config", node.config, "--yes")
    done = datenweg(*words, "--basis", BASIS, "--index", "1-2")
    assert done.exit_code == 0, done.output
    assert "2 records erased, entries 1-2" in done.output
    assert node.records() == 2
    for index in ("x", "5-", "9"):
        assert datenweg(*words, "--basis", BASIS, "--index", index).exit_code != 0
    assert datenweg(*words, "--basis", " ", "--index", "0").exit_code != 0
    assert datenweg(*words, "--basis", BASIS, "--log", "2026").exit_code != 0


def test_what_was_withheld_is_released(node: Node, tmp_path: Path) -> None:
    node.append(("withheld", withheld(PERSON), bytes([3]) * 32))
    file = tmp_path / "person"
    file.write_text(PERSON)
    done = datenweg("release", "--config", node.config, "--person-file", file, "--yes")
    assert (done.exit_code, done.output) == (0, "1 accesses released\n")


def test_the_lines_for_others_policies_and_how_witnesses_stand(node: Node, tmp_path: Path) -> None:
    log, witness = datenweg("witness", "--config", node.config).output.splitlines()
    kind, vkey, url = log.split(" ")
    assert (kind, parse_vkey(vkey).name, url) == ("log", node.origin, f"http://127.0.0.1:9/audit/{node.year}")
    assert witness.startswith("witness one DE-TEST/GOV/MUSTERSTADT/one/witness+")
    policy = tmp_path / "policy"
    write_mutual_policy(policy, {"one": node.settings}, node.year)
    assert len(read_policy(policy).witnesses) == 1
    node.save(witness_policy_file=policy)
    assert datenweg("witness", "--config", node.config).output.splitlines()[2] == "# one: has not cosigned yet"


def test_a_new_log_key_signs_beside_the_old_one(node: Node) -> None:
    old = node.settings.log_key_file.read_bytes()
    assert datenweg("change-key", "--config", node.config, answer="n\n").exit_code == 1
    assert node.settings.log_key_file.read_bytes() == old
    done = datenweg("change-key", "--config", node.config, "--yes")
    assert done.exit_code == 0, done.output
    assert node.settings.log_old_key_file.read_bytes() == old != node.settings.log_key_file.read_bytes()
    assert isinstance(datenweg("change-key", "--config", node.config, "--yes").exception, KeyUnavailable)
    # What the old key signed still counts.
    assert datenweg("verify", "--config", node.config).exit_code == 0


@contextmanager
def served(
    *nodes: Node, tokens: Mapping[str, str] | None = None, seen: Mapping[str, set[tuple[bool, str]]] | None = None
) -> Iterator[None]:
    """The nodes' logs over HTTP, in a loop of their own thread; their policy addresses lead there.

    `tokens`: of each node's auditor, by its code. `seen`: whether each node was asked for entries, and with what.
    """
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def serve(node: Node) -> None:
        engine = open_engine(node.settings.database_url)
        stack.push_async_callback(engine.dispose)
        publisher = Publisher(
            engine,
            NoteSigner(node.origin, load_log_key(node.settings)),
            lock_file=lock_file_of(node.settings, node.year),
            origin=node.origin,
            clock_ms=SystemClock().now_ms,
        )
        await publisher.publish()
        code = node.settings.server_code

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            if seen is not None:
                seen[code].add(("/entries/" in request.path, request.headers.get("Authorization", "")))
            return await handler(request)

        application = web.Application(middlewares=[note])
        token = TOKEN if tokens is None else tokens[code]
        add_routes(application, engine, {str(node.year): publisher}, auditor_token=token)
        runner = web.AppRunner(application)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        node.save(audit_url=f"http://127.0.0.1:{runner.addresses[0][1]}")

    try:
        for node in nodes:
            asyncio.run_coroutine_threadsafe(serve(node), loop).result(20)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_the_auditors_token_travels_over_tls_alone(tmp_path: Path) -> None:
    node, token, policy = Node(tmp_path / "one", "one"), tmp_path / "token", tmp_path / "policy"
    node.append(("access", PERSON, bytes([7]) * 32))
    write_private(token, TOKEN.encode())
    words = ("--policy", policy, "--state", tmp_path / "state.db")

    def monitor(url: str, *more: object) -> Result:
        node.save(audit_url=url)
        policy.write_text(f"{policy_lines(node.settings, node.year)[0]}\nquorum none\n", "utf-8")
        return datenweg("monitor", *words, *more)

    refused = monitor("http://gateway.invalid", "--token-file", token).exception
    assert isinstance(refused, AdminError)
    assert "--token-file" in str(refused)
    # Without a token, or over TLS, it is asked; that nobody answers there is another matter.
    assert "not followed" in monitor("http://gateway.invalid").output
    assert "not followed" in monitor("https://gateway.invalid", "--token-file", token).output


def test_no_gateway_is_shown_anothers_token(tmp_path: Path) -> None:
    one, two = Node(tmp_path / "one", "one"), Node(tmp_path / "two", "two")
    for node in (one, two):
        node.append(("exchange", None, bytes([7]) * 32))
    policy, tokens = tmp_path / "policy", tmp_path / "tokens"
    urls = {"one": "https://one.invalid", "two": "https://two.invalid"}
    for node, url in zip((one, two), urls.values(), strict=True):
        node.save(audit_url=url)
    write_mutual_policy(policy, {"one": one.settings, "two": two.settings}, one.year)

    def monitor(text: str) -> Result:
        tokens.unlink(missing_ok=True)
        write_private(tokens, text.encode())
        return datenweg("monitor", "--policy", policy, "--state", tmp_path / "state.db", "--token-file", tokens)

    first, second = (node.settings.server_id.encoded for node in (one, two))
    refused = {
        TOKEN: "one token for several gateways",
        f"{first} {TOKEN}\n{second} {TOKEN}": "each needs one of its own",
        f"{first} {TOKEN}\n{one.origin} {TOKEN}2": "stands there twice",
        f"{one.origin} {TOKEN} {TOKEN}2": "a line `GATEWAY TOKEN`",
        f"{TOKEN}\n{TOKEN}2": "a line `GATEWAY TOKEN`",
        "# nobody": "a line `GATEWAY TOKEN`",
    }
    for text, reason in refused.items():
        error = monitor(text).exception
        assert isinstance(error, AdminError), text
        assert reason in str(error)
        assert TOKEN not in str(error)
    assert isinstance(monitor(f"{one.origin} short").exception, StartRefused)
    tokens.chmod(0o644)
    words = ("--policy", policy, "--state", tmp_path / "state.db", "--token-file", tokens)
    assert "chmod o-rw" in str(datenweg("monitor", *words).exception)


def test_each_gateway_is_shown_its_own_token_and_with_entries_alone(tmp_path: Path) -> None:
    one, two = Node(tmp_path / "one", "one"), Node(tmp_path / "two", "two")
    own = {"one": f"{TOKEN}-of-one", "two": f"{TOKEN}-of-two"}
    for node in (one, two):
        node.append(("exchange", None, bytes([7]) * 32))
    policy, tokens = tmp_path / "policy", tmp_path / "tokens"
    # By the gateway's name, and by its log's of any year.
    names = (one.settings.server_id.encoded, f"{keeper_of(two.origin)}/audit/1999")
    write_private(tokens, f"# the auditor's\n\n{names[0]}\t{own['one']}\n{names[1]} {own['two']}\n".encode())
    seen: dict[str, set[tuple[bool, str]]] = {"one": set(), "two": set()}
    with served(one, two, tokens=own, seen=seen):
        write_mutual_policy(policy, {"one": one.settings, "two": two.settings}, one.year)
        words = ("--policy", policy, "--state", tmp_path / "state.db", "--token-file", tokens, "--settle", 0)
        done = datenweg("monitor", *words)
    assert done.exit_code == 0, done.output
    for name, asked in seen.items():
        assert asked == {(True, f"Bearer {own[name]}"), (False, "")}, name


def test_a_monitor_names_who_has_what_the_other_lacks(tmp_path: Path) -> None:
    one, two = Node(tmp_path / "one", "one"), Node(tmp_path / "two", "two")
    shared, alone = bytes([7]) * 32, bytes([8]) * 32
    one.append(("access", PERSON, shared), ("exchange", None, alone))
    two.append(("access", "as-two-knows-them", shared))
    token, policy, state = tmp_path / "token", tmp_path / "policy", tmp_path / "state.db"
    write_private(token, TOKEN.encode())

    def monitor(*more: object) -> Result:
        with served(one, two):
            write_mutual_policy(policy, {"one": one.settings, "two": two.settings}, one.year)
            words = ("--policy", policy, "--state", state, "--token-file", token, "--settle", 0)
            return datenweg("monitor", *words, *more)

    found = monitor("--json")
    report = json.loads(found.stdout)
    assert (found.exit_code, report["holds"]) == (1, False)
    assert [(one_["log"], one_["size"]) for one_ in report["followed"]] == [(one.origin, 2), (two.origin, 1)]
    assert [(one_["log"], one_["index"], one_["exchange"]) for one_ in report["one_sided"]] == [
        (one.origin, 1, alone.hex())
    ]
    two.append(("exchange", None, alone))
    done = monitor()
    assert done.exit_code == 0, done.output
    assert f"{two.origin}: 2 entries, 1 new, all as signed" in done.output
    # An old database under the same key.
    for path in two.settings.data_directory.glob("gateway.db*"):
        path.unlink()
    lock_file_of(two.settings, two.year).unlink()
    two.append(("exchange", None, alone))
    lied = monitor()
    assert (lied.exit_code, f"{two.origin}: LIES: smaller than before" in lied.output) == (1, True)
    silent = datenweg("monitor", "--policy", policy, "--state", state, "--token-file", token)
    assert (silent.exit_code, silent.output.count("not followed")) == (1, 2)
