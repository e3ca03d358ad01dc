"""`datenweg key` against a running gateway and registry, and the example of the documentation, line for line."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.city.setup import to_toml
from gateway.key_findings import Severity, key_findings
from gateway.key_ring import open_ring
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.test_key_rollover import signing_certificate
from tests.gateway.exchange.town import CITY
from tests.trust.softhsm import MODULE
from trust.identifiers import SubsystemId

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[3]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayPair]:
    with captured_output() as output:
        async with gateway_pair(tmp_path_factory.mktemp("pair"), output) as running:
            yield running


class Shell:
    """A folder with the gateway's settings, in which commands are typed."""

    def __init__(self, pair: GatewayPair, folder: Path) -> None:
        self.folder = folder
        (folder / "gateway.toml").write_text(to_toml(pair.consumer.settings), "utf-8")
        (folder / "bin").mkdir()
        command = folder / "bin" / "datenweg"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway.cli "$@"\n')
        command.chmod(0o755)
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "250"}

    async def run(self, script: str, *, expect: int = 0) -> str:
        """What the script prints, both streams."""
        done = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-euc", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def issue(self, pair: GatewayPair, name: str, *, usage: str = "signing") -> bytes:
        """The authority's part: NAME.csr becomes NAME.crt."""
        request = x509.load_pem_x509_csr((self.folder / f"{name}.csr").read_bytes())
        assert request.is_signature_valid
        issue = pair.authority.issue_signing if usage == "signing" else pair.authority.issue_authentication
        certificate = issue(request.public_key(), CITY.member, member_name="Musterstadt", server_code="ss1")  # type: ignore[arg-type]
        (self.folder / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        return certificate.public_bytes(Encoding.DER)


@pytest.fixture
def shell(pair: GatewayPair, tmp_path: Path) -> Shell:
    return Shell(pair, tmp_path)


def examples() -> list[tuple[str, str]]:
    """The documentation's two examples, before and after the authority's part."""
    text = (ROOT / "docs/operations.md").read_text("utf-8").partition("## Keys and certificates")[2]
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [
        tuple(block.split("# the authority makes signing.crt of signing.csr\n"))  # type: ignore[misc]
        for block in blocks
        if "the authority makes" in block
    ]


async def test_the_documented_way_of_a_signing_key(pair: GatewayPair, shell: Shell) -> None:
    before, after = examples()[0]
    assert "2.5.4.5=MUSTERSTADT,2.5.4.15=GOV" in await shell.run(before)
    issued = shell.issue(pair, "signing")
    printed = await shell.run(after)
    assert "signing certificate of DE-TEST/GOV/MUSTERSTADT" in printed
    await pair.until(lambda: signing_certificate(pair.consumer) == issued)
    assert (await pair.call("echo")).status == 200
    # Once more is refused, with the code.
    assert "signer.cert_exists" in await shell.run(after, expect=2)
    listed = await shell.run("datenweg key list --config gateway.toml")
    fingerprint = re.search(r"([0-9a-f]{16}) +│ active", listed)
    assert fingerprint, listed


async def test_the_documented_way_of_a_key_in_softhsm(pair: GatewayPair, shell: Shell) -> None:
    if not MODULE.exists():
        pytest.skip("SoftHSM2 is not installed (Debian: softhsm2)")
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (the extra pkcs11)")
    before, after = examples()[1]
    (exports, *_) = before.splitlines()
    await shell.run(before)
    shell.issue(pair, "signing")
    printed = await shell.run(f"{exports}\n{after}")
    assert "musterstadt" in printed
    assert re.search(r"musterstadt.*signing.*ec-p256.*DE-TEST/GOV/MUSTERSTADT.*active", printed), printed
    # The gateway whose settings have no device can't use it, and goes on with what it has.
    assert (await pair.call("echo")).status == 200
    # An authentication key isn't made in a device.
    refused = await shell.run(
        f"{exports}\ndatenweg key generate --config gateway.toml --token musterstadt --usage authentication", expect=2
    )
    assert "signer.token_not_available" in refused
    ring = open_ring(pair.consumer.settings)
    for entry in ring.entries():
        if entry.token == "musterstadt":
            ring.set_active(entry.certificates[0].fingerprint, active=False, at=datetime.now(UTC))


async def test_activate_deactivate_delete(pair: GatewayPair, shell: Shell) -> None:
    key = (await shell.run("datenweg key generate --config gateway.toml --usage authentication --kind ec-p384")).strip()
    await shell.run(f"datenweg key csr {key} --config gateway.toml --out tls.csr --country DE --host g.example")
    shell.issue(pair, "tls", usage="authentication")
    printed = await shell.run("datenweg key import tls.crt --config gateway.toml")
    assert "not active yet" in printed
    assert "the registry doesn't have this certificate yet" in printed
    fingerprint = printed.split(":")[0]
    assert "signer.wrong_cert_usage" not in printed
    assert ": active" in await shell.run(f"datenweg key activate {fingerprint} --config gateway.toml")
    assert "signer.cannot_sign" in await shell.run(
        f"datenweg key delete {fingerprint} --yes --config gateway.toml", expect=2
    )
    assert ": not active" in await shell.run(f"datenweg key deactivate {fingerprint[:8]} --config gateway.toml")
    assert ": deleted" in await shell.run(f"datenweg key delete {fingerprint} --yes --config gateway.toml")
    assert ": destroyed" in await shell.run(f"datenweg key delete {key} --yes --config gateway.toml")
    assert "signer.key_not_found" in await shell.run(f"datenweg key delete {key} --yes --config gateway.toml", expect=2)
    assert "signer.key_not_found" in await shell.run("datenweg key import tls.crt --config gateway.toml", expect=2)


async def test_der_and_a_subject_by_hand(shell: Shell) -> None:
    key = (await shell.run("datenweg key generate --config gateway.toml --usage signing")).strip()
    await shell.run(
        f"datenweg key csr {key} --config gateway.toml --out x.der --format der --subject 'CN=code,O=Name,C=DE'"
    )
    request = x509.load_der_x509_csr((shell.folder / "x.der").read_bytes())
    assert request.subject.rfc4514_string() == "CN=code,O=Name,C=DE"
    await shell.run(f"datenweg key delete {key} --yes --config gateway.toml")


async def test_weak_and_wrong_pins_are_refused(pair: GatewayPair, shell: Shell) -> None:
    shell.environment |= {"DATENWEG_NEW_PIN": "schwach"}
    refused = await shell.run("datenweg key pin --config gateway.toml", expect=2)
    assert "signer.token_pin_policy_failure" in refused
    (shell.folder / "wrong").write_text("falsch")
    (shell.folder / "wrong").chmod(0o600)
    for command in ("generate --usage signing", "pin"):
        shell.environment |= {"DATENWEG_NEW_PIN": "Starkes-Geheimnis-1"}
        refused = await shell.run(f"datenweg key {command} --config gateway.toml --pin-file wrong", expect=2)
        assert "signer.pin_incorrect" in refused
        assert "falsch" not in refused
    changed = await shell.run("datenweg key pin --config gateway.toml")
    assert "Starkes" not in changed
    assert pair.consumer.settings.pin_file.read_text() == "Starkes-Geheimnis-1\n"
    await pair.consumer.restart()
    assert (await pair.call("echo")).status == 200


async def test_findings_for_the_doctor(pair: GatewayPair) -> None:
    settings, configuration = pair.consumer.settings, pair.consumer.gateway.node.trust.latest.configuration
    ring, now = open_ring(settings), datetime.now(UTC)

    def found(**options: object) -> dict[str, set[Severity]]:
        values = {"at": now} | options
        result: dict[str, set[Severity]] = {}
        for finding in key_findings(settings, ring, configuration, **values):  # type: ignore[arg-type]
            result.setdefault(finding.subject, set()).add(finding.severity)
            assert finding.severity is Severity.OK or finding.hint
        return result

    good = found()
    assert good["token software"] == {Severity.OK}
    assert good["authentication certificate"] == {Severity.OK}
    stranger = SubsystemId("DE-TEST", "GOV", "SCHULE", "x")
    assert found(clients=[stranger])["signing key of DE-TEST/GOV/SCHULE"] == {Severity.ERROR}
    last = max(key.valid_until for key in pair.consumer.gateway.node.own_certificates.keys.all)
    assert Severity.WARNING in found(at=last - timedelta(days=20))["signing certificate of DE-TEST/GOV/MUSTERSTADT"]
    assert found(at=last + timedelta(days=1))["signing key of DE-TEST/GOV/MUSTERSTADT"] == {Severity.ERROR}
    ring.tokens["software"].logout()
    assert found()["token software"] == {Severity.ERROR}


async def test_the_log_warns_in_time(pair: GatewayPair) -> None:
    node = pair.consumer.gateway.node
    follower = pair.consumer.gateway.keys
    position = pair.position
    ends = {own.certificate: own.valid_until for own in node.own_certificates.keys.all}

    def warned() -> int:
        return sum(line["event"] == "a certificate of ours ends soon" for line in pair.lines(position))

    count = 0
    first = min(ends.values())
    for days in (31, 29, 28, 13, 6.9, 0.9):
        pair.consumer.clock.ahead = first - timedelta(days=days) - datetime.now(UTC)
        follower._warn(node, node.own_certificates.keys)
        if days in {31, 28}:
            assert warned() == count
        else:
            assert warned() > count
        count = warned()
    pair.consumer.clock.ahead = timedelta(0)
    text = pair.output.getvalue()[position:]
    assert '"usage":' in text.replace(" ", "")
