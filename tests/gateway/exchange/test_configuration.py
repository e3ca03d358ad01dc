"""The global configuration at work: expired, rolled back, forged, or not to be had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.messages.faults import Hop
from gateway.registry import membership
from tests.gateway.exchange.nodes import RunningNode
from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.refusals import check_refusal, watch
from trust.errors import ConfigurationInvalid, FetchFailed

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def later(node: RunningNode, ahead: timedelta) -> AsyncIterator[None]:
    """Within the block the gateway's clock is ahead."""
    node.clock.ahead = ahead
    try:
        yield
    finally:
        node.clock.ahead = timedelta(0)
        await node.gateway.node.own_certificates.refresh()


@contextmanager
def without_ocsp_answers(node: RunningNode) -> Iterator[None]:
    """Within the block the gateway has no OCSP answer for its own certificates; its follower gets it none, either."""
    own = node.gateway.node.own_certificates
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "_current", {})
        patch.setattr(own, "_source", _NoAnswers())
        yield


class _NoAnswers:
    async def status_for(self, _: object) -> bytes:
        raise FetchFailed("no answer")


async def test_expired_at_the_consumer(pair: GatewayPair) -> None:
    async with later(pair.consumer, timedelta(minutes=11)):
        seen = watch(pair)
        answer = await pair.call("echo")
    code = "server.clientproxy.global_conf_outdated"
    await check_refusal(seen, answer, code, 500, Hop.CONSUMER_GATEWAY)
    assert (await pair.call("echo")).status == 200


async def test_expired_at_the_provider(pair: GatewayPair) -> None:
    async with later(pair.provider, timedelta(minutes=11)):
        seen = watch(pair)
        answer = await pair.call("echo")
    code = "server.serverproxy.global_conf_outdated"
    await check_refusal(seen, answer, code, 500, Hop.PROVIDER_GATEWAY, consumer="failed")
    assert (await pair.call("echo")).status == 200


async def test_without_a_current_ocsp_answer_nothing_is_signed(pair: GatewayPair) -> None:
    with without_ocsp_answers(pair.consumer):
        seen = watch(pair)
        answer = await pair.call("echo")
    code = "server.clientproxy.cannot_create_signature"
    await check_refusal(seen, answer, code, 500, Hop.CONSUMER_GATEWAY)


async def test_the_provider_can_not_sign(pair: GatewayPair) -> None:
    with without_ocsp_answers(pair.provider):
        seen = watch(pair)
        answer = await pair.call("echo")
    code = "server.serverproxy.cannot_create_signature"
    await check_refusal(seen, answer, code, 500, Hop.PROVIDER_GATEWAY, consumer="failed", provider="failed", calls=1)


async def test_a_rolled_back_configuration_is_not_taken(pair: GatewayPair) -> None:
    old = await pair.publish()
    # The same content from an earlier moment would be no way back: a registry's nodes have clocks of their own.
    pair.registry.state.update(lambda parameters: membership.add_member_class(parameters, "NEU", "Neue"))
    new = await pair.publish()
    position = pair.position
    pair.front.held = old
    try:
        await pair.until(lambda: len(_refused(pair, position)) >= 2)
        assert {line["code"] for line in _refused(pair, position)} == {"global_conf_rolled_back"}
        # The newer one stays in force.
        assert (await pair.call("echo")).status == 200
        for node in (pair.consumer, pair.provider):
            assert node.has(new)
        # Not even a restart forgets that there was a newer one.
        await pair.provider.stop()
        with pytest.raises(ConfigurationInvalid):
            await pair.provider.start()
        await pair.provider.stop()
    finally:
        pair.front.held = None
        await pair.provider.start()
    assert (await pair.call("echo")).status == 200


async def test_a_forged_configuration_is_not_taken(pair: GatewayPair) -> None:
    good = pair.publisher.latest
    assert good is not None
    position = pair.position
    forged = good.internal.replace(b"Version: 6", b"Version: 7", 1) + b" "
    pair.front.held = replace(good, internals={**good.internals, 6: forged})
    try:
        await pair.until(lambda: len(_refused(pair, position)) >= 2)
        assert (await pair.call("echo")).status == 200
    finally:
        pair.front.held = None


async def test_a_registry_that_is_away_stops_nobody_at_once(pair: GatewayPair) -> None:
    position = pair.position
    pair.front.silent = True
    try:
        await pair.until(lambda: len(_refused(pair, position)) >= 2)
        assert (await pair.call("echo")).status == 200
        # A restart finds what was accepted on disk.
        await pair.provider.restart()
        assert (await pair.call("echo")).status == 200
    finally:
        pair.front.silent = False


async def test_a_configuration_that_lapses_soon_is_said_in_the_log(pair: GatewayPair) -> None:
    position = pair.position

    def said() -> list[dict[str, str]]:
        return [line for line in pair.lines(position) if "lapses soon" in line["event"]]

    pair.front.silent = True
    try:
        async with later(pair.consumer, timedelta(minutes=6)):
            await pair.until(lambda: bool(said()))
    finally:
        pair.front.silent = False
    assert {line["level"] for line in said()} == {"warning"}
    assert all(line["expires"] and line["hint"] for line in said())


def _refused(pair: GatewayPair, position: int) -> list[dict[str, str]]:
    return [line for line in pair.lines(position) if line["event"] == "global configuration not refreshed"]
