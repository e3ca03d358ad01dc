"""What a log's own operator, or whoever has taken the gateway, may try: each attack built on both databases, and who
catches it.

The attacker has the database, the log's key and the publisher, and shows each party what they like. On the other side
stand two witnesses over HTTP, a monitor with the auditor's token, the citizen's browser (its own functions, in node)
with the witnesses' policy and a memory of the last visit, and the gateway's own lock file and `log verify`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, text, update

from audit.access import accesses
from audit.checkpoint import parse_checkpoint
from audit.cosignature import CosignatureSigner
from audit.errors import AuditError, LogInconsistent, LogRolledBack
from audit.http import add_routes, add_witness_routes
from audit.leaf import build_leaf, parse_leaf
from audit.monitor import Monitor
from audit.note import NoteSigner, parse_note
from audit.period_store import build_period_index
from audit.policy import LogLine, Policy, parse_policy
from audit.publisher import Publisher
from audit.store import create_schema, log_entry, open_engine
from audit.subject_keys import SubjectKeys
from audit.verify import verify_log
from audit.witness_client import WitnessedPublisher
from audit.witness_store import Witness
from tests.audit.factory import ORIGIN, OpenLog, access, exchange, open_log
from tests.audit.test_browser_verifier import codes, verify
from tests.databases import Databases

KEY = Ed25519PrivateKey.generate()
LOG = NoteSigner(ORIGIN, KEY)
TOKEN = "the-auditor's-own-token"
Bundle = dict[str, Any]


@dataclass
class Story:
    """One history of the log, in a folder of its own, as its operator runs it."""

    log: OpenLog
    publisher: Publisher
    witnessed: WitnessedPublisher
    url: str
    keys: SubjectKeys

    async def grow(self, *persons: str) -> None:
        """An access for each person, published and brought before the witnesses."""
        for person in persons:
            await self.log.append(access(await self.keys.key_for(person)))
        await self.publisher.publish()
        await self.witnessed.round()

    async def shown_to_the_citizen(self) -> Bundle:
        """What the operator hands out: of the newest checkpoint, whether witnesses have seen it or not."""
        if parse_checkpoint(parse_note(self.publisher.newest_note).text).size != self._cosigned_size():
            self.publisher._shown = None
            self.publisher.show(self.publisher.newest_note)
        found = await accesses(self.log.engine, self.keys, "erika", "2026-11", publisher=self.publisher)
        return found.as_json()

    def _cosigned_size(self) -> int:
        return -1 if self.publisher._shown is None else self.publisher._shown[0].size

    async def what_the_witnesses_say(self) -> set[str]:
        """Asked to cosign the newest checkpoint."""
        assert not await self.witnessed.round()
        return {report.problem for report in self.witnessed.reports}


@dataclass
class Town:
    """Everybody else."""

    folder: Path
    databases: Databases
    keys: SubjectKeys
    policy: Policy
    http: aiohttp.ClientSession
    seen: dict[str, Any] | None = None

    @asynccontextmanager
    async def story(self, name: str) -> AsyncIterator[Story]:
        lock_file = self.lock_file(name)
        async with open_log(self.databases.url(name), lock_file=lock_file) as log:
            publisher = Publisher(
                log.engine, LOG, lock_file=lock_file, origin=ORIGIN, clock_ms=log.clock, witnessed=True
            )
            await publisher.publish()
            witnessed = WitnessedPublisher(log.engine, publisher, self.policy, self.http, clock_ms=log.clock)
            await witnessed.start()
            app = web.Application()
            add_routes(app, log.engine, {"2026": publisher}, auditor_token=TOKEN)
            async with served(app) as url:
                yield Story(log, publisher, witnessed, f"{url}/audit/2026", self.keys)

    def lock_file(self, name: str) -> Path:
        """That story's, which is no part of its database."""
        return self.folder / f"{name}.lock"

    async def rewrite_leaf(self, name: str, index: int) -> None:
        """As an intruder with the database: past its triggers, the leaf gets another commitment."""
        engine = open_engine(self.databases.url(name))
        trigger = {"sqlite": "log_entry_no_update", "postgresql": "log_entry_no_change ON log_entry"}
        where = log_entry.c.idx == index
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP TRIGGER {trigger[engine.dialect.name]}"))
            leaf = parse_leaf((await connection.execute(select(log_entry.c.leaf).where(where))).scalar_one())
            changed = build_leaf(leaf.kind.encode(), os.urandom(32), leaf.exchange, leaf.time_ms, leaf.chain)
            await connection.execute(update(log_entry).where(where).values(leaf=changed))
        await engine.dispose()

    async def browser_says(self, bundle: Bundle) -> list[str]:
        """The failures that the citizen reads."""
        policy: dict[str, Any] = {"vkeys": [], "policy": self.policy.text}
        (result,) = verify(self.folder, (bundle, policy | ({"seen": self.seen} if self.seen else {})))
        return codes(result)

    async def browser_remembers(self, bundle: Bundle) -> None:
        """A visit at which all was well."""
        (result,) = verify(self.folder, (bundle, {"vkeys": [], "policy": self.policy.text}))
        assert codes(result) == []
        self.seen = {ORIGIN: {"size": result["size"], "root": result["root"]}}

    async def forgetful_browser_says(self, bundle: Bundle) -> list[str]:
        """A browser that demands no witnesses, but remembers its last visit."""
        (result,) = verify(self.folder, (bundle, {"vkeys": [LOG.verifier.text], "seen": self.seen}))
        return codes(result)

    async def monitor_says(self, story: Story, *, memory: str = "monitor.db") -> type[AuditError] | None:
        """What following this story comes to for a monitor with this memory."""
        monitor = Monitor(self.folder / memory, self.http, token_for=lambda _: TOKEN)
        try:
            await monitor.follow(LogLine(LOG.verifier, story.url))
        except AuditError as error:
            return type(error)
        finally:
            monitor.close()
        return None


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def town(databases: Databases, tmp_path: Path) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        lines = [f"log {LOG.verifier.text}"]
        for name in ("one", "two"):
            engine = open_engine(databases.url(f"witness {name}"))
            stack.push_async_callback(engine.dispose)
            await create_schema(engine)
            signer = CosignatureSigner(f"{name}.example", Ed25519PrivateKey.generate())
            app = web.Application()
            add_witness_routes(app, Witness(engine, signer, [LOG.verifier], clock_ms=lambda: 1_795_308_434_000))
            url = await stack.enter_async_context(served(app))
            lines.append(f"witness {name} {signer.verifier.text} {url}/witness")
        policy = parse_policy("\n".join([*lines, "group both all one two", "quorum both", ""]))
        key_engine = open_engine(databases.url("keys"))
        stack.push_async_callback(key_engine.dispose)
        keys = SubjectKeys(key_engine, os.urandom(32), os.urandom(32))
        await keys.create_schema()
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Town(tmp_path, databases, keys, policy, http)


