"""Two gateways that witness each other: what is public was seen by the other, and without it nothing is delivered."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from audit.note import NoteSigner, parse_note
from audit.policy import Policy, parse_policy, verify_witnessed
from audit.publisher import Publisher
from audit.store import cosigned_checkpoint, log_head, open_engine
from audit.witness import origin_hash
from gateway.admin.watching import witness_standings
from gateway.clock import SystemClock
from gateway.errors import StartRefused
from gateway.exchange.origins import origin_of
from gateway.witnessing import read_auditor_token, read_policy, witness_key
from tests.gateway.exchange.conftest import captured_output
from tests.gateway.exchange.pair import GatewayPair, gateway_pair
from tests.gateway.exchange.ports import HOST, free_port
from tests.gateway.exchange.town import CITY, UTILITY, Party
from trust.identifiers import SecurityServerId

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_SECONDS = 3600.0
TOKEN = "token-of-the-auditor"


def _key(folder: Path, name: str) -> Ed25519PrivateKey:
    path = folder / "keys" / f"{name}.key"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_hex(32)
    path.write_text(f"{key}\n")
    path.chmod(0o600)
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))


def _policy(folder: Path, ports: dict[Party, int]) -> str:
    logs, witnesses, names = [], [], []
    year = SystemClock().now().year
    for party, port in ports.items():
        server = SecurityServerId(party.member, "ss1")
        origin = origin_of(server, year)
        log = NoteSigner(origin, _key(folder / party.code, "log")).verifier
        witness = witness_key(server, _key(folder / party.code, "witness"))
        logs.append(f"log {log.text}")
        witnesses.append(f"witness {party.code} {witness.text} http://{HOST}:{port}/witness")
        names.append(party.code)
    return "\n".join([*logs, *witnesses, f"group others 2 {' '.join(names)}", "quorum others", ""])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def witnessed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[GatewayPair, Policy]]:
    folder = tmp_path_factory.mktemp("witnessed")
    ports = {CITY: free_port(), UTILITY: free_port()}
    text = _policy(folder, ports)
    path = folder / "policy"
    path.write_text(text)
    token = folder / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    common: dict[str, Any] = {
        "auditor_token_file": token,
        "witness_policy_file": path,
        "witness_interval_seconds": 0.1,
        "witness_limit_seconds": LIMIT_SECONDS,
    }
    with captured_output() as output:
        async with gateway_pair(
            folder,
            output,
            consumer={"operations_port": ports[CITY]},
            provider={"operations_port": ports[UTILITY]},
            **common,
        ) as pair:
            yield pair, parse_policy(text)


async def _checkpoint(pair: GatewayPair, node: str) -> tuple[int, bytes]:
    settings = getattr(pair, node).settings
    year = SystemClock().now().year
    async with pair.http.get(f"http://{HOST}:{settings.operations_port}/audit/{year}/checkpoint") as answer:
        return answer.status, await answer.read()


async def test_each_gateway_s_public_checkpoint_was_seen_by_the_other(witnessed: tuple[GatewayPair, Policy]) -> None:
    pair, policy = witnessed
    assert (await pair.call("echo")).status == 200
    guards = [pair.consumer.gateway.node.log_guard, pair.provider.gateway.node.log_guard]
    for node, guard in zip(("consumer", "provider"), guards, strict=True):
        publisher = getattr(pair, node).gateway.publisher
        await publisher.publish()
        size = int(publisher.newest_note.split(b"\n")[1])
        await pair.until(partial(_shows, publisher, size))
        guard.require_quorum()
        status, note = await _checkpoint(pair, node)
        assert status == 200
        found = verify_witnessed(note, policy)
        assert found.checkpoint.size > 0
        assert len(found.cosignatures) == 2


def _shows(publisher: Publisher, size: int) -> bool:
    return publisher._shown is not None and publisher._shown[0].size >= size


async def _settled(pair: GatewayPair) -> None:
    """Both logs have entries, and a quorum has seen them: whichever test of this module comes first."""
    assert (await pair.call("echo")).status == 200
    for node in (pair.consumer, pair.provider):
        publisher = node.gateway.publisher
        await publisher.publish()
        size = int(publisher.newest_note.split(b"\n")[1])
        await pair.until(partial(_shows, publisher, size))


async def test_the_witness_shows_what_it_has_seen(witnessed: tuple[GatewayPair, Policy]) -> None:
    pair, _ = witnessed
    await _settled(pair)
    origin = pair.consumer.gateway.publisher.origin
    url = f"http://{HOST}:{pair.provider.settings.operations_port}/witness/{origin_hash(origin)}/checkpoint"
    async with pair.http.get(url) as answer:
        assert answer.status == 200
        assert parse_note(await answer.read()).text.startswith(origin + "\n")


async def test_the_auditor_alone_gets_entries(witnessed: tuple[GatewayPair, Policy]) -> None:
    pair, _ = witnessed
    await _settled(pair)
    operations = f"http://{HOST}:{pair.consumer.settings.operations_port}"
    async with pair.http.get(f"{operations}/audit/logs") as answer:
        (log,) = await answer.json()
    assert (log["prefix"], log["state"]) == (f"{operations}/audit/{SystemClock().now().year}", "active")
    bundle = f"{log['prefix']}/tile/entries/000.p/1"
    async with pair.http.get(bundle) as answer:
        assert answer.status == 401
    async with pair.http.get(bundle, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        assert answer.status == 200
        assert b'"k":"' in await answer.read()


async def test_an_auditor_token_that_anybody_could_guess_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for token in ("", "short", "with a blank in its middle"):
        path.write_text(token)
        path.chmod(0o600)
        with pytest.raises(StartRefused):
            read_auditor_token(path)
    assert read_auditor_token(None) is None


async def test_the_running_gateway_tells_how_witnesses_stand(witnessed: tuple[GatewayPair, Policy]) -> None:
    pair, _ = witnessed
    publisher = pair.consumer.gateway.publisher
    await pair.until(partial(_shows, publisher, 0))
    await pair.until(lambda: len(pair.consumer.gateway.node.log_guard.reports) == 2)
    standings = await witness_standings(pair.consumer.settings)
    assert {standing.name for standing in standings} == {CITY.code, UTILITY.code}
    assert {standing.state for standing in standings} == {"cosigned the newest checkpoint"}


async def test_without_a_quorum_for_too_long_nothing_is_delivered(
    witnessed: tuple[GatewayPair, Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, _ = witnessed
    with monkeypatch.context() as patch:
        patch.setattr("audit.witness_client.WitnessedPublisher.seconds_without_quorum", LIMIT_SECONDS + 1)
        answer = await pair.call("echo")
        assert (answer.status, answer.json["type"]) == (500, "server.clientproxy.logging_failed")
        position = pair.position
        await pair.until(lambda: "datenweg_log_seconds_without_quorum 3601.0" in _metrics(pair))
        assert position <= pair.position
    assert (await pair.call("echo")).status == 200


def _metrics(pair: GatewayPair) -> str:
    return pair.consumer.gateway.node.metrics.render().decode()


async def test_a_silent_witness_is_named(
    witnessed: tuple[GatewayPair, Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, _ = witnessed
    position = pair.position
    with monkeypatch.context() as patch:
        patch.setattr("audit.witness_client.WitnessedPublisher._post", _unreachable)
        patch.setattr("audit.witness_client.WitnessedPublisher.seconds_without_quorum", 61.0)
        await pair.until(lambda: any(line.get("server") == UTILITY.code for line in _alarms(pair, position)))
    assert {line["hint"] for line in _alarms(pair, position)} == {"can't be reached"}


async def _unreachable(*_: object) -> tuple[int, bytes]:
    raise ConnectionRefusedError(111, "Connection refused")


def _alarms(pair: GatewayPair, since: int) -> list[dict[str, str]]:
    return [line for line in pair.lines(since) if line["event"] == "a witness does not confirm the log"]


async def test_a_policy_that_says_nonsense_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    path.write_text("quorum everybody\n")
    with pytest.raises(StartRefused, match="line 1"):
        read_policy(path)
    with pytest.raises(StartRefused, match="can't be read"):
        read_policy(tmp_path / "missing")
    assert read_policy(None).quorum is None


async def test_the_last_checkpoint_is_cosigned_before_a_gateway_has_stopped(tmp_path: Path) -> None:
    ports = {CITY: free_port(), UTILITY: free_port()}
    path = tmp_path / "policy"
    lines = _policy(tmp_path, ports).splitlines()[:-2]
    # The other gateway's word is enough; and nobody asks for it but who starts or stops.
    path.write_text("\n".join([*lines, f"quorum {UTILITY.code}", ""]))
    with captured_output() as output:
        async with gateway_pair(
            tmp_path,
            output,
            consumer={"operations_port": ports[CITY]},
            provider={"operations_port": ports[UTILITY]},
            witness_policy_file=path,
            witness_interval_seconds=3600,
        ) as pair:
            assert (await pair.call("echo")).status == 200
            settings = pair.consumer.settings
            await pair.consumer.stop()
            engine = open_engine(settings.database_url)
            try:
                async with engine.connect() as connection:
                    cosigned = (await connection.execute(select(func.max(cosigned_checkpoint.c.size)))).scalar()
                    size = (await connection.execute(select(log_head.c.size))).scalar_one()
            finally:
                await engine.dispose()
            assert cosigned == size > 0
            await pair.consumer.start()
