"""Each thing that the doctor looks at, broken on a running gateway: it says so, and says it of that thing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.city.setup import to_toml
from gateway.doctor import examination
from gateway.doctor.examination import CHECKS, examine
from gateway.doctor.finding import Finding, State
from gateway.doctor.opening import check_process, opened
from gateway.doctor.patient import Patient
from gateway.node_keys import load_keys
from gateway.registry import membership
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.ports import HOST, ShiftedClock, free_port
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


async def test_a_sound_gateway_has_no_problem(pair: GatewayPair) -> None:
    assert (await pair.call("echo")).status == 200
    async with opened(pair.consumer.settings, pair.consumer.clock) as patient:
        findings = await examine(patient, {"process": check_process, **CHECKS})
    assert [f for f in findings if f.state is State.PROBLEM] == []
    assert {f.check for f in findings} == {"process", *CHECKS}


async def test_the_clock(pair: GatewayPair, shifted: ShiftedClock) -> None:
    assert states(await findings_of(pair, "clock")) == {State.OK}
    shifted.ahead = timedelta(seconds=20)
    assert "20 s ahead" in one(await findings_of(pair, "clock"), State.WARNING).what
    shifted.ahead = -timedelta(minutes=5)
    assert "300 s behind" in one(await findings_of(pair, "clock"), State.PROBLEM).what


async def test_the_configuration_ages(pair: GatewayPair, shifted: ShiftedClock, tmp_path: Path) -> None:
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


async def test_the_certificates_validity(pair: GatewayPair, shifted: ShiftedClock) -> None:
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


async def test_time_stamping_authorities(pair: GatewayPair, shifted: ShiftedClock) -> None:
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


async def test_insecure_settings(pair: GatewayPair) -> None:
    found = await findings_of(pair, "settings", insecure_plain_http_clients=True)
    assert one(found, State.WARNING).subject == "insecure_plain_http_clients"


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