async def test_an_honest_log_is_accused_by_nobody(town: Town) -> None:
    async with town.story("honest") as story:
        await story.grow("erika", "max")
        await town.browser_remembers(await story.shown_to_the_citizen())
        assert await town.monitor_says(story) is None
        await story.grow("max", "erika")
        bundle = await accesses(story.log.engine, town.keys, "erika", "2026-11", publisher=story.publisher, seen=2)
        assert await town.browser_says(bundle.as_json()) == []
        assert await town.monitor_says(story) is None
    async with town.story("honest") as story:
        (await verify_log(story.log.engine, origin=ORIGIN, keys=town.keys)).require_sound()


async def test_a_split_view_is_caught_by_witnesses_browser_and_monitor(town: Town) -> None:
    """One tree for the world, and for Erika another, in which an access is missing."""
    async with town.story("world") as world, town.story("for-erika") as other:
        await world.grow("erika", "max", "erika")
        await town.browser_remembers(await world.shown_to_the_citizen())
        assert await town.monitor_says(world) is None
        await other.log.append(access(await town.keys.key_for("erika")), exchange(), exchange())
        await other.publisher.publish()
        # The witnesses have cosigned one tree of this size, and cosign no other.
        assert await other.what_the_witnesses_say() == {"holds another history of our log than we do"}
        bundle = await other.shown_to_the_citizen()
        # The browser misses their cosignatures; without a policy it still remembers the root.
        assert await town.browser_says(bundle) == ["quorum_missing"]
        assert await town.forgetful_browser_says(bundle) == ["history_differs"]
        # To the monitor both trees have one size: it sees the other root.
        assert await town.monitor_says(other) is LogInconsistent


async def test_a_rewritten_leaf_is_caught_by_gateway_verify_browser_and_monitor(town: Town) -> None:
    """In the database as it stands: an access of Erika's gets another record."""
    async with town.story("log") as story:
        await story.grow("erika", "max", "erika")
        await town.browser_remembers(await story.shown_to_the_citizen())
    await town.rewrite_leaf("log", 0)
    # The gateway itself doesn't open it: the entries give neither the root in the lock file nor the stored one.
    with pytest.raises(LogRolledBack, match="another history"):
        async with town.story("log"):
            pass
    town.lock_file("log").unlink()
    with pytest.raises(LogInconsistent):
        async with town.story("log"):
            pass
    engine = open_engine(town.databases.url("log"))
    codes_found = {found.code for found in (await verify_log(engine, origin=ORIGIN, keys=town.keys)).findings}
    await engine.dispose()
    assert {"root_differs", "checkpoint_root_differs", "record_does_not_open"} <= codes_found


