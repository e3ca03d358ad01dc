"""A tampering peer at work: sends to the utility's gateway, and judges the refusal."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from tests.gateway.exchange.pair import GatewayPair
from tests.gateway.exchange.records import message_count
from tests.gateway.exchange.refusals import Watch, check_peer_refusal, watch
from tests.gateway.exchange.rogue import CallingRogue
from trust.keys import SoftwareKey


@dataclass
class Peer:
    """The tampering peer, what it may spoil with, and how what it sends is judged."""

    pair: GatewayPair
    city: CallingRogue
    strangers: SoftwareKey

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.pair.provider.settings.peer_port}/"

    async def refused(
        self,
        code: str,
        request_id: str,
        encoded: tuple[str, bytes],
        *,
        context: ssl.SSLContext | None = None,
        provider: str | None = None,
    ) -> Watch:
        seen = watch(self.pair)
        before = None if provider else await message_count(self.pair.provider.gateway)
        answer = await self.city.send(self.url, request_id, encoded, context=context)
        await check_peer_refusal(seen, answer, code, request_id, provider=provider, messages_before=before)
        return seen
