"""What the operations port says, and what a running gateway takes up."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.doctor.http import asks_in_full
from gateway.errors import StartRefused
from gateway.registry import membership
from gateway.tls_contexts import TLSContexts
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.ports import HOST
from tests.gateway.exchange.town import INSTANCE
from trust.testca.authority import CertificateAuthority

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def health(pair: GatewayPair) -> tuple[int, dict[str, str]]:
    """The status of the consumer's health check, and its results."""
    url = f"http://{HOST}:{pair.consumer.settings.operations_port}/healthz"
    async with pair.http.get(url) as answer:
        return answer.status, (await answer.json())["checks"]


async def refuse(*_: Any) -> Any:
    raise ConnectionRefusedError(111, "Connection refused")


async def test_a_sound_gateway_is_healthy(pair: GatewayPair) -> None:
    status, checks = await health(pair)
    assert status == 200
    assert set(checks) == {
        "archive", "certificates", "configuration", "database", "index", "keys", "log", "messages", "retention",
        "store",
        "timestamps", "witnesses",
    }  # fmt: skip


async def test_a_database_that_refuses_is_said_and_read_again_when_it_is_back(
    pair: GatewayPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = pair.position
    with monkeypatch.context() as patch:
        patch.setattr("gateway.store.repository.Repository.revision", refuse)
        await pair.until(lambda: _failures(pair, position) >= 2)
        status, checks = await health(pair)
        assert (status, checks["database"]) == (503, "not reachable: check the database")
    store = next(follower for follower in pair.consumer.gateway.followers if follower.name == "store")
    back = store._last_monotonic
    await pair.until(lambda: store._last_monotonic > back)
    assert (await health(pair))[0] == 200


async def test_a_follower_that_fails_for_long_is_said(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    since = datetime(2026, 11, 22, 10, tzinfo=UTC)
    with monkeypatch.context() as patch:
        patch.setattr("gateway.followers.Follower.stale_since", since)
        status, checks = await health(pair)
    assert status == 503
    assert checks["store"].startswith("not read since 2026-11-22T10:00:00Z")


@pytest.mark.parametrize(("address", "told"), [(HOST, True), ("::1", True), ("198.51.100.7", False), ("", False)])
async def test_what_is_wrong_in_detail_is_told_to_this_machine_alone(
    pair: GatewayPair, address: str, told: bool
) -> None:
    """Which protections are off is nothing for whoever may read the log here."""
    operations = next(
        listener.app
        for listener in pair.consumer.gateway.listeners
        if listener.port == pair.consumer.settings.operations_port
    )
    assert isinstance(operations, web.Application)
    transport = create_autospec(asyncio.Transport, instance=True)
    transport.get_extra_info.side_effect = {"peername": (address, 4711)}.get
    asked = make_mocked_request("GET", "/healthz?full", app=operations, transport=transport)
    assert asks_in_full(asked) is told
    # What a proxy on this machine passes on comes from elsewhere.
    for header in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"):
        passed_on = make_mocked_request(
            "GET", "/healthz?full", app=operations, transport=transport, headers={header: "198.51.100.7"}
        )
        assert not asks_in_full(passed_on), header


async def test_a_dead_sequencer_is_said(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("audit.sequencer.Sequencer.accepting", False)
        status, checks = await health(pair)
    assert status == 503
    assert checks["log"].startswith("takes no steps")


async def test_a_log_that_can_not_be_written_is_said(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("audit.sequencer.Sequencer._write", full)
        assert (await pair.call("echo")).status == 500
        status, checks = await health(pair)
        assert (status, checks["log"][:13]) == (503, "its last step")
        # A balancer that sends nothing while it reads 503 would never learn that there is room again.
        patch.setattr("gateway.operations._UNWRITTEN_SECONDS", 0.0)
        assert (await health(pair))[0] == 200
    assert (await pair.call("echo")).status == 200
    assert (await health(pair))[0] == 200


async def test_a_checkpoint_that_is_not_published_is_said(pair: GatewayPair, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("audit.publisher.Publisher.behind_seconds", 11.0)
        status, checks = await health(pair)
    assert status == 503
    assert checks["log"].startswith("no checkpoint published for 11 s")


async def test_an_authority_that_is_approved_later_counts_on_both_sides(pair: GatewayPair, tmp_path: Path) -> None:
    later = CertificateAuthority.load_or_create(tmp_path / "testca2", INSTANCE)
    approved = later.approved_ca("http://127.0.0.1:1/ocsp")
    try:
        pair.registry.state.update(lambda parameters: membership.approve_ca(parameters, approved))
        await pair.publish()
        for node in (pair.consumer, pair.provider):
            contexts = node.gateway.contexts
            # Where we are called; where we call, the peer's certificate is verified after the handshake.
            assert approved.certificate in contexts._server.get_ca_certs(binary_form=True)
            # The contexts by name are those in use.
            assert node.gateway.node.peers._client._session.connector._ssl is contexts.peer_client  # type: ignore[union-attr]
            assert contexts.peer_server in [listener.ssl for listener in node.gateway.listeners]
    finally:
        pair.registry.state.update(lambda parameters: membership.revoke_ca(parameters, approved.certificate))
        await pair.publish()


async def test_a_configuration_whose_taking_fails_is_taken_later(
    pair: GatewayPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[object] = []
    approve: Callable[..., None] = TLSContexts.approve

    def fail_once(*arguments: Any) -> None:
        taken.append(arguments)
        if len(taken) == 1:
            raise OSError("not a certificate")
        approve(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TLSContexts, "approve", fail_once)
        await pair.publish()
        # Both gateways, and the one that failed at first.
        await pair.until(lambda: len(taken) >= 3)
    assert (await pair.call("echo")).status == 200


async def test_a_taken_port_refuses_the_start_in_one_line(pair: GatewayPair) -> None:
    await pair.provider.stop()
    with socket.create_server((HOST, pair.provider.settings.operations_port)):
        with pytest.raises(StartRefused, match=f"port {pair.provider.settings.operations_port}: .*in use.*: stop what"):
            await pair.provider.start()
        await pair.provider.stop()
    await pair.provider.start()
    assert (await pair.call("echo")).status == 200


def _failures(pair: GatewayPair, position: int) -> int:
    return sum(
        line["event"].startswith("a background job failed") and line["action"] == "store"
        for line in pair.lines(position)
    )
