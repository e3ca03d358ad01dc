"""What holds of every refusal, whatever it is for: the documented code with its status, the id that is in the log line
too, the hop in the message, the right records on the right gateways, sound logs, and no personal data in log lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.messages.faults import Fault, Hop
from tests.gateway.exchange.pair import Answer, GatewayPair
from tests.gateway.exchange.records import logged, message_count, require_sound

DOCUMENTED: Final = (Path(__file__).parents[3] / "docs" / "errors.md").read_text("utf-8")


@dataclass
class Watch:
    """What was there before the request that will be refused."""

    pair: GatewayPair
    position: int
    calls: int

    @property
    def new_calls(self) -> int:
        """How often the utility's backend was called since."""
        return len(self.pair.backend.calls) - self.calls


def watch(pair: GatewayPair) -> Watch:
    """Begins to watch the pair."""
    return Watch(pair, pair.position, len(pair.backend.calls))


async def check_refusal(
    watch: Watch,
    answer: Answer,
    code: str,
    status: int,
    hop: Hop,
    *,
    consumer: str | None = None,
    provider: str | None = None,
    calls: int = 0,
) -> None:
    """The answer is this refusal, and everything else is as it must be after one.

    `consumer`, `provider`: the result (`denied`, `failed`) that the gateway's logs show; None when it logged nothing.
    The provider may deny late, when it has logged the request as good.
    `calls`: how often the backend was called.
    """
    pair = watch.pair
    # 1. What the client is told.
    assert (answer.status, answer.headers.get("X-Road-Error")) == (status, code), answer
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json.keys() == {"type", "message", "detail"}
    assert answer.json["type"] == code
    assert f"`{code}`" in DOCUMENTED
    assert answer.json["message"].startswith(f"{hop.value.capitalize()}: ")
    detail = answer.json["detail"]
    assert len(detail) == 36
    # 2. The id is in the log line of whoever refused, and in the consumer gateway's.
    lines = [line for line in pair.lines(watch.position) if line["event"] == "exchange refused"]
    roles = [line["role"] for line in lines if (line["detail"], line["code"], line["hop"]) == (detail, code, hop.value)]
    assert "consumer" in roles
    assert ("provider" in roles) == code.startswith("server.serverproxy.")
    assert answer.request_id in [line["exchange"] for line in lines]
    # 3. The logs of both gateways.
    summary = [entry.summary for entry in await logged(pair.consumer.gateway, answer.request_id)]
    expected = [] if consumer is None else [("request", "ok", []), ("response", code, [(consumer, code)])]
    assert summary == expected
    await check_provider_log(pair, answer.request_id, code, provider)
    # 4. Nothing that was refused reached the backend, unless the backend itself failed.
    assert watch.new_calls == calls
    await check_afterwards(watch)


async def check_provider_log(pair: GatewayPair, request_id: str, code: str, result: str | None) -> None:
    """The provider gateway's records of a refused exchange."""
    summary = [entry.summary for entry in await logged(pair.provider.gateway, request_id)]
    match result:
        case None:
            assert summary == []
        case "denied":
            assert summary == [("request", code, [("denied", code)])]
        case "denied late":
            assert summary == [("request", "ok", []), ("response", code, [("denied", code)])]
        case _:
            assert summary == [("request", "ok", []), ("response", code, [("failed", code)])]


async def check_afterwards(watch: Watch) -> None:
    """Both logs are sound, and the log lines are discreet."""
    for node in (watch.pair.consumer, watch.pair.provider):
        await require_sound(node.gateway)
    watch.pair.require_discreet(watch.position)


async def check_peer_refusal(
    watch: Watch,
    answer: object,
    code: str,
    request_id: str,
    *,
    provider: str | None = None,
    messages_before: int | None = None,
) -> None:
    """The provider gateway's answer to a peer is this fault, with the same care as `check_refusal`."""
    pair = watch.pair
    assert isinstance(answer, Fault), answer
    assert answer.code == code, answer.message
    assert f"`{code}`" in DOCUMENTED
    # What can't be read of a message is the failure of the gateway that sent it.
    unreadable = code.startswith("server.serverproxy.service_failed.")
    assert answer.message.startswith("Consumer gateway: " if unreadable else "Provider gateway: ")
    details = [line["detail"] for line in pair.lines(watch.position) if line.get("code") == code]
    assert details == [answer.detail]
    await check_provider_log(pair, request_id, code, provider)
    if messages_before is not None:
        assert await message_count(pair.provider.gateway) == messages_before
    assert watch.new_calls == 0
    await check_afterwards(watch)
