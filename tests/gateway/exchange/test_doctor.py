"""Each thing that the doctor looks at, broken on a running gateway: it says so, and says it of that thing."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from audit.checkpoint import Checkpoint
from audit.note import NoteSigner
from gateway.city.setup import to_toml
from gateway.doctor import examination, storage
from gateway.doctor.examination import CHECKS, examine
from gateway.doctor.finding import Finding, State
from gateway.doctor.opening import check_process, opened
from gateway.doctor.patient import Patient
from gateway.exchange.origins import origin_of
from gateway.node_keys import load_keys
from gateway.registry import membership
from gateway.settings import GatewaySettings
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.town import CITY, UTILITY, issue_keys
from trust.parameters import SharedParameters

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[3]


async def findings_of(pair: GatewayPair, check: str, **changes: Any) -> list[Finding]:
    """What one check finds at the consumer, opened from its settings (with changes) as the command does."""
    settings = pair.consumer.settings.model_copy(update=changes)
    async with opened(settings, pair.consumer.clock) as patient:
        checks = {"process": check_process, **CHECKS}
        return list(await examine(patient, {check: checks[check]}))


def states(findings: list[Finding]) -> set[State]:
    return {finding.state for finding in findings}


def one(findings: list[Finding], state: State) -> Finding:
    (found,) = [finding for finding in findings if finding.state is state]
    assert found.what
    assert found.todo
    return found


@asynccontextmanager
async def registered(pair: GatewayPair, change: Any) -> AsyncIterator[None]:
    """Within the block the registry has another state."""
    before: SharedParameters = pair.registry.state.read()
    pair.registry.state.update(change)
    await pair.publish()
    try:
        yield
    finally:
        pair.registry.state.update(lambda _: before)
        await pair.publish()


@pytest.fixture
def shifted(pair: GatewayPair) -> Any:
    yield pair.consumer.clock
    pair.consumer.clock.ahead = timedelta(0)


async def test_a_sound_gateway_has_no_problem(pair: GatewayPair) -> None:
    assert (await pair.call("echo")).status == 200
    async with opened(pair.consumer.settings, pair.consumer.clock) as patient:
        findings = await examine(patient, {"process": check_process, **CHECKS})
    assert [f for f in findings if f.state is State.PROBLEM] == []
    assert {f.check for f in findings} == {"process", *CHECKS}


async def test_the_clock(pair: GatewayPair, shifted: Any) -> None:
    assert states(await findings_of(pair, "clock")) == {State.OK}
    shifted.ahead = timedelta(seconds=20)
    assert "20 s ahead" in one(await findings_of(pair, "clock"), State.WARNING).what
    shifted.ahead = -timedelta(minutes=5)
    assert "300 s behind" in one(await findings_of(pair, "clock"), State.PROBLEM).what


async def test_the_configuration_ages(pair: GatewayPair, shifted: Any, tmp_path: Path) -> None:
    assert states(await findings_of(pair, "configuration")) == {State.OK}
    shifted.ahead = timedelta(minutes=7)
    async with opened(pair.consumer.settings, shifted) as patient:
        pair.front.silent = True
        try:
            assert "lapses in" in one(await examine(patient, {"c": CHECKS["configuration"]}), State.WARNING).what  # type: ignore[arg-type]
            shifted.ahead = timedelta(minutes=30)
            expired = one(await examine(patient, {"c": CHECKS["configuration"]}), State.PROBLEM)  # type: ignore[arg-type]
            assert "global_conf_outdated" in expired.what
        finally:
            pair.front.silent = False
    missing = one(await findings_of(pair, "configuration", anchor_file=tmp_path / "none.xml"), State.PROBLEM)
    assert missing.subject == "anchor"
    empty = one(await findings_of(pair, "configuration", data_directory=tmp_path), State.PROBLEM)
    assert "nothing was accepted under this anchor yet" in empty.what


async def test_an_altered_configuration_on_disk(pair: GatewayPair, tmp_path: Path) -> None:
    source = pair.consumer.settings.data_directory / "configuration" / "DE-TEST"
    folder = tmp_path / "configuration" / "DE-TEST"
    folder.mkdir(parents=True)
    for file in source.resolve().iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "shared-params.xml").write_bytes(b"<x/>")
    found = one(await findings_of(pair, "configuration", data_directory=tmp_path), State.PROBLEM)
    assert "global_conf_part_downloaded_file_integrity_failure" in found.what


async def test_a_gateway_that_is_not_registered(pair: GatewayPair) -> None:
    found = await findings_of(pair, "configuration", server_code="unbekannt")
    assert one(found, State.PROBLEM).subject == "registration"


async def test_the_sources(pair: GatewayPair) -> None:
    assert states(await findings_of(pair, "sources")) == {State.OK}
    pair.front.silent = True
    try:
        silent = one(await findings_of(pair, "sources"), State.PROBLEM)
        assert "gives no configuration (global_conf_download_url_connection_failure)" in silent.what
        assert silent.subject.endswith("/internalconf")
    finally:
        pair.front.silent = False


async def test_the_certificates_validity(pair: GatewayPair, shifted: Any) -> None:
    assert states(await findings_of(pair, "certificates")) == {State.OK}
    shifted.ahead = timedelta(days=20 * 365)
    found = await findings_of(pair, "certificates")
    expired = [f for f in found if f.state is State.PROBLEM and "cert_validity_time" in f.what]
    assert len(expired) == 2, found
    shifted.ahead = timedelta(0)
    shifted.ahead = _until_expiry(pair) - timedelta(days=20)
    found = await findings_of(pair, "certificates")
    assert all(f.todo for f in found if f.state is State.WARNING)
    assert sum("valid until" in f.what for f in found if f.state is State.WARNING) == 2, found


def _until_expiry(pair: GatewayPair) -> timedelta:
    keys = load_keys(pair.consumer.settings)
    return keys.signing.certificate.not_valid_after_utc - pair.consumer.clock.now()


async def test_a_key_that_does_not_open(pair: GatewayPair, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("falsch")
    found = one(await findings_of(pair, "certificates", pin_file=tmp_path / "pin"), State.PROBLEM)
    assert found.subject == "keys"
    assert "falsch" not in str(found)


async def test_a_certificate_that_is_not_registered(pair: GatewayPair) -> None:
    own = next(s for s in pair.registry.state.read().security_servers if s.id == CITY.server)
    async with registered(
        pair,
        lambda p: membership.set_maintenance(_without_hashes(p, own.id), UTILITY.server, None),
    ):
        found = one(await findings_of(pair, "certificates"), State.PROBLEM)
    assert found.subject == "authentication certificate"
    assert "cert_not_found" in found.what


def _without_hashes(parameters: SharedParameters, server: Any) -> SharedParameters:
    servers = tuple(
        replace(s, authentication_hashes=frozenset(), authentication_sha1=frozenset()) if s.id == server else s
        for s in parameters.security_servers
    )
    return replace(parameters, security_servers=servers)


async def test_a_responder_that_is_silent(pair: GatewayPair) -> None:
    assert states(await findings_of(pair, "ocsp")) == {State.OK}
    dead = f"http://{HOST}:{free_port()}/ocsp"
    async with registered(pair, lambda p: membership.approve_ca(p, pair.authority.approved_ca(dead))):
        found = await findings_of(pair, "ocsp")
    assert states(found) == {State.PROBLEM}
    assert {f.subject for f in found} == {f"signing at {dead}", f"authentication at {dead}"}


async def test_a_certificate_that_was_revoked(pair: GatewayPair, tmp_path: Path) -> None:
    """Another gateway's keys, of the same authority: revoking the pair's own would end the module."""
    issue_keys(tmp_path, CITY, pair.authority)
    changes = {
        "data_directory": tmp_path,
        "pin_file": tmp_path / "keys" / "pin",
        "signing_key_file": tmp_path / "keys" / "signing.p12",
        "authentication_key_file": tmp_path / "keys" / "authentication.p12",
        "key_directory": tmp_path / "keys",
    }
    settings = pair.consumer.settings.model_copy(update=changes)
    async with (
        opened(settings, pair.consumer.clock) as patient,
        opened(pair.consumer.settings, pair.consumer.clock) as own,
    ):
        assert patient.keys is not None
        pair.authority.revoke(patient.keys.signing.certificate.serial_number)
        patient.configuration = own.configuration
        found = one(list(await examine(patient, {"ocsp": CHECKS["ocsp"]})), State.PROBLEM)
    assert found.subject.startswith("signing at ")
    assert "revoked" in found.what


async def test_time_stamping_authorities(pair: GatewayPair, shifted: Any) -> None:
    ocsp = pair.registry.state.read().approved_cas[0].ocsp_urls[0]
    good = pair.authority.approved_tsa(ocsp.replace("/ocsp", "/tsa"))
    async with registered(pair, lambda p: membership.approve_tsa(p, good)):
        assert states(await findings_of(pair, "time-stamping")) == {State.OK}
    dead = pair.authority.approved_tsa(f"http://{HOST}:{free_port()}/tsa")
    async with registered(pair, lambda p: membership.approve_tsa(p, dead)):
        found = one(await findings_of(pair, "time-stamping"), State.PROBLEM)
    assert dead.url in found.subject


async def test_a_peer_that_is_down(pair: GatewayPair) -> None:
    assert states(await findings_of(pair, "peers")) == {State.OK}
    await pair.provider.stop()
    try:
        found = one(await findings_of(pair, "peers"), State.WARNING)
    finally:
        await pair.provider.start()
    assert found.subject == str(UTILITY.server)
    assert "not reachable at" in found.what


async def test_a_peer_with_another_certificate(pair: GatewayPair) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = pair.authority.issue_authentication(key.public_key(), UTILITY.member, member_name="x", server_code="y")
    der = other.public_bytes(Encoding.DER)
    async with registered(
        pair, lambda p: membership.register_certificate(_without_hashes(p, UTILITY.server), UTILITY.server, der)
    ):
        found = one(await findings_of(pair, "peers"), State.WARNING)
    assert found.subject == str(UTILITY.server)
    assert "isn't registered for it" in found.what


async def test_the_database(pair: GatewayPair, tmp_path: Path) -> None:
    assert states(await findings_of(pair, "database")) == {State.OK}
    missing = f"sqlite+aiosqlite:///{tmp_path / 'none.db'}"
    assert one(await findings_of(pair, "database", database_url=missing), State.PROBLEM).subject == "connection"
    assert not (tmp_path / "none.db").exists(), "examining makes nothing"
    down = f"postgresql+asyncpg://gateway:geheimnis@{HOST}:{free_port()}/none"
    found = one(await findings_of(pair, "database", database_url=down), State.PROBLEM)
    assert "geheimnis" not in str(found)


async def test_a_database_of_another_version(pair: GatewayPair, tmp_path: Path) -> None:
    copy = _copy_database(pair.consumer.settings, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    found = one(await findings_of(pair, "database", database_url=copy), State.PROBLEM)
    assert found.what == "has version 0000, this software needs 0001"


async def test_the_disk(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((1 << 40, State.OK), (1 << 30, State.WARNING), (1 << 20, State.PROBLEM)):
        with monkeypatch.context() as patch:
            patch.setattr(storage.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
            assert states(await findings_of(pair, "disk")) == {state}


async def test_a_log_behind_its_lock_file(pair: GatewayPair, tmp_path: Path) -> None:
    # Where a test's clock was in a later year the gateway has changed over to that year's log, and stays there.
    await pair.consumer.restart()
    origin = origin_of(pair.consumer.settings.server_id, pair.consumer.clock.now().year)
    assert pair.consumer.gateway.publisher.origin == origin
    assert states(await findings_of(pair, "access log")) == {State.OK}
    old = _copy_database(pair.consumer.settings, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        (size,) = connection.execute("SELECT size FROM log_head WHERE origin = ?", (origin,)).fetchone()
    assert (await pair.call("echo", headers=pair.citizen())).status == 200
    await pair.until(lambda: pair.consumer.gateway.publisher.published.size > size)
    found = one(await findings_of(pair, "access log", database_url=old), State.PROBLEM)
    assert "behind" in found.what


async def test_a_database_that_knows_nothing_of_last_years_log(pair: GatewayPair, tmp_path: Path) -> None:
    year = pair.consumer.clock.now().year - 1
    origin = origin_of(pair.consumer.settings.server_id, year)
    note = NoteSigner(origin, Ed25519PrivateKey.generate()).sign(Checkpoint(origin, 5, bytes(32)).text)
    (tmp_path / f"checkpoint-{year}.lock").write_bytes(note)
    found = await findings_of(pair, "access log", checkpoint_lock_file=tmp_path / "checkpoint.lock")
    assert "behind" in one(found, State.PROBLEM).what


async def test_a_lock_file_that_is_broken(pair: GatewayPair, tmp_path: Path) -> None:
    lock = tmp_path / "checkpoint.lock"
    year = pair.consumer.clock.now().year
    missing = one(await findings_of(pair, "access log", checkpoint_lock_file=lock), State.WARNING)
    assert missing.what == "the lock file is missing"
    (tmp_path / f"checkpoint-{year}.lock").write_bytes(b"nothing")
    broken = one(await findings_of(pair, "access log", checkpoint_lock_file=lock), State.PROBLEM)
    assert broken.what == "the lock file can't be read"


async def test_entries_that_nobody_publishes(pair: GatewayPair, tmp_path: Path) -> None:
    copy = _copy_database(pair.consumer.settings, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        size = connection.execute("SELECT max(size) FROM checkpoint").fetchone()[0]
        connection.execute("DELETE FROM checkpoint")
    found = one(await findings_of(pair, "access log", database_url=copy), State.PROBLEM)
    assert found.what == f"{size} entries are under no published checkpoint"


async def test_messages_without_a_time_stamp(pair: GatewayPair, shifted: Any, tmp_path: Path) -> None:
    assert (await pair.call("echo")).status == 200
    # A copy, for the gateway goes on stamping its own.
    copy = _copy_database(pair.consumer.settings, tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        for change in (
            "DELETE FROM message_stamp",
            "DELETE FROM time_stamp",
            "UPDATE message_progress SET stamped = 0",
        ):
            connection.execute(change)
    assert states(await findings_of(pair, "message log", database_url=copy)) == {State.OK}
    for ahead, state, text in ((2, State.WARNING, "is 72"), (6, State.PROBLEM, "new messages are refused")):
        shifted.ahead = timedelta(hours=ahead)
        assert text in one(await findings_of(pair, "message log", database_url=copy), state).what


async def test_insecure_settings(pair: GatewayPair) -> None:
    found = await findings_of(pair, "settings", insecure_plain_http_clients=True)
    assert one(found, State.WARNING).subject == "insecure_plain_http_clients"


async def test_files_that_are_not_the_gateways_alone(pair: GatewayPair) -> None:
    settings = pair.consumer.settings
    assert states(await findings_of(pair, "files")) == {State.OK}
    for file, mode, state in (
        (settings.pin_file, 0o644, State.PROBLEM),
        (settings.data_directory / "subject-keys.db", 0o640, State.WARNING),
        (settings.spool_directory, 0o770, State.PROBLEM),
    ):
        before = file.stat().st_mode
        file.chmod(mode)
        try:
            assert one(await findings_of(pair, "files"), state).subject == str(file)
        finally:
            file.chmod(before)


async def test_a_gateway_that_does_not_run(pair: GatewayPair) -> None:
    assert states(await findings_of(pair, "process")) == {State.OK}
    found = one(await findings_of(pair, "process", operations_port=free_port()), State.PROBLEM)
    assert found.what.startswith("doesn't answer at http://")


async def test_a_check_that_hangs_or_breaks_is_a_finding(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: Patient) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def broken(_: Patient) -> list[Finding]:
        raise RuntimeError("geheim")

    monkeypatch.setattr(examination, "CHECK_SECONDS", 0.05)
    async with opened(pair.consumer.settings, pair.consumer.clock) as patient:
        findings = await examine(patient, {"hang": hang, "broken": broken})
    assert [(f.check, f.state) for f in findings] == [("hang", State.PROBLEM), ("broken", State.PROBLEM)]
    assert "geheim" not in str(findings)


async def test_the_running_gateway_says_the_same_and_remembers(
    pair: GatewayPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    examined: list[Patient] = []

    async def counted(patient: Patient) -> tuple[Finding, ...]:
        examined.append(patient)
        return await examine(patient)

    monkeypatch.setattr(examination, "examine", counted)
    url = f"http://{HOST}:{pair.consumer.settings.operations_port}/healthz?full"

    async def ask() -> tuple[int, dict[str, Any]]:
        async with pair.http.get(url) as answer:
            return answer.status, await answer.json()

    answers = await asyncio.gather(*(ask() for _ in range(5)))
    assert len(examined) == 1, "whoever asks often doesn't flood others"
    status, said = answers[0]
    assert status == 200, said
    assert {f["check"] for f in said["findings"]} == set(CHECKS)
    assert said["server"] == CITY.server.encoded
    pin = pair.consumer.settings.pin_file.read_text().strip()
    assert pin not in json.dumps(said)


async def test_the_command(pair: GatewayPair, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(to_toml(pair.consumer.settings), "utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway.cli", "doctor", "--config", str(file), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    good = await asyncio.to_thread(run, "--json")
    assert good.returncode == 0, good.stdout + good.stderr
    assert json.loads(good.stdout)["status"] in {"ok", "warning"}
    broken = pair.consumer.settings.model_copy(update={"operations_port": free_port()})
    file.write_text(to_toml(broken), "utf-8")
    ill = await asyncio.to_thread(run)
    assert ill.returncode == 1
    assert "problem" in ill.stdout
    assert "process" in ill.stdout


def _copy_database(settings: GatewaySettings, folder: Path) -> str:
    """A copy of the gateway's database as it is now; its address."""
    source = settings.database_url.removeprefix("sqlite+aiosqlite:///")
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(folder / "copy.db")) as copy:
        live.backup(copy)
    return f"sqlite+aiosqlite:///{folder / 'copy.db'}"