async def test_a_leaf_rewritten_under_a_running_gateway_is_caught_by_browser_and_monitor(town: Town) -> None:
    async with town.story("log") as story:
        await story.grow("erika", "max", "erika")
        bundle = await story.shown_to_the_citizen()
        await town.browser_remembers(bundle)
        await town.rewrite_leaf("log", 0)
        rewritten = await story.shown_to_the_citizen()
        assert await town.browser_says(rewritten) == ["not_in_log"]
        # Whoever reads the entries anew finds that they don't give the signed root.
        assert await town.monitor_says(story, memory="another-monitor.db") is LogInconsistent


async def test_a_history_rewritten_and_signed_anew_is_caught_by_witnesses_browser_and_monitor(town: Town) -> None:
    """The operator makes the whole tree anew, without one access, and has it grow beyond what was seen."""
    async with town.story("true") as story:
        await story.grow("erika", "max", "erika")
        await town.browser_remembers(await story.shown_to_the_citizen())
        assert await town.monitor_says(story) is None
    async with town.story("false") as story:
        for person in ("erika", "max", "max", "erika"):
            await story.log.append(access(await town.keys.key_for(person)))
        await story.publisher.publish()
        assert await story.what_the_witnesses_say() == {"holds another history of our log than we do"}
        bundle = await story.shown_to_the_citizen()
        assert await town.browser_says(bundle) == ["quorum_missing"]
        # Without witnesses: the proof from the tree that was seen doesn't hold.
        found = await accesses(story.log.engine, town.keys, "erika", "2026-11", publisher=story.publisher, seen=3)
        assert await town.forgetful_browser_says(found.as_json()) == ["history_differs"]
        assert await town.monitor_says(story) is LogInconsistent


async def test_a_truncated_log_is_caught_by_lock_file_witnesses_browser_and_monitor(town: Town) -> None:
    """The newest accesses are cut off, tree and all."""
    async with town.story("log") as story:
        await story.grow("erika", "max")
    town.databases.copy("log", "short")
    async with town.story("log") as story:
        await story.grow("erika", "max", "erika")
        await town.browser_remembers(await story.shown_to_the_citizen())
        assert await town.monitor_says(story) is None
    shutil.copy(town.lock_file("log"), town.lock_file("short"))
    # 1. The gateway's own lock file is ahead of it.
    with pytest.raises(LogRolledBack):
        async with town.story("short"):
            pass
    town.lock_file("short").unlink()
    async with town.story("short") as story:
        # 2. The witnesses, 3. the monitor, 4. the browser.
        said = await story.what_the_witnesses_say()
        assert said == {"has seen a larger tree than ours: our database was rolled back, or somebody has our key"}
        assert await town.monitor_says(story) is LogRolledBack
        story.publisher._shown = None
        assert await town.browser_says(await story.shown_to_the_citizen()) == ["quorum_missing"]
        assert await town.forgetful_browser_says(await story.shown_to_the_citizen()) == ["log_shrunk"]


async def test_newest_accesses_cut_off_a_person_s_list_are_caught_by_the_browser(town: Town) -> None:
    """The tree is whole; the gateway only doesn't hand out the last ones. The month's index has counted them."""
    async with town.story("log") as story:
        await story.grow("erika", "max", "erika")
        await build_period_index(story.log.engine, story.log.sequencer, ORIGIN, "2026-11")
        await story.grow("max")
        bundle = await story.shown_to_the_citizen()
        assert await town.browser_says(bundle) == []
        for kept in (1, 0):
            assert await town.browser_says(bundle | {"accesses": bundle["accesses"][:kept]}) == ["index_differs"]
        middle = bundle | {"accesses": bundle["accesses"][1:]}
        assert await town.browser_says(middle) == ["entry_missing"]


async def test_a_restored_backup_is_caught_by_lock_file_witnesses_and_monitor(town: Town) -> None:
    async with town.story("log") as story:
        await story.grow("erika")
    town.databases.copy("log", "backup")
    old_lock = town.lock_file("log").read_bytes()
    async with town.story("log") as story:
        await story.grow("max", "erika")
        await town.browser_remembers(await story.shown_to_the_citizen())
        assert await town.monitor_says(story) is None
    town.databases.copy("backup", "log")
    # 1. The lock file isn't part of the backup: it is ahead, and the gateway refuses to start.
    with pytest.raises(LogRolledBack):
        async with town.story("log"):
            pass
    # 2. Even with the lock file brought back as well, the witnesses know better; grown on, it is another history.
    town.lock_file("log").write_bytes(old_lock)
    async with town.story("log") as story:
        assert "larger tree" in next(iter(await story.what_the_witnesses_say()))
        assert await town.monitor_says(story) is LogRolledBack
        for _ in range(4):
            await story.log.append(exchange())
        await story.publisher.publish()
        assert await story.what_the_witnesses_say() == {"holds another history of our log than we do"}
        assert await town.browser_says(await story.shown_to_the_citizen()) == ["quorum_missing"]
        assert await town.monitor_says(story) is LogInconsistent
